"""A board that passes a line-scan camera unevenly: its lines lie closer or wider than the template's. Pure.

What carries the board does not run at one speed, so that each line of the picture is off its place by up to some px,
alike from end to end. No shift, rotation or scale of the whole says so: the template is laid on the picture first
(`aligning.registration`), then its lines are moved. What is off on part of a line only stays off.
"""

import cv2
import numpy as np
import numpy.typing as npt

from detector.aligning.light import dark_and_bright

__all__ = ["in_step"]

MOST_PX = 6
SPARSE = 4  # one px in so many along a line is enough to tell
CELL_PX = 4  # lines side by side that are moved alike
STRIDE_SHARE = 0.04  # of the contrast, which moving a cell by a px more than the cell before has to gain
NEAR_PX = 2  # a board that is out of step gains from moves as small
TOGETHER = 7  # cells
GAIN_SHARE = 0.0005  # of the contrast, a px, and
GAIN_OF_ALL = 0.05  # of all that differs: a board that gains less is in step
SMOOTH_CELLS = 1.0
LEAST_BEND = 1e-3  # grey levels: where nothing differs, the cells beside tell
LEAST_LEVELS = 10.0

Grey = npt.NDArray[np.uint8]
Field = npt.NDArray[np.float32]


def in_step(seen: Grey, lit: Field) -> Field:
    """Return a registered template (H, W), lit as the picture (H, W), its lines where the picture has them.

    Either axis may be the one the board moves along. `lit` itself where the picture is in step with it.

    >>> board = np.random.default_rng(0).integers(0, 2, (20, 20)).astype(np.uint8).repeat(16, 0).repeat(16, 1) * 200
    >>> places = np.arange(320)
    >>> pulled = board[:, np.clip(places + 3 * (places > 150), 0, 319)]
    >>> off = [float(np.abs(pulled - one).mean()) for one in (board, in_step(pulled, board.astype(np.float32)))]
    >>> off[1] < off[0] / 4
    True
    """
    low, high = dark_and_bright(lit, 2 * SPARSE)
    contrast = max(high - low, LEAST_LEVELS)
    columns, rows = _moves(seen, lit, contrast), _moves(seen.T, lit.T, contrast)
    if columns is not None:
        lit = _moved(lit, columns)
    if rows is not None:
        lit = np.ascontiguousarray(_moved(lit.T, rows).T)
    return lit


def _moves(seen: Grey, lit: Field, contrast: float) -> Field | None:
    """Return for each column how far to its right (px) the template has it, (W,); None where they are in step."""
    picture = np.ascontiguousarray(seen[::SPARSE])
    template = np.asarray(np.clip(lit[::SPARSE], 0, 255), np.uint8)
    near = cv2.blur(_differences(picture, template, NEAR_PX), (TOGETHER, 1))
    differs = float(near[NEAR_PX].mean())
    if differs - float(near.min(axis=0).mean()) < max(GAIN_SHARE * contrast, GAIN_OF_ALL * differs):
        return None
    costs = _differences(picture, template, MOST_PX)
    path = _cheapest(costs, np.float32(STRIDE_SHARE * contrast))
    between, weight = _between(costs, path)
    wanted = cv2.GaussianBlur((path - MOST_PX + between) * weight, (0, 0), SMOOTH_CELLS)
    moves = wanted / cv2.GaussianBlur(weight, (0, 0), SMOOTH_CELLS)
    middles = (np.arange(costs.shape[1]) + 0.5) * CELL_PX - 0.5
    return np.asarray(np.interp(np.arange(seen.shape[1]), middles, moves.ravel()), np.float32)


def _differences(picture: Grey, template: Grey, most: int) -> Field:
    """Return how much a cell of columns differs, in grey levels, from the template `-most` to `most` px to its right.

    (2 `most` + 1, cells).
    """
    width = picture.shape[1]
    cells = -(-width // CELL_PX)
    beyond = cv2.copyMakeBorder(template, 0, 0, most, most, cv2.BORDER_REPLICATE)
    found = np.empty((2 * most + 1, width), np.float32)
    for move in range(2 * most + 1):
        off = cv2.absdiff(picture, np.ascontiguousarray(beyond[:, move : move + width]))
        found[move] = cv2.reduce(off, 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F)[0]
    filled = np.pad(found, ((0, 0), (0, cells * CELL_PX - width)), mode="edge")
    return np.asarray(filled.reshape(len(found), cells, CELL_PX).mean(axis=2), np.float32)


def _cheapest(costs: Field, stride: np.float32) -> npt.NDArray[np.intp]:
    """Return for each cell the move (a row of `costs`) of the path that differs least; a step costs `stride`.

    Dynamic programming, from one cell to the next by one move more or less at most.

    >>> costs = np.array([[0, 0, 9, 5, 5], [9, 9, 5, 0, 0]], np.float32)
    >>> _cheapest(costs, np.float32(1)).tolist(), _cheapest(costs, np.float32(99)).tolist()
    ([0, 0, 1, 1, 1], [0, 0, 0, 0, 0])
    """
    moves, cells = costs.shape
    came = np.empty((cells, moves), np.intp)
    around = np.full(moves + 2, np.inf, np.float32)
    own = np.arange(moves)
    total = costs[:, 0].copy()
    for cell in range(1, cells):
        around[1:-1] = total
        ways = np.stack((total, around[:-2] + stride, around[2:] + stride))
        way = ways.argmin(axis=0)
        came[cell] = own + (way == 2) - (way == 1)  # noqa: PLR2004 - the ways: stay, from below, from above
        total = costs[:, cell] + ways[way, own]
    path = np.empty(cells, np.intp)
    at = int(total.argmin())
    for cell in range(cells - 1, 0, -1):
        path[cell] = at
        at = int(came[cell, at])
    path[0] = at
    return path


def _between(costs: Field, path: npt.NDArray[np.intp]) -> tuple[Field, Field]:
    """Return (1, cells) how far beyond the path's move the least of a parabola lies, within half a px, and its bend."""
    inner = np.clip(path, 1, len(costs) - 2)
    cells = np.arange(costs.shape[1])
    below, at, above = costs[inner - 1, cells], costs[inner, cells], costs[inner + 1, cells]
    bend = np.maximum(below + above - 2 * at, LEAST_BEND)
    return np.clip((below - above) / (2 * bend), -0.5, 0.5)[np.newaxis], bend[np.newaxis]


def _moved(lit: Field, moves: Field) -> Field:
    """Return a template (H, W) with each column taken from `moves` px to its right."""
    height, width = lit.shape
    places = np.arange(width, dtype=np.float32) + moves
    across = np.broadcast_to(places, (height, width)).astype(np.float32)
    down = np.broadcast_to(np.arange(height, dtype=np.float32)[:, np.newaxis], (height, width)).astype(np.float32)
    return np.asarray(cv2.remap(lit, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)
