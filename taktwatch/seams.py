"""Defects seen in overlapping pieces of a picture: what two pieces show of one place is one defect. Pure.

Pieces see the same pixels where they overlap. Two findings of different pieces are one defect where, within that
overlap, both show half of the smaller one or more: whole twins do, and so do the two parts of a defect that the seam
cuts. What one piece saw whole and apart stays apart.
"""

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Seen", "groups", "hull"]

Box = tuple[float, float, float, float]

SAME = 0.5
"""Share of the smaller finding, within the overlap, that both must show."""
EDGE_PX = 1.5
"""A box that comes so close to its piece's edge may go on beyond it."""


class Seen(NamedTuple):
    """A finding in the coordinates of the whole: its box and its piece's (x0, y0, x1, y1), class and score."""

    box: Box
    piece: Box
    label: str
    score: float

    @property
    def whole(self) -> bool:
        """Whether its piece's edges do not cut it."""
        (x0, y0, x1, y1), (left, top, right, bottom) = self.box, self.piece
        return x0 - left > EDGE_PX and y0 - top > EDGE_PX and right - x1 > EDGE_PX and bottom - y1 > EDGE_PX


def groups(seen: Sequence[Seen]) -> list[list[int]]:
    """Return which findings are one defect: lists of indices, in each the one that names it first, in order of those.

    What its piece does not cut names a defect before what is cut, then the better score does.

    >>> left, right = (0, 0, 100, 100), (80, 0, 180, 100)
    >>> groups([Seen((70, 10, 100, 20), left, "open", 0.7), Seen((80, 10, 120, 20), right, "open", 0.9)])
    [[1, 0]]
    """
    found = [[index] for index in range(len(seen))]
    member = list(range(len(seen)))
    for _, one, other in sorted(_links(seen), reverse=True):
        first, second = member[one], member[other]
        if first == second or _apart(seen, found[first], found[second]):
            continue
        for index in found[second]:
            member[index] = first
        found[first] += found[second]
        found[second] = []
    kept = [sorted(group, key=lambda index: _rank(seen, index)) for group in found if group]
    return sorted(kept, key=lambda group: group[0])


def hull(boxes: Sequence[Box]) -> Box:
    """Return the box around boxes.

    >>> hull([(0, 0, 2, 2), (1, 1, 5, 3)])
    (0, 0, 5, 3)
    """
    lows, highs = zip(*((box[:2], box[2:]) for box in boxes), strict=True)
    (x0, y0), (x1, y1) = (tuple(map(min, zip(*lows, strict=True))), tuple(map(max, zip(*highs, strict=True))))
    return x0, y0, x1, y1


def _links(seen: Sequence[Seen]) -> list[tuple[float, int, int]]:
    """Return pairs of findings that may be one: how much of the smaller both show, 0 to 1, and their indices."""
    order = sorted(range(len(seen)), key=lambda index: seen[index].box[0])
    links = []
    for at, one in enumerate(order):
        for other in order[at + 1 :]:
            if seen[other].box[0] >= seen[one].box[2]:
                break
            share = _shared(seen[one], seen[other])
            if share >= SAME:
                links.append((share, one, other))
    return links


def _shared(one: Seen, other: Seen) -> float:
    """Return how much of the smaller of two findings both show where their pieces overlap; 0 within one piece."""
    if one.piece == other.piece:
        return 0.0
    both = _common(one.piece, other.piece)
    first, second = _common(one.box, both), _common(other.box, both)
    smaller = min(_area(first), _area(second))
    return _area(_common(first, second)) / smaller if smaller > 0 else 0.0


def _apart(seen: Sequence[Seen], one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether a piece saw something of both whole: then they are two."""
    first, second = ({seen[index].piece for index in group if seen[index].whole} for group in (one, other))
    return not first.isdisjoint(second)


def _rank(seen: Sequence[Seen], index: int) -> tuple[bool, float, int]:
    return not seen[index].whole, -seen[index].score, index


def _common(one: Box, other: Box) -> Box:
    return max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])


def _area(box: Box) -> float:
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)
