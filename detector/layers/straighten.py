"""Walking along a layer's centre line and looking across it: the layer as if it were straight. Pure.

Steps are 1 px long. At each, a line across meets both faces; what sites eat is read along that line. All steps are
taken at once: bands of any tilt and curvature cost what straight ones cost.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from detector.layers.faces import Faces
from detector.masks import CUT, Roi

__all__ = ["Course", "course"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

FACE_WINDOW = 9
"""Columns over which a face is evened out: a mask's edge goes in whole pixels."""
ROUNDS = 6
SAMPLES_PER_PX = 2
MOST_SAMPLES = 1024
OUTSIDE_PX = 1.0


@dataclass(frozen=True, eq=False, slots=True)
class Course:
    """One path, step by step (S,), in px. `x`, `y`: the centre line; `upper`, `lower` (S, 2): where its faces are met.

    `corroded` (S, K): samples across, from the upper face to the lower one. `left_out` (S,): steps at a junction, at
    the picture's edge, or whose line across leaves the path.
    """

    x: Floats
    y: Floats
    upper: Floats
    lower: Floats
    corroded: Bools
    left_out: Bools

    @property
    def thickness(self) -> Floats:
        """From face to face (S,)."""
        return np.asarray(np.hypot(*(self.lower - self.upper).T))

    @property
    def eaten(self) -> Floats:
        """How much of the thickness is corroded (S,)."""
        return np.asarray(self.corroded.mean(axis=1) * self.thickness)

    def depth(self, *, upper: bool, within_px: float) -> Floats:
        """How far corrosion that comes within so many px of a face reaches in from it, up to the first copper (S,)."""
        eaten = self.corroded if upper else self.corroded[:, ::-1]
        count = eaten.shape[1]
        first = np.argmax(eaten, axis=1)
        copper = ~eaten & (np.arange(count) > first[:, None])
        end = np.where(copper.any(axis=1), np.argmax(copper, axis=1), count)
        return np.asarray(np.where(self.near_face(within_px, upper=upper), end, 0) / count * self.thickness)

    def near_face(self, within_px: float, *, upper: bool) -> Bools:
        """Say at which steps corrosion comes within so many px of a face (S,)."""
        at = (np.arange(self.corroded.shape[1]) + 0.5) / self.corroded.shape[1]
        depth = (at if upper else 1 - at) * self.thickness[:, None]
        return np.asarray((self.corroded & (depth < within_px)).any(axis=1))


