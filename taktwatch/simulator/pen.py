"""Draws conductors onto a board and keeps them apart: every shape belongs to a net, other nets keep their distance."""

from dataclasses import dataclass, field
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["Pen", "Points", "Shape", "octagon", "offset_path", "pad_outline", "rounded", "unit"]

Points: TypeAlias = npt.NDArray[np.float64]

SHIFT = 4  # OpenCV's fixed point: 1/16 px


@dataclass(frozen=True, eq=False, slots=True)
class Shape:
    """A stroke of `width_px` along `points` (N, 2; x, y), or a filled polygon where `width_px` is 0."""

    points: Points
    width_px: int = 0


@dataclass(eq=False)
class Pen:
    """A board under way: sheets are uint8 (H, W), 255 where drawn, anti-aliased; `nets` is int32 (H, W), 0 is free."""

    shape: tuple[int, int]
    gap_px: int
    copper: npt.NDArray[np.uint8] = field(init=False)
    opening: npt.NDArray[np.uint8] = field(init=False)
    drill: npt.NDArray[np.uint8] = field(init=False)
    silk: npt.NDArray[np.uint8] = field(init=False)
    nets: npt.NDArray[np.int32] = field(init=False)
    last_net: int = 0

    def __post_init__(self) -> None:
        """Start with empty sheets."""
        self.copper, self.opening, self.drill, self.silk = (np.zeros(self.shape, np.uint8) for _ in range(4))
        self.nets = np.zeros(self.shape, np.int32)

    def new_net(self) -> int:
        """Name a net that nothing belongs to yet."""
        self.last_net += 1
        return self.last_net

    def fits(self, shape: Shape, net: int, gap_px: int | None = None) -> bool:
        """Tell whether the shape keeps its gap to every other net; off the sheet nothing fits."""
        patch = self._patch(shape, self.gap_px if gap_px is None else gap_px)
        if patch is None:
            return False
        rows, cols, drawn = patch
        owner = self.nets[rows, cols]
        return not bool(np.any((owner != 0) & (owner != net) & (drawn > 0)))

    def add(self, shape: Shape, net: int, gap_px: int | None = None) -> bool:
        """Draw the shape in copper if it fits; tell whether it did."""
        if not self.fits(shape, net, gap_px):
            return False
        patch = self._patch(shape, 0)
        if patch is not None:
            rows, cols, drawn = patch
            np.maximum(self.copper[rows, cols], drawn, out=self.copper[rows, cols])
            self.nets[rows, cols][drawn > 0] = net
        return True

    def cut(self, shape: Shape) -> None:
        """Take copper away along the shape; what was one conductor may be several then."""
        patch = self._patch(shape, 0)
        if patch is not None:
            rows, cols, drawn = patch
            np.minimum(self.copper[rows, cols], 255 - drawn, out=self.copper[rows, cols])

    def expose(self, shape: Shape, grow_px: int) -> None:
        """Open the solder mask over the shape and `grow_px` around it."""
        self._draw(self.opening, shape, grow_px)

    def bore(self, x: float, y: float, radius_px: float) -> None:
        """Drill a hole."""
        self._draw(self.drill, Shape(octagon(x, y, radius_px, radius_px, 32)), 0)

    def is_bored(self, shape: Shape) -> bool:
        """Tell whether there is a hole in the shape already."""
        patch = self._patch(shape, 1)
        return patch is not None and bool(np.any(self.drill[patch[0], patch[1]] & patch[2]))

    def print_silk(self, shape: Shape) -> None:
        """Print on the legend layer."""
        self._draw(self.silk, shape, 0)

    def _draw(self, sheet: npt.NDArray[np.uint8], shape: Shape, grow_px: int) -> None:
        patch = self._patch(shape, grow_px)
        if patch is not None:
            rows, cols, drawn = patch
            np.maximum(sheet[rows, cols], drawn, out=sheet[rows, cols])

    def _patch(self, shape: Shape, grow_px: int) -> tuple[slice, slice, npt.NDArray[np.uint8]] | None:
        """Draw the shape, grown on all sides, into the smallest window of the sheet; None where it lies outside."""
        reach = shape.width_px / 2 + grow_px + 2
        low = np.floor(shape.points.min(axis=0) - reach).astype(int)
        high = np.ceil(shape.points.max(axis=0) + reach).astype(int) + 1
        x0, y0 = max(int(low[0]), 0), max(int(low[1]), 0)
        x1, y1 = min(int(high[0]), self.shape[1]), min(int(high[1]), self.shape[0])
        if x0 >= x1 or y0 >= y1:
            return None
        drawn = np.zeros((y1 - y0, x1 - x0), np.uint8)
        fixed = np.round((shape.points - (x0, y0)) * (1 << SHIFT)).astype(np.int32).reshape(-1, 1, 2)
        thickness = shape.width_px + 2 * grow_px
        if shape.width_px == 0:
            cv2.fillPoly(drawn, [fixed], 255, cv2.LINE_AA, SHIFT)
        if thickness > 0:
            cv2.polylines(drawn, [fixed], shape.width_px == 0, 255, thickness, cv2.LINE_AA, SHIFT)
        return slice(y0, y1), slice(x0, x1), drawn


