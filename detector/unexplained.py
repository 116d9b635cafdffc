"""What differs from the template and no detection explains: nothing unknown passes. Pure.

It is no second detector: it looks for differences larger than good boards show, whatever they are called.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from detector.aligning.light import dark_and_bright
from detector.masks import Roi

__all__ = ["Stray", "unexplained"]

Grey = npt.NDArray[np.uint8]
BoolMask = npt.NDArray[np.bool_]

CONTRAST_SHARE = 0.2  # of the template's contrast nearby, from which a difference counts
AROUND_PX = 21  # what is nearby
NOISES = 3.0  # robust spreads of the (unsmoothed) difference from which it counts
LEAST_LEVELS = 10.0  # grey levels
WHOLE_SHARE = 0.13  # of the whole template's contrast: even areas of a binarised picture have none of their own
SPARSE = 4  # one px in so many is enough to tell it
SLOW_PX, SLOW_SHRINK = 32, 8  # differences as slow as this are light
SPECK_PX = 3  # dust and noise are narrower
WANDER_PX = 5  # edges of copper wander by half of it: narrower bands of difference are no defect
LEAST_AREA_PX = 24
EXPLAINED_PX = 9  # a detection explains what lies so close to it, along each axis


@dataclass(frozen=True, slots=True)
class Stray:
    """A difference nobody explains: its middle and its area in px."""

    x: int
    y: int
    area_px: int

    def moved(self, x: int, y: int) -> "Stray":
        """Return this on a larger picture, on which its own begins at (x, y)."""
        return Stray(self.x + x, self.y + y, self.area_px)

    @property
    def words(self) -> str:
        """Say it: 'unexplained: differs from the template at (120, 340), 55 px'."""
        return f"unexplained: differs from the template at ({self.x}, {self.y}), {self.area_px} px"


def unexplained(
    picture: Grey,
    lit: npt.NDArray[np.float32],
    found: Sequence[Roi],
    *,
    area: BoolMask | None = None,
    tolerance: Grey | None = None,
) -> list[Stray]:
    """Return what a picture (H, W) shows and its registered, lit template (H, W) does not, or the other way round.

    `found` are masks, which explain what lies under them. `area` is what is inspected (None: all), `tolerance` how far
    good boards stray (beside a share of the contrast nearby); both (H, W), in the frame. Largest first.

    >>> board = np.full((64, 64), 200, np.uint8)
    >>> spoiled = board.copy()
    >>> spoiled[20:30, 30:40] = 50
    >>> [stray.words for stray in unexplained(spoiled, board.astype(np.float32), [])]
    ['unexplained: differs from the template at (34, 24), 100 px']
    """
    level = np.asarray(np.clip(np.rint(lit), 0, 255), np.uint8)
    # What lies between the template's levels within reach of a wandering edge is no difference.
    reach = np.ones((WANDER_PX, WANDER_PX), np.uint8)
    over = cv2.subtract(picture, cv2.dilate(level, reach))
    under = cv2.subtract(cv2.erode(level, reach), picture)
    solid = cv2.morphologyEx(cv2.max(over, under), cv2.MORPH_OPEN, np.ones((SPECK_PX, SPECK_PX), np.uint8))
    if np.count_nonzero(solid > int(LEAST_LEVELS)) < LEAST_AREA_PX:
        return []  # as on most boards; limits are nowhere lower, and cost three times as much to find
    limit = _limit(picture, level)
    if tolerance is not None:
        limit = np.asarray(cv2.max(limit, tolerance), np.uint8)
    differs = np.asarray(cv2.compare(solid, limit, cv2.CMP_GT), np.uint8)
    if area is not None:
        differs[~area] = 0
    if cv2.countNonZero(differs) < LEAST_AREA_PX:
        return []
    return [spot for spot in _spots(differs) if not any(_explains(roi, spot) for roi in found)]


def _explains(roi: Roi, spot: Stray) -> bool:
    """Whether something that was found lies close to the middle of a difference."""
    x, y = spot.x - roi.x0, spot.y - roi.y0
    rows, cols = roi.mask.shape
    if not (-EXPLAINED_PX <= x < cols + EXPLAINED_PX and -EXPLAINED_PX <= y < rows + EXPLAINED_PX):
        return False  # most are far apart
    near = roi.mask[
        max(y - EXPLAINED_PX, 0) : max(y + EXPLAINED_PX + 1, 0), max(x - EXPLAINED_PX, 0) : max(x + EXPLAINED_PX + 1, 0)
    ]
    return bool(near.any())


def _spots(differs: Grey) -> list[Stray]:
    """Return what hangs together and is no speck, the largest first."""
    left, top, width, height = cv2.boundingRect(differs)
    count, _, stats, middles = cv2.connectedComponentsWithStats(
        differs[top : top + height, left : left + width], connectivity=8
    )
    found = [
        Stray(int(middles[index, 0] + left), int(middles[index, 1] + top), int(stats[index, cv2.CC_STAT_AREA]))
        for index in range(1, count)
        if stats[index, cv2.CC_STAT_AREA] >= LEAST_AREA_PX
    ]
    return sorted(found, key=lambda stray: -stray.area_px)


def median_level(grey: Grey) -> float:
    """Return the median of grey levels, counted instead of sorted.

    >>> median_level(np.array([[3, 7], [7, 200]], np.uint8)), median_level(np.array([[1, 4]], np.uint8))
    (7.0, 2.5)
    """
    below = np.cumsum(cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel().astype(np.int64))
    lower, upper = np.searchsorted(below, [(grey.size + 1) // 2, grey.size // 2 + 1])
    return (float(lower) + float(upper)) / 2


def _limit(picture: Grey, level: Grey) -> Grey:
    """Return from how many grey levels on a difference counts, at each px (H, W)."""
    around = np.ones((AROUND_PX, AROUND_PX), np.uint8)
    contrast = cv2.subtract(cv2.dilate(level, around), cv2.erode(level, around))
    noise = 1.4826 * median_level(np.asarray(cv2.absdiff(picture, level), np.uint8))
    low, high = dark_and_bright(level, SPARSE)
    least = max(NOISES * noise, LEAST_LEVELS, WHOLE_SHARE * (high - low))
    limit = np.maximum(cv2.convertScaleAbs(contrast, alpha=CONTRAST_SHARE), np.uint8(min(np.ceil(least), 255)))
    # Light that was not taken out, in a dark corner, changes slowly.
    size = (max(picture.shape[1] // SLOW_SHRINK, 1), max(picture.shape[0] // SLOW_SHRINK, 1))
    seen, golden = (cv2.resize(grey, size, interpolation=cv2.INTER_AREA) for grey in (picture, level))
    left = cv2.GaussianBlur(cv2.subtract(seen, golden, dtype=cv2.CV_32F), (0, 0), SLOW_PX / SLOW_SHRINK)
    slow = cv2.resize(cv2.convertScaleAbs(left), (picture.shape[1], picture.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.add(limit, slow), np.uint8)
