"""The six board-view defects, put onto artwork so that each is what its name says: checked, not hoped for.

A defect is a patch of copper added or removed. A place is drawn at random, the patch is drawn there, and the rule of
its class is checked on the conductors around it (`open`: on the whole conductor); what breaks the rule is thrown away.
"""

# ruff: noqa: PLR2004 - a rule reads best with its number in it

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from taktwatch.simulator.artwork import Artwork
from taktwatch.simulator.pen import Points
from taktwatch.simulator.shapes import blob, stroke
from taktwatch.simulator.truth import BOARD_DEFECTS, BoolMask

__all__ = ["Defect", "place_defects"]

TRIES = 40
WINDOW_PX = 48  # half a side of the square that a defect is drawn and judged in
GAP_PX = 3  # what must stay free around a defect that touches nothing, and whole around one that cuts nothing
APART_PX = 16  # between two defects
LEAST_AREA_PX = 12
LEAST_PIECE_PX = 60  # an open leaves pieces at least this big
ANGLES = np.arange(16) * (np.pi / 16)


@dataclass(frozen=True, eq=False, slots=True)
class Defect:
    """One defect on the artwork. `mask` is bool, of the artwork's shape: copper added or removed there."""

    label: str
    mask: BoolMask


@dataclass(frozen=True, eq=False, slots=True)
class Site:
    """A square window around a drawn place: masks are bool (2 WINDOW_PX + 1, same), less what lies off the board.

    `nets` is int32 of the whole board's shape: its conductors numbered from 1, 0 is free.
    """

    copper: BoolMask
    blocked: BoolMask
    rows: slice
    cols: slice
    nets: npt.NDArray[np.int32]


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
    blocked = cv2.dilate((art.drill | art.silk).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    margin = max(margin_px, 1)
    for edge in (blocked[:margin], blocked[-margin:], blocked[:, :margin], blocked[:, -margin:]):
        edge[...] = True
    placed: list[Defect] = []
    for label in labels:
        patch = _place(label, copper, blocked, rng)
        if patch is None:
            continue
        site, mask = patch
        whole = np.zeros(copper.shape, np.bool_)
        whole[site.rows, site.cols] = mask
        copper = copper & ~whole if label in {"open", "mousebite", "pin_hole"} else copper | whole
        rows, cols = np.flatnonzero(whole.any(axis=1)), np.flatnonzero(whole.any(axis=0))
        top, left = max(int(rows[0]) - APART_PX, 0), max(int(cols[0]) - APART_PX, 0)
        blocked[top : int(rows[-1]) + APART_PX + 1, left : int(cols[-1]) + APART_PX + 1] = True
        placed.append(Defect(label, whole))
    return copper, tuple(placed)


def _place(label: str, copper: BoolMask, blocked: BoolMask, rng: np.random.Generator) -> tuple[Site, BoolMask] | None:
    """Try places until the class's rule holds."""
    wanted, draw = RULES[label]
    candidates = np.flatnonzero(wanted(copper) & ~blocked)
    if not candidates.size:
        return None
    nets = _components(copper)[1]
    for index in rng.choice(candidates, TRIES):
        y, x = divmod(int(index), copper.shape[1])
        site = _site(copper, blocked, nets, y, x)
        centre = np.array([x - site.cols.start, y - site.rows.start], np.float64)
        patch = draw(site, centre, rng)
        if patch is None or np.count_nonzero(patch) < LEAST_AREA_PX or (patch & site.blocked).any():
            continue
        if _components(patch)[0] == 1:
            return site, patch
    return None


def _site(copper: BoolMask, blocked: BoolMask, nets: npt.NDArray[np.int32], y: int, x: int) -> Site:
    """Cut the window around a place out of the board."""
    rows = slice(max(y - WINDOW_PX, 0), min(y + WINDOW_PX + 1, copper.shape[0]))
    cols = slice(max(x - WINDOW_PX, 0), min(x + WINDOW_PX + 1, copper.shape[1]))
    return Site(copper[rows, cols], blocked[rows, cols], rows, cols, nets)


def _open(site: Site, centre: Points, rng: np.random.Generator) -> BoolMask | None:
    """Cut a conductor in two, clean across or ragged; both pieces must be worth the name."""
    chord = _chord(site.copper, centre, longest_px=72)
    if chord is None:
        return None
    cut = _wobble(chord, 3.0, rng)
    patch = stroke(site.copper.shape, cut, int(rng.choice([rng.integers(3, 6), rng.integers(5, 15)])))
    patch &= _own_conductor(site.copper, centre)
    if (patch & site.blocked).any():
        return None
    y, x = int(centre[1]) + site.rows.start, int(centre[0]) + site.cols.start
    rest = site.nets == site.nets[y, x]
    rest[site.rows, site.cols] &= ~patch
    # Grown first: pieces that etching could join again are no pieces.
    count, _, stats, _ = cv2.connectedComponentsWithStats(_grown(rest, 1).astype(np.uint8), connectivity=8)
    areas = stats[1:count, cv2.CC_STAT_AREA]
    return patch if np.count_nonzero(areas >= LEAST_PIECE_PX) >= 2 and areas.min() >= LEAST_PIECE_PX else None


def _short(site: Site, centre: Points, rng: np.random.Generator) -> BoolMask | None:
    """Bridge two neighbouring conductors that were separate, and no third."""
    chord = _chord(~site.copper, centre, longest_px=44)
    if chord is None:
        return None
    bridge = stroke(site.copper.shape, _wobble(chord, 1.5, rng), int(rng.integers(4, 12))) & ~site.copper
    touching = bridge & _grown(site.copper, 1)
    if not touching.any():
        return None
    bridge = _largest(bridge)
    nets = site.nets[site.rows, site.cols]
    met = set(np.unique(nets[_grown(bridge, 1)]).tolist()) - {0}
    near = set(np.unique(nets[_grown(bridge, GAP_PX)]).tolist()) - {0}
    return bridge if len(met) == 2 and near == met else None


def _mousebite(site: Site, centre: Points, rng: np.random.Generator) -> BoolMask | None:
    """Bite into the edge of a conductor without cutting it or opening a hole's ring."""
    size = _extent(rng)
    bite = _largest(blob(site.copper.shape, centre, size, rng) & site.copper)
    if (
        not (_grown(bite, 1) & ~site.copper & ~bite).any()
        or _reach(bite, ~site.copper) < 3
        or not _meets_once(bite, ~site.copper)
    ):
        return None
    left = site.copper & ~bite
    firm = site.copper & ~_grown(bite, GAP_PX)
    same = _count(left) == _count(site.copper) and _count(firm) == _count(site.copper)
    return bite if same and _count(~left) == _count(~site.copper) else None


def _spur(site: Site, centre: Points, rng: np.random.Generator) -> BoolMask | None:
    """Let copper grow out of an edge, short of any neighbour and not back onto itself."""
    size = _extent(rng)
    spur = _largest(blob(site.copper.shape, centre, size, rng) & ~site.copper)
    if not (_grown(spur, 1) & site.copper).any() or _reach(spur, site.copper) < 3 or not _meets_once(spur, site.copper):
        return None
    wide = site.copper | _grown(spur, GAP_PX)
    same = _count(wide) == _count(site.copper) and _count(~wide) == _count(~site.copper)
    return spur if same and _count(site.copper | spur) == _count(site.copper) else None


def _spurious_copper(site: Site, centre: Points, rng: np.random.Generator) -> BoolMask | None:
    """Leave an island of copper in free area."""
    island = blob(site.copper.shape, centre, _extent(rng), rng)
    return island if not (_grown(island, GAP_PX + 1) & site.copper).any() else None


def _pin_hole(site: Site, centre: Points, rng: np.random.Generator) -> BoolMask | None:
    """Leave a hole in copper, surrounded by it on all sides."""
    hole = blob(site.copper.shape, centre, 0.9 * _extent(rng), rng)
    return hole if not (_grown(hole, GAP_PX) & ~site.copper).any() and not _is_ring(hole) else None


def _extent(rng: np.random.Generator) -> float:
    """Draw how far a spot extends: about 13 px, some twice that, 6 at least."""
    return float(np.clip(np.exp(rng.normal(np.log(13), 0.42)), 6, 34))


def _chord(inside: BoolMask, centre: Points, longest_px: int) -> Points | None:
    """Find the shortest straight way (2, 2) through `centre` from one edge of `inside` to the other, a bit beyond.

    None where it is longer than `longest_px` or leaves the window.
    """
    steps = np.arange(longest_px + 1, dtype=np.float64)
    rays = np.concatenate([ANGLES, ANGLES + np.pi])
    x = np.round(centre[0] + np.cos(rays)[:, None] * steps).astype(int)
    y = np.round(centre[1] + np.sin(rays)[:, None] * steps).astype(int)
    within = (x >= 0) & (y >= 0) & (x < inside.shape[1]) & (y < inside.shape[0])
    seen = within & inside[np.clip(y, 0, inside.shape[0] - 1), np.clip(x, 0, inside.shape[1] - 1)]
    reach = np.where((~seen & within).any(axis=1), np.argmin(seen, axis=1), 10 * longest_px)
    reach = np.where(within[np.arange(len(rays)), np.minimum(reach, longest_px)], reach, 10 * longest_px)
    lengths = reach[: len(ANGLES)] + reach[len(ANGLES) :]
    best = int(np.argmin(lengths))
    if lengths[best] > longest_px:
        return None
    ahead = np.array([np.cos(ANGLES[best]), np.sin(ANGLES[best])])
    return np.array([centre - ahead * (reach[best + len(ANGLES)] + 1), centre + ahead * (reach[best] + 1)])


def _wobble(chord: Points, size_px: float, rng: np.random.Generator) -> Points:
    """Bend the way along a chord a little, and slant it."""
    ahead = chord[1] - chord[0]
    aside = np.array([-ahead[1], ahead[0]]) / max(float(np.linalg.norm(ahead)), 1.0)
    shares = np.linspace(0, 1, 5)
    swing = rng.normal(0, size_px / 2, 5) + (shares - 0.5) * rng.normal(0, 2 * size_px)
    return np.asarray(chord[0] + shares[:, None] * ahead + swing[:, None] * aside)


def _own_conductor(copper: BoolMask, centre: Points) -> BoolMask:
    """Give the conductor under the place, as far as the window shows it."""
    _, labels = _components(copper)
    return np.asarray(labels == labels[int(centre[1]), int(centre[0])])


def _reach(patch: BoolMask, edge: BoolMask) -> float:
    """Tell how far a patch reaches away from the edge it starts from, in px."""
    if not patch.any() or not edge.any():
        return 0.0
    away = cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, 3)
    return float(away[patch].max())


