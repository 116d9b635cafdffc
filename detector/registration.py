"""Lays the golden template onto the frame: shift, turn, zoom and slight tilt, to a fraction of a pixel. Pure.

The template is warped, never the frame: evidence stays as captured. Small pictures find where it lies at all
(`detector.capture`), larger ones how exactly (`detector.alignment`).
"""

from math import ceil, log2

import cv2
import numpy as np
import numpy.typing as npt

from detector.alignment import Aligned, align, find_edges, uncertainty_px
from detector.capture import find_candidates, find_shifts
from detector.light import flattened
from detector.maps import IDENTITY, Map, rescaled
from taktwatch.records import Registration

__all__ = ["CAPTURE_PX", "matrix_of", "register", "warp"]

Grey = npt.NDArray[np.uint8]
Field = npt.NDArray[np.float32]
Pair = tuple[Grey, Grey]

CAPTURE_PX = 40.0
SEARCHED_SIDE_PX = 80  # about the side of the pictures that are searched
DECIDING_SIDE_PX = 1024  # at most the side of the pictures that decide
STEP = 4  # between the sizes in which the map is followed
CANDIDATES = 4
BLOCK_PX = 32  # of the full picture: slower changes of brightness are the lamp's
FEWER_POINTS, POINTS = 2048, 8192
LEAST_GAIN = 1e-5  # of correlation; less is no reason to leave the simpler map
OUTSIDE = 1e6  # stands where a warped template does not reach
LEAST_OVERLAP = 0.5


