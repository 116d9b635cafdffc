"""Pictures of a data set, prepared once for the network and kept as bytes on disk: every worker maps the same file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from detector.dataset import Sample
from detector.evaluation.labelled import Item, Labelled
from detector.evaluation.outcomes import Box
from detector.inputs import Contrast, lay_template, rgb_inputs, template_channels
from detector.masks import Roi
from taktwatch.errors import BadInput
from taktwatch.rle import bbox, decode

__all__ = ["Planes", "Shot", "Shots", "Thing", "keep_pictures", "sample_of"]

Planes = npt.NDArray[np.uint8]
Input = Literal["template", "rgb"]


@dataclass(frozen=True, eq=False, slots=True)
class Thing:
    """One thing in a picture: its label (1 is the first class), where it is, and its annotated box (x0, y0, x1, y1)."""

    label: int
    roi: Roi
    box: Box


@dataclass(frozen=True, eq=False, slots=True)
class Shot:
    """A picture in the file: planes (P, H, W) from `offset` on. Template input has a contrast, colour input none."""

    name: str
    board: str
    shape: tuple[int, int, int]
    offset: int
    things: tuple[Thing, ...]
    contrast: Contrast | None


@dataclass(eq=False)
class Shots:
    """All pictures of a set; the file is mapped when first read, in whichever process that is."""

    path: Path
    shots: Sequence[Shot]
    mapped: npt.NDArray[np.uint8] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.shots)

    def __getstate__(self) -> dict[str, object]:
        """Leave the mapped bytes behind: a worker maps the file itself."""
        return {"path": self.path, "shots": self.shots, "mapped": None}

    def planes(self, index: int) -> Planes:
        """Return (picture, template) in grey (2, H, W), or red, green, blue (3, H, W); read-only."""
        if self.mapped is None:
            self.mapped = np.memmap(self.path, np.uint8, "r")
        shot = self.shots[index]
        length = int(np.prod(shot.shape))
        return self.mapped[shot.offset : shot.offset + length].reshape(shot.shape)


def keep_pictures(
    path: Path, items: Sequence[Item], *, kind: Input, classes: Sequence[str], on_picture: Callable[[], None]
) -> Shots:
    """Read and prepare every picture (templates registered) into one file at `path`.

    Raises `BadInput` naming a picture without a template where one is wanted, or with a class the model does not have.
    """
    shots = []
    offset = 0
    with path.open("wb") as file:
        for item in items:
            labelled = item.load()
            planes, contrast = _prepared(item.name, labelled, kind)
            things = _things(item.name, labelled, classes)
            shots.append(Shot(item.name, item.board, _shape(planes), offset, things, contrast))
            offset += file.write(planes.tobytes())
            on_picture()
    return Shots(path, shots)


def sample_of(shots: Shots, index: int) -> Sample:
    """Return a whole picture as the network sees it, unvaried."""
    shot, planes = shots.shots[index], shots.planes(index)
    masks = np.zeros((len(shot.things), *planes.shape[1:]), bool)
    for mask, thing in zip(masks, shot.things, strict=True):
        rows, cols = thing.roi.mask.shape
        mask[thing.roi.y0 : thing.roi.y0 + rows, thing.roi.x0 : thing.roi.x0 + cols] = thing.roi.mask
    channels = (
        rgb_inputs(planes.transpose(1, 2, 0)).channels
        if shot.contrast is None
        else template_channels(planes[0], planes[1], shot.contrast)
    )
    labels = np.array([thing.label for thing in shot.things], np.int64)
    boxes = np.array([thing.box for thing in shot.things], np.float32).reshape(-1, 4)
    return Sample(channels, masks, labels, boxes)


def _prepared(name: str, labelled: Labelled, kind: Input) -> tuple[Planes, Contrast | None]:
    """Return what is kept of a picture. Raises `BadInput` where its template is missing or of another size."""
    cv2.setNumThreads(1)
    if kind == "rgb":
        return np.ascontiguousarray(labelled.picture.transpose(2, 0, 1)), None
    if labelled.template is None:
        raise BadInput(f"{name}: no template, and the model compares with one; put it in templates/, or train rgb")
    if labelled.template.shape != labelled.picture.shape:
        raise BadInput(f"{name}: its template has another size")
    pair = lay_template(labelled.picture, labelled.template)
    lit = np.clip(np.rint(pair.lit), 0, 255).astype(np.uint8)
    return np.stack([pair.seen, lit]), pair.contrast


def _things(name: str, labelled: Labelled, classes: Sequence[str]) -> tuple[Thing, ...]:
    """Return what is in a picture, cut to its boxes. Raises `BadInput` naming an unknown class."""
    things = []
    for truth in labelled.truths:
        if truth.label not in classes:
            raise BadInput(f"{name}: unknown class {truth.label!r}; the model knows {', '.join(classes)}")
        x0, y0, x1, y1 = bbox(truth.mask)
        mask = np.ascontiguousarray(decode(truth.mask)[y0:y1, x0:x1])
        things.append(Thing(classes.index(truth.label) + 1, Roi(mask, x0, y0), truth.box_px))
    return tuple(things)


def _shape(planes: Planes) -> tuple[int, int, int]:
    count, height, width = planes.shape
    return count, height, width
