"""Precision and recall of pooled detections, pictures weighted: what resampling wants many times. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detector.evaluate import Matched

__all__ = ["Pool", "pool"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class Pool:
    """Detections of many pictures by falling score.

    scores (D,), hits bool (D,), picture int (D,): where each was found; truths (P,): how many truths each picture has.
    """

    scores: Floats
    hits: npt.NDArray[np.bool_]
    picture: Ints
    truths: Floats

    @property
    def matched(self) -> Matched:
        """The same without the pictures."""
        return Matched(self.scores, self.hits, int(self.truths.sum()))

    def ap(self, weights: Floats) -> float:
        """Return the average precision where picture i was drawn `weights[i]` times; NaN without truths."""
        truths = float(weights @ self.truths)
        if not truths:
            return float("nan")
        _, precision = self._curve(weights, truths)
        return float((weights[self.picture] * self.hits) @ precision / truths)

    def best_f(self, weights: Floats) -> float:
        """Return the best F over all thresholds; NaN without truths."""
        truths = float(weights @ self.truths)
        if not truths:
            return float("nan")
        drawn = weights[self.picture]
        found, right = np.cumsum(drawn), np.cumsum(drawn * self.hits)
        return float((2 * right / (found + truths)).max(initial=0.0))

    def f_at(self, threshold: float, weights: Floats) -> float:
        """Return F of the detections scored at least `threshold`; NaN without truths."""
        truths = float(weights @ self.truths)
        if not truths:
            return float("nan")
        drawn = weights[self.picture] * (self.scores >= threshold)
        return float(2 * (drawn @ self.hits) / (drawn.sum() + truths))

    def curve(self) -> tuple[Floats, Floats]:
        """Return recall and precision after each detection, (D,) each."""
        return self._curve(np.ones(self.truths.size), max(float(self.truths.sum()), 1.0))

    def _curve(self, weights: Floats, truths: float) -> tuple[Floats, Floats]:
        """Return recall and precision, weighted."""
        drawn = weights[self.picture]
        right = np.cumsum(drawn * self.hits)
        found = np.cumsum(drawn)
        return right / truths, right / np.maximum(found, 1e-12)


def pool(parts: Sequence[tuple[int, Matched]], pictures: int) -> Pool:
    """Put the matches of pictures (index, matched) together, by falling score; a picture may come more than once.

    >>> one = Matched(np.array([0.9]), np.array([True]), 1)
    >>> pool([(0, one), (1, one)], 2).ap(np.ones(2))
    1.0
    """
    if not parts:
        return Pool(np.zeros(0), np.zeros(0, bool), np.zeros(0, np.int64), np.zeros(pictures))
    scores = np.concatenate([matched.scores for _, matched in parts])
    hits = np.concatenate([matched.hits for _, matched in parts])
    picture = np.concatenate([np.full(matched.hits.size, index, np.int64) for index, matched in parts])
    truths = np.zeros(pictures)
    for index, matched in parts:
        truths[index] += matched.truths
    order = np.argsort(-scores, kind="stable")
    return Pool(scores[order], hits[order], picture[order], truths)
