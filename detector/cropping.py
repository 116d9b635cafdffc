"""The part of a picture that is looked at where its product has a region of interest: less to register, less to infer.

What is inspected stays the region itself; the part around it is what may come into it, and what the network sees
beside. Pure.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from detector.maps import Map
from detector.regions import Polygon
from detector.registration import CAPTURE_PX

__all__ = ["Crop", "crop_for", "holds"]

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
