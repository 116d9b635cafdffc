"""Whether a score means what it says: of detections scored 0.8, eight in ten should be right. Pure."""

import msgspec
import numpy as np

from detector.evaluation.curves import Pool
from detector.intervals import clopper_pearson

__all__ = ["Bin", "Reliability", "reliability"]

BINS = 10


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """Detections of about one score: their mean score, the share that is right, and its exact 95 % interval."""

    low: float
    high: float
    n: int
    score: float
    right: float
    right_low: float
    right_high: float


class Reliability(msgspec.Struct, frozen=True, kw_only=True):
    """`ece`: mean distance of score and share of right ones, weighted by how many there are; None without any."""

    ece: float | None
    bins: tuple[Bin, ...]


def reliability(pool: Pool) -> Reliability:
    """Compare scores with what was right, in ten bins of equal width; empty bins are left out.

    >>> pool = Pool(np.array([0.95, 0.95]), np.array([True, False]), np.zeros(2, int), np.ones(1))
    >>> round(reliability(pool).ece, 3)
    0.45
    """
    which = np.clip((pool.scores * BINS).astype(int), 0, BINS - 1)
    bins, distance = [], 0.0
    for index in range(BINS):
        own = which == index
        n, right = int(own.sum()), int(pool.hits[own].sum())
        if not n:
            continue
        low, high = clopper_pearson(right, n)
        score = float(pool.scores[own].mean())
        distance += n * abs(score - right / n)
        bins.append(
            Bin(
                low=index / BINS,
                high=(index + 1) / BINS,
                n=n,
                score=score,
                right=right / n,
                right_low=low,
                right_high=high,
            )
        )
    return Reliability(ece=distance / pool.scores.size if pool.scores.size else None, bins=tuple(bins))
