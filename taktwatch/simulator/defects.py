"""The six board-view defects, put onto artwork so that each is what its name says: checked, not hoped for.

A defect is a patch of copper added or removed. A place is drawn at random, the patch is drawn there, and the rule of
its class is checked on the conductors around it; what breaks the rule is thrown away. The rules are local, as an
inspector's eye is: what is cut here is an open, though the two ends may meet again around a pad or through a plane.

| | copper removed | copper added |
|---|---|---|
| from one side to another, parting or joining what is separate around it | open | short |
| from one stretch of an edge, and no further | mousebite | spur |
| touching no edge | pin hole | spurious copper |
"""

# ruff: noqa: PLR2004 - a rule reads best with its number in it

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np

from taktwatch.simulator.artwork import Artwork
from taktwatch.simulator.pen import Points
from taktwatch.simulator.shapes import bent, blob, crossing, stroke
from taktwatch.simulator.topology import components, contacts, deep, filled, grown, largest, parts_around, reach, ridges
from taktwatch.simulator.truth import BOARD_DEFECTS, BoolMask

__all__ = ["Defect", "place_defects"]

TRIES = 40
WINDOW_PX = 64  # half a side of the square that a defect is drawn and judged in
GAP_PX = 2  # what must stay free around a defect that touches nothing, and whole around one that cuts nothing
APART_PX = 12  # between two defects
LEAST_AREA_PX = 12
LEAST_PIECE_PX = 20  # an open leaves pieces at least this big
AROUND_PX = 9  # as far from a cut or a bridge its two sides are looked at
LONGEST_PX = 100
REMOVING = ("open", "mousebite", "pin_hole")


@dataclass(frozen=True, eq=False, slots=True)
class Defect:
    """One defect on the artwork. `mask` is bool, of the artwork's shape: copper added or removed there."""

    label: str
    mask: BoolMask


@dataclass(frozen=True, eq=False, slots=True)
class Site:
    """A square window around a drawn place: masks are bool (2 WINDOW_PX + 1, same), less what lies off the board."""

    copper: BoolMask
    blocked: BoolMask
    rows: slice
    cols: slice


