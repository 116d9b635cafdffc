"""Another hand's boards, for testing alone: curved traces with teardrops, parts at any angle, patterned pours.

Nothing here is drawn by the styles that models are trained on, and nothing of their artwork here: other routing, other
pads, other parts, other lettering, other pours. What both share are the rules of any board: other nets keep a gap,
nothing is thinner than can be etched.
"""

# ruff: noqa: PLR2004 - chances and proportions read best where something is drawn from them

from dataclasses import dataclass

import cv2
import numpy as np

from taktwatch.simulator.curves import PADS, arc, curve, heading, pad, teardrop, turned
from taktwatch.simulator.patterns import patterned_pour
from taktwatch.simulator.pen import Pen, Points, Shape, octagon, offset_path

__all__ = ["draw_held_out"]

PLACE_PX = 150  # a side of the square that one part has on average
FONTS = (cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_SCRIPT_COMPLEX)


@dataclass(frozen=True, slots=True)
class Manner:
    """How one product is drawn: px, `trace` 6..36, `gap` 7..40, `land` a via's diameter; pads are of one kind."""

    trace: int
    gap: int
    land: int
    hole: float
    kind: str
    tented: bool
    font: int


@dataclass(frozen=True, eq=False, slots=True)
class Hand:
    """Whoever draws: the pen, the manner, and chance."""

    pen: Pen
    manner: Manner
    rng: np.random.Generator


def draw_held_out(rng: np.random.Generator, shape: tuple[int, int]) -> Pen:
    """Draw the artwork of a product on a sheet of `shape`."""
    trace = int(np.clip(np.exp(rng.normal(2.6, 0.4)), 6, 36))
    gap = int(np.clip(trace * rng.uniform(0.7, 1.6), 7, 40))
    land = int(np.clip(trace * rng.uniform(1.7, 2.8), 18, 70))
    manner = Manner(
        trace,
        gap,
        land,
        hole=min(land * rng.uniform(0.35, 0.55), 0.866 * land - 10) if rng.random() < 0.85 else 0.0,
        kind=str(rng.choice(PADS)),
        tented=bool(rng.random() < 0.5),
        font=int(rng.choice(FONTS)),
    )
    pen = Pen(shape, gap)
    hand = Hand(pen, manner, rng)
    height, width = shape
    weights = rng.uniform(0.1, 1.0, len(PARTS)) ** 2
    for _ in range(int(rng.uniform(0.8, 1.6) * height * width / PLACE_PX**2)):
        at = rng.uniform(0, 1, 2) * (width, height)
        PARTS[int(rng.choice(len(PARTS), p=weights / weights.sum()))](hand, at)
    for _ in range(int(rng.integers(4, 30) * height * width / 640**2)):
        at = rng.uniform(0, 1, 2) * (width, height)
        net = pen.new_net()
        if _via(hand, at, net):
            _lead(hand, at, float(rng.uniform(0, 2 * np.pi)), net, manner.land)
    pen.copper = np.maximum(pen.copper, patterned_pour(pen, manner.gap, manner.trace, rng))
    return pen


def _via(hand: Hand, at: Points, net: int) -> bool:
    """Set a via: a six-cornered land and its hole."""
    pen, manner = hand.pen, hand.manner
    x, y = float(at[0]), float(at[1])
    land = Shape(octagon(x, y, manner.land / 2, manner.land / 2, 6))
    if pen.is_bored(land) or not pen.add(land, net):
        return False
    if manner.hole:
        pen.bore(x, y, manner.hole / 2)
    if not manner.tented:
        pen.expose(land, 2)
    return True


def _lead(hand: Hand, at: Points, angle: float, net: int, size: float) -> None:
    """Let a trace swing away from a pad of `size` px in one or more bends, and end in a via if one fits."""
    pen, manner, rng = hand.pen, hand.manner, hand.rng
    path = [at[None]]
    leaving = angle
    for _ in range(int(rng.integers(1, 4))):
        arriving = leaving + rng.normal(0, 0.9)
        begin = path[-1][-1]
        end = begin + heading((leaving + arriving) / 2) * rng.uniform(30, 170)
        piece = curve(begin, leaving, end, arriving, rng.uniform(0.25, 0.5))
        if not pen.fits(Shape(piece, manner.trace), net):
            break
        path.append(piece[1:])
        leaving = arriving
    way = np.vstack(path)
    if len(way) < 3 or not pen.add(Shape(way, manner.trace), net):
        return
    if rng.random() < 0.8:
        pen.add(Shape(teardrop(at, angle, size, manner.trace)), net)
    end, back = way[-1], leaving + np.pi
    if float(np.linalg.norm(end - at)) > 1.5 * manner.land and _via(hand, end, net):
        pen.add(Shape(teardrop(end, back, manner.land, manner.trace)), net)


