"""DeepPCB's format: `ID_test.jpg`, its template `ID_temp.jpg`, and `ID.txt` with one defect a line."""

import hashlib
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from detector.evaluation.labelled import Dataset, Item, Labelled, picture_size, read_picture
from detector.evaluation.outcomes import Box, TrueDefect
from taktwatch.errors import BadInput
from taktwatch.rle import encode_roi

__all__ = ["CLASSES", "defect_mask", "open_deeppcb", "parse_boxes"]

Picture = npt.NDArray[np.uint8]

CLASSES = ("open", "short", "mousebite", "spur", "spurious_copper", "pin_hole")
"""Types 1 to 6 of the annotations."""
BOARD_DIGITS = 5
"""So many first digits of an id name the board; the rest is the place on it."""
CUT = 127
LEAST_MASK_PX = 8
"""A difference smaller than this does not show the defect: its box stands for it."""


def open_deeppcb(folder: Path) -> Dataset:
    """Check names, sizes, boxes and classes of a whole folder and return it. Raises `BadInput` naming what is wrong."""
    digest = hashlib.sha256()
    items = []
    pictures = sorted(folder.glob("*_test.*"))
    known = {path.name.split("_test.")[0] for path in pictures}
    if strays := sorted(path.name for path in folder.glob("*.txt") if path.stem not in known):
        raise BadInput(f"{folder}/{strays[0]}: truth without its picture {Path(strays[0]).stem}_test.*")
    for path in pictures:
        name, suffix = path.name.split("_test.")
        template, truth = path.with_name(f"{name}_temp.{suffix}"), path.with_name(f"{name}.txt")
        if not template.exists():
            raise BadInput(f"{path}: its template {template.name} is missing")
        if not truth.exists():
            raise BadInput(f"{path}: its truth {truth.name} is missing; a good board has an empty one")
        size = picture_size(path)
        if (other := picture_size(template)) != size:
            raise BadInput(
                f"{template}: {other[1]}x{other[0]} px, its picture {size[1]}x{size[0]}; a template has the same size"
            )
        text = truth.read_text(encoding="utf-8")
        boxes = parse_boxes(text, str(truth), size)
        for file in (path, template, truth):
            digest.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
        items.append(Item(name, name[:BOARD_DIGITS], partial(_load, path, template, boxes)))
    return Dataset(str(folder), "deeppcb", "board", CLASSES, items, digest.hexdigest())


def parse_boxes(text: str, name: str, size: tuple[int, int]) -> tuple[tuple[str, Box], ...]:
    """Read `x1 y1 x2 y2 type` lines. Raises `BadInput` naming the line.

    >>> parse_boxes("10 20 30 40 3", "a.txt", (640, 640))
    (('mousebite', (10.0, 20.0, 30.0, 40.0)),)
    """
    height, width = size
    read = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            x0, y0, x1, y1, kind = (int(word) for word in line.replace(",", " ").split())
        except ValueError:
            raise BadInput(f"{where}: {line[:60]!r} is not x1 y1 x2 y2 type") from None
        if not 1 <= kind <= len(CLASSES):
            raise BadInput(f"{where}: unknown class {kind}; there are 1 to {len(CLASSES)}")
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise BadInput(f"{where}: box {x0} {y0} {x1} {y1} is empty or outside the {width}x{height} picture")
        read.append((CLASSES[kind - 1], (float(x0), float(y0), float(x1), float(y1))))
    return tuple(read)


def defect_mask(picture: Picture, template: Picture, box: Box) -> tuple[npt.NDArray[np.bool_], bool]:
    """Return the mask inside a box, bool (h, w), and whether it shows the defect itself.

    Where picture and template, RGB (H, W, 3), differ by more than half, opened 3x3; the whole box where that leaves
    almost nothing.
    """
    x0, y0, x1, y1 = (int(end) for end in box)
    seen = cv2.cvtColor(np.ascontiguousarray(picture[y0:y1, x0:x1]), cv2.COLOR_RGB2GRAY)
    golden = cv2.cvtColor(np.ascontiguousarray(template[y0:y1, x0:x1]), cv2.COLOR_RGB2GRAY)
    differs = (cv2.absdiff(seen, golden) > CUT).astype(np.uint8)
    opened = cv2.morphologyEx(differs, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)).astype(bool)
    if np.count_nonzero(opened) < LEAST_MASK_PX:
        return np.ones((y1 - y0, x1 - x0), bool), False
    return opened, True


def _load(path: Path, template_path: Path, boxes: tuple[tuple[str, Box], ...]) -> Labelled:
    """Read one pair and make its masks."""
    picture, template = read_picture(path), read_picture(template_path)
    height, width = picture.shape[:2]
    truths = []
    for label, box in boxes:
        mask, sized = defect_mask(picture, template, box)
        rle = encode_roi(mask, int(box[0]), int(box[1]), height, width)
        truths.append(TrueDefect(label=label, box_px=box, mask=rle, area_px=int(mask.sum()), sized=sized))
    return Labelled(picture, template, tuple(truths))
