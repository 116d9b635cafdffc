"""Large pictures in overlapping tiles, all of one size, so that engines keep one shape. Pure.

Each tile is compared with its own part of the golden template, cut out where the nearest tile whose template fitted
says it lies: a panel may be turned, bent or stretched by far more in all than one tile may be.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from detector.aligning.maps import IDENTITY, Map
from detector.aligning.registration import matrix_of
from taktwatch.config import ProductConfig
from taktwatch.records import Registration
from taktwatch.strips import cut

__all__ = ["SURE_PX", "Compass", "Tile", "shifted", "tiles_of"]

Picture = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]

SURE_QUALITY = 0.5
SURE_PX = 1.0
"""A template that fits worse, or is held less firmly, does not say where the next tile's lies."""

BLANK_LEVELS = 2.0
"""Grey levels (standard deviation) below which a template shows nothing; a median of several boards has no noise."""


@dataclass(frozen=True, eq=False, slots=True)
class Tile:
    """A piece of a picture at `box`, and its part of the template whose upper left pixel is `template_at` (x, y)."""

    box: Box
    picture: Picture
    template: Picture | None
    template_at: tuple[int, int]

    @property
    def blank(self) -> bool:
        """Whether its template shows nothing that could be laid on the picture."""
        return self.template is not None and float(self.template.std()) < BLANK_LEVELS


@dataclass(eq=False)
class Compass:
    """Remembers how the template lay under the tiles so far: maps from template px to picture px, by tiles' middles."""

    sure: list[tuple[tuple[float, float], Map]] = field(default_factory=list)

    def learn(self, box: Box, found: Registration | None) -> None:
        """Take note of a tile's registration between whole template and whole picture."""
        if found is not None and found.quality >= SURE_QUALITY and found.unsure_px <= SURE_PX:
            self.sure.append((_middle(box), matrix_of(found)))

    def template_at(self, box: Box, template: tuple[int, int]) -> tuple[int, int]:
        """Return where a tile's part of the template (h, w) begins, as (x, y); inside the template."""
        x, y = _middle(box)
        matrix = IDENTITY
        if self.sure:
            _, matrix = min(self.sure, key=lambda known: (known[0][0] - x) ** 2 + (known[0][1] - y) ** 2)
        there = np.linalg.inv(matrix) @ (x, y, 1.0)
        left, top = round(there[0] / there[2] - x) + box[0], round(there[1] / there[2] - y) + box[1]
        height, width = box[3] - box[1], box[2] - box[0]
        return min(max(left, 0), template[1] - width), min(max(top, 0), template[0] - height)


def tiles_of(
    picture: Picture, template: Picture | None, most_px: int, overlap_px: int, compass: Compass
) -> Iterator[Tile]:
    """Cut a picture (H, W, 3) and its template of the same size into tiles of at most `most_px` a side, row by row.

    `compass` is asked for each tile when its turn comes, and taught by the caller.
    """
    height, width = picture.shape[:2]
    for box in cut(width, height, (most_px, most_px), overlap_px):
        x, y = box[:2] if template is None else compass.template_at(box, (height, width))
        part = None if template is None else template[y : y + box[3] - box[1], x : x + box[2] - box[0]]
        yield Tile(box, picture[box[1] : box[3], box[0] : box[2]], part, (x, y))


def shifted(product: ProductConfig, x: int, y: int) -> ProductConfig:
    """Return a product whose polygons are those of the template's part that begins at (x, y)."""
    if product.roi is None and not product.ignore:
        return product

    def moved(polygon: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
        return tuple((at_x - x, at_y - y) for at_x, at_y in polygon)

    roi = None if product.roi is None else moved(product.roi)
    return product.model_copy(update={"roi": roi, "ignore": tuple(moved(polygon) for polygon in product.ignore)})


def _middle(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
