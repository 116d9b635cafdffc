"""The two faces of a copper layer, read off its mask column by column; where a layer branches, path by path. Pure.

Columns of a mask fall into runs of set pixels. Runs of neighbouring columns that overlap one to one make a path; where
a run meets two, there is a junction, and the columns around it belong to no path's thickness. A layer that rises more
than it runs is read row by row instead (`Layer.transposed`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import cv2
import numpy as np
import numpy.typing as npt

from detector.masks import CUT, Roi

__all__ = ["Faces", "Layer", "layer_of", "transposed"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

SHADOW_PX = 4
"""Columns so near to a site are not trusted for the face of the layer."""
LEAST_PATH_PX = 8
"""What is shorter than this, or than the layer is thick, is no branch but a roughness of the mask."""
SWOLLEN = 1.2
"""Times as thick as usual: there a branch is already leaving."""
BESIDE_COLUMNS, LEAST_BESIDE = 24, 8
"""So many columns on either side of a gap say how the face leaves and reaches it; of fewer, the heights alone count."""
END_COLUMNS = 60
"""So many columns say where a path goes on beyond its end."""


@dataclass(frozen=True, eq=False, slots=True)
class Faces:
    """The faces of one path from column `x0` on: `upper` and `lower` (W,) in px from the top, `lower` exclusive.

    `left_out` (W,): columns at a junction, whose faces are not those of one layer.
    """

    x0: int
    upper: Floats
    lower: Floats
    left_out: Bools

    @property
    def x1(self) -> int:
        """The column behind the last."""
        return self.x0 + self.upper.size

    @property
    def middle(self) -> Floats:
        """How far down the middle lies (W,)."""
        return (self.upper + self.lower) / 2

    @property
    def thickness(self) -> float:
        """The median extent down a column, px."""
        return float(np.median(self.lower - self.upper))

    def goes_on_in(self, other: Self) -> bool:
        """Say whether two paths are pieces of one: where both are, or half-way between them, their middles meet."""
        left, right = (self, other) if self.x0 <= other.x0 else (other, self)
        near = (left.thickness + right.thickness) / 4
        if right.x0 < left.x1:
            both = slice(right.x0, min(left.x1, right.x1))
            one = left.middle[both.start - left.x0 : both.stop - left.x0]
            two = right.middle[: both.stop - right.x0]
            return float(np.abs(one - two).mean()) < near
        half_way = (left.x1 + right.x0 - 1) / 2
        return abs(left.beyond(half_way, last=True) - right.beyond(half_way, last=False)) < near

    def beyond(self, x: float, *, last: bool) -> float:
        """Return where the middle would lie at a column beyond the end, on a line through the nearest columns."""
        count = min(END_COLUMNS, self.upper.size)
        columns = np.arange(self.x1 - count, self.x1) if last else np.arange(self.x0, self.x0 + count)
        if count == 1:
            return float(self.middle[0])
        at, slope = _line(columns, self.middle[columns - self.x0], columns[0])
        return at + slope * (x - float(columns[0]))

    def joined(self, other: Self) -> Self:
        """Return two pieces as one path: the mean where both are, a straight bridge between them."""
        x0 = min(self.x0, other.x0)
        columns = np.arange(x0, max(self.x1, other.x1))
        faces = np.full((2, 2, columns.size), np.nan)
        left_out = np.zeros(columns.size, np.bool_)
        for row, piece in enumerate((self, other)):
            there = slice(piece.x0 - x0, piece.x1 - x0)
            faces[:, row, there] = piece.upper, piece.lower
            left_out[there] |= piece.left_out
        known = np.flatnonzero(~np.isnan(faces[0]).all(axis=0))
        upper, lower = (np.interp(np.arange(columns.size), known, np.nanmean(face[:, known], axis=0)) for face in faces)
        return type(self)(x0, upper, lower, left_out)

    def inside(self, roi: Roi) -> Bools:
        """Return which pixels of a ROI's mask lie between the faces, bool (h, w)."""
        columns = roi.x0 - self.x0 + np.arange(roi.mask.shape[1])
        there = (columns >= 0) & (columns < self.upper.size)
        at = np.clip(columns, 0, self.upper.size - 1)
        y = roi.y0 + np.arange(roi.mask.shape[0])[:, None] + 0.5
        return np.asarray(roi.mask & there & (y > self.upper[at]) & (y < self.lower[at]))


