"""Where a picture differs from its template, and what is cut out there for the network to look at. Pure.

A difference is told robustly: a share of the template's own steps nearby is what an edge laid beside it by a fraction
of a pixel makes, and what is a pixel thin is one, too; both are left out. The rest is averaged over a few pixels, so
that noise is no difference either, and counts up to two spreads: a speck is not made large by being bright.

Crops around differences are laid side by side on one sheet, whose size is one of a few, so that a runtime meets few
shapes. What the network finds on the sheet is carried back to the picture.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from detector.engines import Channels, RawDetections
from detector.evaluate import box_iou
from detector.masks import Roi

__all__ = ["LEVELS", "METHOD", "Crop", "Sheet", "boxes_of", "carried_back", "covers", "lay_out", "strength"]

Floats = npt.NDArray[np.float32]
Levels = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]

METHOD = 3
"""Which way differences are told and cut out; what was measured with another one says nothing of this one."""

WORTH = 0.5
"""Where a sheet would be larger than this share of the picture, the network looks at the picture itself."""

LEVELS = 128
"""Levels to a spread of the template's brightness: 8 bits end at two spreads."""
BESIDE, STEP_REACH_PX = 0.15, 1  # share of the steps within reach that edges lying beside may make
FAINT = 0.7
THIN_PX, SMOOTH_PX = 1, 5
CONTEXT_PX = 16  # what the network sees around a difference
LEAST_CROP_PX, STEP_PX = 64, 16  # sides of crops
ALIGN_PX = 8  # crops begin where the finer strides do in the whole picture
SHEET_STEP_PX = 64  # sides of sheets; width and height differ by at most one step
MOST_DIFFERENCES = 64  # a picture that differs in more places is no case for crops


@dataclass(frozen=True, slots=True)
class Crop:
    """A piece of the picture at `box` (x0, y0, x1, y1), laid on the sheet at (x, y).

    `differences`: the boxes it was cut around; a crop answers for these and for nothing else that it shows. It may
    reach beyond the picture: there the sheet is as empty as the network takes the surroundings of a picture to be.
    """

    box: Box
    differences: tuple[Box, ...]
    x: int
    y: int


@dataclass(frozen=True, eq=False, slots=True)
class Sheet:
    """What the network sees in place of a picture: `crops` on `size` (height, width); none where nothing differs."""

    crops: tuple[Crop, ...]
    size: tuple[int, int]

    def drawn(self, channels: Channels) -> Channels:
        """Cut the crops out of a picture (3, H, W) and lay them on the sheet (3, h, w), zero around them."""
        sheet = np.zeros((channels.shape[0], *self.size), np.float32)
        height, width = channels.shape[1:]
        for crop in self.crops:
            x0, y0, x1, y1 = _clipped(crop.box, (height, width))
            x, y = crop.x + x0 - crop.box[0], crop.y + y0 - crop.box[1]
            sheet[:, y : y + y1 - y0, x : x + x1 - x0] = channels[:, y0:y1, x0:x1]
        return sheet


def strength(channels: Channels) -> Levels:
    """Return how strongly a picture differs from its template, uint8 (H, W), in `LEVELS` to a spread of the template.

    `channels` (3, H, W) as `detector.inputs.template_channels` makes them: in spreads of the template's brightness.

    >>> board = np.zeros((3, 32, 32), np.float32)
    >>> board[::2, 10:20, 10:20] = 2.0  # in the picture, and therefore in the difference
    >>> int(strength(board)[15, 15]), int(strength(board)[2, 2])
    (255, 0)
    """
    reach = np.ones((2 * STEP_REACH_PX + 1, 2 * STEP_REACH_PX + 1), np.uint8)
    steps = cv2.morphologyEx(channels[1], cv2.MORPH_GRADIENT, reach)
    apart = cv2.addWeighted(channels[2], LEVELS, steps, -BESIDE * LEVELS, 0, dtype=cv2.CV_8U)
    wide = cv2.morphologyEx(apart, cv2.MORPH_OPEN, np.ones((THIN_PX + 1, THIN_PX + 1), np.uint8))
    return np.asarray(cv2.blur(wide, (SMOOTH_PX, SMOOTH_PX)), np.uint8)


