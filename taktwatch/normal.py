"""Constants and quantiles of normal samples, computed, so that any subgroup size has them.

Source: D. C. Montgomery, Introduction to Statistical Quality Control, 8th ed., appendix VI (d2, d3, c4).
"""

from functools import cache
from math import exp, lgamma, log, pi, sqrt
from statistics import NormalDist

__all__ = ["D2", "D3", "c4", "c5", "chi2_quantile", "normal_quantile"]

D2 = 2 / sqrt(pi)
"""Mean of the range of two standard normal values, 1.128: turns a mean moving range into a standard deviation."""

D3 = sqrt(2 - 4 / pi)
"""Standard deviation of that range, 0.853."""


@cache
def c4(n: int) -> float:
    """Return E[s] / sigma of n (at least 2) normal values.

    >>> round(c4(5), 4)
    0.94
    """
    if n < 2:  # noqa: PLR2004 - one value has no deviation
        raise ValueError(f"a standard deviation needs 2 values or more, not {n}")
    return sqrt(2 / (n - 1)) * exp(lgamma(n / 2) - lgamma((n - 1) / 2))


def c5(n: int) -> float:
    """Return the standard deviation of s / sigma of n (at least 2) normal values.

    >>> round(c5(5), 4)
    0.3412
    """
    return sqrt(1 - c4(n) ** 2)


def normal_quantile(share: float) -> float:
    """Return the value below which `share` (0 to 1, ends excluded) of a standard normal lies.

    >>> round(normal_quantile(0.975), 6)
    1.959964
    """
    return NormalDist().inv_cdf(share)


def chi2_quantile(share: float, degrees: float) -> float:
    """Return the value below which `share` (0 to 1, ends excluded) of a chi-square variable lies, by bisection.

    >>> round(chi2_quantile(0.975, 9), 4)
    19.0228
    """
    low, high = 0.0, degrees + 10.0
    while lower_gamma(degrees / 2, high / 2) < share:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        if middle in {low, high}:
            break
        if lower_gamma(degrees / 2, middle / 2) < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def lower_gamma(a: float, x: float) -> float:
    """Return the regularised lower incomplete gamma function P(a, x), 0 to 1; a above 0.

    Series below a + 1, Lentz's continued fraction above (Press et al., Numerical Recipes, 6.2).

    >>> round(lower_gamma(0.5, 0.5), 6)
    0.682689
    """
    if x <= 0:
        return 0.0
    front = exp(a * log(x) - x - lgamma(a))
    if x < a + 1:
        total = term = 1 / a
        k = a
        while term > total * 1e-17:
            k += 1
            term *= x / k
            total += term
        return front * total
    tiny = 1e-300
    b = x + 1 - a
    c, d = 1 / tiny, 1 / b
    fraction = d
    for i in range(1, 100_000):
        step = -i * (i - a)
        b += 2
        d = 1 / (step * d + b or tiny)
        c = b + step / c or tiny
        fraction *= c * d
        if abs(c * d - 1) < 1e-16:  # noqa: PLR2004 - as exact as a float is
            break
    return 1 - front * fraction
