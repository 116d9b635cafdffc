"""Broad copper: fat traces, plates, planes cut up by slits, and pours around everything else."""

# ruff: noqa: PLR2004 - chances and proportions read best where something is drawn from them

import cv2
import numpy as np
import numpy.typing as npt

from taktwatch.simulator.pen import Pen, Shape, octagon, pad_outline, unit
from taktwatch.simulator.routing import Region, Rules

__all__ = ["plate", "pour", "power", "slit_plane"]

LEAST_ISLAND_PX = 1200  # a smaller piece of a pour is left out
WIDEST_CLEARANCE_PX = 40  # around what a pour surrounds


def power(pen: Pen, rules: Rules, region: Region, rng: np.random.Generator) -> None:
    """Broad copper: fat chamfered traces with drilled ends, plates with large holes and slots."""
    for _ in range(int(rng.integers(1, 5))):
        net = pen.new_net()
        width = int(rng.integers(30, 100))
        at = np.array([rng.uniform(region.x0, region.x1), rng.uniform(region.y0, region.y1)])
        eighth, path = int(rng.integers(0, 8)), [at]
        for _ in range(int(rng.integers(1, 4))):
            path.append(path[-1] + unit(eighth) * rng.uniform(width, 260))
            eighth += int(rng.choice([-1, 1]))
        line = np.array(path)
        if not pen.add(Shape(line, width), net):
            continue
        for end in (line[0], line[-1]):
            size = width * rng.uniform(1.0, 1.5)
            shape = Shape(pad_outline(rules.pad_kind, float(end[0]), float(end[1]), size, size))
            if rng.random() < 0.7 and pen.add(shape, net):
                pen.bore(float(end[0]), float(end[1]), size * rng.uniform(0.18, 0.33))
                if rng.random() < 0.6:
                    pen.expose(shape, 3)


def plate(pen: Pen, rules: Rules, region: Region, rng: np.random.Generator) -> None:
    """A copper plate filling most of the region, with chamfers, notches, holes."""
    inset = min(rules.gap, min(region.width, region.height) // 6)
    x0, y0, x1, y1 = region.x0 + inset, region.y0 + inset, region.x1 - inset, region.y1 - inset
    cut = rng.uniform(0, 0.3) * min(x1 - x0, y1 - y0)
    corners = np.array(
        [[x0 + cut, y0], [x1, y0], [x1, y1 - cut], [x1 - cut, y1], [x0, y1], [x0, y0 + cut]],
        np.float64,
    )
    net = pen.new_net()
    if not pen.add(Shape(corners), net):
        return
    for _ in range(int(rng.integers(0, 4))):
        x, y = rng.uniform(x0, x1), rng.uniform(y0, y1)
        pen.bore(x, y, float(np.exp(rng.uniform(1.8, 4.2))))


def slit_plane(pen: Pen, rules: Rules, region: Region, rng: np.random.Generator) -> None:
    """A plane that narrow slits cut into pieces, in steps or slants."""
    inset = min(rules.gap, min(region.width, region.height) // 4) // 2
    corners = [[region.x0 + inset, region.y0 + inset], [region.x1 - inset, region.y0 + inset]]
    corners += [[region.x1 - inset, region.y1 - inset], [region.x0 + inset, region.y1 - inset]]
    if not pen.add(Shape(np.array(corners, np.float64)), pen.new_net()):
        return
    width = int(rng.integers(6, 16))
    for _ in range(int(rng.integers(1, 6))):
        eighth = int(rng.integers(0, 4)) * 2
        at = np.array([rng.uniform(region.x0, region.x1), rng.uniform(region.y0, region.y1)])
        path = [at - unit(eighth) * max(region.width, region.height)]
        for _ in range(int(rng.integers(0, 7))):
            path.append(at)
            turn = int(rng.choice([-2, 2, -1, 1]))
            at = at + unit(eighth + turn) * rng.uniform(30, 110)
            if rng.random() < 0.7:
                path.append(at)
                at = at + unit(eighth) * rng.uniform(30, 110)
        path.append(at)
        if rng.random() < 0.7:
            path.append(at + unit(eighth) * max(region.width, region.height))
        pen.cut(Shape(np.array(path), width))
    if rng.random() < 0.4:
        x, y, size = rng.uniform(region.x0, region.x1), rng.uniform(region.y0, region.y1), rng.uniform(30, 90)
        ring = octagon(x, y, size, size, 48)
        pen.cut(Shape(np.vstack([ring, ring[:1]]), width))
        pen.bore(x, y, size * rng.uniform(0.3, 0.8))


def pour(pen: Pen, rules: Rules, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Pour copper around the conductors, keeping clear of them: none, a part, all of the sheet, or hatched."""
    height, width = pen.shape
    sheet = np.zeros(pen.shape, np.uint8)
    kind = rng.random()
    if kind < 0.42:
        return sheet
    if kind < 0.68:
        sheet[:] = 255
    else:
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        shape = octagon(x, y, rng.uniform(0.3, 0.8) * width, rng.uniform(0.3, 0.8) * height, int(rng.integers(4, 9)))
        cv2.fillPoly(sheet, [shape.astype(np.int32).reshape(-1, 1, 2)], 255)
    if rng.random() < 0.2:
        sheet &= _hatch(pen.shape, rng)
    clear = min(rules.gap * rng.uniform(0.9, 1.6), WIDEST_CLEARANCE_PX)
    free = (np.maximum(pen.copper, pen.drill) <= 127).astype(np.uint8)
    sheet[cv2.distanceTransform(free, cv2.DIST_L2, 3) <= clear] = 0
    count, labels, stats, _ = cv2.connectedComponentsWithStats(sheet, connectivity=4)
    crumbs = stats[:count, cv2.CC_STAT_AREA] < LEAST_ISLAND_PX
    sheet[crumbs[labels]] = 0
    return sheet


def _hatch(shape: tuple[int, int], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Crossing lines, straight or diagonal."""
    hatch = np.zeros(shape, np.uint8)
    line = int(rng.integers(6, 14))
    pitch = line * 2 + int(rng.integers(4, 24))
    y, x = np.mgrid[: shape[0], : shape[1]]
    if rng.random() < 0.6:
        x, y = (x + y) * 5 // 7, (x - y) * 5 // 7
    hatch[((x % pitch) < line) | ((y % pitch) < line)] = 255
    return hatch