def boxes_of(differs: Levels, threshold: float) -> list[Box]:
    """Return the boxes (x0, y0, x1, y1) of differences (H, W) that somewhere exceed a threshold, in spreads.

    A difference reaches as far as it is more than `FAINT` of that: where a defect is strong tells where to look, not
    how far.
    """
    _, hot = cv2.threshold(differs, threshold * FAINT * LEVELS, 255, cv2.THRESH_BINARY)
    outlines, _ = cv2.findContours(hot, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    boxes = ((x, y, x + width, y + height) for x, y, width, height in map(cv2.boundingRect, outlines))
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in boxes if differs[y0:y1, x0:x1].max() > threshold * LEVELS]


def lay_out(differences: Sequence[Box], size: tuple[int, int]) -> Sheet | None:
    """Cut crops around differences of a picture of `size` (height, width); None: the network is to see all of it.

    >>> sheet = lay_out([(100, 100, 110, 108), (118, 100, 125, 108)], (640, 640))
    >>> [crop.box for crop in sheet.crops], sheet.size
    ([(80, 72, 144, 136)], (64, 64))
    """
    if not differences:
        return Sheet((), (0, 0))
    if len(differences) > MOST_DIFFERENCES:
        return None
    cells = sorted(((_cell(_around(group)), tuple(group)) for group in _merged(differences)), key=_height, reverse=True)
    needed = sum(_area(box) for box, _ in cells)
    for sheet in _sizes(int(WORTH * size[0] * size[1])):
        if sheet[0] * sheet[1] >= needed and (places := _packed([box for box, _ in cells], sheet)):
            crops = (Crop(box, own, *place) for (box, own), place in zip(cells, places, strict=True))
            return Sheet(tuple(crops), sheet)
    return None


def covers(sheet: Sheet | None, defect: Roi) -> bool:
    """Whether the network sees the greater part of a defect in one piece.

    >>> sheet = lay_out([(100, 100, 110, 108)], (640, 640))
    >>> covers(sheet, Roi(np.ones((8, 80), bool), 100, 100)), covers(sheet, Roi(np.ones((8, 8), bool), 100, 100))
    (False, True)
    """
    if sheet is None:
        return True
    for crop in sheet.crops:
        left, top, right, bottom = np.subtract(crop.box, (defect.x0, defect.y0) * 2).clip(0)
        if 2 * np.count_nonzero(defect.mask[top:bottom, left:right]) >= defect.area_px:
            return True
    return False


def carried_back(raw: RawDetections, sheet: Sheet, size: tuple[int, int], *, box_nms: float) -> RawDetections:
    """Return what was found on a sheet as found in the picture of `size` (height, width), best score first, each once.

    What lies in no crop's cell, or where nothing differs, is of no picture; what another crop was cut around is that
    one's to tell, for here its edge may cut it. Of boxes of one class that overlap by more
    than `box_nms` the best is kept, as the network does itself. A box ends where the picture does.
    """
    middles = (raw.boxes[:, :2] + raw.boxes[:, 2:]) / 2
    boxes, own = raw.boxes.copy(), np.zeros(len(middles), bool)
    for crop in sheet.crops:
        x0, y0, x1, y1 = crop.box
        low, high = (crop.x, crop.y), (crop.x + x1 - x0, crop.y + y1 - y0)
        inside = ((middles >= low) & (middles < high)).all(axis=1)
        boxes[inside] += np.array([x0 - crop.x, y0 - crop.y] * 2, np.float32)
        mine = _shared(boxes, crop.differences)
        theirs = _shared(boxes, [one for other in sheet.crops if other is not crop for one in other.differences])
        own |= inside & (mine > 0) & (mine >= theirs)
    inner = np.clip(boxes, 0, np.array(size[::-1] * 2, np.float32))
    own &= (inner[:, 2:] > inner[:, :2]).all(axis=1)
    kept = _single(inner, raw.labels, np.flatnonzero(own), box_nms)
    masks = raw.masks[kept]
    for place in np.flatnonzero((boxes[kept] != inner[kept]).any(axis=1)):
        masks[place] = _cut(masks[place], boxes[kept[place]], inner[kept[place]])
    return RawDetections(boxes=inner[kept], labels=raw.labels[kept], scores=raw.scores[kept], masks=masks)