def unit(eighth: int) -> Points:
    """Give the direction of an eighth of a turn: 0 is right, 2 is down; diagonals have length 1 too.

    >>> unit(2).round(3).tolist()
    [0.0, 1.0]
    """
    angle = eighth * np.pi / 4
    return np.array([np.cos(angle), np.sin(angle)])


def offset_path(path: Points, distance_px: float) -> Points:
    """Shift a path (N, 2) sideways, mitred at its bends: a neighbour in a bundle.

    >>> offset_path(np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0]]), 2.0).tolist()
    [[0.0, 2.0], [8.0, 2.0], [8.0, 10.0]]
    """
    steps = np.diff(path, axis=0)
    along = steps / np.maximum(np.linalg.norm(steps, axis=1, keepdims=True), 1e-9)
    normals = np.stack([-along[:, 1], along[:, 0]], axis=1)
    before, after = np.vstack([normals[:1], normals]), np.vstack([normals, normals[-1:]])
    share = 1.0 + np.sum(before * after, axis=1, keepdims=True)
    return np.asarray(path + distance_px * (before + after) / np.maximum(share, 0.3))


def rounded(path: Points, radius_px: float) -> Points:
    """Round the bends of a path (N, 2), as far as its straights allow.

    >>> len(rounded(np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0]]), 3.0))
    8
    """
    shares = np.linspace(0, 1, 6)[:, None]
    points = [path[:1]]
    for before, bend, after in zip(path[:-2], path[1:-1], path[2:], strict=True):
        arms = []
        for other in (before, after):
            length = float(np.linalg.norm(other - bend))
            arms.append(bend + (other - bend) * min(radius_px / max(length, 1e-9), 0.5))
        points.append((1 - shares) ** 2 * arms[0] + 2 * shares * (1 - shares) * bend + shares**2 * arms[1])
    return np.vstack([*points, path[-1:]])


def octagon(x: float, y: float, rx: float, ry: float, corners: int = 8) -> Points:
    """Give a regular polygon stretched to the radii rx, ry; many corners make an ellipse."""
    angles = (np.arange(corners) + 0.5) * 2 * np.pi / corners
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)


def pad_outline(kind: str, x: float, y: float, width: float, height: float) -> Points:
    """Outline (N, 2) of a pad: `rect`, `round`, `octagon`, `diamond`, `oval` or `chamfer`, width x height px."""
    rx, ry = width / 2, height / 2
    match kind:
        case "rect":
            return np.array([[x - rx, y - ry], [x + rx, y - ry], [x + rx, y + ry], [x - rx, y + ry]])
        case "diamond":
            return np.array([[x - rx, y], [x, y - ry], [x + rx, y], [x, y + ry]])
        case "octagon":
            return octagon(x, y, rx * 1.08, ry * 1.08)
        case "round":
            return octagon(x, y, rx, ry, 36)
    radius = min(rx, ry) * (1.0 if kind == "oval" else 0.45)
    steps = 8 if kind == "oval" else 1
    corners = []
    for quarter, (sx, sy) in enumerate(((1, 1), (-1, 1), (-1, -1), (1, -1))):
        angles = (quarter + np.arange(steps + 1) / steps) * np.pi / 2
        centre = np.array([x + sx * (rx - radius), y + sy * (ry - radius)])
        corners.append(centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1))
    return np.vstack(corners)
