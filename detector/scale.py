"""How large a pixel is, and templates brought to the scale of the frames they are compared with. Pure.

The template is resampled, never the frame: evidence stays as captured, and sizes in the result are the frame's.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from taktwatch.errors import BadInput

__all__ = ["Scale", "resampled"]

Picture = npt.NDArray[np.uint8]

SAME = 0.002  # of scale; so little is left to registration
MOST = 4.0  # beyond this factor the template shows too little, or the frame


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


def resampled(template: Picture, template_um_per_px: float, frame_um_per_px: float) -> Picture:
    """Return a template (H, W) or (H, W, 3) as a camera of the frame's scale would show it.

    Its size follows: 1000 px at 10 um per px are 500 px at 20. Raises `BadInput` beyond a factor of 4.

    >>> resampled(np.zeros((100, 60), np.uint8), 10.0, 20.0).shape
    (50, 30)
    """
    if template_um_per_px <= 0 or frame_um_per_px <= 0:
        raise BadInput(f"um per px must be positive, not {template_um_per_px} and {frame_um_per_px}")
    factor = template_um_per_px / frame_um_per_px
    if not 1 / MOST <= factor <= MOST:
        raise BadInput(
            f"a template of {template_um_per_px:g} um per px says too little of frames of {frame_um_per_px:g}; "
            "build one from pictures of this camera"
        )
    if abs(factor - 1) < SAME:
        return template
    height, width = template.shape[:2]
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(template, size, interpolation=how), np.uint8)
