"""Masks in COCO's compressed run-length encoding: column-major runs, written and read without a loop over pixels.

The bytes equal those of pycocotools; `encode_roi` makes them from a small mask without ever building the full frame.
"""

import numpy as np
import numpy.typing as npt

from taktwatch.errors import BadRecord
from taktwatch.records import Rle

__all__ = ["area", "bbox", "decode", "decode_roi", "encode", "encode_roi"]

BoolMask = npt.NDArray[np.bool_]
Runs = npt.NDArray[np.int64]

MAX_GROUPS = 8  # 5-bit groups of the longest number: enough for frames up to 2^39 px
HIGHEST = 0x3F  # of a character: five bits and "more"


def encode(mask: BoolMask) -> Rle:
    """Encode a bool mask (H, W).

    >>> encode(np.eye(3, dtype=bool))
    Rle(size=(3, 3), counts='013000')
    """
    height, width = mask.shape
    return encode_roi(mask, 0, 0, height, width)


def encode_roi(roi: BoolMask, x0: int, y0: int, height: int, width: int) -> Rle:
    """Encode a bool ROI (h, w) whose upper left pixel lies at (x0, y0) of a frame of `height` x `width` px.

    Raises `ValueError` where the ROI leaves the frame.

    >>> frame = np.zeros((4, 6), bool)
    >>> frame[1:3, 2:5] = True
    >>> encode_roi(np.ones((2, 3), bool), 2, 1, 4, 6) == encode(frame)
    True
    """
    rows, cols = roi.shape
    if x0 < 0 or y0 < 0 or x0 + cols > width or y0 + rows > height:
        raise ValueError(f"a ROI of {cols}x{rows} px at ({x0}, {y0}) leaves the frame of {width}x{height} px")
    fenced = np.zeros((cols, rows + 2), np.int8)
    fenced[:, 1:-1] = roi.T
    col, row = np.nonzero(np.diff(fenced, axis=1))
    edges = (x0 + col) * height + (y0 + row)
    # A run that goes on from the foot of one column to the head of the next ends and starts at the same place.
    ends, starts = edges[1:-1:2], edges[2::2]
    broken = np.flatnonzero(ends == starts)
    edges = np.delete(edges, np.concatenate([2 * broken + 1, 2 * broken + 2]))
    counts = np.diff(np.concatenate([[0], edges, [height * width]]))
    if edges.size and edges[-1] == height * width:
        counts = counts[:-1]
    return Rle(size=(height, width), counts=_to_string(counts.astype(np.int64)))


def decode(rle: Rle) -> BoolMask:
    """Return the mask, bool (H, W). Raises `BadRecord` where the runs do not fill the size.

    >>> decode(Rle(size=(3, 3), counts='013000')).astype(int).tolist()
    [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    """
    height, width = rle.size
    counts = _runs(rle)
    flat = np.repeat(np.arange(counts.size) % 2 == 1, counts)
    return flat.reshape(width, height).T


def decode_roi(rle: Rle) -> tuple[BoolMask, int, int]:
    """Return what a mask sets: bool (h, w) of its tight box, and that box's upper left pixel (x0, y0).

    The frame is never built. Raises `BadRecord` where the runs do not fill the size.

    >>> roi, x0, y0 = decode_roi(encode_roi(np.ones((2, 3), bool), 2, 1, 4, 6))
    >>> roi.shape, x0, y0
    ((2, 3), 2, 1)
    """
    height = rle.size[0]
    x0, y0, x1, y1 = bbox(rle)
    edges = np.clip(np.concatenate([[0], np.cumsum(_runs(rle))]), x0 * height, x1 * height)
    flat = np.repeat(np.arange(edges.size - 1) % 2 == 1, np.diff(edges))
    return flat.reshape(x1 - x0, height).T[y0:y1], x0, y0


def area(rle: Rle) -> int:
    """Count the pixels of a mask without decoding it.

    >>> area(Rle(size=(3, 3), counts='013000'))
    3
    """
    return int(_runs(rle)[1::2].sum())


def bbox(rle: Rle) -> tuple[int, int, int, int]:
    """Return the tight box (x0, y0, x1, y1), ends exclusive; all zeros for an empty mask.

    >>> bbox(encode_roi(np.ones((2, 3), bool), 2, 1, 4, 6))
    (2, 1, 5, 3)
    """
    height = rle.size[0]
    edges = np.cumsum(_runs(rle))
    starts, lasts = edges[: edges.size // 2 * 2 : 2], edges[1::2] - 1
    starts, lasts = starts[lasts >= starts], lasts[lasts >= starts]
    if not starts.size:
        return (0, 0, 0, 0)
    x0, x1 = int(starts[0] // height), int(lasts[-1] // height) + 1
    if np.any(starts // height != lasts // height):
        return (x0, 0, x1, height)
    return (x0, int((starts % height).min()), x1, int((lasts % height).max()) + 1)


def _runs(rle: Rle) -> Runs:
    """Return the run lengths, zeros first. Raises `BadRecord` where they do not fill the size."""
    runs = _from_string(rle.counts)
    height, width = rle.size
    if (runs < 0).any() or int(runs.sum()) != height * width:
        raise BadRecord(f"a mask's runs do not fill its {width}x{height} px; the record is damaged")
    return runs


def _to_string(counts: Runs) -> str:
    """Write each run (from the fourth on its difference to the run before last) in 5-bit groups, least first."""
    numbers = counts.copy()
    numbers[3:] -= counts[1:-2]
    limits = 16 * 32 ** np.arange(MAX_GROUPS - 1, dtype=np.int64)
    magnitude = np.where(numbers < 0, -numbers - 1, numbers)
    groups = 1 + np.searchsorted(limits, magnitude, side="right")
    starts = np.cumsum(groups) - groups
    which = np.repeat(np.arange(numbers.size), groups)
    level = np.arange(which.size) - starts[which]
    chars = (numbers[which] >> (5 * level)) & 0x1F
    chars[level < groups[which] - 1] |= 0x20
    return bytes((chars + 48).astype(np.uint8)).decode("ascii")


def _from_string(text: str) -> Runs:
    """Read runs back. Raises `BadRecord` for characters or lengths that no encoder writes."""
    try:
        chars = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError:
        raise BadRecord("a mask's runs hold characters that are not ASCII; the record is damaged") from None
    if not chars.size:
        return np.zeros(0, np.int64)
    more = (chars & 0x20) != 0
    ends = np.flatnonzero(~more)
    starts = np.concatenate([[0], ends[:-1] + 1])
    groups = ends - starts + 1 if ends.size else np.zeros(0, np.int64)
    if more[-1] or (chars < 0).any() or (chars > HIGHEST).any() or groups.max(initial=0) > MAX_GROUPS:
        raise BadRecord("a mask's runs are cut short or garbled; the record is damaged")
    level = np.arange(chars.size) - np.repeat(starts, groups)
    numbers = np.add.reduceat((chars & 0x1F) << (5 * level), starts)
    negative = (chars[ends] & 0x10) != 0
    numbers[negative] -= np.int64(1) << (5 * groups[negative])
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers
