"""Capability: how well measured values fit between their specification limits, with confidence intervals.

Cp = (upper - lower) / 6 sigma and Cpk = min(upper - mean, mean - lower) / 3 sigma with the sigma *within* (moving range
or subgroups: what the process could do); Pp and Ppk with the sigma *overall* (what it did). With one limit there is no
Cp.
Source: Montgomery, 8.3. Intervals: Cp and Pp by chi-square (Montgomery, eq. 8.19); Cpk and Ppk by A. F. Bissell, How
reliable is your capability index?, Applied Statistics 39(3), 1990. All assume normal values: depths near 0 are not, so
look at the chart first.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from math import sqrt
from statistics import fmean, stdev

import msgspec

from taktwatch.normal import D2, c4, chi2_quantile, normal_quantile
from taktwatch.records import ControlPoint

__all__ = [
    "BASIS_POINT",
    "Capability",
    "Index",
    "Measured",
    "capability_of_points",
    "capability_of_subgroups",
    "capability_of_sums",
    "capability_of_values",
    "measured",
    "moving_sigma",
    "pooled_deviation",
    "summed",
]

BASIS_POINT = 1e-4
"""What sums of measured shares are counted in."""


class Measured(msgspec.Struct, frozen=True):
    """A subgroup of n (at least 2) measured values: their mean and standard deviation (n - 1 in the denominator)."""

    n: int
    mean: float
    deviation: float


def measured(values: Sequence[float]) -> Measured:
    """Summarise a subgroup of 2 values or more.

    >>> measured([10.0, 12.0, 14.0])
    Measured(n=3, mean=12.0, deviation=2.0)
    """
    return Measured(len(values), fmean(values), stdev(values))


def summed(n: int, total: float, squares: float) -> Measured:
    """Return the subgroup of n values, 2 or more, that add up to `total` and their squares to `squares`.

    Of whole numbers exact: equal values have a deviation of 0.

    >>> summed(3, 36, 440) == measured([10, 12, 14])
    True
    """
    if n < 2:  # noqa: PLR2004 - one value has no deviation
        raise ValueError(f"a subgroup needs 2 values or more, not {n}")
    return Measured(n, total / n, sqrt(max(0, n * squares - total * total) / (n * (n - 1))))


def moving_sigma(values: Sequence[float]) -> float:
    """Return sigma of single values in time order: the mean moving range / d2 (Montgomery, 6.4).

    >>> round(moving_sigma([10.0, 12.0, 11.0, 13.0]), 4)
    1.477
    """
    if len(values) < 2:  # noqa: PLR2004 - a moving range needs two
        raise ValueError(f"single values need 2 or more to estimate sigma from, not {len(values)}")
    return fmean(abs(after - before) for before, after in pairwise(values)) / D2


def pooled_deviation(subgroups: Sequence[Measured]) -> tuple[float, int]:
    """Return sigma within subgroups, all their deviations pooled, and its degrees of freedom.

    sqrt(sum (n - 1) s^2 / sum (n - 1)) / c4(sum (n - 1) + 1).

    >>> pooled_deviation([measured([10.0, 12.0, 14.0]), measured([11.0, 12.0, 13.0])])[1]
    4
    """
    degrees = sum(group.n - 1 for group in subgroups)
    squares = sum((group.n - 1) * group.deviation**2 for group in subgroups)
    return sqrt(squares / degrees) / c4(degrees + 1), degrees


class Index(msgspec.Struct, frozen=True):
    """A capability index within `low` and `high` with the confidence asked for."""

    value: float
    low: float
    high: float


class Capability(msgspec.Struct, frozen=True):
    """Capability of n values; `cp` and `pp` are None where only one limit is given."""

    n: int
    mean: float
    sigma_within: float
    sigma_overall: float
    cp: Index | None
    cpk: Index
    pp: Index | None
    ppk: Index


class Specification(msgspec.Struct, frozen=True):
    """What is asked of a measured value, at least one limit, and the confidence of the intervals, 0 to 1."""

    lower: float | None = None
    upper: float | None = None
    confidence: float = 0.95

    def __post_init__(self) -> None:
        """Refuse limits that nothing can be within."""
        if self.lower is None and self.upper is None:
            raise ValueError("capability needs a lower or an upper specification limit")
        if self.lower is not None and self.upper is not None and self.lower >= self.upper:
            raise ValueError(f"the lower specification limit {self.lower} is not below the upper one {self.upper}")


def capability_of_values(
    values: Sequence[float], *, lower: float | None = None, upper: float | None = None, confidence: float = 0.95
) -> Capability:
    """Judge 3 or more single values in time order; sigma within comes from the moving range.

    The moving range knows less than n - 1 degrees of freedom: (n - 1)^2 / 2 (0.8264 n - 1.082), from its variance (J.
    D. Cryer and T. P. Ryan, Journal of Quality Technology 22(3), 1990).

    >>> found = capability_of_values([10.0, 12.0, 11.0, 13.0, 12.0, 11.0, 12.0, 10.0], upper=16.0)
    >>> found.cp, round(found.cpk.value, 3), round(found.ppk.value, 3)
    (None, 1.218, 1.453)
    """
    n = len(values)
    if n < 3:  # noqa: PLR2004 - below, the variance of the moving range is not defined
        raise ValueError(f"capability of single values needs 3 or more, not {n}")
    degrees = (n - 1) ** 2 / (2 * (0.8264 * n - 1.082))
    asked = Specification(lower, upper, confidence)
    return judged(asked, n, fmean(values), (moving_sigma(values), degrees), stdev(values))


def capability_of_subgroups(
    subgroups: Sequence[Measured], *, lower: float | None = None, upper: float | None = None, confidence: float = 0.95
) -> Capability:
    """Judge subgroups; sigma within is their pooled deviation.

    >>> groups = [measured([10.0, 12.0, 11.0]), measured([13.0, 12.0, 11.0]), measured([12.0, 10.0, 11.0])]
    >>> round(capability_of_subgroups(groups, lower=6.0, upper=16.0).cp.value, 3)
    1.599
    """
    n = sum(group.n for group in subgroups)
    mean = sum(group.n * group.mean for group in subgroups) / n
    squares = sum((group.n - 1) * group.deviation**2 + group.n * (group.mean - mean) ** 2 for group in subgroups)
    asked = Specification(lower, upper, confidence)
    return judged(asked, n, mean, pooled_deviation(subgroups), sqrt(squares / (n - 1)))


def capability_of_points(points: Iterable[ControlPoint], upper: float, *, single: bool) -> Capability | None:
    """Judge the subgroups behind the points of a chart of extent or depth, of which at most `upper` (0 to 1) is wanted.

    `single`: the chart is one of single values, each subgroup's mean being one. None where there is too little to judge
    by, or nothing that varies.
    """
    newest: dict[datetime, ControlPoint] = {}
    for point in points:
        known = newest.get(point.start)
        if known is None or known.revision < point.revision:
            newest[point.start] = point
    groups = [newest[start] for start in sorted(newest)]
    return capability_of_sums([(one.n, one.amount, one.squares) for one in groups], upper, single=single)


def capability_of_sums(
    subgroups: Iterable[tuple[int, float, float]], upper: float, *, single: bool
) -> Capability | None:
    """Judge subgroups in time order, each given as n, sum and sum of squares in basis points; as above.

    >>> found = capability_of_sums([(3, 330, 37_000), (3, 420, 59_600), (3, 390, 51_500)], 0.02, single=False)
    >>> found.n, round(found.mean, 4), round(found.cpk.value, 2)
    (9, 0.0127, 1.2)
    >>> capability_of_sums([(3, 0, 0)], 0.02, single=False) is None
    True
    """
    try:
        if single:
            means = [amount / n * BASIS_POINT for n, amount, _ in subgroups if n]
            return capability_of_values(means, upper=upper)
        sums = [summed(n, amount, squares) for n, amount, squares in subgroups if n > 1]
        shares = [Measured(one.n, one.mean * BASIS_POINT, one.deviation * BASIS_POINT) for one in sums]
        return capability_of_subgroups(shares, upper=upper) if shares else None
    except ValueError:
        return None


def judged(asked: Specification, n: int, mean: float, within: tuple[float, float], overall: float) -> Capability:
    """Return the four indices; `within` is sigma and its degrees of freedom."""
    sigma, degrees = within
    if not (sigma > 0 and overall > 0):
        raise ValueError("capability of values that do not vary is not defined")
    return Capability(
        n=n,
        mean=mean,
        sigma_within=sigma,
        sigma_overall=overall,
        cp=two_sided(asked, sigma, degrees),
        cpk=nearest(asked, n, mean, sigma, degrees),
        pp=two_sided(asked, overall, n - 1),
        ppk=nearest(asked, n, mean, overall, n - 1),
    )


def two_sided(asked: Specification, sigma: float, degrees: float) -> Index | None:
    """Cp or Pp: C sqrt(chi2(alpha / 2) / degrees) to C sqrt(chi2(1 - alpha / 2) / degrees)."""
    if asked.lower is None or asked.upper is None:
        return None
    value = (asked.upper - asked.lower) / (6 * sigma)
    tail = (1 - asked.confidence) / 2
    low, high = (value * sqrt(chi2_quantile(share, degrees) / degrees) for share in (tail, 1 - tail))
    return Index(value, low, high)


def nearest(asked: Specification, n: int, mean: float, sigma: float, degrees: float) -> Index:
    """Cpk or Ppk: C +- z sqrt(1 / 9n + C^2 / 2 degrees)."""
    distances = [asked.upper - mean] if asked.upper is not None else []
    if asked.lower is not None:
        distances.append(mean - asked.lower)
    value = min(distances) / (3 * sigma)
    half = normal_quantile((1 + asked.confidence) / 2) * sqrt(1 / (9 * n) + value**2 / (2 * degrees))
    return Index(value, value - half, value + half)
