"""Lays the golden template onto the frame: shift, turn, zoom and slight tilt, to a fraction of a pixel. Pure.

The template is warped, never the frame: evidence stays as captured. Small pictures find where it lies at all
(`capture`), larger ones how exactly (`alignment`); where much does not fit, the edges vote (`consensus`).
"""

from math import ceil, log2

import cv2
import numpy as np
import numpy.typing as npt

from detector.aligning.alignment import align, uncertainty_px
from detector.aligning.capture import find_candidates, find_shifts
from detector.aligning.consensus import confirmed, find_consensus
from detector.aligning.maps import IDENTITY, Map, rescaled
from detector.aligning.pattern import Pattern
from taktwatch.records import Registration

__all__ = ["CAPTURE_PX", "matrix_of", "register", "warp"]

Grey = npt.NDArray[np.uint8]
Field = npt.NDArray[np.float32]

CAPTURE_PX = 40.0
FARTHEST_PX = 1.5 * CAPTURE_PX  # what is farther away was not looked for: a misfit slid there
SEARCHED_SIDE_PX = 80  # about the side of the pictures that are searched
DECIDING_SIDE_PX = 1024  # at most the side of the pictures that decide
STEP = 4  # between the sizes in which the map is followed
CANDIDATES = 4
NO_SEARCH = 0.97  # agreement of a board that lies almost as its template: no better place is looked for
FEWER_POINTS, POINTS = 2048, 8192
LEAST_GAIN = 1e-5  # of correlation; less is no reason to leave the simpler map
SURE_SHARE = 0.85  # of a template's edges; a map that so many confirm is not doubted
MOST, MANY_MORE = 0.6, 0.06  # of the edges: reason to leave the map that fits best for one that fits worse
MORE, AS_GOOD = 0.03, 0.002  # more of the edges, and hardly less correlation: reason to leave it, too
OUTSIDE = 1e6  # stands where a warped template does not reach
LEAST_OVERLAP = 0.5


