"""A golden template from pictures of good boards: their median, and how far good boards stray from it. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from detector.aligning.light import lit_like
from detector.aligning.maps import IDENTITY, Map
from detector.aligning.registration import matrix_of, register
from detector.inputs import grey_of
from detector.products.gates import Baseline, PictureFigures, learn_baseline, picture_figures
from taktwatch.errors import BadInput

__all__ = ["LEAST_BOARDS", "LEAST_QUALITY", "MOST_BOARDS", "Golden", "build_golden", "usual_look"]

Picture = npt.NDArray[np.uint8]
Grey = npt.NDArray[np.uint8]

LEAST_BOARDS, MOST_BOARDS = 3, 64
LEAST_QUALITY = 0.8
"""Correlation below which a board is no board of this product, or lies turned around."""
STRIP_ROWS = 64  # the median is taken of so many rows at a time
SPREADS = 4.0  # robust spreads that good boards stay within
LEAST_TOLERANCE = 4.0  # grey levels
POOLED_PX = 1.5  # spreads of few boards are unsure: neighbours are taken together
COVERED = 255


@dataclass(frozen=True, eq=False, slots=True)
class Golden:
    """What good boards share.

    template: uint8 RGB (H, W, 3). tolerance: uint8 (H, W), grey levels that a good board's difference stays within.
    roi: corners (x, y) of what all boards show. qualities: how well each board fits, in their order.
    """

    template: Picture
    tolerance: Grey
    roi: tuple[tuple[float, float], ...]
    baseline: Baseline
    qualities: tuple[float, ...]


def build_golden(boards: Sequence[Picture], names: Sequence[str]) -> Golden:
    """Build a template from 3 to 64 pictures of good boards, RGB (H, W, 3), all of one size; `names` for errors.

    All are laid on the board of median sharpness, then once more on the first median. Raises `BadInput` naming a board
    of another size, one that does not fit the others, and too few boards.
    """
    _check(boards, names)
    greys = [grey_of(board) for board in boards]
    figures = [picture_figures(grey) for grey in greys]
    middle = _median_board(figures)
    laid = _laid(boards, _found(greys, greys[middle], names), boards[middle])
    template = _median(laid.pictures)
    found = _found(greys, grey_of(template), names)
    laid = _laid(boards, found, template)
    template = _median(laid.pictures)
    return Golden(
        template=template,
        tolerance=_tolerance(laid.pictures, template),
        roi=_shared_part(laid.covered),
        baseline=learn_baseline(figures),
        qualities=tuple(one.quality for one in found),
    )


def usual_look(boards: Sequence[Picture], names: Sequence[str]) -> Baseline:
    """Return how pictures of good boards look, RGB (H, W, 3), where none is laid on another. Raises `BadInput`."""
    _check(boards, names)
    return learn_baseline([picture_figures(grey_of(board)) for board in boards])


@dataclass(frozen=True, eq=False, slots=True)
class _Place:
    matrix: Map
    quality: float


@dataclass(frozen=True, eq=False, slots=True)
class _Laid:
    """Boards in the reference's coordinates and light, and where all of them show something (bool, H, W)."""

    pictures: list[Picture]
    covered: npt.NDArray[np.bool_]


def _check(boards: Sequence[Picture], names: Sequence[str]) -> None:
    if not LEAST_BOARDS <= len(boards) <= MOST_BOARDS:
        raise BadInput(f"a template wants {LEAST_BOARDS} to {MOST_BOARDS} pictures of good boards, not {len(boards)}")
    height, width = boards[0].shape[:2]
    for board, name in zip(boards, names, strict=True):
        if board.shape != boards[0].shape:
            raise BadInput(
                f"{name} is {board.shape[1]}x{board.shape[0]} px, {names[0]} {width}x{height}; "
                "take all with the same camera settings"
            )


