"""Probability of detection by defect size: hit/miss logistic regression as in MIL-HDBK-1823A. Pure.

The chance of a hit is logistic in the logarithm of size. a90 is the size found nine times in ten; a90/95 is its upper
95 % bound, by profile likelihood (one parameter, one-sided): Wald bounds are too narrow for hit/miss data.
"""

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

from detector.intervals import Rate, rate

__all__ = ["Detectability", "SizeBand", "detectability"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LOGIT_90 = float(special.logit(0.9))
DROP = float(stats.chi2.ppf(0.90, 1)) / 2  # of the log likelihood, at the one-sided 95 % bound
LEAST_EACH = 5
"""Fewer hits or fewer misses than this do not carry a curve."""
REACH = float(np.log(2))
"""a90 is read off the curve no further than at half the smallest and at twice the largest size seen."""
MOST_SIZES = 1e3  # beyond so many times the largest size no bound is looked for
BANDS = 6


class SizeBand(msgspec.Struct, frozen=True, kw_only=True):
    """Defects of about one size, `low` to `high` um, and how many of them were found."""

    low: float
    high: float
    found: Rate


class Detectability(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in um: found five and nine times in ten, and the upper 95 % bound of the latter.

    `why_not` says why there is no curve, or no bound. The chance of a hit at size a is expit(offset + slope log a).
    """

    n: int
    found: int
    a50_um: float | None = None
    a90_um: float | None = None
    a90_95_um: float | None = None
    offset: float | None = None
    slope: float | None = None
    why_not: str = ""
    bands: tuple[SizeBand, ...] = ()


def detectability(sizes_um: Floats, hits: Bools) -> Detectability:
    """Fit the curve to defects of sizes (N,) in um, above 0, found or not (N,)."""
    n, found = int(hits.size), int(hits.sum())
    bands = _bands(sizes_um, hits)
    if min(found, n - found) < LEAST_EACH:
        why_not = f"{found} of {n} found: at least {LEAST_EACH} hits and {LEAST_EACH} misses carry a curve"
        return Detectability(n=n, found=found, bands=bands, why_not=why_not)
    x = np.log(sizes_um)
    if not _overlap(x, hits):
        return Detectability(
            n=n, found=found, bands=bands, why_not="sizes found and sizes missed do not overlap: the curve is a step"
        )
    offset, slope, best = _fit(x, hits)
    if slope <= 0:
        why_not = "larger defects are not found more often here: size does not decide, no a90"
        return Detectability(n=n, found=found, bands=bands, offset=offset, slope=slope, why_not=why_not)
    log_a90 = (LOGIT_90 - offset) / slope
    if not x.min() - REACH <= log_a90 <= x.max() + REACH:
        why_not = "a90 lies beyond the sizes seen here: it would be made up"
        return Detectability(n=n, found=found, bands=bands, offset=offset, slope=slope, why_not=why_not)
    bound = _bound(x, hits, log_a90, best)
    return Detectability(
        n=n,
        found=found,
        a50_um=float(np.exp(-offset / slope)),
        a90_um=float(np.exp(log_a90)),
        a90_95_um=None if bound is None else float(np.exp(bound)),
        offset=offset,
        slope=slope,
        why_not="" if bound is not None else "the data bound a90 on no side: more misses of known size are needed",
        bands=bands,
    )


def _overlap(x: Floats, hits: Bools) -> bool:
    """Say whether no size separates hits from misses: else the likelihood has no maximum."""
    return bool(x[hits].min() < x[~hits].max() and x[~hits].min() < x[hits].max())


def _log_likelihood(linear: Floats, hits: Bools) -> float:
    """Return the log likelihood of hits under log odds."""
    return float(np.sum(hits * linear - np.logaddexp(0, linear)))


def _fit(x: Floats, hits: Bools) -> tuple[float, float, float]:
    """Return offset, slope and log likelihood of the best curve, by Newton's method on centred sizes."""
    centre = float(x.mean())
    design = np.stack([np.ones_like(x), x - centre], axis=1)
    beta = np.array([special.logit(hits.mean()), 0.0])
    for _ in range(100):
        p = special.expit(design @ beta)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + 1e-10 * np.eye(2)
        step = np.linalg.solve(hessian, design.T @ (hits - p))
        beta = beta + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-10:  # noqa: PLR2004 - converged
            break
    offset, slope = float(beta[0] - beta[1] * centre), float(beta[1])
    return offset, slope, _log_likelihood(offset + slope * x, hits)


def _profile(log_a90: float, x: Floats, hits: Bools) -> float:
    """Return the best log likelihood of rising curves that find size exp(log_a90) nine times in ten."""

    def loss(log_slope: float) -> float:
        return -_log_likelihood(LOGIT_90 + np.exp(log_slope) * (x - log_a90), hits)

    found = optimize.minimize_scalar(loss, bounds=(-12, 8), method="bounded", options={"xatol": 1e-9})
    return -float(found.fun)


def _bound(x: Floats, hits: Bools, log_a90: float, best: float) -> float | None:
    """Return the largest log size that the data do not reject as a90; None where they reject none."""

    def excess(at: float) -> float:
        return best - _profile(at, x, hits) - DROP

    high = log_a90 + 0.05
    highest = float(x.max()) + float(np.log(MOST_SIZES))
    while excess(high) < 0:
        high += 0.25
        if high > highest:
            return None
    return float(optimize.brentq(excess, log_a90, high, xtol=1e-6))


def _bands(sizes_um: Floats, hits: Bools) -> tuple[SizeBand, ...]:
    """Count hits in bands of about equally many defects."""
    if not hits.size:
        return ()
    order = np.argsort(sizes_um, kind="stable")
    return tuple(
        SizeBand(
            low=float(sizes_um[part[0]]), high=float(sizes_um[part[-1]]), found=rate(int(hits[part].sum()), part.size)
        )
        for part in np.array_split(order, BANDS)
        if part.size
    )