def register(picture: Grey, template: Grey | Pattern) -> tuple[Registration, Grey]:
    """Return how the template (h, w) lies on the picture (H, W), and the template warped there (H, W).

    A template that is compared with many pictures is better given as a `Pattern`: the answer is the same.

    It is found within 40 px, 3 degrees, 2 % of scale and a slight tilt. Where the place that fits best is not the one
    that most of its edges confirm (a rim was cut elsewhere), those decide (`consensus`).

    `quality` is the correlation of what both show besides slow changes of light, where they overlap: above 0.8 for a
    board of the product, below for another one or a turned one. `unsure_px` says how well the board's copper holds the
    map: above 1 it shows too little. Where the warped template does not reach, it shows the picture itself: nothing can
    be said of a difference there.

    >>> board = np.full((96, 96), 200, np.uint8)
    >>> board[30:60, 20:70] = 30
    >>> moved = np.roll(board, (2, -3), axis=(0, 1))
    >>> found, _ = register(moved, board)
    >>> [round(value) for value in found.matrix]
    [1, 0, -3, 0, 1, 2]
    """
    shown, golden = Pattern(picture), template if isinstance(template, Pattern) else Pattern(template)
    coarsest, finest = _factors(picture.shape)
    factor = max(coarsest // 2, 1)
    found = _captured(shown, golden, coarsest, factor)
    while found is not None and factor > finest:
        smaller = max(factor // STEP, finest)
        found = _followed(shown, golden, coarsest, smaller, rescaled(found, factor / smaller))
        factor = smaller
    seen, laid = shown.clear(coarsest, finest), golden.clear(coarsest, finest)
    best, quality = IDENTITY, _agreement(seen, laid, IDENTITY)
    if found is not None and not _within_reach(found, laid.shape, seen.shape, finest):
        found = None
    if found is not None and (better := _agreement(seen, laid, found)) > quality + LEAST_GAIN:
        best, quality = found, better
    if (outvoted := _outvoted(shown, golden, coarsest, finest, best)) is not None:
        best, quality = outvoted, _agreement(seen, laid, outvoted)
    edges = golden.edges(coarsest, finest, POINTS)
    unsure = None if edges is None else uncertainty_px(seen, edges, best)
    best = rescaled(best, finest)
    registration = Registration(
        matrix=tuple(float(value) for value in best[:2].ravel()),  # type: ignore[arg-type]  # six of them
        tilt=(float(best[2, 0]), float(best[2, 1])),
        quality=quality,
        unsure_px=CAPTURE_PX if unsure is None else min(unsure * finest, CAPTURE_PX),
    )
    return registration, warp(golden.grey, best, picture)


def matrix_of(registration: Registration) -> Map:
    """Return the 3x3 map from template px to frame px.

    >>> matrix_of(Registration(matrix=(1, 0, 2, 0, 1, 3), quality=1.0)).tolist()
    [[1.0, 0.0, 2.0], [0.0, 1.0, 3.0], [0.0, 0.0, 1.0]]
    """
    return np.array([*registration.matrix, *registration.tilt, 1.0]).reshape(3, 3)


def warp(template: Grey, matrix: npt.NDArray[np.floating], picture: Grey) -> Grey:
    """Warp the template (2x3 or 3x3 map, template px to picture px); beyond its edges the picture itself shows."""
    canvas = picture.copy()
    size = (picture.shape[1], picture.shape[0])
    if len(matrix) == 2 or not (matrix[2, 0] or matrix[2, 1]):  # noqa: PLR2004 - rows of an affine map
        moved = cv2.warpAffine(template, matrix[:2], size, dst=canvas, borderMode=cv2.BORDER_TRANSPARENT)
    else:
        moved = cv2.warpPerspective(template, matrix, size, dst=canvas, borderMode=cv2.BORDER_TRANSPARENT)
    return np.asarray(moved, np.uint8)


def _factors(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return how many times smaller than the picture (H, W) the searched and the deciding pictures are."""
    side = (shape[0] * shape[1]) ** 0.5
    coarsest = 2 ** max(0, round(log2(max(side / SEARCHED_SIDE_PX, 1))))
    finest = 2 ** max(1 if coarsest >= STEP else 0, ceil(log2(max(shape) / DECIDING_SIDE_PX)))
    return coarsest, min(finest, max(coarsest // 2, 1))


def _captured(shown: Pattern, golden: Pattern, coarsest: int, factor: int) -> Map | None:
    """Search at the coarsest size, decide between what was found (and no motion at all) at `factor`."""
    seen, laid = shown.clear(coarsest, factor), golden.clear(coarsest, factor)
    edges = golden.edges(coarsest, factor, FEWER_POINTS)
    if edges is None:
        return None
    best = align(seen, edges, IDENTITY, rounds=5, enough_px=0.05)
    if best is None or best.agreement < NO_SEARCH:
        reach = ceil(CAPTURE_PX / coarsest) + 2
        for candidate in find_candidates(shown.searched(coarsest), golden.searched(coarsest), reach, count=CANDIDATES):
            aligned = align(seen, edges, rescaled(candidate.matrix, coarsest / factor), rounds=5, enough_px=0.05)
            if aligned is not None and (best is None or aligned.agreement > best.agreement):
                best = aligned
    if best is None:
        return None
    settled = align(seen, edges, best.matrix, rounds=6, enough_px=0.03) or best
    # Repeated traces hold a board fast one trace beside its place, but turned and zoomed as it should be: slide it.
    chosen, fit = settled.matrix, _agreement(seen, laid, settled.matrix)
    for beside in find_shifts(seen, laid, settled.matrix, ceil(CAPTURE_PX / factor), count=CANDIDATES):
        if np.abs(beside[:2, 2] - settled.matrix[:2, 2]).max() > 1:
            moved = align(seen, edges, beside, rounds=5, enough_px=0.03)
            if moved is not None and (better := _agreement(seen, laid, moved.matrix)) > fit:
                chosen, fit = moved.matrix, better
    return chosen


def _followed(shown: Pattern, golden: Pattern, coarsest: int, factor: int, start: Map) -> Map | None:
    """Correct a map at a larger size."""
    edges = golden.edges(coarsest, factor, POINTS)
    seen = shown.clear(coarsest, factor)
    aligned = None if edges is None else align(seen, edges, start, rounds=8, enough_px=0.01, patience=16)
    return None if aligned is None else aligned.matrix


def _outvoted(shown: Pattern, golden: Pattern, coarsest: int, finest: int, best: Map) -> Map | None:
    """Return the map that clearly more edges confirm than the best fitting one; None where there is none."""
    seen, laid = shown.clear(coarsest, finest), golden.clear(coarsest, finest)
    witnesses = golden.witnesses(coarsest, finest, POINTS)
    if witnesses is None or (share := confirmed(seen, witnesses, best)) > SURE_SHARE:
        return None
    start, coarser = best, max(coarsest // 2, finest)
    few = golden.witnesses(coarsest, coarser, FEWER_POINTS) if coarser > finest else None
    if few is not None:
        rough = find_consensus(shown.clear(coarsest, coarser), few, rescaled(best, finest / coarser))
        start = best if rough is None else rescaled(rough.matrix, coarser / finest)
    agreed = find_consensus(seen, witnesses, start)
    if agreed is None or not _within_reach(agreed.matrix, laid.shape, seen.shape, finest):
        return None
    gain = agreed.share - share
    # Bent boards fit nowhere: what lies best for some of their edges is worse than what is nearly right for all.
    outvoted = agreed.share > MOST and gain > MANY_MORE
    as_good = gain > MORE and _agreement(seen, laid, agreed.matrix) > _agreement(seen, laid, best) - AS_GOOD
    return agreed.matrix if outvoted or as_good else None


def _within_reach(matrix: Map, template: tuple[int, ...], picture: tuple[int, ...], factor: int) -> bool:
    """Tell whether a map between pictures `factor` times smaller lays the template where a board may lie.

    Its middle is near where it was, or near the middle of the picture. Shapes are (h, w) of the template, (H, W).
    """
    middle, there = (np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2, 1.0]) for shape in (template, picture))
    carried = matrix @ middle
    away = [np.abs(carried[:2] / carried[2] - start[:2]).max() for start in (middle, there)]
    return bool(min(away) <= FARTHEST_PX / factor)


def _agreement(seen: Field, golden: Field, matrix: Map) -> float:
    """Return the correlation under a map where both are seen; 0 where one has no contrast or too little is seen."""
    if matrix is IDENTITY and golden.shape == seen.shape:
        one, two = seen.ravel(), golden.ravel()
    else:
        size = (seen.shape[1], seen.shape[0])
        warped = cv2.warpPerspective(golden, matrix, size, borderMode=cv2.BORDER_CONSTANT, borderValue=OUTSIDE)
        laid = np.asarray(warped, np.float32)
        both = laid < 1000  # noqa: PLR2004 - levels are below 256, anything mixed with OUTSIDE is far above
        if np.count_nonzero(both) < LEAST_OVERLAP * both.size:
            return 0.0
        one, two = seen[both], laid[both]
    one, two = one - one.mean(), two - two.mean()
    power = float(one @ one) * float(two @ two)
    return float(one @ two) / power**0.5 if power > 0 else 0.0
