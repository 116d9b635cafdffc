"""From a box and its 28x28 mask of probabilities to pixels of the frame, without ever pasting a full frame. Pure.

The pixels are those of torchvision's `paste_masks_in_image`, cut at one half; only the box's own ROI is computed.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from taktwatch.records import Rle
from taktwatch.rle import encode_roi

__all__ = ["CUT", "Roi", "grow_box", "roi_mask", "to_rle"]

Box = tuple[float, float, float, float]

CUT = 0.5
"""A pixel belongs to a mask where its probability is above this."""


@dataclass(frozen=True, eq=False, slots=True)
class Roi:
    """A piece of a mask: bool (h, w), its upper left pixel at (x0, y0) of the frame."""

    mask: npt.NDArray[np.bool_]
    x0: int
    y0: int

    @property
    def area_px(self) -> int:
        """Number of pixels set."""
        return int(np.count_nonzero(self.mask))

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The tight box (x0, y0, x1, y1), ends exclusive; all zeros where nothing is set.

        >>> Roi(np.array([[False, True], [False, True]]), 10, 20).box
        (11, 20, 12, 22)
        """
        rows, cols = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        if not rows.size:
            return (0, 0, 0, 0)
        return (
            self.x0 + int(cols[0]),
            self.y0 + int(rows[0]),
            self.x0 + int(cols[-1]) + 1,
            self.y0 + int(rows[-1]) + 1,
        )


def roi_mask(probabilities: npt.NDArray[np.float32], box: npt.NDArray[np.float32], height: int, width: int) -> Roi:
    """Return the mask of one detection: `probabilities` (M, M) spread over `box` (x0, y0, x1, y1), cut, and clipped.

    The frame is `height` x `width` px.
    """
    side = probabilities.shape[0]
    padded = np.pad(probabilities.astype(np.float32), 1)
    half = (box[2:] - box[:2]) / 2 * np.float32((side + 2) / side)
    centre = (box[2:] + box[:2]) / 2
    left, top = np.trunc(centre - half).astype(int)
    right, below = np.trunc(centre + half).astype(int)
    size = (max(int(right - left + 1), 1), max(int(below - top + 1), 1))
    spread = cv2.resize(padded, size, interpolation=cv2.INTER_LINEAR)
    x0, y0 = max(int(left), 0), max(int(top), 0)
    x1, y1 = max(min(int(right) + 1, width), x0), max(min(int(below) + 1, height), y0)
    return Roi(np.asarray(spread[y0 - top : y1 - top, x0 - left : x1 - left] > CUT), x0, y0)


def to_rle(roi: Roi, height: int, width: int) -> Rle:
    """Encode a ROI as a mask of its frame."""
    return encode_roi(roi.mask, roi.x0, roi.y0, height, width)


def grow_box(box: tuple[int, int, int, int], margin_px: float, height: int, width: int) -> Box:
    """Grow a box on every side, but not over the frame's edges.

    >>> grow_box((5, 20, 15, 30), 10, 640, 640)
    (0.0, 10.0, 25.0, 40.0)
    """
    x0, y0, x1, y1 = box
    return (
        float(max(x0 - margin_px, 0)),
        float(max(y0 - margin_px, 0)),
        float(min(x1 + margin_px, width)),
        float(min(y1 + margin_px, height)),
    )
