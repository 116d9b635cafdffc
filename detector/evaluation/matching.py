"""Which detection found which truth, by the published rule: IoU above 0.33 with an unused box of its class. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from detector.evaluate import Boxes, Matched, box_iou, match
from detector.evaluation.curves import Pool, pool
from detector.evaluation.outcomes import Found, Outcome, TrueDefect, found_boxes, true_boxes

__all__ = ["RULE_IOU", "Confusion", "Pairing", "confusion", "pair", "pools"]

Floats = npt.NDArray[np.float64]

RULE_IOU = float(np.nextafter(0.33, 1))
"""`match` takes overlaps of at least this: the rule says above 0.33."""


def pools(outcomes: Sequence[Outcome], labels: Sequence[str], least_iou: float) -> dict[str, Pool]:
    """Match every class of every picture and return the pool of each class, and of all of them under ""."""
    parts = {
        label: [(index, _match(outcome, label, least_iou)) for index, outcome in enumerate(outcomes)]
        for label in labels
    }
    everything = [part for own in parts.values() for part in own]
    pictures = len(outcomes)
    return {label: pool(own, pictures) for label, own in parts.items()} | {"": pool(everything, pictures)}


@dataclass(frozen=True, eq=False, slots=True)
class Pairing:
    """What the reported detections of one picture are worth.

    hits: pairs (truth, found) of one class; confused: pairs of another class at one place; missed, false: the rest.
    """

    hits: tuple[tuple[int, int], ...]
    confused: tuple[tuple[int, int], ...]
    missed: tuple[int, ...]
    false: tuple[int, ...]


def pair(truths: Sequence[TrueDefect], found: Sequence[Found], least_iou: float = RULE_IOU) -> Pairing:
    """Pair reported detections, best score first, with truths of their class, then what is left with any other.

    Indices are those of `truths` and `found`.
    """
    order = sorted((at for at, one in enumerate(found) if one.reported), key=lambda at: -found[at].score)
    overlap = box_iou(found_boxes(list(found)), true_boxes(tuple(truths)))
    same = np.array([[one.label == truth.label for truth in truths] for one in found], bool).reshape(overlap.shape)
    hits = _greedy(order, np.where(same, overlap, -1), least_iou)
    taken, used = {truth for truth, _ in hits}, {at for _, at in hits}
    rest = overlap.copy()
    rest[:, sorted(taken)] = -1
    confused = _greedy([at for at in order if at not in used], np.where(same, -1, rest), least_iou)
    taken, used = taken | {truth for truth, _ in confused}, used | {at for _, at in confused}
    return Pairing(
        hits,
        confused,
        tuple(at for at in range(len(truths)) if at not in taken),
        tuple(at for at in order if at not in used),
    )


class Confusion(msgspec.Struct, frozen=True, kw_only=True):
    """counts[i][j]: truths of class i found as class j; the last row and column are the background."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


def confusion(outcomes: Sequence[Outcome], pairings: Sequence[Pairing], labels: Sequence[str]) -> Confusion:
    """Count what truths were found as; the diagonal counts the hits of the rule."""
    at = {label: index for index, label in enumerate(labels)}
    counts = np.zeros((len(labels) + 1, len(labels) + 1), int)
    for outcome, one in zip(outcomes, pairings, strict=True):
        for truth, found in (*one.hits, *one.confused):
            counts[at[outcome.truths[truth].label], at[outcome.found[found].label]] += 1
        for truth in one.missed:
            counts[at[outcome.truths[truth].label], -1] += 1
        for found in one.false:
            counts[-1, at[outcome.found[found].label]] += 1
    return Confusion(labels=tuple(labels), counts=tuple(tuple(row) for row in counts.tolist()))


def _match(outcome: Outcome, label: str, least_iou: float) -> Matched:
    """Match one class of one picture."""
    found = [one for one in outcome.found if one.label == label]
    truths = tuple(truth for truth in outcome.truths if truth.label == label)
    scores = np.array([one.score for one in found], np.float64)
    return match(Boxes(found_boxes(found), scores), Boxes(true_boxes(truths), np.ones(len(truths))), least_iou)


def _greedy(order: Sequence[int], overlap: Floats, least_iou: float) -> tuple[tuple[int, int], ...]:
    """Give each detection in order the free truth it overlaps most; pairs (truth, found)."""
    overlap, pairs = overlap.copy(), []
    for at in order:
        if overlap.shape[1] and overlap[at].max() >= least_iou:
            truth = int(overlap[at].argmax())
            pairs.append((truth, at))
            overlap[:, truth] = -1
    return tuple(pairs)
