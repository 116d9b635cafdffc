"""TIFF by rows (TIFF 6.0): each of its strips, or each row of its tiles, becomes a small TIFF of its own for OpenCV.

Strips and tiles are coded independently, whatever the compression; the small file keeps all other entries of the
directory. Pictures in separate planes or turned by an orientation note are refused by name.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from taktwatch.errors import BadPicture
from taktwatch.pictures import decoded

__all__ = ["tiff_bands", "tiff_size"]

Band = npt.NDArray[np.uint8]

ORDERS = {b"II": "<", b"MM": ">"}
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
NUMBERS = {1: "B", 3: "H", 4: "I"}
LONG = 4
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
OFFSETS, ORIENTATION, SAMPLES, ROWS, COUNTS, PLANES = 273, 274, 277, 278, 279, 284
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS = 322, 323, 324, 325
UNCOMPRESSED = 1
GREYS = frozenset({0, 1})
MOST_ENTRIES = 4096
BAND_BYTES = 8 * 2**20
ELSEWHERE = frozenset({330, 34665, 34853})
"""Entries that point to other places of the file."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A directory entry: its kind, how many values, and their bytes in the file's order."""

    kind: int
    count: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Directory:
    """The first directory of a TIFF."""

    order: str
    entries: Mapping[int, Entry]

    def numbers(self, tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Return the whole numbers of an entry."""
        entry = self.entries.get(tag)
        if entry is None:
            return default
        if entry.kind not in NUMBERS:
            raise BadPicture(f"a damaged TIFF (tag {tag} holds no whole numbers)")
        return struct.unpack(f"{self.order}{entry.count}{NUMBERS[entry.kind]}", entry.body)

    def number(self, tag: int, default: int | None = None) -> int:
        """Return the whole number of an entry."""
        found = self.numbers(tag, () if default is None else (default,))
        if not found:
            raise BadPicture(f"a damaged TIFF (no tag {tag})")
        return found[0]


def tiff_size(file: BinaryIO) -> tuple[int, int]:
    """Return width and height of a TIFF's first picture."""
    directory = _directory(file)
    return directory.number(WIDTH), directory.number(HEIGHT)


def tiff_bands(file: BinaryIO) -> tuple[int, Iterator[Band]]:
    """Return the channels (1 or 3) of a TIFF's first picture and its rows in bands, (n, W) or (n, W, 3)."""
    directory = _directory(file)
    if directory.number(PLANES, 1) != 1:
        raise BadPicture("a TIFF in separate colour planes; save it with its colours interleaved")
    if directory.number(ORIENTATION, 1) != 1:
        raise BadPicture("a TIFF that an orientation note turns; save it the right way up")
    grey = directory.number(PHOTOMETRIC, 1) in GREYS and directory.number(SAMPLES, 1) == 1
    return (1 if grey else 3), (band[..., 0] if grey else band for band in _bands(file, directory))


def _directory(file: BinaryIO) -> Directory:
    """Read the first directory."""
    try:
        head = file.read(8)
        order = ORDERS[head[:2]]
        (at,) = struct.unpack_from(f"{order}I", head, 4)
        file.seek(at)
        (count,) = struct.unpack(f"{order}H", file.read(2))
        table = file.read(12 * min(count, MOST_ENTRIES))
        entries = {}
        for index in range(count):
            tag, kind, amount = struct.unpack_from(f"{order}HHI", table, 12 * index)
            size = SIZES.get(kind, 0) * amount
            body = table[12 * index + 8 : 12 * index + 8 + size]
            if size > 4:  # noqa: PLR2004 - longer values lie elsewhere
                file.seek(struct.unpack_from(f"{order}I", table, 12 * index + 8)[0])
                body = file.read(size)
            if len(body) < size:
                raise BadPicture(f"a truncated TIFF (tag {tag})")
            entries[tag] = Entry(kind, amount, body)
    except (struct.error, KeyError, IndexError) as error:
        raise BadPicture("a TIFF cut off in its directory; send the whole file") from error
    return Directory(order, entries)


def _bands(file: BinaryIO, directory: Directory) -> Iterator[Band]:
    """Yield rows as RGB (n, W, 3)."""
    width, height = directory.number(WIDTH), directory.number(HEIGHT)
    if TILE_OFFSETS in directory.entries:
        rows, across = directory.number(TILE_HEIGHT), -(-width // directory.number(TILE_WIDTH))
        tags, tops = (TILE_OFFSETS, TILE_COUNTS), range(0, height, rows)
    else:
        rows, across = min(directory.number(ROWS, height), height), 1
        tags, tops = (OFFSETS, COUNTS), range(0, height, rows)
    offsets, counts = directory.numbers(tags[0]), directory.numbers(tags[1])
    if not counts and len(offsets) == 1:
        counts = (_raw_row(directory) * height,)
    if min(len(offsets), len(counts)) < across * len(tops):
        raise BadPicture("a damaged TIFF (fewer strips than its height needs)")
    for index, top in enumerate(tops):
        here = slice(index * across, (index + 1) * across)
        count = min(rows, height - top)
        for at, sizes, part in _parts(directory, offsets[here], counts[here], count, tags):
            yield _decoded(directory, tags, [_read(file, *one) for one in zip(at, sizes, strict=True)], width, part)


def _parts(
    directory: Directory, offsets: tuple[int, ...], counts: tuple[int, ...], rows: int, tags: tuple[int, int]
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], int]]:
    """Yield (offsets, sizes, rows) to be decoded together: raw strips are cut, all else comes as it was coded."""
    row = _raw_row(directory)
    if (
        tags[0] == TILE_OFFSETS
        or directory.number(COMPRESSION, UNCOMPRESSED) != UNCOMPRESSED
        or row * rows <= BAND_BYTES
    ):
        yield offsets, counts, rows
        return
    step = max(1, BAND_BYTES // row)
    for top in range(0, rows, step):
        part = min(step, rows - top)
        yield (offsets[0] + top * row,), (part * row,), part


def _raw_row(directory: Directory) -> int:
    """Return the bytes of a row without compression."""
    bits = directory.numbers(BITS, (1,))
    pixel_bits = sum(bits) if len(bits) > 1 else bits[0] * directory.number(SAMPLES, 1)
    return -(-directory.number(WIDTH) * pixel_bits // 8)


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    body = file.read(size)
    if len(body) < size:
        raise BadPicture("a truncated TIFF")
    return body


def _decoded(directory: Directory, tags: tuple[int, int], bodies: list[bytes], width: int, rows: int) -> Band:
    """Decode one strip, or one row of tiles, as a picture of its own."""
    order = directory.order
    entries = {tag: entry for tag, entry in directory.entries.items() if tag not in ELSEWHERE}
    entries[HEIGHT] = Entry(LONG, 1, struct.pack(f"{order}I", rows))
    if tags[0] == OFFSETS:
        entries[ROWS] = entries[HEIGHT]
    sizes = [len(body) for body in bodies]
    entries[tags[1]] = Entry(LONG, len(sizes), struct.pack(f"{order}{len(sizes)}I", *sizes))
    entries[tags[0]] = Entry(LONG, len(sizes), bytes(4 * len(sizes)))  # their places are known last
    at = 8 + 2 + 12 * len(entries) + 4
    values, places = b"", {}
    for tag, entry in sorted(entries.items()):
        if len(entry.body) > 4:  # noqa: PLR2004 - longer values lie behind the directory
            places[tag] = at + len(values)
            values += entry.body + b"\0" * (len(entry.body) % 2)
    data_at = at + len(values)
    starts = [data_at + sum(sizes[:index]) for index in range(len(sizes))]
    lain = struct.pack(f"{order}{len(starts)}I", *starts)
    if tags[0] in places:
        first = places[tags[0]] - at
        values = values[:first] + lain + values[first + len(lain) :]
    entries[tags[0]] = Entry(LONG, len(sizes), lain)
    table = b"".join(
        struct.pack(f"{order}HHI", tag, entry.kind, entry.count)
        + (struct.pack(f"{order}I", places[tag]) if tag in places else entry.body.ljust(4, b"\0"))
        for tag, entry in sorted(entries.items())
    )
    magic = b"II*\0" if order == "<" else b"MM\0*"
    head = magic + struct.pack(f"{order}I", 8) + struct.pack(f"{order}H", len(entries))
    pixels = decoded(b"".join((head, table, bytes(4), values, *bodies)))
    if pixels is None or pixels.shape[:2] != (rows, width):
        raise BadPicture("a damaged TIFF that cannot be decoded")
    return pixels
