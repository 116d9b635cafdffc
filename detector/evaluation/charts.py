"""Charts as SVG text: no library, no script, readable in print and by screen readers. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import log10

__all__ = ["COLOURS", "Axis", "Curve", "chart"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#444444")
"""Told apart by most eyes (Okabe and Ito); lines differ in dashes too."""
DASHES = ("", "6 3", "2 2", "8 2 2 2", "1 3", "10 4", "4 1")

WIDTH, HEIGHT = 520, 340
LEFT, RIGHT, TOP, BELOW = 52, 12, 10, 44
LEGEND_COLUMNS = 2
LEGEND_LINE = 18


@dataclass(frozen=True, slots=True)
class Axis:
    """What one axis shows, from `low` to `high`, with its ticks; logarithmic where asked for."""

    title: str
    low: float
    high: float
    ticks: Sequence[float]
    log: bool = False

    def place(self, value: float) -> float:
        """Return where a value lies, 0 to 1.

        >>> Axis("", 1, 100, (), log=True).place(10)
        0.5
        """
        if self.log:
            return (log10(max(value, 1e-12)) - log10(self.low)) / (log10(self.high) - log10(self.low))
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True, slots=True)
class Curve:
    """A line through points (x, y), or with `dots` the points themselves with bars from low to high."""

    name: str
    points: Sequence[tuple[float, float]]
    dots: bool = False
    bars: Sequence[tuple[float, float]] = ()
    colour: int = 0


def chart(title: str, description: str, x: Axis, y: Axis, curves: Sequence[Curve]) -> str:
    """Return an SVG picture with axes, curves and a legend below; `description` is what a screen reader says."""
    legend = [curve for curve in curves if curve.name]
    height = HEIGHT + LEGEND_LINE * -(-len(legend) // LEGEND_COLUMNS) + 8
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" width="{WIDTH}" height="{height}">',
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>",
        *_axes(x, y),
    ]
    for curve in curves:
        parts += _dots(curve, x, y) if curve.dots else _line(curve, x, y)
    for index, curve in enumerate(legend):
        left = LEFT + (WIDTH - LEFT) // LEGEND_COLUMNS * (index % LEGEND_COLUMNS)
        top = HEIGHT + LEGEND_LINE * (index // LEGEND_COLUMNS) + 12
        parts.append(_sample(curve, left, top - 4))
        parts.append(f'<text x="{left + 28}" y="{top}">{escape(curve.name)}</text>')
    return "".join([*parts, "</svg>"])


def _axes(x: Axis, y: Axis) -> list[str]:
    """Draw grid, ticks and titles."""
    right, low = WIDTH - RIGHT, HEIGHT - BELOW
    parts = []
    for tick in x.ticks:
        at, _ = _at(x, y, tick, y.low)
        parts.append(f'<path d="M{at:.1f} {TOP}V{low}" stroke="#ddd"/>')
        parts.append(f'<text x="{at:.1f}" y="{low + 16}" text-anchor="middle">{tick:g}</text>')
    for tick in y.ticks:
        _, at = _at(x, y, x.low, tick)
        parts.append(f'<path d="M{LEFT} {at:.1f}H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{tick:g}</text>')
    middle, centre = (LEFT + right) / 2, (TOP + low) / 2
    parts.append(f'<path d="M{LEFT} {TOP}V{low}H{right}" fill="none" stroke="#444"/>')
    parts.append(f'<text x="{middle:.0f}" y="{low + 34}" text-anchor="middle">{escape(x.title)}</text>')
    turned = f'transform="rotate(-90 14 {centre:.0f})"'
    parts.append(f'<text x="14" y="{centre:.0f}" text-anchor="middle" {turned}>{escape(y.title)}</text>')
    return parts


def _line(curve: Curve, x: Axis, y: Axis) -> list[str]:
    """Draw a line."""
    if not curve.points:
        return []
    places = " ".join(f"{left:.1f},{top:.1f}" for left, top in (_at(x, y, *point) for point in curve.points))
    return [f'<polyline points="{places}" fill="none" {_stroke(curve)}/>']


def _dots(curve: Curve, x: Axis, y: Axis) -> list[str]:
    """Draw points with bars."""
    colour = COLOURS[curve.colour % len(COLOURS)]
    parts = []
    for index, (px, py) in enumerate(curve.points):
        left, top = _at(x, y, px, py)
        if curve.bars:
            low, high = curve.bars[index]
            ends = _at(x, y, px, low)[1], _at(x, y, px, high)[1]
            parts.append(f'<path d="M{left:.1f} {ends[0]:.1f}V{ends[1]:.1f}" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(f'<circle cx="{left:.1f}" cy="{top:.1f}" r="3.5" fill="{colour}"/>')
    return parts


def _sample(curve: Curve, left: int, top: int) -> str:
    """Draw what a curve looks like, for the legend."""
    if curve.dots:
        return f'<circle cx="{left + 11}" cy="{top}" r="3.5" fill="{COLOURS[curve.colour % len(COLOURS)]}"/>'
    return f'<path d="M{left} {top}h22" {_stroke(curve)}/>'


def _stroke(curve: Curve) -> str:
    """Return the look of a line."""
    dash = DASHES[curve.colour % len(DASHES)]
    look = f'stroke="{COLOURS[curve.colour % len(COLOURS)]}" stroke-width="2"'
    return f'{look} stroke-dasharray="{dash}"' if dash else look


def _at(x: Axis, y: Axis, px: float, py: float) -> tuple[float, float]:
    """Return where a point lies in the picture."""
    across, up = min(max(x.place(px), 0), 1), min(max(y.place(py), 0), 1)
    return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BELOW - up * (HEIGHT - TOP - BELOW)
