"""Finds roughly how a template lies under the camera, from tens of pixels and degrees away. Pure.

Small pictures (about 80 px a side) of the template, turned and zoomed by steps, are slid over the picture. On boards of
repeated traces several places fit well: the best few are all handed on, and decided at a higher resolution.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from detector.maps import Map, about_middles

__all__ = ["Candidate", "find_candidates"]

Field = npt.NDArray[np.float32]

TURNS = tuple(np.radians(range(-3, 4)).tolist())
ZOOMS = (0.985, 1.0, 1.015)
NEIGHBOURS = 1  # px around a peak that belong to it
LEAST_CURVATURE = 1e-9


@dataclass(frozen=True, eq=False, slots=True)
class Candidate:
    """One way the template may lie, and how well it fits there: correlation, -1 to 1."""

    matrix: Map
    agreement: float


def find_candidates(picture: Field, template: Field, reach_px: int, *, count: int) -> list[Candidate]:
    """Return the best `count` places within `reach_px` of the middle, best first; both pictures small and flattened."""
    height, width = picture.shape
    reach = max(min(reach_px, (height - 1) // 4, (width - 1) // 4), 0)
    poses = [(turn, zoom) for turn in TURNS for zoom in ZOOMS]
    fits = np.stack([_slid(picture, template, turn, zoom, reach) for turn, zoom in poses])
    which, left = fits.argmax(axis=0), fits.max(axis=0)
    found: list[Candidate] = []
    for _ in range(count):
        y, x = (int(index) for index in np.unravel_index(left.argmax(), left.shape))
        if not np.isfinite(left[y, x]):
            break
        fit, (turn, zoom) = fits[which[y, x]], poses[which[y, x]]
        shift = (x - reach + _beside(fit[y], x), y - reach + _beside(fit[:, x], y))
        matrix = about_middles(template.shape, picture.shape, turn, zoom, shift)
        found.append(Candidate(matrix, float(left[y, x])))
        left[max(y - NEIGHBOURS, 0) : y + NEIGHBOURS + 1, max(x - NEIGHBOURS, 0) : x + NEIGHBOURS + 1] = -np.inf
    return found


def _slid(picture: Field, template: Field, turn: float, zoom: float, reach: int) -> Field:
    """Correlate the middle of the turned template with the picture at every shift; (2 reach + 1) squared."""
    height, width = picture.shape
    matrix = about_middles(template.shape, picture.shape, turn, zoom, (0.0, 0.0))
    laid = cv2.warpAffine(template, matrix[:2], (width, height), borderMode=cv2.BORDER_REFLECT_101)
    middle = np.ascontiguousarray(laid[reach : height - reach, reach : width - reach])
    return np.asarray(cv2.matchTemplate(picture, middle, cv2.TM_CCOEFF_NORMED), np.float32)


def _beside(values: Field, index: int) -> float:
    """Return where a peak lies beside its pixel, -0.5 to 0.5, by a parabola through its neighbours."""
    if not 0 < index < len(values) - 1:
        return 0.0
    before, here, after = (float(value) for value in values[index - 1 : index + 2])
    curvature = 2 * here - before - after
    if curvature < LEAST_CURVATURE:
        return 0.0
    return float(np.clip((after - before) / (2 * curvature), -0.5, 0.5))
