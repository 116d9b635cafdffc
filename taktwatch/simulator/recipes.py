"""What boards are made of: chips, connectors, ball grids, passives, meanders, marks; and the list of all recipes.

Each recipe draws into one region of the sheet with the pen; what finds no room is left out.
"""

# ruff: noqa: PLR2004 - chances and proportions read best where something is drawn from them

import cv2
import numpy as np

from taktwatch.simulator.pen import Pen, Points, Shape, pad_outline, unit
from taktwatch.simulator.planes import plate, power, slit_plane
from taktwatch.simulator.routing import Region, Rules, bundle, via, wander

__all__ = ["RECIPES"]


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
            wander(pen, rules, rng, at, outward, net=net, width=width)
    box = half - 4
    outline = Shape(
        np.vstack([pad_outline("rect", float(centre[0]), float(centre[1]), 2 * box, 2 * box), centre - box]), 3
    )
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
            wander(pen, rules, rng, at, int(rng.integers(0, 8)), net=net, width=int(size * 0.6) if fat else rules.trace)


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
                    wander(pen, rules, rng, at, outward + int(rng.choice([0, 0, 2, -2])), net=net, width=rules.trace)
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
    x = region.x0 + rng.uniform(0.15, 0.85) * region.width
    y = region.y0 + rng.uniform(0.15, 0.85) * region.height
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
            wander(pen, rules, rng, start, int(rng.integers(0, 8)), net=net, width=rules.trace)


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


RECIPES = (bundle, chip, connector, ball_grid, power, plate, slit_plane, passives, meander, marks)
