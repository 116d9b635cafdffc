"""What boards are made of: bundles, chips, connectors, ball grids, power planes, wandering traces, marks.

Each recipe draws into one region of the sheet with the pen; what finds no room is left out.
"""

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from taktwatch.simulator.pen import Pen, Shape, offset_path, pad_outline, unit

__all__ = ["RECIPES", "Region", "Rules", "draw_style", "wander"]

Points: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of the sheet in px; the ends are exclusive."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        """Width in px."""
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        """Height in px."""
        return self.y1 - self.y0


@dataclass(frozen=True, slots=True)
class Rules:
    """A product's design rules, all in px: `trace` 6..22, `gap` 6..20, `pad` and `drill` diameters of a via."""

    trace: int
    gap: int
    pad: int
    drill: int
    pad_kind: str
    tented: bool
    sharp: bool


def draw_style(rng: np.random.Generator) -> Rules:
    """Draw the design rules of one product."""
    trace = int(np.clip(np.exp(rng.normal(2.2, 0.33)), 6, 22))
    gap = int(np.clip(trace * rng.uniform(0.7, 1.5), 6, 20))
    pad = int(np.clip(trace * rng.uniform(1.9, 3.2), 16, 56))
    drill = int(pad * rng.uniform(0.35, 0.6)) if rng.random() < 0.85 else 0
    kind = str(rng.choice(["round", "round", "round", "octagon", "rect", "oval"]))
    return Rules(trace, gap, pad, drill, kind, bool(rng.random() < 0.4), bool(rng.random() < 0.3))


def via(pen: Pen, rules: Rules, at: Points, net: int, scale: float = 1.0) -> bool:
    """Set a via: an annular ring and its hole."""
    x, y, size = float(at[0]), float(at[1]), rules.pad * scale
    ring = Shape(pad_outline("round", x, y, size, size))
    if not pen.add(ring, net):
        return False
    if rules.drill:
        pen.bore(x, y, rules.drill * scale / 2)
    if not rules.tented:
        pen.expose(ring, 2)
    return True


def wander(pen: Pen, rules: Rules, rng: np.random.Generator, start: Points, eighth: int, net: int, width: int) -> bool:
    """Route a trace from `start` in turns of 45 degrees for as long as there is room; end it in a via if one fits."""
    path, straight = [start], float(rng.uniform(20, 90))
    for _ in range(int(rng.integers(2, 7))):
        target = path[-1] + straight * unit(eighth)
        if not pen.fits(Shape(np.array([path[-1], target]), width), net):
            if straight < 24 or len(path) > 1:
                break
            straight = 20.0
            continue
        path.append(target)
        eighth += int(rng.choice([-1, 1]) if rng.random() < 0.9 else rng.choice([-2, 2]))
        straight = float(rng.choice([rng.uniform(14, 50), rng.uniform(50, 220)]))
    if len(path) < 2:
        return False
    pen.add(Shape(np.array(path), width), net)
    if rng.random() < 0.8:
        via(pen, rules, path[-1], net)
    return True


def bundle(pen: Pen, rules: Rules, region: Region, rng: np.random.Generator) -> None:
    """Parallel traces with common bends, crossing the region; some end in a via on their way."""
    count = int(rng.integers(2, 15))
    width = max(6, int(rules.trace * rng.uniform(0.8, 1.3)))
    pitch = width + rules.gap + int(rng.integers(0, 6)) + (rules.pad - width) * (rng.random() < 0.15)
    eighth = int(rng.integers(0, 4)) * 2
    corner = np.array([rng.uniform(region.x0, region.x1), rng.uniform(region.y0, region.y1)])
    reach = float(max(region.width, region.height))
    path = [corner - reach * unit(eighth), corner]
    for _ in range(int(rng.integers(0, 4))):
        eighth += int(rng.choice([-1, 1]))
        path.append(path[-1] + unit(eighth) * rng.uniform(40, 200))
    eighth += int(rng.choice([-1, 0, 1]))
    path.append(path[-1] + unit(eighth) * reach)
    for index in range(count):
        net = pen.new_net()
        line = offset_path(np.array(path), (index - count / 2) * pitch)
        if rng.random() < 0.25:
            last = int(rng.integers(1, len(line)))
            share = rng.uniform(0.3, 0.9)
            line = np.vstack([line[:last], line[last - 1] + share * (line[last] - line[last - 1])])
            if pen.add(Shape(line, width), net):
                via(pen, rules, line[-1], net)
        else:
            pen.add(Shape(line, width), net)


