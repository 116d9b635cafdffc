"""Maps from template to picture as 3x3 matrices whose last entry is one, and what they do to points. Pure."""

from math import cos, sin

import numpy as np
import numpy.typing as npt

__all__ = ["IDENTITY", "Map", "about_middles", "carried", "moved", "rescaled"]

Map = npt.NDArray[np.float64]

IDENTITY: Map = np.eye(3)


def about_middles(
    template: tuple[int, int], picture: tuple[int, int], turn: float, zoom: float, shift: tuple[float, float]
) -> Map:
    """Turn (radians, from x towards y) and zoom about the template's middle, and lay that on the picture's, shifted.

    Sizes are (height, width); `shift` is (x, y) in px.

    >>> about_middles((9, 9), (9, 9), 0.0, 1.0, (2, -1)).tolist()
    [[1.0, -0.0, 2.0], [0.0, 1.0, -1.0], [0.0, 0.0, 1.0]]
    """
    c, s = zoom * cos(turn), zoom * sin(turn)
    from_x, from_y = (template[1] - 1) / 2, (template[0] - 1) / 2
    to_x, to_y = (picture[1] - 1) / 2 + shift[0], (picture[0] - 1) / 2 + shift[1]
    return np.array([[c, -s, to_x - c * from_x + s * from_y], [s, c, to_y - s * from_x - c * from_y], [0.0, 0.0, 1.0]])


def moved(x: float, y: float) -> Map:
    """Return a shift by (x, y) px.

    >>> moved(2, -1).tolist()
    [[1.0, 0.0, 2.0], [0.0, 1.0, -1.0], [0.0, 0.0, 1.0]]
    """
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def rescaled(matrix: Map, factor: float) -> Map:
    """Return the same map between pictures `factor` times as large.

    A small pixel's centre lies between the centres of its pixels: what grows is measured from the corner, not from
    the first pixel's centre.

    >>> rescaled(about_middles((4, 4), (4, 4), 0.0, 1.0, (3, 0)), 2)[:2, 2].tolist()
    [6.0, 0.0]
    """
    offset = (factor - 1) / 2
    larger = np.array([[factor, 0, offset], [0, factor, offset], [0, 0, 1]])
    smaller = np.array([[1 / factor, 0, -offset / factor], [0, 1 / factor, -offset / factor], [0, 0, 1]])
    return _normal(larger @ matrix @ smaller)


def carried(matrix: Map, points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return where points (N, 2) go; they lie in memory as the points do."""
    single = matrix.astype(np.float32)
    across, down = points[:, 0], points[:, 1]
    x = single[0, 0] * across + single[0, 1] * down + single[0, 2]
    y = single[1, 0] * across + single[1, 1] * down + single[1, 2]
    if matrix[2, 0] or matrix[2, 1]:
        under = single[2, 0] * across + single[2, 1] * down + np.float32(1)
        x, y = x / under, y / under
    there = np.empty_like(points, np.float32)
    there[:, 0], there[:, 1] = x, y
    return there


def _normal(matrix: Map) -> Map:
    return np.asarray(matrix / matrix[2, 2], np.float64)
