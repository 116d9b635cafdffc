"""How large a pixel is, and pictures of a camera whose pixels are of another size than the product's. Pure.

The template is resampled to the frame, never the frame: evidence stays as captured, and sizes in the result are the
frame's. The network sees both in the product's scale, which it learned.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from detector.aligning.maps import Map
from detector.engines import Channels, RawDetections
from taktwatch.config import DetectorConfig, ProductConfig
from taktwatch.errors import BadPicture

__all__ = ["SAME_SCALE", "Scale", "Zoom", "zoom_of"]

Picture = npt.NDArray[np.uint8]

SAME = 0.02  # of scale; so little is left to registration
MOST = 4.0  # beyond this factor the template shows too little, or the frame
SIDES = 0.01  # so far the sides of a resampled template may be off the frame's


@dataclass(frozen=True, slots=True)
class Scale:
    """um per px to the right (`x`) and down (`y`), and the share by which they may be off (95 %).

    >>> Scale.square(20.0).area_um2(100)
    40000
    """

    x: float
    y: float
    unsure_share: float = 0.0

    @classmethod
    def square(cls, um_per_px: float) -> "Scale":
        """Return the scale of a camera that nobody calibrated: alike in both directions, taken as exact."""
        return cls(um_per_px, um_per_px)

    @property
    def mean(self) -> float:
        """The mean of both."""
        return (self.x + self.y) / 2

    def area_um2(self, area_px: int) -> int:
        """Return an area in whole um2."""
        return round(area_px * self.x * self.y)


@dataclass(frozen=True, slots=True)
class Zoom:
    """How many px of the frame one px of the product is, to the right (`x`) and down (`y`)."""

    x: float = 1.0
    y: float = 1.0

    @property
    def matrix(self) -> Map:
        """From px of the product's template to px of the template in the frame's scale: pixels' centres are whole."""
        return np.array([[self.x, 0.0, (self.x - 1) / 2], [0.0, self.y, (self.y - 1) / 2], [0.0, 0.0, 1.0]])

    def template(self, template: Picture, size: tuple[int, int]) -> Picture:
        """Return a template (H, W, 3) as a camera of the frame's scale would show it, in the frame's size."""
        if template.shape[:2] == size:
            return template
        how = cv2.INTER_AREA if self.x * self.y < 1 else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(template, size[::-1], interpolation=how), np.uint8)

    def product(self, product: ProductConfig) -> ProductConfig:
        """Return a product whose regions and least areas are in px of the frame.

        >>> from taktwatch.config import ClassConfig
        >>> p = ProductConfig(model="m", um_per_px=20, classes={"open": ClassConfig(min_area_px=40)}, min_shown_px=10)
        >>> halved = Zoom(0.5, 0.5).product(p)
        >>> halved.classes["open"].min_area_px, halved.min_shown_px
        (10, 2)
        """
        if self == SAME_SCALE:
            return product
        share = self.x * self.y

        def laid(polygon: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
            return tuple(((x + 0.5) * self.x - 0.5, (y + 0.5) * self.y - 0.5) for x, y in polygon)

        classes = {
            label: limits.model_copy(update={"min_area_px": max(round(limits.min_area_px * share), 1)})
            for label, limits in product.classes.items()
        }
        return product.model_copy(
            update={
                "roi": None if product.roi is None else laid(product.roi),
                "ignore": tuple(laid(polygon) for polygon in product.ignore),
                "classes": classes,
                "min_shown_px": round(product.min_shown_px * share),
            }
        )

    def tiles(self, settings: DetectorConfig) -> DetectorConfig:
        """Return settings whose tiles, in px of the frame, are as large to the network as those of the product."""
        if self == SAME_SCALE:
            return settings
        least = min(self.x, self.y)
        sides = {"tile_px": settings.tile_px * least, "tile_overlap_px": settings.tile_overlap_px * least}
        return settings.model_copy(update={name: int(side) for name, side in sides.items()})

    def seen(self, channels: Channels) -> Channels:
        """Return what the network sees (3, h, w) of a frame's channels (3, H, W): the product's scale."""
        if self == SAME_SCALE:
            return channels
        height, width = channels.shape[1:]
        size = max(round(width / self.x), 1), max(round(height / self.y), 1)
        how = cv2.INTER_AREA if self.x * self.y > 1 else cv2.INTER_LINEAR
        return np.stack([np.asarray(cv2.resize(one, size, interpolation=how), np.float32) for one in channels])

    def found(self, raw: RawDetections, seen: Channels, channels: Channels) -> RawDetections:
        """Return what was found in what the network saw, in px of the frame."""
        if seen.shape == channels.shape:
            return raw
        across, down = channels.shape[2] / seen.shape[2], channels.shape[1] / seen.shape[1]
        boxes = raw.boxes * np.array([across, down, across, down], np.float32)
        return replace(raw, boxes=boxes)


SAME_SCALE = Zoom()
"""Of a camera like the product's."""


def zoom_of(
    product_um_per_px: float, frame_um_per_px: float, size: tuple[int, int], template: tuple[int, int] | None
) -> Zoom:
    """Return the zoom of a frame of `size` (height, width) whose product has a template of that size, or none.

    Where both sizes are equal one camera took both, whatever line.toml says of its scale now. Raises `BadPicture` where
    the scales do not explain that the sizes differ.

    >>> zoom_of(20.0, 40.0, (300, 450), (600, 900)), zoom_of(20.0, 20.0, (600, 900), (600, 900))
    (Zoom(x=0.5, y=0.5), Zoom(x=1.0, y=1.0))
    """
    factor = product_um_per_px / frame_um_per_px
    if template == size or (template is None and abs(factor - 1) <= SAME):
        return SAME_SCALE
    fits = template is None or all(
        abs(side * factor - here) <= max(SIDES * here, 1) for side, here in zip(template, size, strict=True)
    )
    if not 1 / MOST <= factor <= MOST or not fits:
        there = "" if template is None else f", its template {template[1]}x{template[0]}"
        raise BadPicture(
            f"the picture is {size[1]}x{size[0]} px{there}, at {frame_um_per_px:g} and {product_um_per_px:g} um "
            "per px; take both with the same camera settings, or correct stations.*.um_per_px"
        )
    if template is None:
        return Zoom(factor, factor)
    return Zoom(size[1] / template[1], size[0] / template[0])