def _leaded(hand: Hand, at: Points, angle: float, size: tuple[float, float]) -> None:
    """Set an exposed pad pointing along `angle`, most with a trace that leaves it that way."""
    pen, manner, rng = hand.pen, hand.manner, hand.rng
    net = pen.new_net()
    shape = Shape(turned(pad(manner.kind, *size), at, angle))
    if not pen.add(shape, net):
        return
    pen.expose(shape, 3)
    if rng.random() < 0.7:
        _lead(hand, at, angle, net, min(size))


def wheel(hand: Hand, at: Points) -> None:
    """Pads around a circle, pointing outwards, and a hole or a land in the middle."""
    pen, manner, rng = hand.pen, hand.manner, hand.rng
    length = float(rng.uniform(18, 44))
    wide = length * rng.uniform(0.45, 0.8)
    count = int(rng.integers(5, 15))
    radius = count * (wide + manner.gap) / (2 * np.pi) * rng.uniform(1.05, 1.5) + length / 2
    first = rng.uniform(0, 2 * np.pi)
    for number in range(count):
        angle = first + number * 2 * np.pi / count
        _leaded(hand, at + radius * heading(angle), angle, (length, wide))
    rim = octagon(float(at[0]), float(at[1]), radius + length, radius + length, 48)
    pen.print_silk(Shape(np.vstack([rim, rim[:1]]), 3))
    if radius > length + manner.land:
        _via(hand, at, pen.new_net())


def tilted_rows(hand: Hand, at: Points) -> None:
    """Two rows of pads under any angle, and between them a large land with round vents."""
    pen, manner, rng = hand.pen, hand.manner, hand.rng
    angle = float(rng.uniform(0, np.pi))
    wide = float(rng.uniform(10, 24))
    length, pitch = wide * rng.uniform(1.4, 2.6), wide + manner.gap + rng.uniform(0, 8)
    count, apart = int(rng.integers(2, 9)), float(rng.uniform(60, 130))
    along, across = heading(angle), heading(angle + np.pi / 2)
    for side in (-1, 1):
        for number in range(count):
            place = at + side * across * apart / 2 + along * (number - (count - 1) / 2) * pitch
            _leaded(hand, place, angle + side * np.pi / 2, (length, wide))
    room = apart - length - 2 * manner.gap
    if room > 30 and rng.random() < 0.6:
        land = Shape(turned(pad("squircle", (count - 1) * pitch + wide, room), at, angle))
        if pen.add(land, pen.new_net()):
            pen.expose(land, 2)
            for number in range(count):
                x, y = at + along * (number - (count - 1) / 2) * pitch
                pen.bore(float(x), float(y), rng.uniform(3.5, 6))
    corner = at + across * apart / 2 + along * count * pitch / 2
    lower_left = (int(corner[0]), int(corner[1]))
    cv2.putText(pen.silk, f"IC{int(rng.integers(1, 99))}", lower_left, manner.font, 0.6, 255, 2, cv2.LINE_AA)


def coil(hand: Hand, at: Points) -> None:
    """A round spiral with a via inside."""
    pen, manner, rng = hand.pen, hand.manner, hand.rng
    pitch = manner.trace + manner.gap + float(rng.uniform(0, 6))
    turns = float(rng.uniform(1.5, 5))
    angles = np.linspace(0, 2 * np.pi * turns, int(40 * turns))
    inner = manner.land / 2 + manner.gap + manner.trace
    radius = inner + pitch * angles / (2 * np.pi)
    sense = float(rng.choice([-1, 1]))
    way = at + radius[:, None] * np.stack([np.cos(angles), sense * np.sin(angles)], axis=1)
    net = pen.new_net()
    if pen.add(Shape(way, manner.trace), net):
        _via(hand, at, pen.new_net())


