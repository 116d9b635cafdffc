"""Training samples from real pairs (picture, template): crops that hold defects, varied as boards and cameras vary."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from detector.dataset import LEAST_KEPT_PX, LEAST_KEPT_SHARE, Sample, Target, target_boxes, to_targets
from detector.evaluation.outcomes import Box
from detector.inputs import Contrast, template_channels
from detector.masks import Roi
from detector.spec import ModelSpec
from detector.training.cache import Planes, Shot, Shots, Thing

__all__ = ["OPPOSITES", "PairSamples", "cropped"]

OPPOSITES = {
    "open": "short",
    "short": "open",
    "mousebite": "spur",
    "spur": "mousebite",
    "pin_hole": "spurious_copper",
    "spurious_copper": "pin_hole",
}
"""What a defect is called where copper and laminate change places."""

ON_A_DEFECT = 0.85  # share of crops that hold a chosen defect whole; the others lie anywhere
SHIFTED, MOST_SHIFT_PX = 0.5, 1.5  # a template that is registered a little off
INVERTED = 0.1
PASTED, MOST_PASTED = 0.5, 3
PATCH_MARGIN_PX, MOST_PATCH_PX = 14, 128
PLACES_TRIED = 6
GAINS = (0.85, 1.15)


@dataclass(eq=False, slots=True)
class View:
    """A crop in the making: planes uint8 (2 or 3, h, w), masks bool (N, h, w), boxes as annotated, labels from 1."""

    planes: Planes
    masks: list[npt.NDArray[np.bool_]]
    labels: list[int]
    boxes: list[Box]
    contrast: Contrast | None


class PairSamples(Dataset[tuple[torch.Tensor, Target]]):
    """`length` varied crops of `crop_px` (height, width); item i is made from (seed, i) alone."""

    def __init__(self, spec: ModelSpec, shots: Shots, seed: int, length: int, crop_px: tuple[int, int]) -> None:
        self.spec, self.shots, self.seed, self.length, self.crop_px = spec, shots, seed, length, crop_px
        self.patches = patches(shots)
        self.opposites = opposites(spec.classes)

    def __len__(self) -> int:
        """Return the number of samples."""
        return self.length

    def __getitem__(self, index: int) -> tuple[torch.Tensor, Target]:
        """Make one sample."""
        if index >= self.length:
            raise IndexError(index)
        cv2.setNumThreads(1)
        sample = self.make(np.random.default_rng([self.seed, index]))
        return torch.from_numpy(sample.channels), to_targets(sample, self.spec.target_margin_px)

    def make(self, rng: np.random.Generator) -> Sample:
        """Crop, paste, shift, turn, invert and brighten, by chance."""
        at = int(rng.integers(len(self.shots)))
        view = cropped(self.shots.shots[at], self.shots.planes(at), self.crop_px, rng)
        if self.patches and rng.random() < PASTED:
            for _ in range(int(rng.integers(1, MOST_PASTED + 1))):
                where, thing = self.patches[int(rng.integers(len(self.patches)))]
                paste(view, self.shots.shots[where], self.shots.planes(where), thing, rng)
        if rng.random() < SHIFTED:
            shift_template(view, rng.uniform(-MOST_SHIFT_PX, MOST_SHIFT_PX, 2))
        if self.opposites and rng.random() < INVERTED:
            invert(view, self.opposites)
        if view.contrast is None:
            raise ValueError("pictures without templates are no pairs")
        channels = template_channels(view.planes[0], view.planes[1], view.contrast)
        masks = np.stack(view.masks) if view.masks else np.zeros((0, *channels.shape[1:]), bool)
        boxes = np.array(view.boxes, np.float32).reshape(-1, 4)
        return turned(Sample(channels, masks, np.array(view.labels, np.int64), boxes), rng)


def patches(shots: Shots) -> list[tuple[int, Thing]]:
    """Return the things that can be cut out with their surroundings and without a neighbour: (picture, thing)."""
    found = []
    for index, shot in enumerate(shots.shots):
        for thing in shot.things:
            x0, y0, x1, y1 = _around(thing.roi, shot)
            alone = all(other is thing or _apart(other.roi.box, (x0, y0, x1, y1)) for other in shot.things)
            if alone and max(x1 - x0, y1 - y0) <= MOST_PATCH_PX:
                found.append((index, thing))
    return found


def opposites(classes: tuple[str, ...]) -> list[int]:
    """Return the label each label becomes when copper and laminate change places; empty where one has none.

    >>> opposites(("open", "short"))
    [0, 2, 1]
    >>> opposites(("open", "scratch"))
    []
    """
    if any(OPPOSITES.get(name) not in classes for name in classes):
        return []
    return [0, *(classes.index(OPPOSITES[name]) + 1 for name in classes)]


def cropped(shot: Shot, planes: Planes, crop_px: tuple[int, int], rng: np.random.Generator) -> View:
    """Cut a window, mostly one that holds a chosen defect whole; what is cut to a scrap is dropped."""
    height, width = planes.shape[1:]
    rows, cols = min(crop_px[0], height), min(crop_px[1], width)
    low_y, low_x, high_y, high_x = 0, 0, height - rows, width - cols
    if shot.things and rng.random() < ON_A_DEFECT:
        x0, y0, x1, y1 = shot.things[int(rng.integers(len(shot.things)))].roi.box
        low_y, high_y = _starts(y0, y1, rows, height)
        low_x, high_x = _starts(x0, x1, cols, width)
    y, x = int(rng.integers(low_y, high_y + 1)), int(rng.integers(low_x, high_x + 1))
    masks, labels, boxes = [], [], []
    for thing in shot.things:
        mask = _window(thing.roi, x, y, rows, cols)
        whole = thing.roi.area_px
        if np.count_nonzero(mask) >= max(min(LEAST_KEPT_PX, whole), LEAST_KEPT_SHARE * whole):
            masks.append(mask)
            labels.append(thing.label)
            boxes.append(_clipped(thing.box, x, y, rows, cols))
    return View(planes[:, y : y + rows, x : x + cols].copy(), masks, labels, boxes, shot.contrast)


def paste(view: View, shot: Shot, planes: Planes, thing: Thing, rng: np.random.Generator) -> None:
    """Put a defect of another picture, with the template around it, where the crop has room; else leave it.

    Picture and template get the same seam: their difference shows the defect alone.
    """
    x0, y0, x1, y1 = _around(thing.roi, shot)
    patch = planes[:, y0:y1, x0:x1]
    mask = _window(thing.roi, x0, y0, y1 - y0, x1 - x0)
    turns = int(rng.integers(4))
    boxes = np.array([_clipped(thing.box, x0, y0, y1 - y0, x1 - x0)], np.float32)
    (box,) = turned_boxes(boxes, turns, *mask.shape)
    patch, mask = np.rot90(patch, turns, (1, 2)), np.rot90(mask, turns)
    rows, cols = mask.shape
    height, width = view.planes.shape[1:]
    if rows > height or cols > width:
        return
    for _ in range(PLACES_TRIED):
        y, x = int(rng.integers(height - rows + 1)), int(rng.integers(width - cols + 1))
        place = (slice(y, y + rows), slice(x, x + cols))
        if any(one[place].any() for one in view.masks):
            continue
        view.planes[:, place[0], place[1]] = patch
        full = np.zeros((height, width), bool)
        full[place] = mask
        view.masks.append(full)
        view.labels.append(thing.label)
        view.boxes.append((float(box[0]) + x, float(box[1]) + y, float(box[2]) + x, float(box[3]) + y))
        return


def shift_template(view: View, by_px: npt.NDArray[np.float64]) -> None:
    """Move the template by parts of a pixel, as a registration that is a little off does."""
    height, width = view.planes.shape[1:]
    matrix = np.array([[1, 0, by_px[0]], [0, 1, by_px[1]]], np.float64)
    view.planes[1] = cv2.warpAffine(view.planes[1], matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)


def invert(view: View, becomes: list[int]) -> None:
    """Let copper and laminate change places, and defects their names."""
    view.planes = 255 - view.planes
    view.labels = [becomes[label] for label in view.labels]
    if view.contrast is not None:
        view.contrast = Contrast(255 - view.contrast.mean, view.contrast.spread)


def turned(sample: Sample, rng: np.random.Generator) -> Sample:
    """Flip, turn by quarters where the crop is square, and scale contrast a little."""
    channels, masks = sample.channels, sample.masks
    height, width = channels.shape[1:]
    boxes = target_boxes(sample, None)
    if rng.integers(2):
        channels, masks = channels[:, :, ::-1], masks[:, :, ::-1]
        boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)
    square = channels.shape[1] == channels.shape[2]
    turns = int(rng.integers(4)) if square else 2 * int(rng.integers(2))
    channels, masks = np.rot90(channels, turns, (1, 2)), np.rot90(masks, turns, (1, 2))
    boxes = turned_boxes(boxes, turns, height, width)
    gain = np.float32(rng.uniform(*GAINS))
    return Sample(np.ascontiguousarray(channels) * gain, np.ascontiguousarray(masks), sample.labels, boxes)


def turned_boxes(boxes: npt.NDArray[np.float32], turns: int, height: int, width: int) -> npt.NDArray[np.float32]:
    """Return boxes (N, 4) of a picture height x width px that `numpy.rot90` turned so many times.

    >>> turned_boxes(np.array([[1, 2, 4, 3]], np.float32), 1, height=10, width=20).tolist()
    [[2.0, 16.0, 3.0, 19.0]]
    """
    for _ in range(turns):
        x0, y0, x1, y1 = boxes.T
        boxes = np.stack([y0, width - x1, y1, width - x0], 1)
        height, width = width, height
    return boxes


def _starts(low: int, high: int, window: int, side: int) -> tuple[int, int]:
    """Return the first and last start of a window of `window` px that holds low..high whole, or most of it.

    >>> _starts(100, 120, 320, 640), _starts(0, 20, 320, 640), _starts(0, 400, 320, 640)
    ((0, 100), (0, 0), (0, 80))
    """
    first, last = sorted((high - window, low))
    return max(first, 0), max(min(last, side - window), 0)


def _around(roi: Roi, shot: Shot) -> tuple[int, int, int, int]:
    """Return a thing's box grown by the margin of a patch, inside its picture."""
    x0, y0, x1, y1 = roi.box
    _, height, width = shot.shape
    return (
        max(x0 - PATCH_MARGIN_PX, 0),
        max(y0 - PATCH_MARGIN_PX, 0),
        min(x1 + PATCH_MARGIN_PX, width),
        min(y1 + PATCH_MARGIN_PX, height),
    )


