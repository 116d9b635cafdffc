"""The part of a picture that is looked at where its product has a region of interest: less to register, less to infer.

What is inspected stays the region itself; the part around it is what may come into it, and what the network sees
beside. Pure.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from detector.aligning.maps import Map
from detector.aligning.pattern import Pattern
from detector.aligning.regions import Polygon
from detector.aligning.registration import CAPTURE_PX, matrix_of
from detector.inputs import Inputs, contrast_of, inputs_of
from detector.pieces.joining import registration_on
from detector.pieces.tiles import SURE_PX
from taktwatch.config import ProductConfig

__all__ = ["Crop", "crop_for", "holds", "look_at"]

Picture = npt.NDArray[np.uint8]

TURN_SHARE = 0.05
"""Of the longer side: so far a corner moves where the template lies 3 degrees and 2 % of scale off."""
WORTH_SHARE = 0.8
"""A part larger than this share of the picture saves too little."""


@dataclass(frozen=True, slots=True)
class Crop:
    """The part `box` (x0, y0, x1, y1) of a picture of `size` (height, width)."""

    box: tuple[int, int, int, int]
    size: tuple[int, int]

    @property
    def at(self) -> tuple[int, int]:
        """Its upper left pixel (x, y)."""
        return self.box[0], self.box[1]

    def of(self, picture: Picture) -> Picture:
        """Cut it out of a picture (H, W) or (H, W, 3)."""
        x0, y0, x1, y1 = self.box
        return picture[y0:y1, x0:x1]


def crop_for(roi: Polygon, size: tuple[int, int]) -> Crop | None:
    """Return what to look at of a picture (height, width) for a region given in template px; None: all of it.

    The region may lie anywhere within reach of registration: it is grown by that.

    >>> crop_for([(500, 400), (700, 400), (700, 600)], (1000, 1000))
    Crop(box=(410, 310, 791, 691), size=(1000, 1000))
    >>> crop_for([(0, 0), (900, 0), (900, 900)], (1000, 1000)) is None
    True
    """
    height, width = size
    margin = int(CAPTURE_PX + TURN_SHARE * max(size))
    corners = np.array(roi, np.float64)
    (x0, y0), (x1, y1) = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int)
    box = (
        max(int(x0) - margin, 0),
        max(int(y0) - margin, 0),
        min(int(x1) + margin + 1, width),
        min(int(y1) + margin + 1, height),
    )
    area = max(box[2] - box[0], 0) * max(box[3] - box[1], 0)
    return Crop(box, size) if 0 < area <= WORTH_SHARE * height * width else None


def holds(crop: Crop, roi: Polygon, matrix: Map) -> bool:
    """Say whether a crop shows all that a picture shows of a region, which a map carries from template to picture."""
    height, width = crop.size
    there = cv2.perspectiveTransform(np.array([roi], np.float64), matrix)[0]
    seen = np.clip(there, 0, (width - 1, height - 1))
    x0, y0, x1, y1 = crop.box
    return bool((seen >= (x0, y0)).all() and (seen <= (x1 - 1, y1 - 1)).all())


def look_at(
    product: ProductConfig,
    picture: Picture,
    template: Picture | None,
    pattern: Callable[[Picture | None, str], Pattern | None],
) -> tuple[Crop | None, Inputs]:
    """Return what the network sees of a picture, and of which part of it: that around the region of interest.

    It is all of the picture where the product has no region, and where the part alone does not hold the template
    firmly. Layers are walked from end to end: of a section no part is cut. `pattern` makes patterns of (parts of) the
    template; the name of the part tells them apart.
    """
    crop = None if product.roi is None or product.view == "section" else crop_for(product.roi, picture.shape[:2])
    if crop is None or product.roi is None:
        return None, inputs_of(picture, pattern(template, ""))
    part = None if template is None else crop.of(template)
    inputs = inputs_of(crop.of(picture), pattern(part, f"{crop.box}"), contrast_of(picture))
    if inputs.registration is None:
        return crop, inputs
    found = registration_on(inputs.registration, crop.at, crop.at)
    firm = found.quality >= product.min_registration and found.unsure_px <= SURE_PX
    if firm and holds(crop, product.roi, matrix_of(found)):
        return crop, inputs
    return None, inputs_of(picture, pattern(template, ""))