def stream(hand: Hand, at: Points) -> None:
    """Traces that flow side by side along one curve, from edge to edge."""
    pen, manner, rng = hand.pen, hand.manner, hand.rng
    angle = float(rng.uniform(0, 2 * np.pi))
    far = float(max(pen.shape)) * 0.7
    bend = rng.normal(0, 0.8)
    ends = at - far * heading(angle), at + far * heading(angle + bend)
    way = np.vstack(
        [curve(ends[0], angle, at, angle + bend / 2)[:-1], curve(at, angle + bend / 2, ends[1], angle + bend)]
    )
    count, pitch = int(rng.integers(2, 9)), manner.trace + manner.gap + float(rng.uniform(0, 6))
    for number in range(count):
        pen.add(Shape(offset_path(way, (number - (count - 1) / 2) * pitch), manner.trace), pen.new_net())


def button(hand: Hand, at: Points) -> None:
    """A keypad's contact: arcs inside one another, every other of them joined on the same side."""
    pen, manner, rng = hand.pen, hand.manner, hand.rng
    width = max(8, manner.trace)
    pitch = width + manner.gap
    rings = int(rng.integers(2, 6))
    first = float(rng.uniform(0, 2 * np.pi))
    nets = pen.new_net(), pen.new_net()
    opening = 0.5
    for ring in range(rings):
        begin = first + (ring % 2) * np.pi + opening
        pen.add(Shape(arc(at, (ring + 1) * pitch, begin, 2 * np.pi - 2 * opening), width), nets[ring % 2])
    x, y = float(at[0]), float(at[1])
    pen.expose(Shape(octagon(x, y, rings * pitch, rings * pitch, 32)), 4)


def fingers(hand: Hand, at: Points) -> None:
    """A row of long contacts with round ends, as on a card's edge, traces leaving on one side."""
    pen, manner, rng = hand.pen, hand.manner, hand.rng
    angle = float(rng.choice(np.arange(4)) * np.pi / 2 + rng.normal(0, 0.15))
    wide = float(rng.uniform(12, 30))
    length, pitch = wide * rng.uniform(2.5, 5), wide + manner.gap + rng.uniform(0, 10)
    aside = heading(angle + np.pi / 2)
    count = int(rng.integers(3, 12))
    for number in range(count):
        place = at + aside * (number - count / 2) * pitch
        shape, net = Shape(turned(pad("bullet", length, wide), place, angle)), pen.new_net()
        if pen.add(shape, net):
            pen.expose(shape, 3)
            if rng.random() < 0.8:
                end = place + heading(angle) * (length - wide) / 2
                _lead(hand, end, angle, net, wide)


def lattice(hand: Hand, at: Points) -> None:
    """Lands in a lattice of triangles, turned by any angle, some drilled."""
    pen, manner, rng = hand.pen, hand.manner, hand.rng
    size = float(rng.uniform(18, 40))
    pitch = size + manner.gap + rng.uniform(0, 20)
    angle, drilled = float(rng.uniform(0, np.pi / 3)), rng.random() < 0.5
    along, aside = heading(angle), heading(angle + np.pi / 3)
    rows = int(rng.integers(2, 6))
    for row in range(rows):
        for col in range(rows):
            place = at + pitch * ((row - rows / 2) * along + (col - rows / 2) * aside)
            shape = Shape(turned(pad(manner.kind, size, size), place, angle))
            if pen.add(shape, pen.new_net()):
                pen.expose(shape, 2)
                if drilled:
                    pen.bore(float(place[0]), float(place[1]), size * 0.22)


def lettering(hand: Hand, at: Points) -> None:
    """Words in copper, in type with serifs or in script."""
    pen, manner, rng = hand.pen, hand.manner, hand.rng
    text = "".join(rng.choice(list("abdeghkmnqrstuyABCEGKMRSWY0123456789"), int(rng.integers(2, 7))))
    scale = float(rng.uniform(1.0, 2.2))
    thickness = max(4, int(2.6 * scale))
    (width, height), base = cv2.getTextSize(text, manner.font, scale, thickness)
    x, y = int(at[0]), int(at[1])
    corners = [[x, y - height], [x + width, y - height], [x + width, y + base], [x, y + base]]
    if pen.fits(Shape(np.array(corners, np.float64)), 0, manner.gap):
        before = pen.copper.copy()
        cv2.putText(pen.copper, text, (x, y), manner.font, scale, 255, thickness, cv2.LINE_AA)
        pen.nets[pen.copper > before] = pen.new_net()


PARTS = (wheel, tilted_rows, coil, stream, button, fingers, lattice, lettering)