def course(faces: Faces, sites: Sequence[Roi], size: tuple[int, int] | None = None) -> Course:
    """Walk along a path. `size`: the picture's (height, width), whose edges cut layers (None: they do not).

    >>> band = Faces(0, np.full(50, 10.0), np.full(50, 30.0), np.zeros(50, bool))
    >>> walked = course(band, [Roi(np.ones((5, 8), bool), 20, 10)])
    >>> float(walked.thickness.mean()), float(walked.eaten.max()), int((walked.eaten > 0).sum())
    (20.0, 5.0, 8)
    """
    upper, lower = _even(faces.upper, FACE_WINDOW), _even(faces.lower, FACE_WINDOW)
    across = max(FACE_WINDOW, 2 * (int(faces.thickness) // 2) + 1)
    middle = _even((upper + lower) / 2, across)
    columns = np.asarray(faces.x0 + np.arange(middle.size) + 0.5, np.float64)
    slope = np.gradient(middle) if middle.size > 1 else np.zeros(1)
    length = np.concatenate([[0.0], np.cumsum(np.hypot(1.0, (slope[1:] + slope[:-1]) / 2))])
    steps = np.arange(max(round(float(length[-1]) + 1), 1)) * (length[-1] / max(round(float(length[-1])), 1))
    x, y, tilt = (_between(steps, length, known) for known in (columns, middle, slope))
    ends = np.stack([_met(columns, face, x, y, tilt) for face in (upper, lower)])
    beyond = (ends[..., 0] < columns[0] - OUTSIDE_PX) | (ends[..., 0] > columns[-1] + OUTSIDE_PX)
    left_out = beyond.any(axis=0) | faces.left_out[np.clip((x - faces.x0).astype(int), 0, middle.size - 1)]
    if size is not None:
        left_out |= (ends[0, :, 1] < OUTSIDE_PX) | (ends[1, :, 1] > size[0] - OUTSIDE_PX)
    return Course(x, y, ends[0], ends[1], _corroded(ends[0], ends[1], sites), left_out)


def _between(steps: Floats, length: Floats, known: npt.NDArray[np.floating]) -> Floats:
    """Return at steps what is known at lengths."""
    return np.asarray(np.interp(steps, length, known), np.float64)


def _met(columns: Floats, face: Floats, x: Floats, y: Floats, tilt: Floats) -> Floats:
    """Return where lines across the centre line meet a face (S, 2), by Newton's method for all steps at once."""
    size = np.hypot(1.0, tilt)
    right, down = -tilt / size, 1 / size
    at = (_on(columns, face, x) - y) / size
    for _ in range(ROUNDS):
        at -= (y + at * down - _on(columns, face, x + at * right)) / size
    return np.stack([x + at * right, y + at * down], axis=1)


def _on(columns: Floats, face: Floats, x: Floats) -> Floats:
    """Return a face at any x; beyond its ends it goes on as it came."""
    inside = np.clip(x, columns[0], columns[-1])
    found = np.interp(inside, columns, face)
    if face.size > 1:
        count = min(face.size - 1, 2 * FACE_WINDOW)
        first, last = (face[count] - face[0]) / count, (face[-1] - face[-1 - count]) / count
        found += np.where(x < inside, first, last) * (x - inside)
    return np.asarray(found)


def _even(values: Floats, window: int) -> Floats:
    """Return the moving mean; straight lines stay as they are up to their ends."""
    half = min(window // 2, (values.size - 1) // 2)
    if half < 1:
        return values
    ahead = 2 * values[0] - values[half:0:-1]
    behind = 2 * values[-1] - values[-2 : -half - 2 : -1]
    sums = np.cumsum(np.concatenate([[0.0], ahead, values, behind]))
    width = 2 * half + 1
    return np.asarray((sums[width:] - sums[:-width]) / width)


def _corroded(upper: Floats, lower: Floats, sites: Sequence[Roi]) -> Bools:
    """Read the sites along each line across: bool (S, K)."""
    thickest = float(np.hypot(*(lower - upper).T).max(initial=0.0))
    count = int(np.clip(np.ceil(SAMPLES_PER_PX * thickest), 1, MOST_SAMPLES))
    share = (np.arange(count) + 0.5) / count
    found = np.zeros((len(upper), count), np.bool_)
    low, high = np.minimum(upper, lower), np.maximum(upper, lower)
    for site in sites:
        corner = np.array([site.x0, site.y0])
        limit = corner + np.array(site.mask.shape[::-1])
        near = np.flatnonzero(((high >= corner) & (low <= limit)).all(axis=1))
        at = upper[near, None] + share[:, None] * (lower - upper)[near, None]
        if near.size:
            found[near] |= _inside(site, at - corner)
    return found


def _inside(site: Roi, at: Floats) -> Bools:
    """Say which places (..., 2), x and y from a site's corner, lie in it: between pixels where shares are known."""
    if site.shares is not None:
        x, y = (at[..., axis].astype(np.float32) - np.float32(0.5) for axis in (0, 1))
        shares = np.ascontiguousarray(site.shares, np.float32)
        return np.asarray(cv2.remap(shares, x, y, cv2.INTER_LINEAR, borderValue=0) > CUT)
    col, row = (np.floor(at).astype(np.int64)[..., axis] for axis in (0, 1))
    there = (col >= 0) & (row >= 0) & (col < site.mask.shape[1]) & (row < site.mask.shape[0])
    seen = np.zeros(there.shape, np.bool_)
    seen[there] = site.mask[row[there], col[there]]
    return seen