def _median_board(figures: Sequence[PictureFigures]) -> int:
    """Return the index of the board whose sharpness is in the middle."""
    return int(np.argsort([one.focus for one in figures])[len(figures) // 2])


def _found(greys: Sequence[Grey], reference: Grey, names: Sequence[str]) -> list[_Place]:
    """Register every board to the reference. Raises `BadInput` naming one that does not fit."""
    places = []
    for grey in greys:
        if grey is reference:
            places.append(_Place(IDENTITY, 1.0))
            continue
        registration, _ = register(reference, grey)
        places.append(_Place(matrix_of(registration), registration.quality))
    odd = [index for index, place in enumerate(places) if place.quality < LEAST_QUALITY]
    if not odd:
        return places
    which = odd[0]
    if len(odd) > len(places) / 2:  # then it is the reference that is odd
        which = next((index for index, grey in enumerate(greys) if grey is reference), which)
    raise BadInput(
        f"{names[which]} does not fit the other boards (correlation {places[odd[0]].quality:.2f}, "
        f"at least {LEAST_QUALITY}); is it another product, turned around, or far off its place?"
    )


def _laid(boards: Sequence[Picture], places: Sequence[_Place], reference: Picture) -> _Laid:
    """Warp boards to the reference and light them as it is lit; where a board shows nothing stands the reference."""
    height, width = reference.shape[:2]
    covered = np.ones((height, width), bool)
    pictures = []
    for board, place in zip(boards, places, strict=True):
        warped = cv2.warpPerspective(board, place.matrix, (width, height), flags=cv2.INTER_CUBIC)
        everywhere = np.full((height, width), COVERED, np.uint8)
        inside = cv2.warpPerspective(everywhere, place.matrix, (width, height)) == COVERED
        planes = [
            lit_like(np.ascontiguousarray(warped[..., plane]), np.ascontiguousarray(reference[..., plane]), use=inside)
            for plane in range(3)
        ]
        lit = np.clip(np.rint(np.stack(planes, axis=2)), 0, 255).astype(np.uint8)
        pictures.append(np.where(inside[..., None], lit, reference))
        covered &= inside
    return _Laid(pictures, covered)


def _strips(pictures: Sequence[npt.NDArray[np.uint8]]) -> Iterator[tuple[slice, npt.NDArray[np.uint8]]]:
    """Cut pictures into rows that are stacked together: memory stays small."""
    for first in range(0, len(pictures[0]), STRIP_ROWS):
        rows = slice(first, first + STRIP_ROWS)
        yield rows, np.stack([picture[rows] for picture in pictures])


def _median(pictures: Sequence[Picture]) -> Picture:
    """Return the median of each pixel and plane."""
    middle = np.empty_like(pictures[0])
    for rows, stack in _strips(pictures):
        middle[rows] = np.rint(np.median(stack, axis=0))
    return middle


def _tolerance(pictures: Sequence[Picture], template: Picture) -> Grey:
    """Return how many grey levels good boards stray, by the median absolute deviation; wider beside edges."""
    middle = grey_of(template)
    spread = np.empty(middle.shape, np.float32)
    for rows, stack in _strips([grey_of(picture) for picture in pictures]):
        away = np.abs(stack.astype(np.int16) - middle[rows].astype(np.int16))
        spread[rows] = 1.4826 * np.median(away, axis=0)
    pooled = np.sqrt(cv2.GaussianBlur(spread * spread, (0, 0), POOLED_PX))
    wide = cv2.dilate(pooled, np.ones((3, 3), np.uint8))
    return np.asarray(np.clip(np.ceil(SPREADS * wide), LEAST_TOLERANCE, 255), np.uint8)


def _shared_part(covered: npt.NDArray[np.bool_]) -> tuple[tuple[float, float], ...]:
    """Return the corners of an upright rectangle without any uncovered px, cut from the sides that miss most."""
    top, bottom, left, right = 0, covered.shape[0], 0, covered.shape[1]
    while bottom - top > 1 and right - left > 1:
        part = covered[top:bottom, left:right]
        missing = [1 - float(line.mean()) for line in (part[0], part[-1], part[:, 0], part[:, -1])]
        worst = int(np.argmax(missing))
        if missing[worst] == 0:
            break
        top, bottom = top + (worst == 0), bottom - (worst == 1)
        left, right = left + (worst == 2), right - (worst == 3)  # noqa: PLR2004 - the third and fourth side
    x0, y0, x1, y1 = float(left), float(top), float(right - 1), float(bottom - 1)
    return (x0, y0), (x1, y0), (x1, y1), (x0, y1)