def _meets_once(patch: BoolMask, other: BoolMask) -> bool:
    """Tell whether a patch touches the other side along one stretch only, and so joins or parts nothing."""
    return not _is_ring(patch) and _count(_grown(patch, 1) & other) == 1


def _is_ring(patch: BoolMask) -> bool:
    """Tell whether a patch encloses something."""
    return cv2.connectedComponents(np.pad(~patch, 1, constant_values=True).astype(np.uint8), connectivity=4)[0] > 2


def _largest(mask: BoolMask) -> BoolMask:
    """Keep the largest piece."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count <= 2:
        return mask
    return np.asarray(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])))


def _components(mask: BoolMask) -> tuple[int, npt.NDArray[np.int32]]:
    """Count the 8-connected pieces and label them from 1; labels are int32, of the mask's shape."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    return count - 1, np.asarray(labels, np.int32)


def _count(mask: BoolMask) -> int:
    """Count the 8-connected pieces."""
    return _components(mask)[0]


def _grown(mask: BoolMask, by_px: int) -> BoolMask:
    """Grow a mask on all sides."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * by_px + 1, 2 * by_px + 1))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel) > 0)


def _copper_edge(copper: BoolMask) -> BoolMask:
    """Give the copper pixels that touch free area."""
    return copper & _grown(~copper, 1)


def _free_edge(copper: BoolMask) -> BoolMask:
    """Give the free pixels that touch copper."""
    return ~copper & _grown(copper, 1)


def _narrow(inside: BoolMask, widest_px: int) -> BoolMask:
    """Give the middle of narrow parts: ridges of the distance to the edge."""
    away = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 3)
    ridge = away >= cv2.dilate(away, np.ones((3, 3), np.uint8)) - 0.2
    return np.asarray(ridge & (away > 2) & (away < widest_px / 2))


def _deep(inside: BoolMask, by_px: int) -> BoolMask:
    """Give what lies deeper than `by_px` inside."""
    return np.asarray(cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 3) > by_px)


Rule: TypeAlias = tuple[
    Callable[[BoolMask], BoolMask],  # where on the copper to try
    Callable[[Site, Points, np.random.Generator], BoolMask | None],  # the patch at one place, if it may stand
]
RULES: dict[str, Rule] = {
    "open": (lambda copper: _narrow(copper, 66), _open),
    "short": (lambda copper: _narrow(~copper, 42), _short),
    "mousebite": (_copper_edge, _mousebite),
    "spur": (_free_edge, _spur),
    "spurious_copper": (lambda copper: _deep(~copper, 8), _spurious_copper),
    "pin_hole": (lambda copper: _deep(copper, 5), _pin_hole),
}
