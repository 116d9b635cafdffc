"""The worst mistakes as pictures: the largest defects that were missed, the surest false calls."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from detector.evaluate import box_iou
from detector.evaluation.labelled import Dataset
from detector.evaluation.matching import Pairing
from detector.evaluation.outcomes import Box, Outcome, found_boxes
from taktwatch.pictures import encode_png

__all__ = ["Mistake", "picture_of", "worst_false_calls", "worst_misses"]

Picture = npt.NDArray[np.uint8]

AROUND_PX = 32
SHOWN_PX = 192
MARK = (214, 40, 40)


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake: in which picture (index), where, and in words."""

    picture: int
    box: Box
    words: str


def worst_misses(outcomes: Sequence[Outcome], pairings: Sequence[Pairing], count: int) -> list[Mistake]:
    """Return the largest truths that were not reported in any class, at most `count`."""
    missed = [
        (
            -truth.area_px,
            index,
            truth.box_px,
            f"{truth.label}, {truth.area_px} px, {_best_score(outcome, truth.box_px)}",
        )
        for index, (outcome, one) in enumerate(zip(outcomes, pairings, strict=True))
        for truth in (outcome.truths[at] for at in one.missed)
    ]
    return [Mistake(index, box, words) for _, index, box, words in sorted(missed)[:count]]


def worst_false_calls(outcomes: Sequence[Outcome], pairings: Sequence[Pairing], count: int) -> list[Mistake]:
    """Return the false calls of the highest scores, at most `count`."""
    false = [
        (-one.score, index, one.box_px, f"{one.label}, score {one.score:.2f}")
        for index, (outcome, pairing) in enumerate(zip(outcomes, pairings, strict=True))
        for one in (outcome.found[at] for at in pairing.false)
    ]
    return [Mistake(index, box, words) for _, index, box, words in sorted(false)[:count]]


def picture_of(mistake: Mistake, dataset: Dataset) -> str:
    """Return picture and template around a mistake, side by side, as a PNG data address."""
    labelled = dataset.items[mistake.picture].load()
    sides = [_crop(labelled.picture, mistake.box)]
    if labelled.template is not None:
        sides.append(_crop(labelled.template, mistake.box))
    gap = np.full((SHOWN_PX, 4, 3), 255, np.uint8)
    joined = np.hstack([sides[0], gap, *sides[1:]]) if len(sides) > 1 else sides[0]
    return "data:image/png;base64," + base64.b64encode(encode_png(joined)).decode("ascii")


def _best_score(outcome: Outcome, box: Box) -> str:
    """Say whether anything was seen there, below the thresholds or with too little overlap."""
    overlap = box_iou(found_boxes(outcome.found), np.array([box], np.float64))[:, 0]
    near = [index for index in range(overlap.size) if overlap[index] > 0]
    if not near:
        return "nothing seen there"
    best = max(near, key=lambda index: outcome.found[index].score)
    one = outcome.found[best]
    return f"seen as {one.label}, score {one.score:.2f}, IoU {overlap[best]:.2f}"


def _crop(picture: Picture, box: Box) -> Picture:
    """Cut a square around a box, enlarge it, and draw the box."""
    x0, y0, x1, y1 = box
    half = int(max(x1 - x0, y1 - y0) / 2) + AROUND_PX
    left, top = int((x0 + x1) / 2) - half, int((y0 + y1) / 2) - half
    padded = cv2.copyMakeBorder(picture, half * 2, half * 2, half * 2, half * 2, cv2.BORDER_REPLICATE)
    cut = np.ascontiguousarray(padded[top + half * 2 : top + half * 4, left + half * 2 : left + half * 4])
    shown = np.asarray(cv2.resize(cut, (SHOWN_PX, SHOWN_PX), interpolation=cv2.INTER_AREA), np.uint8)
    zoom = SHOWN_PX / (2 * half)
    corners = [round((end - start) * zoom) for end, start in zip(box, (left, top, left, top), strict=True)]
    cv2.rectangle(shown, (corners[0], corners[1]), (corners[2], corners[3]), MARK, 1)
    return shown
