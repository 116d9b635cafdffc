"""Where most of a template's edges say that it lies, however firmly the others disagree. Pure.

A board may be cut at another line than its template was: the rim is long, straight and of one mind, and no edge of
copper. Least squares turn the template until rim and copper are equally wrong. So edges are heard as witnesses: each
looks along its normal for a profile like its own and says how far away it lies; poses that a few drawn witnesses agree
on are tried, and the one that most confirm is taken (RANSAC, Fischler and Bolles 1981, with MSAC's bounded loss, Torr
and Zisserman 2000). All witnesses on one straight line are one witness, told many times: together they have about
`LINE_SHARE` of the votes (somewhat more where the line runs askew, or where few witnesses lie beside it).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from detector.aligning.alignment import Edges, corrected
from detector.aligning.maps import Map, carried, moved

__all__ = ["Agreed", "Witnesses", "call_witnesses", "confirmed", "find_consensus"]

Field = npt.NDArray[np.float32]

WITNESSES = 512
LEAST_WITNESSES = 32
CLEAR = 0.25  # of the strongest slopes; fainter edges may be noise
HALF_PROFILE_PX = 4
REACH_PX = 8  # a witness looks for its edge
NEAR_PX = 2  # where a map is only to be confirmed
ALIKE = 0.7  # correlation of profiles from which an edge is found again
LEAST_POWER = 5.0  # grey levels; a profile that varies less is even
TOLERANCE_PX = 0.75  # an edge found farther away confirms nothing
LINE_SHARE = 0.05
LINE_ANGLES, LINE_PX = 45, 4.0
TRIALS, DRAWN = 192, 6
ASSUMED = (1e-3, 1e-3, 0.05, 0.05)  # of shift, zoom and turn of a trial: keeps what few witnesses cannot tell small
FITS = 3
FITTED_PX, SPREAD_PX = 1.25, 0.5  # edges farther away have no say in the fit; how far good ones scatter
LEAST_HEARD = 0.25  # of the votes are inside the picture; with fewer inside a map has no full share


@dataclass(frozen=True, eq=False, slots=True)
class Witnesses:
    """Some edge points of a template, on the crest of their edges.

    edges: the points (N, 2), any number of them, with slopes per px along the normal. normals: (N, 2), towards
    brighter. profiles: (N, 9), levels along the normal, zero mean, unit length. votes: (N,), sum 1.
    """

    edges: Edges
    normals: Field
    profiles: Field
    votes: Field


@dataclass(frozen=True, eq=False, slots=True)
class Agreed:
    """A map from template to picture, and the share of the votes for it, 0 to 1."""

    matrix: Map
    share: float


@dataclass(frozen=True, eq=False, slots=True)
class _Heard:
    """What witnesses say under a map: how far along the normals (N, 2) of the picture their edges lie, px (N,).

    places: (N, 2), where the map takes them. votes: (N,), zero where no like edge was found; sum 1 if all were.
    """

    places: Field
    normals: Field
    away: Field
    votes: Field


def call_witnesses(template: Field, edges: Edges) -> Witnesses | None:
    """Choose witnesses among the edges of a template (h, w); None where there are too few."""
    strength: Field = np.hypot(edges.slopes[:, 0], edges.slopes[:, 1])
    normals = np.asarray(edges.slopes[:, :2] / np.maximum(strength, np.float32(1e-6))[:, None], np.float32)
    slope_x, slope_y = (cv2.Sobel(template, cv2.CV_32F, dx, 1 - dx, ksize=3, scale=1 / 8) for dx in (1, 0))
    beside = _sampled(np.asarray(cv2.magnitude(slope_x, slope_y)), edges.points, normals, (-1, 1))
    told = (strength >= beside.max(axis=1)) & (strength > CLEAR * np.quantile(strength, 0.95))
    chosen = np.flatnonzero(told)
    if len(chosen) < LEAST_WITNESSES:
        return None
    if len(chosen) > WITNESSES:
        chosen = chosen[np.linspace(0, len(chosen) - 1, WITNESSES).astype(int)]
    points, normals = np.ascontiguousarray(edges.points[chosen]), normals[chosen]
    slopes: Field = np.ascontiguousarray(edges.slopes[chosen]) / strength[chosen, None]
    few = Edges(points, edges.levels[chosen], slopes, edges.middle, edges.unit)
    profiles = _sampled(template, points, normals, range(-HALF_PROFILE_PX, HALF_PROFILE_PX + 1))
    profiles -= profiles.mean(axis=1, keepdims=True)
    profiles /= np.maximum(np.linalg.norm(profiles, axis=1, keepdims=True), np.float32(LEAST_POWER))
    return Witnesses(few, normals, profiles, _votes(points - np.array(edges.middle, np.float32), normals))


def confirmed(picture: Field, witnesses: Witnesses, matrix: Map) -> float:
    """Return the share of the votes, 0 to 1, for a map: of the edges that the picture shows where the map says."""
    heard = _hear(picture, witnesses, matrix, NEAR_PX)
    return float((heard.votes * _bounded(heard.away)).sum())


def find_consensus(picture: Field, witnesses: Witnesses, start: Map) -> Agreed | None:
    """Return the map within `REACH_PX` of `start` that most witnesses confirm; None where hardly any are heard."""
    heard = _hear(picture, witnesses, start, REACH_PX)
    if np.count_nonzero(heard.votes) < LEAST_WITNESSES // 2:
        return None
    matrix = _tried(heard, witnesses.edges.unit) @ start
    for _ in range(FITS):
        heard = _hear(picture, witnesses, matrix, NEAR_PX)
        weight = heard.votes * _bounded(heard.away, FITTED_PX) * np.float32(len(heard.votes) / SPREAD_PX**2)
        better = corrected(witnesses.edges, matrix, -heard.away, weight)
        if better is None:
            return None
        matrix, _ = better
    return Agreed(matrix, confirmed(picture, witnesses, matrix))


def _tried(heard: _Heard, unit: float) -> Map:
    """Return the shift, zoom and turn of the picture that most confirm, of those that some drawn witnesses agree on."""
    known = np.flatnonzero(heard.votes)
    places, normals, away = heard.places[known], heard.normals[known], heard.away[known].astype(np.float64)
    middle = places.mean(axis=0)
    (u, v), (across, down) = ((places - middle) / np.float32(unit)).T, normals.T
    terms = np.stack([across, down, across * u + down * v, down * u - across * v], axis=1).astype(np.float64)
    votes = heard.votes[known]
    rng = np.random.default_rng(len(known))
    drawn = rng.choice(len(known), (TRIALS, DRAWN), p=votes / votes.sum())
    some, theirs = terms[drawn], away[drawn]
    turned = some.transpose(0, 2, 1)
    trials = np.linalg.solve(turned @ some + np.diag(ASSUMED), turned @ theirs[..., None])[..., 0]
    trials[0] = 0  # no motion at all
    left = (trials @ terms.T - away).astype(np.float32)
    shift_x, shift_y, zoom, turn = trials[(_bounded(left) @ votes).argmax()]
    zoom, turn = zoom / unit, turn / unit
    similar = np.array([[1 + zoom, -turn, shift_x], [turn, 1 + zoom, shift_y], [0, 0, 1]])
    return np.asarray(moved(*middle) @ similar @ moved(*-middle), np.float64)


def _hear(picture: Field, witnesses: Witnesses, matrix: Map, reach_px: int) -> _Heard:
    """Let each witness look along its normal for a profile like its own."""
    height, width = picture.shape
    points = witnesses.edges.points
    places = carried(matrix, points)
    normals = carried(matrix, points + witnesses.normals) - places
    normals /= np.maximum(np.hypot(normals[:, 0], normals[:, 1]), np.float32(1e-6))[:, None]
    reached = reach_px + HALF_PROFILE_PX
    levels = _sampled(picture, places, normals, range(-reached, reached + 1))
    windows = np.lib.stride_tricks.sliding_window_view(levels, 2 * HALF_PROFILE_PX + 1, axis=1)
    sums, squares = windows.sum(axis=2), np.einsum("nkw,nkw->nk", windows, windows)
    power = np.sqrt(np.maximum(squares - sums * sums / windows.shape[2], LEAST_POWER**2))
    alike = (windows @ witnesses.profiles[:, :, None])[..., 0] / power  # its profile has no mean: theirs does not count
    best = alike.argmax(axis=1)
    one = np.arange(len(best))
    between = np.clip(best, 1, alike.shape[1] - 2)
    before, here, after = (alike[one, between + step] for step in (-1, 0, 1))
    bend = np.maximum(2 * here - before - after, np.float32(1e-4))
    beside = np.where(between == best, np.clip((after - before) / (2 * bend), -0.5, 0.5), best - between)
    inside = np.all((places >= 0) & (places <= (width - 1, height - 1)), axis=1)
    votes = witnesses.votes * inside
    votes = votes / max(float(votes.sum()), LEAST_HEARD) * (alike[one, best] > ALIKE)
    return _Heard(places, normals, (between - reach_px + beside).astype(np.float32), votes.astype(np.float32))


def _votes(places: Field, normals: Field) -> Field:
    """Share the votes: each straight line, told by angle and distance from the middle, has at most its share."""
    angle = np.rint(np.arctan2(normals[:, 1], normals[:, 0]) * (LINE_ANGLES / (2 * np.pi))) % LINE_ANGLES
    turned = angle * (2 * np.pi / LINE_ANGLES)
    distance = np.rint((places[:, 0] * np.cos(turned) + places[:, 1] * np.sin(turned)) / LINE_PX)
    _, line, counts = np.unique(np.stack([angle, distance]), axis=1, return_inverse=True, return_counts=True)
    votes = np.minimum(1.0, LINE_SHARE * len(places) / counts[line.ravel()])
    return np.asarray(votes / votes.sum(), np.float32)


def _bounded(away: Field, tolerance_px: float = TOLERANCE_PX) -> Field:
    """Return how far a distance confirms, 1 to 0 from the tolerance on (Tukey's biweight)."""
    far = away * np.float32(1 / tolerance_px)
    return np.asarray(np.clip(1 - far * far, 0, None) ** 2, np.float32)


def _sampled(picture: Field, points: Field, normals: Field, offsets: Iterable[int]) -> Field:
    """Return the levels (N, K) beside points (N, 2), at K distances along their normals."""
    along = np.array(list(offsets), np.float32)
    x, y = (points[:, axis, None] + normals[:, axis, None] * along for axis in (0, 1))
    return np.asarray(cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)