def _cut(mask: Floats, box: Floats, inner: Floats) -> Floats:
    """Return of a mask (m, m) that spans a box the part that spans a box inside it, again (m, m)."""
    share = (inner[2:] - inner[:2]) / (box[2:] - box[:2])
    begin = (inner[:2] - box[:2]) / (box[2:] - box[:2]) * mask.shape[::-1]
    shift = begin + share / 2 - 0.5  # pixels' middles lie on halves
    matrix = np.array([[share[0], 0, shift[0]], [0, share[1], shift[1]]], np.float64)
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(mask, matrix, mask.shape[::-1], flags=how, borderMode=cv2.BORDER_REPLICATE))


def _merged(differences: Sequence[Box]) -> list[list[Box]]:
    """Group differences so that those share a crop which is no larger than their own would be together."""
    groups = [[box] for box in differences]
    at = 0
    while at < len(groups):
        for other in range(at + 1, len(groups)):
            both = groups[at] + groups[other]
            apart = _area(_cell(_around(groups[at]))) + _area(_cell(_around(groups[other])))
            if _area(_cell(_around(both))) <= apart:
                groups[at] = both
                del groups[other]
                at = -1  # what has grown may now take in one that it did not reach before
                break
        at += 1
    return groups


def _cell(around: Box) -> Box:
    """Return the crop for what lies in a box: context around it, sides and place in steps."""
    spans = []
    for low, high in zip(around[:2], around[2:], strict=True):
        length = max(-(-(high - low + 2 * CONTEXT_PX) // STEP_PX) * STEP_PX, LEAST_CROP_PX)
        begin = round((low + high - length) / 2 / ALIGN_PX) * ALIGN_PX
        spans.append((begin, begin + length))
    (x0, x1), (y0, y1) = spans
    return x0, y0, x1, y1


def _clipped(box: Box, size: tuple[int, int]) -> Box:
    """Return the part of a box inside a picture of `size` (height, width)."""
    height, width = size
    return max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height)


def _sizes(most_px: int) -> Iterator[tuple[int, int]]:
    """Give the sizes (height, width) a sheet may have, up to so many pixels."""
    for steps in range(1, most_px):
        for more in (0, 1):
            size = steps * SHEET_STEP_PX, (steps + more) * SHEET_STEP_PX
            if size[0] * size[1] > most_px:
                return
            yield size


def _packed(boxes: Sequence[Box], sheet: tuple[int, int]) -> list[tuple[int, int]] | None:
    """Lay boxes, the tallest first, on a sheet's shelves (first fit); their places (x, y), or None."""
    shelves: list[list[int]] = []  # y, height, next x
    top = 0
    places = []
    for x0, y0, x1, y1 in boxes:
        width, height = x1 - x0, y1 - y0
        shelf = next((one for one in shelves if one[1] >= height and one[2] + width <= sheet[1]), None)
        if shelf is None:
            shelf = [top, height, 0]
            top += height
            if top > sheet[0] or width > sheet[1]:
                return None
            shelves.append(shelf)
        places.append((shelf[2], shelf[0]))
        shelf[2] += width
    return places


def _around(boxes: Sequence[Box]) -> Box:
    """Return the box around boxes."""
    lows, highs = zip(*((box[:2], box[2:]) for box in boxes), strict=True)
    (x0, y0), (x1, y1) = (min(at) for at in zip(*lows, strict=True)), (max(at) for at in zip(*highs, strict=True))
    return x0, y0, x1, y1


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _height(cell: tuple[Box, tuple[Box, ...]]) -> int:
    return cell[0][3] - cell[0][1]


def _shared(boxes: Floats, differences: Sequence[Box]) -> Floats:
    """Return how much each box (N, 4) shares at most with one of the differences, px; (N,)."""
    there = np.array(differences, np.float32).reshape(-1, 4)
    low = np.maximum(boxes[:, None, :2], there[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], there[None, :, 2:])
    return np.asarray(np.prod(np.clip(high - low, 0, None), axis=2).max(axis=1, initial=0.0), np.float32)


def _single(
    boxes: Floats, labels: npt.NDArray[np.int64], chosen: npt.NDArray[np.int64], box_nms: float
) -> npt.NDArray[np.int64]:
    """Return which of the chosen boxes, best first, double no better one of their class."""
    overlap = box_iou(boxes.astype(np.float64), boxes.astype(np.float64))
    kept: list[int] = []
    for index in chosen:
        if not any(labels[one] == labels[index] and overlap[one, index] > box_nms for one in kept):
            kept.append(int(index))
    return np.array(kept, np.int64)