@dataclass(frozen=True, eq=False, slots=True)
class Layer:
    """A copper layer as its paths. `transposed`: it rises more than it runs, and x and y are exchanged."""

    paths: tuple[Faces, ...]
    transposed: bool

    @property
    def height(self) -> float:
        """How far down it lies, px: layers are named from the top."""
        at = [np.arange(path.x0, path.x1) + 0.5 if self.transposed else path.middle for path in self.paths]
        return float(np.concatenate(at).mean())

    def share(self, site: Roi) -> float:
        """Return which share of a site lies in the layer, 0 to 1."""
        here = transposed(site) if self.transposed else site
        inside = np.zeros_like(here.mask)
        for path in self.paths:
            inside |= path.inside(here)
        return float(np.count_nonzero(inside) / max(site.area_px, 1))

    def goes_on_in(self, other: Self) -> bool:
        """Say whether two masks are pieces of one layer; those that branch are whole by themselves."""
        if self.transposed != other.transposed or len(self.paths) != 1 or len(other.paths) != 1:
            return False
        return self.paths[0].goes_on_in(other.paths[0])

    def joined(self, other: Self) -> Self:
        """Return two pieces as one layer."""
        return replace(self, paths=(self.paths[0].joined(other.paths[0]),))


def transposed(roi: Roi) -> Roi:
    """Exchange x and y."""
    return Roi(roi.mask.T, roi.y0, roi.x0, None if roi.shares is None else roi.shares.T)


def layer_of(roi: Roi, sites: Sequence[Roi] = ()) -> Layer | None:
    """Read a layer off its mask, its faces bridged from sound columns where `sites` are; None for an empty mask."""
    if not roi.mask.any():
        return None
    steep = _is_steep(roi.mask)
    if steep:
        roi, sites = transposed(roi), [transposed(site) for site in sites]
    whole = _filled(roi, sites)
    column, start, end = _runs(whole)
    path, junction = _paths(column, start, end)
    kept = _lasting(path, start, end)
    if not kept.all():  # without a mask's roughness, what it cut is one path again
        column, start, end = column[kept], start[kept], end[kept]
        path, junction = _paths(column, start, end)
    found = [
        _faces(roi, _Runs(column[here], start[here], end[here], junction[here]), sites)
        for here in (np.flatnonzero(path == each) for each in np.unique(path))
    ]
    return Layer(tuple(found), steep)


def _is_steep(mask: Bools) -> bool:
    """Say whether a mask's long axis rises more than it runs, by its second moments."""
    moments = cv2.moments(mask.astype(np.uint8), binaryImage=True)
    return bool(moments["mu02"] > moments["mu20"])


