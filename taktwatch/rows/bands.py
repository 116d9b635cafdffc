"""Opens a picture for reading by rows, and cuts overlapping pieces out of what is read."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from taktwatch.errors import BadInput, BadPicture
from taktwatch.picture_headers import TIFF_MAGICS, PictureInfo
from taktwatch.pictures import probe
from taktwatch.rows.png import is_interlaced, png_bands
from taktwatch.rows.tiff import tiff_bands, tiff_size
from taktwatch.rows.whole import whole_picture
from taktwatch.strips import Box

__all__ = ["Band", "Rows", "open_rows", "pieces"]

Band = npt.NDArray[np.uint8]
"""Rows of a picture: (n, W) grey or (n, W, 3) RGB."""

HEAD_BYTES = 2**20


@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    """A picture being read: its size in px, its channels (1 grey, 3 RGB), and its rows from the top down, once."""

    width: int
    height: int
    channels: int
    bands: Iterator[Band]


@contextmanager
def open_rows(path: Path, *, max_px: int, max_side: int) -> Iterator[Rows]:
    """Open a picture for reading by rows; grey stays one channel, 16 bits keep their upper 8, alpha is dropped.

    Raises `BadPicture` for what is no picture, or too large; bands raise it where the data is damaged or ends early.
    `BadInput` where the file cannot be read.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from error
    with file:
        try:
            rows = _opened(file, path, max_px, max_side)
        except OSError as error:
            raise _unreadable(path, error) from error
        yield rows


def _unreadable(path: Path, error: OSError) -> BadInput:
    return BadInput(f"{path}: cannot be read: {error.strerror}; check the file and its rights")


def _opened(file: BinaryIO, path: Path, max_px: int, max_side: int) -> Rows:
    head = file.read(HEAD_BYTES)
    file.seek(0)
    info = _probed(file, head, path)
    if max(info.width, info.height) > max_side or info.width * info.height > max_px:
        raise BadPicture(
            f"{path}: {info.width} x {info.height} px is over the limit of {max_side} px a side and {max_px} px in "
            "all; raise ingest.max_panel_px, or photograph the panel in parts"
        )
    try:
        match info.media_type:
            case "image/png" if not is_interlaced(head):
                channels, bands = png_bands(file)
            case "image/tiff":
                channels, bands = tiff_bands(file)
            case _:
                picture = whole_picture(file.read(), str(path), max_px, max_side)
                height, width = picture.shape[:2]
                info = PictureInfo(width, height, info.media_type)
                channels, bands = (1 if picture.ndim == 2 else 3), iter([picture])  # noqa: PLR2004 - rows and columns
    except BadPicture as error:
        raise BadPicture(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    return Rows(info.width, info.height, channels, _named(bands, path, info.height))


def _probed(file: BinaryIO, head: bytes, path: Path) -> PictureInfo:
    """Read the header; a TIFF's may stand anywhere in the file."""
    if head[:4] not in TIFF_MAGICS:
        return probe(head, name=str(path))
    try:
        width, height = tiff_size(file)
    except BadPicture as error:
        raise BadPicture(f"{path}: {error}") from error
    file.seek(0)
    return PictureInfo(width, height, "image/tiff")


def _named(bands: Iterator[Band], path: Path, height: int) -> Iterator[Band]:
    """Pass bands on; what is wrong with one names the file and the row."""
    at = 0
    try:
        for band in bands:
            at += len(band)
            yield band
    except BadPicture as error:
        raise BadPicture(f"{path}: {error} (after row {at} of {height}); send it again") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if at != height:
        raise BadPicture(f"{path}: ends after row {at} of {height}; send the whole file")


def pieces(rows: Rows, boxes: Sequence[Box]) -> Iterator[Band]:
    """Yield the pieces of a picture at `boxes`, in order of their first rows; only rows still wanted are held.

    >>> rows = Rows(2, 4, 1, iter(np.arange(8, dtype=np.uint8).reshape(4, 1, 2)))
    >>> [piece[:, 0].tolist() for piece in pieces(rows, [(0, 0, 2, 3), (0, 1, 2, 4)])]
    [[0, 2, 4], [2, 4, 6]]
    """
    held: list[Band] = []
    top = bottom = 0
    whole: Band = np.empty((0, rows.width), np.uint8)
    for x0, y0, x1, y1 in boxes:
        while bottom < y1:
            band = next(rows.bands)
            held.append(band)
            bottom += len(band)
        if held:
            kept = whole[y0 - top :] if len(whole) else whole
            parts = [kept, *held] if len(kept) else held
            whole = np.concatenate(parts) if len(parts) > 1 else parts[0]
            top = bottom - len(whole)
            held = []
        yield whole[y0 - top : y1 - top, x0:x1]
