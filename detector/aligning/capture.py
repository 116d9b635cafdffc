"""Finds roughly how a template lies under the camera, from tens of pixels and degrees away. Pure.

Small pictures (about 80 px a side) of the template, turned and zoomed by steps, are slid over the picture. On boards of
repeated traces several places fit well: the best few are all handed on, and decided at a higher resolution.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from detector.aligning.maps import Map, about_middles

__all__ = ["Candidate", "find_candidates", "find_shifts"]

Field = npt.NDArray[np.float32]

TURNS = tuple(np.radians(range(-3, 4)).tolist())
ZOOMS = (0.985, 1.0, 1.015)
NEIGHBOURS = 1  # px around a peak that belong to it
APART = 4  # half px
WORTH = 0.8  # of the best fit; worse places are not tried
LEAST_CURVATURE = 1e-9


@dataclass(frozen=True, eq=False, slots=True)
class Candidate:
    """One way the template may lie, and how well it fits there: correlation, -1 to 1."""

    matrix: Map
    agreement: float


def find_candidates(picture: Field, template: Field, reach_px: int, *, count: int) -> list[Candidate]:
    """Return the best `count` places within `reach_px` of the middle, best first; both pictures small and flattened."""
    reach = _reach(picture, reach_px)
    poses = [(turn, zoom) for turn in TURNS for zoom in ZOOMS]
    fits = np.stack([_posed(picture, template, turn, zoom, reach) for turn, zoom in poses])
    which, best = fits.argmax(axis=0), fits.max(axis=0)
    found = []
    for y, x in _peaks(best, count, NEIGHBOURS):
        fit, (turn, zoom) = fits[which[y, x]], poses[which[y, x]]
        shift = (x - reach + _beside(fit[y], x), y - reach + _beside(fit[:, x], y))
        matrix = about_middles(template.shape, picture.shape, turn, zoom, shift)
        found.append(Candidate(matrix, float(best[y, x])))
    return found


def find_shifts(picture: Field, template: Field, matrix: Map, reach_px: int, *, count: int) -> list[Map]:
    """Return the map shifted to the `count` places within `reach_px` where it fits best; turn and zoom stay."""
    height, width = picture.shape
    reach = _reach(picture, reach_px)
    fits, half = np.empty((2 * (2 * reach + 1),) * 2, np.float32), (0.0, 0.5)
    for down, dy in enumerate(half):  # every half px: traces only a few px apart would fall between whole ones
        for across, dx in enumerate(half):
            moved = _shifted(matrix, dx, dy)
            laid = cv2.warpPerspective(template, moved, (width, height), borderMode=cv2.BORDER_REFLECT_101)
            fits[down::2, across::2] = _correlated(picture, np.asarray(laid, np.float32), reach)
    return [_shifted(matrix, x / 2 - reach, y / 2 - reach) for y, x in _peaks(fits, count, APART)]


def _shifted(matrix: Map, dx: float, dy: float) -> Map:
    return np.asarray(np.array([[1, 0, dx], [0, 1, dy], [0, 0, 1]]) @ matrix, np.float64)


def _reach(picture: Field, reach_px: int) -> int:
    """Return how far a template's middle can be slid and still be half of the picture."""
    return max(min(reach_px, (int(min(picture.shape)) - 1) // 4), 0)


def _peaks(fit: Field, count: int, apart: int) -> Iterator[tuple[int, int]]:
    """Give the places (y, x) of the highest values, best first, none beside another; what is far lower is left out."""
    left = fit.copy()
    least = WORTH * float(left.max())
    for _ in range(count):
        y, x = (int(index) for index in np.unravel_index(left.argmax(), left.shape))
        if not left[y, x] >= least:
            return
        yield y, x
        left[max(y - apart, 0) : y + apart + 1, max(x - apart, 0) : x + apart + 1] = -np.inf


def _correlated(picture: Field, laid: Field, reach: int) -> Field:
    """Correlate the middle of a laid template with the picture at every shift; (2 reach + 1) squared."""
    height, width = picture.shape
    middle = np.ascontiguousarray(laid[reach : height - reach, reach : width - reach])
    return np.asarray(cv2.matchTemplate(picture, middle, cv2.TM_CCOEFF_NORMED), np.float32)


def _posed(picture: Field, template: Field, turn: float, zoom: float, reach: int) -> Field:
    """Correlate the turned and zoomed template with the picture at every shift."""
    height, width = picture.shape
    matrix = about_middles(template.shape, picture.shape, turn, zoom, (0.0, 0.0))
    laid = cv2.warpAffine(template, matrix[:2], (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return _correlated(picture, np.asarray(laid, np.float32), reach)


def _beside(values: Field, index: int) -> float:
    """Return where a peak lies beside its pixel, -0.5 to 0.5, by a parabola through its neighbours."""
    if not 0 < index < len(values) - 1:
        return 0.0
    before, here, after = (float(value) for value in values[index - 1 : index + 2])
    curvature = 2 * here - before - after
    if curvature < LEAST_CURVATURE:
        return 0.0
    return float(np.clip((after - before) / (2 * curvature), -0.5, 0.5))