def chip(pen: Pen, rules: Rules, region: Region, rng: np.random.Generator) -> None:
    """Rows of rectangular pads on two or four sides of a body, with traces that escape."""
    pad_w = int(rng.integers(9, 24))
    pad_l = int(pad_w * rng.uniform(1.5, 3.5))
    pitch = pad_w + int(rng.integers(rules.gap, rules.gap + 14))
    kind = str(rng.choice(["rect", "rect", "oval", "chamfer"]))
    sides = (0, 1, 2, 3) if rng.random() < 0.5 else (0, 2) if rng.random() < 0.5 else (1, 3)
    half = rng.uniform(0.2, 0.32) * min(region.width, region.height)
    pins = max(2, int(2 * half / pitch))
    centre = np.array([(region.x0 + region.x1) / 2, (region.y0 + region.y1) / 2])
    landed: list[tuple[Points, int, int]] = []
    for side in sides:
        out, along = unit(2 * side), unit(2 * side + 2)
        for pin in range(pins):
            at = centre + out * (half + pad_l / 2) + along * (pin - (pins - 1) / 2) * pitch
            size = (pad_l, pad_w) if side % 2 == 0 else (pad_w, pad_l)
            shape, net = Shape(pad_outline(kind, float(at[0]), float(at[1]), *size)), pen.new_net()
            if pen.add(shape, net):
                pen.expose(shape, 3)
                landed.append((at, side, net))
    for at, side, net in landed:
        if rng.random() < 0.75:
            width = min(rules.trace, pad_w)
            outward = 2 * side if rng.random() < 0.8 else 2 * side + 4
            wander(pen, rules, rng, at, outward, net, width)
    box = half - 4
    outline = Shape(np.vstack([pad_outline("rect", *centre.tolist(), 2 * box, 2 * box), centre - box]), 3)
    pen.print_silk(outline)
    label(pen, rng, centre - (box * 0.6, 0), "U")


def connector(pen: Pen, rules: Rules, region: Region, rng: np.random.Generator) -> None:
    """A grid of drilled pads; traces leave between them."""
    size = int(rng.integers(24, 62))
    hole = size * rng.uniform(0.3, 0.62)
    pitch = size + rules.gap * 2 + rules.trace + int(rng.integers(0, 24))
    kinds = ["round", "octagon", "rect", "diamond", "oval", "chamfer"]
    kind = str(rng.choice(kinds))
    stretch = rng.uniform(1.0, 1.5) if kind == "oval" else 1.0
    ox, oy = rng.uniform(-0.08, 0.08, 2) * size
    cols = min(int(region.width / pitch), int(rng.integers(1, 12)))
    rows = min(int(region.height / (pitch * stretch)), int(rng.integers(1, 5)))
    left = region.x0 + rng.uniform(0.3, 0.7) * pitch
    top = region.y0 + rng.uniform(0.3, 0.7) * pitch
    landed = []
    for row in range(rows):
        for col in range(cols):
            x, y = left + col * pitch, top + row * pitch * stretch
            first = "rect" if row == col == 0 else kind
            shape, net = Shape(pad_outline(first, x, y, size, size * stretch)), pen.new_net()
            if pen.add(shape, net):
                pen.expose(shape, 3)
                pen.bore(x + ox, y + oy, hole / 2)
                landed.append((np.array([x, y]), net))
    for at, net in landed:
        if rng.random() < 0.6:
            fat = rng.random() < 0.2
            wander(pen, rules, rng, at, int(rng.integers(0, 8)), net, int(size * 0.6) if fat else rules.trace)


