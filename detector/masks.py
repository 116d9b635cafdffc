"""From a box and its 28x28 mask of probabilities to pixels of the frame, without ever pasting a full frame. Pure.

Probabilities are read at pixel centres, linearly between cells, and cut at one half. torchvision's own pasting
stretches a mask by a pixel (a 20 px layer measured 20.8 px): outlines hardly show it, measurements do.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from taktwatch.records import Rle
from taktwatch.rle import encode_roi

__all__ = ["CUT", "Roi", "grow_box", "roi_mask", "to_rle"]

Box = tuple[float, float, float, float]

CUT = 0.5
"""A pixel belongs to a mask where its probability is above this."""


@dataclass(frozen=True, eq=False)
class Roi:
    """A piece of a mask: bool (h, w), its upper left pixel at (x0, y0) of the frame.

    `shares`, where known: how much of each pixel belongs to it, float (h, w) 0 to 1; the mask is where that is above
    one half. They tell where between two pixels an edge runs.
    """

    mask: npt.NDArray[np.bool_]
    x0: int
    y0: int
    shares: npt.NDArray[np.floating] | None = None

    @cached_property
    def area_px(self) -> int:
        """Number of pixels set."""
        return int(np.count_nonzero(self.mask))

    @cached_property
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
    x0, y0 = max(int(np.floor(box[0])), 0), max(int(np.floor(box[1])), 0)
    x1, y1 = min(int(np.ceil(box[2])), width), min(int(np.ceil(box[3])), height)
    side = probabilities.shape[0]
    across = _weights(np.arange(x0, x1), float(box[0]), float(box[2]), side)
    down = _weights(np.arange(y0, y1), float(box[1]), float(box[3]), side)
    shares = down @ probabilities @ across.T
    return Roi(np.asarray(shares > CUT), x0, y0, shares)


def _weights(pixels: npt.NDArray[np.int64], low: float, high: float, side: int) -> npt.NDArray[np.float32]:
    """Return how much of each of `side` cells between `low` and `high` each pixel takes, (pixels, side)."""
    at = (pixels + 0.5 - low) * (side / max(high - low, 1e-6)) - 0.5
    weights: npt.NDArray[np.float32] = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(side))).astype(np.float32)
    return weights


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
