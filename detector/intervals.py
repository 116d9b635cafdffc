"""How far a figure is known: exact binomial bounds, and resampling of whole boards. Pure."""

from collections.abc import Callable
from math import sqrt

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import stats

__all__ = [
    "Estimate",
    "Rate",
    "bootstrap",
    "clopper_pearson",
    "effective_trials",
    "percentile_interval",
    "rate",
    "share_interval",
    "tail",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CONFIDENCE = 0.95
DRAWS = 2000
ALIKE = 0.1
"""How much defects of one picture are taken to share their fate (intraclass correlation) where the data cannot tell."""
LEAST_UNITS = 5
"""Fewer boards than this say nothing about other boards: no interval is given."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A figure and its 95 % interval over so many units; None where it is not known."""

    value: float | None
    low: float | None = None
    high: float | None = None
    units: int = 0

    @property
    def words(self) -> str:
        """The figure in words, four digits.

        >>> Estimate(value=0.98, low=0.9712, high=0.991).words
        '0.9800 (0.9712 to 0.9910)'
        """
        if self.value is None:
            return "not known"
        if self.low is None or self.high is None:
            return f"{self.value:.4f}"
        return f"{self.value:.4f} ({self.low:.4f} to {self.high:.4f})"


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """`events` in `n` trials: the share, its exact two-sided 95 % interval, and the one-sided upper 95 % bound."""

    events: int
    n: int
    value: float | None
    low: float
    high: float
    upper: float


def clopper_pearson(events: float, n: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the exact two-sided binomial interval of a rate (C. J. Clopper, E. S. Pearson, Biometrika 26, 1934).

    >>> low, high = clopper_pearson(0, 10)
    >>> low, round(high, 4)
    (0.0, 0.3085)
    """
    if n <= 0:
        return 0.0, 1.0
    half = (1 - confidence) / 2
    low = float(stats.beta.ppf(half, events, n - events + 1)) if events > 0 else 0.0
    high = float(stats.beta.ppf(1 - half, events + 1, n - events)) if events < n else 1.0
    return low, high


def rate(events: int, n: int) -> Rate:
    """Return a rate with its bounds; with no trials anything is possible.

    >>> round(rate(0, 3000).upper, 6)  # the rule of three: about 3 / n
    0.000998
    """
    low, high = clopper_pearson(events, n)
    upper = clopper_pearson(events, n, 1 - 2 * (1 - CONFIDENCE))[1]
    return Rate(events=events, n=n, value=events / n if n else None, low=low, high=high, upper=upper)


def bootstrap(statistic: Callable[[Floats], Floats], units: Ints, *, seed: int = 0, draws: int = DRAWS) -> Floats:
    """Draw whole units with replacement and return the statistic of each draw, float (draws, K).

    `units` (N,) says which unit each picture belongs to, 0 to U - 1; `statistic` takes how often each picture was
    drawn, float (N,), and returns K figures.
    """
    rng = np.random.default_rng(seed)
    count = int(units.max()) + 1
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=draws)
    return np.stack([statistic(one[units].astype(np.float64)) for one in drawn])


def tail(units: int, confidence: float = CONFIDENCE) -> float:
    """Return the share to cut from each end of resampled figures, so that few units give wide enough intervals.

    The plain percentile interval of U units is too narrow by sqrt((U - 1) / U) and takes a normal where a t belongs;
    expanded percentiles mend both (T. Hesterberg, The American Statistician 69, 2015).

    >>> round(tail(10_000), 4), round(tail(8), 4)
    (0.025, 0.0057)
    """
    t = stats.t.ppf(0.5 + confidence / 2, units - 1)
    return float(stats.norm.cdf(-t * sqrt(units / (units - 1))))


def percentile_interval(drawn: Floats, units: int) -> tuple[float, float] | None:
    """Return the 95 % interval of one resampled figure (draws,); None where too few units or no figure say anything."""
    known = drawn[np.isfinite(drawn)]
    if units < LEAST_UNITS or not known.size:
        return None
    cut = tail(units)
    low, high = np.quantile(known, [cut, 1 - cut])
    return float(low), float(high)


def effective_trials(per_picture: Floats) -> float:
    """Return how many independent trials so many defects in each picture (P,) are worth, at the least.

    >>> effective_trials(np.ones(50)), round(effective_trials(np.full(50, 6.0)))
    (50.0, 200)
    """
    total = float(per_picture.sum())
    if not total:
        return 0.0
    together = float((per_picture**2).sum()) / total
    return total / (1 + (together - 1) * ALIKE)


def share_interval(value: float, drawn: Floats, units: int, most_trials: float) -> tuple[float, float] | None:
    """Return the 95 % interval of a share such as AP or F; None where `percentile_interval` has none.

    Resampling alone is too narrow near 1: where no draw holds the rare picture that goes wrong, all draws agree. So the
    interval also holds the exact binomial one of as many trials as the spread of draws amounts to (E. Korn,
    B. Graubard, Survey Methodology 24, 1998), and of no more than `most_trials`.
    """
    plain = percentile_interval(drawn, units)
    if plain is None:
        return None
    variance = float(np.var(drawn[np.isfinite(drawn)])) * units / (units - 1)
    fewer = (stats.norm.ppf(0.5 + CONFIDENCE / 2) / stats.t.ppf(0.5 + CONFIDENCE / 2, units - 1)) ** 2
    spread = value * (1 - value) / variance * fewer if variance > 0 and 0 < value < 1 else np.inf
    trials = min(spread, most_trials)
    low, high = clopper_pearson(min(value * trials, trials), trials)
    return min(plain[0], low, value), max(plain[1], high, value)