def ball_grid(pen: Pen, rules: Rules, region: Region, rng: np.random.Generator) -> None:
    """Round lands in a grid, most with a dog-bone to a via."""
    size = int(rng.integers(14, 30))
    pitch = max(size + rules.pad * 0.7 + rules.gap, (size + rules.pad) / 1.3 + rules.gap) + rng.uniform(0, 10)
    cols, rows = int(region.width * 0.9 / pitch), int(region.height * 0.9 / pitch)
    for row in range(min(rows, 9)):
        for col in range(min(cols, 9)):
            if rng.random() < 0.08:
                continue
            at = np.array([region.x0 + (col + 0.6) * pitch, region.y0 + (row + 0.6) * pitch])
            shape, net = Shape(pad_outline("round", float(at[0]), float(at[1]), size, size)), pen.new_net()
            if not pen.add(shape, net):
                continue
            pen.expose(shape, 2)
            if rng.random() < 0.7:
                hole = at + pitch / 2
                if pen.add(Shape(np.array([at, hole]), max(6, min(rules.trace, size // 2))), net):
                    via(pen, rules, hole, net, 0.7)


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
    inset = rules.gap
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


def passives(pen: Pen, rules: Rules, region: Region, rng: np.random.Generator) -> None:
    """Two-pad footprints, lying or standing, each pad with a trace or none."""
    size = int(rng.integers(18, 44))
    step = int(size * 2.6 + rules.gap + rules.trace)
    for y in range(region.y0 + step // 2, region.y1 - step // 3, step):
        for x in range(region.x0 + step // 2, region.x1 - step // 3, step):
            if rng.random() < 0.35:
                continue
            eighth = 0 if rng.random() < 0.5 else 2
            reach = unit(eighth) * size * rng.uniform(0.75, 0.95)
            ends = []
            for sign in (-1, 1):
                at = np.array([x, y]) + sign * reach
                shape = Shape(pad_outline("rect", float(at[0]), float(at[1]), size, size))
                net = pen.new_net()
                if pen.add(shape, net):
                    pen.expose(shape, 3)
                    ends.append((at, eighth + (0 if sign > 0 else 4), net))
            for at, outward, net in ends:
                if rng.random() < 0.7:
                    wander(pen, rules, rng, at, outward + int(rng.choice([0, 0, 2, -2])), net, rules.trace)
            label(pen, rng, np.array([x - size, y - size * 0.8]), "RC"[int(rng.integers(0, 2))])


def meander(pen: Pen, rules: Rules, region: Region, rng: np.random.Generator) -> None:
    """A serpentine, or two combs that interlock."""
    width = max(6, int(rules.trace * rng.uniform(0.8, 1.6)))
    pitch = width + rules.gap + int(rng.integers(0, 10))
    x0, x1 = region.x0 + 10, region.x1 - 10
    levels = list(range(region.y0 + 12, region.y1 - 12, pitch))[: int(rng.integers(4, 24))]
    if len(levels) < 3 or x1 - x0 < 4 * pitch:
        return
    if rng.random() < 0.5:
        path = []
        for index, y in enumerate(levels):
            ends = [(x0, y), (x1, y)]
            path += ends if index % 2 == 0 else ends[::-1]
        pen.add(Shape(np.array(path, np.float64), width), pen.new_net())
        return
    for side, spine in enumerate((x0, x1)):
        net = pen.new_net()
        away = x1 - pitch if side == 0 else x0 + pitch
        pen.add(Shape(np.array([[spine, levels[0]], [spine, levels[-1]]], np.float64), width), net)
        for y in levels[side::2]:
            pen.add(Shape(np.array([[spine, y], [away, y]], np.float64), width), net)


def marks(pen: Pen, rules: Rules, region: Region, rng: np.random.Generator) -> None:
    """A fiducial with its ring, text in copper, a mounting hole; mostly free area."""
    x, y = rng.uniform(region.x0 + 40, region.x1 - 40), rng.uniform(region.y0 + 40, region.y1 - 40)
    size = rng.uniform(16, 40)
    disc, ring = (Shape(pad_outline("round", x, y, size * k, size * k)) for k in (1.0, 3.0))
    if pen.fits(ring, 0):
        pen.add(disc, pen.new_net())
        pen.expose(ring, 0)
        if rng.random() < 0.6:
            outline = np.vstack([ring.points, ring.points[:1]])[: int(rng.integers(28, 38))]
            pen.add(Shape(outline, 6), pen.new_net())
    copper_text(pen, rules, region, rng)
    for _ in range(int(rng.integers(0, 4))):
        start = np.array([rng.uniform(region.x0, region.x1), rng.uniform(region.y0, region.y1)])
        net = pen.new_net()
        if via(pen, rules, start, net):
            wander(pen, rules, rng, start, int(rng.integers(0, 8)), net, rules.trace)


def copper_text(pen: Pen, rules: Rules, region: Region, rng: np.random.Generator) -> None:
    """Letters in copper, as in a layer's name or a part number."""
    text = "".join(rng.choice(list("ABCDEFGHKLMNPRSTUVXZ0123456789-"), int(rng.integers(2, 8))))
    scale = rng.uniform(0.9, 2.2)
    thickness = max(4, int(scale * 3))
    (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    x = int(rng.uniform(region.x0, max(region.x0 + 1, region.x1 - width)))
    y = int(rng.uniform(region.y0 + height, max(region.y0 + height + 1, region.y1 - base)))
    box = Shape(pad_outline("rect", x + width / 2, y - height / 2 + base / 2, width + 8, height + base + 8))
    if not pen.fits(box, 0, rules.gap):
        return
    before = pen.copper.copy()
    cv2.putText(pen.copper, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thickness, cv2.LINE_AA)
    pen.nets[pen.copper > before] = pen.new_net()


def label(pen: Pen, rng: np.random.Generator, at: Points, prefix: str) -> None:
    """Print a designator such as R12 on the legend."""
    text = f"{prefix}{int(rng.integers(1, 99))}"
    place = (int(at[0]), int(at[1]))
    cv2.putText(pen.silk, text, place, cv2.FONT_HERSHEY_SIMPLEX, float(rng.uniform(0.5, 0.8)), 255, 2, cv2.LINE_AA)


RECIPES = (bundle, chip, connector, ball_grid, power, plate, passives, meander, marks)
