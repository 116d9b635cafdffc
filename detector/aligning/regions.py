"""Which part of a frame is inspected: the product's region of interest without what it ignores. Pure.

Polygons are drawn on the template; they are carried onto the frame by its registration.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from detector.aligning.maps import Map

__all__ = ["Polygon", "inspected_area", "share_inside"]

BoolMask = npt.NDArray[np.bool_]
Polygon = Sequence[tuple[float, float]]

BESIDE_PX = 1.0
SUBPIXEL_BITS = 4  # OpenCV draws in sixteenths of a px


def inspected_area(
    shape: tuple[int, int],
    matrix: Map,
    *,
    roi: Polygon | None = None,
    ignore: Sequence[Polygon] = (),
    template: tuple[int, int] | None = None,
) -> BoolMask:
    """Return what to inspect of a frame (H, W): inside `roi` (None: everywhere), outside every `ignore`; bool (H, W).

    Given the template's size (h, w), what the warped template does not reach is left out, and a px beside it.
    Corners are (x, y) in template px, pixels' centres at whole numbers; `matrix` takes them to the frame.

    >>> left, right = [(1, 1), (4, 1), (4, 2), (1, 2)], [(3, 0), (5, 0), (5, 3), (3, 3)]
    >>> inspected_area((4, 6), np.eye(3), roi=left, ignore=[right]).astype(int).tolist()
    [[0, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0], [0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
    """
    drawn = np.full(shape, roi is None, np.uint8)
    if roi is not None:
        _fill(drawn, roi, matrix, 1)
    for polygon in ignore:
        _fill(drawn, polygon, matrix, 0)
    if template is not None:
        height, width = template
        far_x, far_y = width - 1 - BESIDE_PX, height - 1 - BESIDE_PX
        reached = np.zeros_like(drawn)
        _fill(reached, [(BESIDE_PX, BESIDE_PX), (far_x, BESIDE_PX), (far_x, far_y), (BESIDE_PX, far_y)], matrix, 1)
        drawn &= reached
    return drawn.astype(bool)


def share_inside(mask: BoolMask, area: BoolMask) -> float:
    """Return which share of a mask lies in the inspected area, 0 to 1; an empty mask lies outside.

    >>> share_inside(np.array([[True, True, False]]), np.array([[True, False, False]]))
    0.5
    """
    total = int(np.count_nonzero(mask))
    return int(np.count_nonzero(mask & area)) / total if total else 0.0


def _fill(drawn: npt.NDArray[np.uint8], polygon: Polygon, matrix: Map, value: int) -> None:
    """Fill a polygon, its edge included."""
    corners = cv2.perspectiveTransform(np.array([polygon], np.float64), matrix)[0]
    fixed = np.rint(corners * 2**SUBPIXEL_BITS).astype(np.int32)
    cv2.fillPoly(drawn, [fixed], value, cv2.LINE_8, SUBPIXEL_BITS)
