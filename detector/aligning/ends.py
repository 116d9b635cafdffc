"""Where a scan ended: between the end of a picture and that of its template nothing can be compared. Pure.

A line-scan camera's picture may end within the frame: beyond a straight line it is blank. Picture and template, laid on
each other, then end at two lines, and the strip between is of one of them alone: no defect was seen there, nor a clean
board.
"""

from math import floor
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from detector.aligning.light import dark_and_bright

__all__ = ["unscanned"]

SPARSE = 8  # one px in so many is enough to tell the levels
BLANK_SHARE = 0.05  # of a line's px may differ beyond an end: dirt, spurious copper
STRAIGHT_SHARE = 0.2  # of a line's px become blank at an end; where fewer do, it is the drawing that ends there
BESIDE_PX = 3  # from an end to where it is surely passed: it is soft, and may lie askew
LEAST_PX = 5  # nearer ends are one: edges of copper wander by as much
MOST_PX = 32  # farther ones are of two drawings

Grey = npt.NDArray[np.uint8]
BoolMask = npt.NDArray[np.bool_]


class End(NamedTuple):
    """A straight line beyond which a picture is blank, all `light` or all dark: the first blank column or row `at`."""

    at: int
    light: bool


def unscanned(seen: Grey, lit: npt.NDArray[np.float32]) -> BoolMask | None:
    """Return where only one of a picture (H, W) and its registered template (H, W) was scanned; None: nowhere.

    >>> board = np.full((40, 60), 200, np.uint8)
    >>> board[::2, :50] = 20
    >>> cut = board.copy()
    >>> cut[:, 42:] = 200
    >>> missed = unscanned(cut, board.astype(np.float32))
    >>> np.flatnonzero(missed.all(axis=0))[[0, -1]].tolist()
    [39, 52]
    """
    low, high = dark_and_bright(lit, SPARSE)
    middle = (low + high) / 2
    light = [(seen > floor(middle)).view(np.uint8), (lit > middle).view(np.uint8)]  # grey levels are whole
    shares = [_shares(one) for one in light]
    missed: BoolMask | None = None
    for turns in range(4):
        picture, template = (_end(np.rot90(one, turns), share[turns]) for one, share in zip(light, shares, strict=True))
        if picture is None or template is None or picture.light != template.light:
            continue
        first, last = sorted((picture.at, template.at))
        if LEAST_PX <= last - first <= MOST_PX:
            missed = np.zeros(seen.shape, np.bool_) if missed is None else missed
            np.rot90(missed, turns)[:, first - BESIDE_PX : last + BESIDE_PX] = True
    return missed


def _shares(light: Grey) -> list[npt.NDArray[np.float32]]:
    """Return the share of light px in each column of a picture turned by 0 to 3 right angles, as `rot90` turns."""
    columns = np.asarray(cv2.reduce(light, 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F), np.float32).ravel()
    rows = np.asarray(cv2.reduce(light, 1, cv2.REDUCE_AVG, dtype=cv2.CV_32F), np.float32).ravel()
    return [columns, rows, columns[::-1], rows[::-1]]


def _end(light: Grey, share: npt.NDArray[np.float32]) -> End | None:
    """Return where what a picture shows ends on the right, given each column's share of light px; None: nowhere."""
    blank = bool(share[-1] > 0.5)  # noqa: PLR2004 - most of the last column
    filled = np.flatnonzero((1 - share if blank else share) >= BLANK_SHARE)
    at = int(filled[-1]) + 1 if filled.size else 0
    if not BESIDE_PX <= at < len(share) - BESIDE_PX:
        return None
    ending = (light[:, at - BESIDE_PX] != blank) & (light[:, at + BESIDE_PX - 1] == blank)
    return End(at, blank) if ending.mean() >= STRAIGHT_SHARE else None
