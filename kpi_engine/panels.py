"""Boards that arrive in overlapping pieces: which are in, whether they belong together, and what they show. Pure.

What two pieces show of one place is one defect; which those are, `taktwatch.seams` says.
"""

from collections import Counter
from collections.abc import Sequence

import msgspec

from kpi_engine.slim import PlacedDetection, PlacedResult, Result
from taktwatch.records import STRUCTURES, BoardDefect, Detection, InspectionResult, Tile, defect_words
from taktwatch.seams import Seen, groups, hull

__all__ = ["Piece", "Spot", "complaints", "panel_defects", "pieces_in", "reasons_once", "spots_of"]

LISTED = 8
"""So many absent pieces are named; of more, their number is said."""


class Spot(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A defect on a piece of a panel, its box on the panel."""

    label: str
    score: float
    box_px: tuple[float, float, float, float]


class Piece(msgspec.Struct, array_like=True, frozen=True, order=True, gc=False):
    """A picture of a panel, in order of capture: which part of which side it shows, and what is wrong there."""

    event_us: int
    seq: int
    view: str
    tile: Tile
    spots: tuple[Spot, ...]


def spots_of(result: Result) -> tuple[Spot, ...]:
    """Return the defects of a piece, in px of the panel; none for a picture that is no piece."""
    if result.tile is None or not isinstance(result, PlacedResult | InspectionResult):
        return ()
    x, y = result.tile.box_px[:2]
    return tuple(
        Spot(found.label, found.score, moved(found, x, y))
        for found in result.detections
        if found.label not in STRUCTURES
    )


def moved(found: PlacedDetection | Detection, x: int, y: int) -> tuple[float, float, float, float]:
    """Return a detection's box in px of the panel."""
    x0, y0, x1, y1 = found.box_px
    return x0 + x, y0 + y, x1 + x, y1 + y


def pieces_in(pieces: Sequence[Piece]) -> int:
    """Return how many different pieces are in: one that came twice is one."""
    return len({(piece.view, piece.tile.index) for piece in pieces})


def panel_defects(pieces: Sequence[Piece]) -> tuple[BoardDefect, ...]:
    """Return the defects of all pieces of a panel, each once, from its top to its bottom."""
    found = [
        BoardDefect(label=group[0].label, score=group[0].score, box_px=hull([one.box for one in group]))
        for group in seen_once(pieces)
    ]
    return tuple(sorted(found, key=lambda defect: (defect.box_px[1], defect.box_px[0], defect.label)))


def reasons_once(pieces: Sequence[Piece], reasons: Sequence[str]) -> list[str]:
    """Return reasons without the words of defects that another piece has named already."""
    again = Counter(defect_words(one.label, one.score, one.box) for group in seen_once(pieces) for one in group[1:])
    kept = []
    for reason in reasons:
        if again[reason] > 0:
            again[reason] -= 1
        else:
            kept.append(reason)
    return kept


def seen_once(pieces: Sequence[Piece]) -> list[list[Seen]]:
    """Return the defects of a panel, each as all its findings, the one that names it first; sides are apart."""
    found = []
    for view in dict.fromkeys(piece.view for piece in pieces):
        seen = [
            Seen(spot.box_px, piece.tile.box_px, spot.label, spot.score)
            for piece in pieces
            if piece.view == view
            for spot in piece.spots
        ]
        found += [[seen[index] for index in group] for group in groups(seen)]
    return found


def complaints(expected: int, pieces: Sequence[Piece], strangers: int) -> list[str]:
    """Say what keeps pieces from being one whole panel; empty where all is well.

    `strangers`: pictures of the panel that do not say which part of it they show.
    """
    tiles = [piece.tile for piece in pieces]
    said = []
    if strangers:
        said.append(f"{strangers} pictures of this panel do not say which part of it they show")
    first = tiles[0]
    said += [
        f"piece {tile.index} is of another panel: {words(tile)}, piece {first.index} of {words(first)}"
        for tile in tiles[1:]
        if (tile.panel, tile.of, tile.size_px) != (first.panel, first.of, first.size_px)
    ]
    counts = Counter((piece.view, piece.tile.index) for piece in pieces)
    said += [f"piece {index} of {view} came {times} times" for (view, index), times in counts.items() if times > 1]
    if len(counts) < expected:
        absent = sorted(set(range(first.of)) - {tile.index for tile in tiles})
        named = f"; not in: {', '.join(map(str, absent))}" if 0 < len(absent) <= LISTED else ""
        said.append(f"view missing: {len(counts)} of {expected} pieces are in{named}")
    return said


def words(tile: Tile) -> str:
    """Name a panel: 'P-7 (16000 x 12000 px in 24 pieces)'."""
    return f"{tile.panel} ({tile.size_px[0]} x {tile.size_px[1]} px in {tile.of} pieces)"
