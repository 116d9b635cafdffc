"""Design rules, and the traces that follow them: lone ones that wander, bundles that run side by side."""

# ruff: noqa: PLR2004 - chances and proportions read best where something is drawn from them

from dataclasses import dataclass

import numpy as np

from taktwatch.simulator.pen import Pen, Points, Shape, offset_path, pad_outline, rounded, unit

__all__ = ["Region", "Rules", "bundle", "draw_rules", "via", "wander"]


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
    """A product's design rules, all in px: `trace` 5..56, `gap` 6..70, `pad` and `drill` diameters of a via."""

    trace: int
    gap: int
    pad: int
    drill: int
    pad_kind: str
    tented: bool
    rounded: bool


def draw_rules(rng: np.random.Generator) -> Rules:
    """Draw the design rules of one product."""
    fine = rng.random() < 0.55
    trace = int(np.clip(np.exp(rng.normal(2.2 if fine else 3.1, 0.35)), 5, 56))
    gap = int(np.clip(trace * rng.uniform(0.7, 1.5), 6, 30))
    if rng.random() < 0.3:
        gap = int(rng.uniform(gap, 70))
    pad = int(np.clip(trace * rng.uniform(1.9 if fine else 1.3, 3.2), 16, 90))
    drill = int(pad * rng.uniform(0.35, 0.6)) if rng.random() < 0.85 else 0
    kind = str(rng.choice(["round", "round", "round", "octagon", "rect", "oval"]))
    return Rules(trace, gap, pad, drill, kind, bool(rng.random() < 0.4), bool(rng.random() < 0.3))


def via(pen: Pen, rules: Rules, at: Points, net: int, scale: float = 1.0) -> bool:
    """Set a via: an annular ring and its hole."""
    x, y, size = float(at[0]), float(at[1]), rules.pad * scale
    ring = Shape(pad_outline("round", x, y, size, size))
    if pen.is_bored(ring) or not pen.add(ring, net):
        return False
    if rules.drill:
        pen.bore(x, y, rules.drill * scale / 2)
    if not rules.tented:
        pen.expose(ring, 2)
    return True


def wander(
    pen: Pen, rules: Rules, rng: np.random.Generator, start: Points, eighth: int, *, net: int, width: int
) -> bool:
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
    line = rounded(np.array(path), 1.5 * width) if rules.rounded else np.array(path)
    pen.add(Shape(line, width), net)
    if rng.random() < 0.9 and float(np.abs(path[-1] - start).max()) > rules.pad:
        via(pen, rules, path[-1], net)
    return True


def bundle(pen: Pen, rules: Rules, region: Region, rng: np.random.Generator) -> None:
    """Parallel traces with common bends, crossing the region; some end in a via on their way."""
    count = int(rng.integers(2, 15))
    width = max(5, int(rules.trace * (rng.uniform(0.8, 1.3) if rng.random() < 0.7 else rng.uniform(1.3, 4.0))))
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
        if rules.rounded:
            line = rounded(line, 2.0 * width)
        if rng.random() < 0.25:
            last = int(rng.integers(1, len(line)))
            share = rng.uniform(0.3, 0.9)
            line = np.vstack([line[:last], line[last - 1] + share * (line[last] - line[last - 1])])
            if pen.add(Shape(line, width), net):
                via(pen, rules, line[-1], net)
        else:
            pen.add(Shape(line, width), net)