def _clipped(box: Box, x: int, y: int, rows: int, cols: int) -> Box:
    """Return the part of a box inside a window of rows x cols px at (x, y), from the window's corner.

    >>> _clipped((5.0, 5.0, 20.0, 40.0), 10, 0, 30, 30)
    (0.0, 5.0, 10.0, 30.0)
    """
    x0, y0, x1, y1 = box
    return max(x0 - x, 0.0), max(y0 - y, 0.0), min(x1 - x, float(cols)), min(y1 - y, float(rows))


def _apart(one: tuple[int, int, int, int], two: tuple[int, int, int, int]) -> bool:
    return one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1]


def _window(roi: Roi, x: int, y: int, rows: int, cols: int) -> npt.NDArray[np.bool_]:
    """Return what a window of rows x cols px at (x, y) shows of a mask, bool (rows, cols)."""
    shown = np.zeros((rows, cols), bool)
    high, wide = roi.mask.shape
    top, left = max(roi.y0, y), max(roi.x0, x)
    bottom, right = min(roi.y0 + high, y + rows), min(roi.x0 + wide, x + cols)
    if top < bottom and left < right:
        shown[top - y : bottom - y, left - x : right - x] = roi.mask[
            top - roi.y0 : bottom - roi.y0, left - roi.x0 : right - roi.x0
        ]
    return shown