def _filled(roi: Roi, sites: Sequence[Roi]) -> Bools:
    """Return the mask with the sites in its window, and without holes: what is eaten away was layer."""
    whole = np.array(roi.mask, np.uint8, order="C")
    rows, cols = whole.shape
    for site in sites:
        top, left = site.y0 - roi.y0, site.x0 - roi.x0
        down, across = site.mask.shape
        y0, y1, x0, x1 = max(top, 0), min(top + down, rows), max(left, 0), min(left + across, cols)
        if y0 < y1 and x0 < x1:
            whole[y0:y1, x0:x1] |= site.mask[y0 - top : y1 - top, x0 - left : x1 - left]
    contours, _ = cv2.findContours(whole, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    # Of sites beside the layer nothing belongs to it.
    of_layer = [each for each in contours if roi.mask[each[:, 0, 1], each[:, 0, 0]].any()]
    cv2.drawContours(whole, of_layer, -1, 2, cv2.FILLED)
    return np.asarray(whole == 2)  # noqa: PLR2004 - what was just filled


def _runs(mask: Bools) -> tuple[Ints, Ints, Ints]:
    """Return column, first row and row behind the last of each run of set pixels, in order of columns."""
    rows, cols = mask.shape
    fenced = np.zeros((cols, rows + 2), np.int8)
    fenced[:, 1:-1] = mask.T
    steps = np.diff(fenced, axis=1)
    column, start = np.nonzero(steps == 1)
    return column, start, np.nonzero(steps == -1)[1]


def _paths(column: Ints, start: Ints, end: Ints) -> tuple[Ints, Bools]:
    """Return which path each run belongs to, and which runs lie at a junction."""
    count = column.size
    first = np.searchsorted(column, column + 1, side="left")
    amount = np.searchsorted(column, column + 1, side="right") - first
    one = np.repeat(np.arange(count), amount)
    other = np.arange(one.size) - np.repeat(np.cumsum(amount) - amount, amount) + first[one]
    meet = (start[one] < end[other]) & (start[other] < end[one])
    one, other = one[meet], other[meet]
    leaving, coming = np.bincount(one, minlength=count), np.bincount(other, minlength=count)
    chained = (leaving[one] == 1) & (coming[other] == 1)
    before = np.arange(count)
    before[other[chained]] = one[chained]
    while True:  # each round doubles how far back a run looks
        further = before[before]
        if np.array_equal(further, before):
            break
        before = further
    junction = np.zeros(count, np.bool_)
    junction[one[~chained]] = True
    junction[other[~chained]] = True
    return before, junction


def _lasting(path: Ints, start: Ints, end: Ints) -> Bools:
    """Return which runs belong to paths that are longer than the layer is thick."""
    _, which, lengths = np.unique(path, return_inverse=True, return_counts=True)
    least = max(LEAST_PATH_PX, float(np.median(end - start)))
    lasting = lengths >= min(least, lengths.max())
    return np.asarray(lasting[which])


def _around(junctions: Ints, extent: Floats) -> Bools:
    """Return which columns belong to junctions: a layer's thickness on either side, and as far as it is swollen."""
    found = np.zeros(extent.size, np.bool_)
    usual = float(np.median(extent))
    thin = np.flatnonzero(extent <= SWOLLEN * usual)
    for at in junctions:
        place = np.searchsorted(thin, at)
        left = thin[place - 1] if place else -1
        right = thin[place] if place < thin.size else extent.size
        found[max(min(left, at) - int(usual), 0) : max(right, at) + int(usual) + 1] = True
    return found


@dataclass(frozen=True, eq=False, slots=True)
class _Runs:
    """The runs of one path: column, first row, row behind the last, and whether it lies at a junction."""

    column: Ints
    start: Ints
    end: Ints
    junction: Bools


def _faces(roi: Roi, runs: _Runs, sites: Sequence[Roi]) -> Faces:
    """Return the faces of one path, bridged where sites eat into it."""
    x0, count = int(runs.column[0]), runs.column.size
    upper = runs.start + _between(roi, runs.column, runs.start, -1)
    lower = runs.end - _between(roi, runs.column, runs.end - 1, 1)
    sound, runs_x0 = np.ones(count, np.bool_), roi.x0 + x0
    for site in sites:
        x_first, y_first, x_end, y_end = site.box
        near = slice(max(x_first - runs_x0 - SHADOW_PX, 0), max(x_end - runs_x0 + SHADOW_PX, 0))
        top, bottom = y_first - roi.y0 - SHADOW_PX, y_end - roi.y0 + SHADOW_PX
        sound[near] &= (lower[near] < top) | (upper[near] > bottom)
    left_out = _around(np.flatnonzero(runs.junction), lower - upper)
    known = np.flatnonzero(sound & ~left_out)
    if not known.size:
        known = np.flatnonzero(sound) if sound.any() else np.arange(count)
    return Faces(roi.x0 + x0, roi.y0 + _bridged(known, upper, count), roi.y0 + _bridged(known, lower, count), left_out)


def _between(roi: Roi, column: Ints, row: Ints, outwards: int) -> Floats:
    """Return how far inside the border of its outermost rows (W,) a face lies, -0.5 to 0.5 px; 0 where nobody knows.

    Shares of pixels are read at their middles, linearly between them: the face is where one half is crossed.
    """
    beside = row + outwards
    if roi.shares is None:
        return np.zeros(row.size)
    known = (beside >= 0) & (beside < roi.shares.shape[0])
    inner = roi.shares[row, column].astype(np.float64)
    outer = roi.shares[np.where(known, beside, row), column]
    known &= (inner > CUT) & (outer <= CUT)
    return np.where(known, 0.5 - (inner - CUT) / np.where(known, inner - outer, 1.0), 0.0)


def _bridged(known: Ints, face: Floats, count: int) -> Floats:
    """Return a face at `count` columns from the known ones; a gap is crossed as the face leaves and reaches it."""
    columns = np.arange(count)
    found = np.interp(columns, known, face[known])
    for at in np.flatnonzero(np.diff(known) > 1).tolist():
        before, behind = known[max(at + 1 - BESIDE_COLUMNS, 0) : at + 1], known[at + 1 : at + 1 + BESIDE_COLUMNS]
        if min(before.size, behind.size) >= LEAST_BESIDE:
            left, right = int(before[-1]), int(behind[0])
            gap = columns[left + 1 : right]
            leaving = _line(before, face[before], left)
            found[gap] = _hermite(gap, (left, *leaving), (right, *_line(behind, face[behind], right)))
    return np.asarray(found, np.float64)


def _line(columns: Ints, heights: Floats, at: int) -> tuple[float, float]:
    """Return height and slope, at one column, of the straight line through heights at two or more columns.

    >>> _line(np.array([2, 3, 4]), np.array([5.0, 7.0, 9.0]), 0)
    (1.0, 2.0)
    """
    middle, mean = float(columns.mean()), float(heights.mean())
    away = columns - middle
    slope = float(away @ (heights - mean)) / float(away @ away)
    return mean + slope * (at - middle), slope


def _hermite(x: Ints, left: tuple[int, float, float], right: tuple[int, float, float]) -> Floats:
    """Return the cubic that leaves and reaches two places (column, height, slope) as their slopes say."""
    (x0, y0, slope0), (x1, y1, slope1) = left, right
    width = x1 - x0
    t = (x - x0) / width
    return np.asarray(
        (1 + 2 * t) * (1 - t) ** 2 * y0
        + t * (1 - t) ** 2 * width * slope0
        + t**2 * (3 - 2 * t) * y1
        + t**2 * (t - 1) * width * slope1
    )