def place_defects(
    art: Artwork, labels: Sequence[str], margin_px: int, rng: np.random.Generator
) -> tuple[BoolMask, tuple[Defect, ...]]:
    """Put the named defects onto the artwork, at least `margin_px` inside its edge: the copper then, and the defects.

    A defect that finds no place within some tries is left out.
    """
    unknown = set(labels) - set(BOARD_DEFECTS)
    if unknown:
        message = f"unknown board defect {min(unknown)!r}; there are {', '.join(BOARD_DEFECTS)}"
        raise ValueError(message)
    copper = art.copper.copy()
    hidden = cv2.dilate(art.silk.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    margin = max(margin_px, 1)
    for edge in (hidden[:margin], hidden[-margin:], hidden[:, :margin], hidden[:, -margin:]):
        edge[...] = True
    placed: list[Defect] = []
    for label in labels:
        # Nothing can be added where there is a hole; a cut may run into one.
        patch = _place(label, copper, hidden if label in REMOVING else hidden | art.drill, rng)
        if patch is None:
            continue
        site, mask = patch
        whole = np.zeros(copper.shape, np.bool_)
        whole[site.rows, site.cols] = mask
        copper = copper & ~whole if label in REMOVING else copper | whole
        rows, cols = np.flatnonzero(whole.any(axis=1)), np.flatnonzero(whole.any(axis=0))
        top, left = max(int(rows[0]) - APART_PX, 0), max(int(cols[0]) - APART_PX, 0)
        hidden[top : int(rows[-1]) + APART_PX + 1, left : int(cols[-1]) + APART_PX + 1] = True
        placed.append(Defect(label, whole))
    return copper, tuple(placed)


def _place(label: str, copper: BoolMask, blocked: BoolMask, rng: np.random.Generator) -> tuple[Site, BoolMask] | None:
    """Try places until the class's rule holds."""
    wanted, draw = RULES[label]
    candidates = np.flatnonzero(wanted(copper) & ~blocked)
    if not candidates.size:
        return None
    for index in rng.choice(candidates, TRIES):
        y, x = divmod(int(index), copper.shape[1])
        rows = slice(max(y - WINDOW_PX, 0), min(y + WINDOW_PX + 1, copper.shape[0]))
        cols = slice(max(x - WINDOW_PX, 0), min(x + WINDOW_PX + 1, copper.shape[1]))
        site = Site(copper[rows, cols], blocked[rows, cols], rows, cols)
        patch = draw(site, np.array([x - cols.start, y - rows.start], np.float64), rng)
        if patch is None or np.count_nonzero(patch) < LEAST_AREA_PX or (patch & site.blocked).any():
            continue
        if components(patch)[0] == 1 and not _meets_window(patch):
            return site, patch
    return None


def _open(site: Site, centre: Points, rng: np.random.Generator) -> BoolMask | None:
    """Cut a trace, a ring, a neck or a corner through: clean, slanted or scratched."""
    chord = crossing(site.copper, centre, _longest(rng), rng)
    if chord is None:
        return None
    cut = largest(filled(_scratch(site.copper.shape, chord, 5.0, rng)) & site.copper)
    free = ~site.copper
    parts = contacts(cut, free) >= 2 and parts_around(cut, site.copper, AROUND_PX, LEAST_PIECE_PX) >= 2
    return cut if parts else None


def _short(site: Site, centre: Points, rng: np.random.Generator) -> BoolMask | None:
    """Bridge two pieces of copper that are separate around here: traces, pads, planes, the lips of a slit."""
    free = ~site.copper
    chord = crossing(free, centre, _longest(rng), rng)
    if chord is None:
        return None
    bridge = largest(filled(_scratch(site.copper.shape, chord, 6.0, rng)) & free)
    joins = contacts(bridge, site.copper) >= 2 and parts_around(bridge, site.copper, AROUND_PX, LEAST_PIECE_PX) >= 2
    return bridge if joins else None


def _mousebite(site: Site, centre: Points, rng: np.random.Generator) -> BoolMask | None:
    """Bite into the edge of a conductor, or of its hole, without cutting it: sometimes but a few px are left."""
    bite = filled(largest(blob(site.copper.shape, _aside(centre, rng), _extent(13, rng), rng) & site.copper))
    if (bite & ~site.copper).any() or reach(bite, ~site.copper) < 2.5 or contacts(bite, ~site.copper) != 1:
        return None
    if contacts(grown(bite, GAP_PX) & site.copper, ~site.copper) != 1:
        return None
    left, near = site.copper & ~bite, grown(bite, AROUND_PX)
    return bite if components(left & near)[0] == components(site.copper & near)[0] else None


def _spur(site: Site, centre: Points, rng: np.random.Generator) -> BoolMask | None:
    """Let copper grow out of an edge, short of any neighbour and not back onto itself."""
    spur = filled(largest(blob(site.copper.shape, _aside(centre, rng), _extent(14, rng), rng) & ~site.copper))
    if (spur & site.copper).any() or reach(spur, site.copper) < 2.5 or contacts(spur, site.copper) != 1:
        return None
    return spur if contacts(grown(spur, GAP_PX) & ~site.copper, site.copper) == 1 else None


def _spurious_copper(site: Site, centre: Points, rng: np.random.Generator) -> BoolMask | None:
    """Leave an island of copper in free area."""
    island = filled(blob(site.copper.shape, centre, _extent(17, rng), rng))
    return island if not (grown(island, GAP_PX + 1) & site.copper).any() else None


def _pin_hole(site: Site, centre: Points, rng: np.random.Generator) -> BoolMask | None:
    """Leave a hole in copper, surrounded by it on all sides."""
    hole = filled(blob(site.copper.shape, centre, _extent(15, rng), rng))
    return hole if not (grown(hole, GAP_PX) & ~site.copper).any() else None


def _scratch(shape: tuple[int, int], chord: Points, usual_px: float, rng: np.random.Generator) -> BoolMask:
    """Draw a line along a chord: bent, of about `usual_px` width, in one stroke or scratched back and forth."""
    width = int(np.clip(np.exp(rng.normal(np.log(usual_px), 0.38)), 3, 22))
    if rng.random() < 0.8:
        return stroke(shape, bent(chord, rng.uniform(0.5, 4.0), rng), width)
    patch = np.zeros(shape, np.bool_)
    for _ in range(int(rng.integers(2, 6))):
        patch |= stroke(shape, bent(chord + rng.normal(0, 0.6 * width, 2), 2.0, rng), max(3, width // 2))
    return patch


def _longest(rng: np.random.Generator) -> int:
    """Draw how long a cut or a bridge may be, in px: mostly the narrow places are those that fail."""
    return int(np.clip(np.exp(rng.normal(np.log(32), 0.7)), 8, LONGEST_PX))


def _extent(usual_px: float, rng: np.random.Generator) -> float:
    """Draw how far a spot extends: about `usual_px`, some twice that, 5 px at least."""
    return float(np.clip(np.exp(rng.normal(np.log(usual_px), 0.45)), 5, 56))


def _aside(centre: Points, rng: np.random.Generator) -> Points:
    """Give a place beside an edge's pixel: how deep a bite or a spur goes varies."""
    return np.asarray(centre + rng.normal(0, 2.0, 2))


def _meets_window(patch: BoolMask) -> bool:
    """Tell whether a patch runs into the edge of its window, beyond which nothing was judged."""
    return bool(patch[:2].any() or patch[-2:].any() or patch[:, :2].any() or patch[:, -2:].any())


def _crossable(inside: BoolMask, widest_px: int) -> BoolMask:
    """Give where a cut or a bridge may pass: the middle of narrow parts, and near corners."""
    wanted = ridges(inside, widest_px)
    wanted[::9, ::9] |= inside[::9, ::9]
    return wanted


Rule: TypeAlias = tuple[
    Callable[[BoolMask], BoolMask],  # where on the copper to try
    Callable[[Site, Points, np.random.Generator], BoolMask | None],  # the patch at one place, if it may stand
]
RULES: dict[str, Rule] = {
    "open": (lambda copper: _crossable(copper, LONGEST_PX), _open),
    "short": (lambda copper: _crossable(~copper, LONGEST_PX), _short),
    "mousebite": (lambda copper: copper & grown(~copper, 1), _mousebite),
    "spur": (lambda copper: ~copper & grown(copper, 1), _spur),
    "spurious_copper": (lambda copper: deep(~copper, 7), _spurious_copper),
    "pin_hole": (lambda copper: deep(copper, 4), _pin_hole),
}
