"""Masks become outlines: polygons along the edges of a detection, in frame coordinates."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from taktwatch.records import Detection
from taktwatch.rle import decode_roi

__all__ = ["Outline", "outline", "path_data"]

FINE_PX = 200_000
"""Masks in a box up to this area are traced at four times their resolution: the line runs along the pixels' edges."""
FINE = 4
TOLERANCE_PX = 0.35
"""How far a simplified outline may leave the traced one."""

Polygon = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Outline:
    """The edges of one detection: closed polygons of (x, y) in frame px, holes included."""

    label: str
    score: float
    polygons: tuple[Polygon, ...]


def outline(detection: Detection) -> Outline:
    """Trace the mask of a detection; an empty mask has no polygons."""
    return Outline(label=detection.label, score=detection.score, polygons=trace(*decode_roi(detection.mask)))


def trace(mask: NDArray[np.bool_], left: int = 0, top: int = 0) -> tuple[Polygon, ...]:
    """Return the edges of a bool (H, W) mask as closed polygons of at least three points; it begins at (left, top).

    >>> mask = np.zeros((8, 8), np.bool_)
    >>> mask[2:4, 3:6] = True
    >>> [polygon] = trace(mask)
    >>> min(x for x, _ in polygon) < 3.5, max(x for x, _ in polygon) > 5.5
    (True, True)
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return ()
    y0, x0 = top + int(rows[0]), left + int(columns[0])
    crop = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.uint8)
    scale = FINE if crop.size <= FINE_PX else 1
    fine = np.kron(crop, np.ones((scale, scale), np.uint8))
    contours, _ = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    simple = (cv2.approxPolyDP(contour, TOLERANCE_PX * scale, closed=True).reshape(-1, 2) for contour in contours)
    return tuple(
        tuple((round(float(x0 + (x + 0.5) / scale), 2), round(float(y0 + (y + 0.5) / scale), 2)) for x, y in points)
        for points in simple
        if len(points) > 2  # noqa: PLR2004 - a polygon has three corners
    )


def path_data(polygons: tuple[Polygon, ...]) -> str:
    """Return the polygons as the `d` of an SVG path.

    >>> path_data((((0.0, 0.0), (2.5, 0.0), (0.0, 1.0)),))
    'M0 0L2.5 0L0 1Z'
    """
    return "".join("M" + "L".join(f"{x:g} {y:g}" for x, y in polygon) + "Z" for polygon in polygons)
