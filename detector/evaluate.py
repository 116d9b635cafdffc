"""How good detections are: greedy matching by box overlap, average precision, F at the best threshold. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Boxes", "Matched", "average_precision", "best_f", "box_iou", "match", "pooled"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Boxes:
    """Boxes of one class in one picture: `boxes` (N, 4) as x0, y0, x1, y1; `scores` (N,), unused for truths."""

    boxes: Floats
    scores: Floats


@dataclass(frozen=True, eq=False, slots=True)
class Matched:
    """Detections by falling score, which of them hit a truth of their own, and how many truths there were."""

    scores: Floats
    hits: npt.NDArray[np.bool_]
    truths: int


def box_iou(one: Floats, two: Floats) -> Floats:
    """Return the overlap (N, M) of boxes (N, 4) and (M, 4).

    >>> box_iou(np.array([[0, 0, 2, 2.0]]), np.array([[1, 0, 3, 2.0]])).round(3).tolist()
    [[0.333]]
    """
    low = np.maximum(one[:, None, :2], two[None, :, :2])
    high = np.minimum(one[:, None, 2:], two[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = (one[:, 2:] - one[:, :2]).prod(axis=1)[:, None] + (two[:, 2:] - two[:, :2]).prod(axis=1)[None]
    return np.asarray(shared / np.maximum(areas - shared, 1e-9))


def match(found: Boxes, truth: Boxes, least_iou: float) -> Matched:
    """Give each detection, best score first, the free truth it overlaps most, where that is at least `least_iou`."""
    order = np.argsort(-found.scores, kind="stable")
    overlap = box_iou(found.boxes[order], truth.boxes)
    hits = np.zeros(order.size, bool)
    for rank in range(order.size):
        if overlap.shape[1] and overlap[rank].max() >= least_iou:
            hits[rank] = True
            overlap[:, overlap[rank].argmax()] = -1
    return Matched(found.scores[order], hits, len(truth.boxes))


def pooled(parts: Sequence[Matched]) -> Matched:
    """Put the matches of many pictures or classes together, by falling score."""
    scores = np.concatenate([part.scores for part in parts]) if parts else np.zeros(0)
    hits = np.concatenate([part.hits for part in parts]) if parts else np.zeros(0, bool)
    order = np.argsort(-scores, kind="mergesort")
    return Matched(scores[order], hits[order], sum(part.truths for part in parts))


def average_precision(matched: Matched) -> float:
    """Return the mean over all truths of the precision when each is found, 0 for those never found; NaN without truths.

    That is the area under the curve of precision over recall, not interpolated, as the script of ICDAR 2015 takes it,
    on which DeepPCB's is built. COCO reads the curve at 101 recalls instead, which grows in steps of a point: with all
    but one of 1,645 truths found, the most there is 99.0 %. Equal scores are one step.

    >>> average_precision(Matched(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]), 2)).__round__(3)
    0.833
    """
    if not matched.truths:
        return float("nan")
    last = np.flatnonzero(np.append(np.diff(matched.scores) != 0, True)) if matched.hits.size else np.zeros(0, int)
    hits = np.cumsum(matched.hits)[last]
    return float((np.diff(hits, prepend=0) * hits / (last + 1)).sum() / matched.truths)


def best_f(matched: Matched) -> tuple[float, float]:
    """Return the best F (harmonic mean of precision and recall) over all score thresholds, and that threshold.

    >>> best_f(Matched(np.array([0.9, 0.2]), np.array([True, False]), 1))
    (1.0, 0.9)
    """
    if not matched.hits.size:
        return 0.0, 1.0
    f = 2 * np.cumsum(matched.hits) / (np.arange(1, matched.hits.size + 1) + matched.truths)
    best = int(f.argmax())
    return float(f[best]), float(matched.scores[best])
