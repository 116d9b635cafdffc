"""What was said of overlapping pieces of a picture becomes what is said of the picture. Pure.

The worst piece decides. A defect that two pieces show, or that a seam cuts, is one: masks are united, and its area is
that of the union.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detector.aligning.maps import Map, moved
from detector.aligning.registration import matrix_of
from detector.masks import Roi, grow_box, to_rle
from taktwatch.records import STRUCTURES, Detection, Registration, Verdict, defect_words
from taktwatch.rle import decode_roi
from taktwatch.seams import Seen, groups

__all__ = ["Box", "Said", "join", "mapped", "registration_on", "worst"]

Box = tuple[int, int, int, int]

WORST = (Verdict.FAIL, Verdict.REVIEW, Verdict.PASS)


@dataclass(frozen=True, slots=True)
class Said:
    """What was said of the piece at `box` (x0, y0, x1, y1) of the whole; masks are those of the piece."""

    box: Box
    detections: tuple[Detection, ...]
    reasons: tuple[str, ...]


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict of a whole.

    >>> worst([Verdict.PASS, Verdict.REVIEW])
    <Verdict.REVIEW: 'review'>
    """
    return min(verdicts, key=WORST.index)


def join(
    pieces: Sequence[Said],
    size: tuple[int, int],
    *,
    margin_px: float = 0.0,
    origin: tuple[int, int] = (0, 0),
) -> tuple[tuple[Detection, ...], tuple[str, ...]]:
    """Return a whole's detections, best score first, masks in its coordinates, and its reasons, each once.

    `size` is the whole's (height, width); boxes are the masks' grown by `margin_px`. `origin`: where the whole lies on
    the panel, in whose coordinates reasons name places.
    """
    rois = [_laid(found, piece.box) for piece in pieces for found in piece.detections]
    found = [found for piece in pieces for found in piece.detections]
    boxes = [piece.box for piece in pieces for _ in piece.detections]
    reasons = Counter(reason for piece in pieces for reason in piece.reasons)
    joined = []
    for group in _groups(found, rois, boxes):
        best = found[group[0]]
        roi = _united([rois[index] for index in group])
        for index in group[1:]:
            x0, y0, x1, y1 = rois[index].box
            x, y = origin
            reasons[defect_words(found[index].label, found[index].score, (x0 + x, y0 + y, x1 + x, y1 + y))] -= 1
        joined.append(
            Detection(
                label=best.label,
                score=best.score,
                raw_score=best.raw_score,
                box_px=grow_box(roi.box, margin_px, *size),
                mask=to_rle(roi, *size),
                area_px=roi.area_px,
                area_um2=round(roi.area_px * best.area_um2 / max(best.area_px, 1)),
            )
        )
    said = tuple(reason for reason, count in reasons.items() if count > 0)
    return tuple(sorted(joined, key=lambda one: -one.score)), said


def registration_on(found: Registration, piece: tuple[int, int], template: tuple[int, int]) -> Registration:
    """Return a piece's registration between the wholes: `piece` and `template` are where the two were cut out (x, y).

    >>> registration_on(Registration(matrix=(1, 0, 2, 0, 1, 0), quality=0.9), (100, 50), (98, 50)).matrix
    (1.0, 0.0, 4.0, 0.0, 1.0, 0.0)
    """
    return mapped(_with(found, moved(*piece) @ matrix_of(found)), moved(-template[0], -template[1]))


def mapped(found: Registration, before: Map) -> Registration:
    """Return a registration whose template px were mapped by `before` first.

    >>> mapped(Registration(matrix=(1, 0, 2, 0, 1, 0), quality=0.9), np.diag([2.0, 3.0, 1.0])).matrix
    (2.0, 0.0, 2.0, 0.0, 3.0, 0.0)
    """
    return _with(found, matrix_of(found) @ before)


def _with(found: Registration, matrix: Map) -> Registration:
    matrix = matrix / matrix[2, 2]
    return Registration(
        matrix=tuple(float(value) for value in matrix[:2].ravel()),  # type: ignore[arg-type]  # six of them
        tilt=(float(matrix[2, 0]), float(matrix[2, 1])),
        quality=found.quality,
        unsure_px=found.unsure_px,
    )


def _groups(found: Sequence[Detection], rois: Sequence[Roi], boxes: Sequence[Box]) -> list[list[int]]:
    """Return which detections are one; a layer and what lies in it are different things wherever they are."""
    together: list[list[int]] = []
    for of_structures in (False, True):
        chosen = [index for index, one in enumerate(found) if (one.label in STRUCTURES) == of_structures]
        seen = [Seen(rois[index].box, boxes[index], found[index].label, found[index].score) for index in chosen]
        together += [[chosen[index] for index in group] for group in groups(seen)]
    return together


def _laid(found: Detection, box: Box) -> Roi:
    """Return a detection's mask on the whole."""
    mask, x0, y0 = decode_roi(found.mask)
    return Roi(mask, x0 + box[0], y0 + box[1])


def _united(rois: Sequence[Roi]) -> Roi:
    """Return the union of masks."""
    if len(rois) == 1:
        return rois[0]
    boxes = np.array([roi.box for roi in rois])
    x0, y0 = (int(low) for low in boxes[:, :2].min(axis=0))
    x1, y1 = (int(high) for high in boxes[:, 2:].max(axis=0))
    mask = np.zeros((y1 - y0, x1 - x0), np.bool_)
    for roi in rois:
        height, width = roi.mask.shape
        mask[roi.y0 - y0 : roi.y0 - y0 + height, roi.x0 - x0 : roi.x0 - x0 + width] |= roi.mask
    return Roi(mask, x0, y0)