def register(picture: Grey, template: Grey) -> tuple[Registration, Grey]:
    """Return how the template (h, w) lies on the picture (H, W), and the template warped there (H, W).

    It is found within 40 px, 3 degrees, 2 % of scale and a slight tilt. `quality` is the correlation of what both show
    besides slow changes of light, where they overlap: above 0.8 for a board of the product, below for another one or
    a turned one. `unsure_px` says how well the board's copper holds the map: above 1 it shows too little. Where the
    warped template does not reach, it shows the picture itself: nothing can be said of a difference there.

    >>> board = np.full((96, 96), 200, np.uint8)
    >>> board[30:60, 20:70] = 30
    >>> moved = np.roll(board, (2, -3), axis=(0, 1))
    >>> found, _ = register(moved, board)
    >>> [round(value) for value in found.matrix]
    [1, 0, -3, 0, 1, 2]
    """
    coarsest, finest = _factors(picture.shape)
    sizes = _pyramid(picture, template, coarsest)
    factor = max(coarsest // 2, 1)
    found = _captured(sizes, coarsest, factor)
    while found is not None and factor > finest:
        smaller = max(factor // STEP, finest)
        found = _followed(sizes[smaller], rescaled(found, factor / smaller), smaller)
        factor = smaller
    seen, golden = _prepared(sizes[finest], finest)
    best, quality = IDENTITY, _agreement(seen, golden, IDENTITY)
    if found is not None and (better := _agreement(seen, golden, found)) > quality + LEAST_GAIN:
        best, quality = rescaled(found, finest), better
    registration = Registration(
        matrix=tuple(float(value) for value in best[:2].ravel()),  # type: ignore[arg-type]  # six of them
        tilt=(float(best[2, 0]), float(best[2, 1])),
        quality=quality,
        unsure_px=_unsure_px(seen, golden, rescaled(best, 1 / finest), finest),
    )
    return registration, warp(template, best, picture)


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


def _pyramid(picture: Grey, template: Grey, coarsest: int) -> dict[int, Pair]:
    """Halve both until they are `coarsest` times smaller; odd rows and columns at the far edges are left out."""
    one, two = (
        grey[: len(grey) // coarsest * coarsest, : grey.shape[1] // coarsest * coarsest] for grey in (picture, template)
    )
    sizes, factor = {1: (one, two)}, 1
    while factor < coarsest:
        factor *= 2
        one, two = (_half(grey) for grey in (one, two))
        sizes[factor] = (one, two)
    return sizes


def _half(grey: Grey) -> Grey:
    size = (grey.shape[1] // 2, grey.shape[0] // 2)
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


def _prepared(pair: Pair, factor: int) -> tuple[Field, Field]:
    """Take the lamp out and blur a little, so that a map that is nearly right already agrees."""
    block = max(BLOCK_PX // factor, 8)
    seen, golden = (cv2.GaussianBlur(flattened(grey, block), (0, 0), 1.0) for grey in pair)
    return np.asarray(seen, np.float32), np.asarray(golden, np.float32)


def _captured(sizes: dict[int, Pair], coarsest: int, factor: int) -> Map | None:
    """Search at the coarsest size, decide between what was found (and no motion at all) at `factor`."""
    seen, golden = _prepared(sizes[factor], factor)
    edges = find_edges(golden, FEWER_POINTS)
    if edges is None:
        return None
    searched = [flattened(grey, max(2 * BLOCK_PX // coarsest, 8)) for grey in sizes[coarsest]]
    reach = ceil(CAPTURE_PX / coarsest) + 2
    candidates = find_candidates(searched[0], searched[1], reach, count=CANDIDATES)
    starts = [IDENTITY, *(rescaled(candidate.matrix, coarsest / factor) for candidate in candidates)]
    best: Aligned | None = None
    for start in starts:
        aligned = align(seen, edges, start, rounds=5, enough_px=0.05)
        if aligned is not None and (best is None or aligned.agreement > best.agreement):
            best = aligned
    if best is None:
        return None
    settled = align(seen, edges, best.matrix, rounds=6, enough_px=0.03) or best
    # Repeated traces hold a board fast one trace beside its place, but turned and zoomed as it should be: slide it.
    chosen, fit = settled.matrix, _agreement(seen, golden, settled.matrix)
    for beside in find_shifts(seen, golden, settled.matrix, ceil(CAPTURE_PX / factor), count=CANDIDATES):
        if np.abs(beside[:2, 2] - settled.matrix[:2, 2]).max() > 1:
            moved = align(seen, edges, beside, rounds=5, enough_px=0.03)
            if moved is not None and (better := _agreement(seen, golden, moved.matrix)) > fit:
                chosen, fit = moved.matrix, better
    return chosen


def _followed(pair: Pair, start: Map, factor: int) -> Map | None:
    """Correct a map at a larger size."""
    seen, golden = _prepared(pair, factor)
    edges = find_edges(golden, POINTS)
    aligned = None if edges is None else align(seen, edges, start, rounds=8, enough_px=0.01)
    return None if aligned is None else aligned.matrix


def _unsure_px(seen: Field, golden: Field, matrix: Map, factor: int) -> float:
    """Return how far the map may be off, in px of the frame; the whole capture range where nothing can be said."""
    edges = find_edges(golden, POINTS)
    unsure = None if edges is None else uncertainty_px(seen, edges, matrix)
    return CAPTURE_PX if unsure is None else min(unsure * factor, CAPTURE_PX)


def _agreement(seen: Field, golden: Field, matrix: Map) -> float:
    """Return the correlation under a map where both are seen; 0 where one has no contrast or too little is seen."""
    height, width = seen.shape
    laid = cv2.warpPerspective(golden, matrix, (width, height), borderMode=cv2.BORDER_CONSTANT, borderValue=OUTSIDE)
    both = np.abs(laid) < 1000  # noqa: PLR2004 - levels are below 256, anything mixed with OUTSIDE is far above
    if np.count_nonzero(both) < LEAST_OVERLAP * both.size:
        return 0.0
    one, two = seen[both], laid[both]
    one, two = one - one.mean(), two - two.mean()
    power = float(one @ one) * float(two @ two)
    return float(one @ two) / power**0.5 if power > 0 else 0.0
