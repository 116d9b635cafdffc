"""PNG by rows (PNG 1.2, RFC 2083): data is inflated piece by piece, and rows are unfiltered a band at a time.

A filter needs nothing but the row above. So a band becomes a small PNG of its own, the last row known before it on top,
and OpenCV unfilters that: exact, and as fast as decoding the whole.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import cv2
import numpy as np
import numpy.typing as npt

from taktwatch.errors import BadPicture

__all__ = ["is_interlaced", "png_bands"]

Band = npt.NDArray[np.uint8]

MAGIC = b"\x89PNG\r\n\x1a\n"
INTERLACE_AT = 28
BAND_BYTES = 8 * 2**20
READ_BYTES = 2**18
LONGEST_CHUNK = 2**31 - 1
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Numbers per pixel by colour type: grey, RGB, palette, grey and alpha, RGB and alpha."""
DISGUISES = {1: (0, 8), 2: (0, 16), 3: (2, 8), 4: (6, 8), 6: (2, 16), 8: (6, 16)}
"""Colour type and bits under which a band is unfiltered, by bytes per pixel: all that a filter knows of a picture."""


@dataclass(frozen=True, slots=True)
class Header:
    """What IHDR says, and the palette as uint8 (n, 3)."""

    width: int
    height: int
    bits: int
    colour: int
    palette: npt.NDArray[np.uint8] | None = None

    @property
    def pixel_bytes(self) -> int:
        """How far a filter looks to the left."""
        return max(1, CHANNELS[self.colour] * self.bits // 8)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, its filter's number not counted."""
        return -(-self.width * CHANNELS[self.colour] * self.bits // 8)


def is_interlaced(head: bytes) -> bool:
    """Whether a PNG has no rows from the top down."""
    return len(head) > INTERLACE_AT and head[INTERLACE_AT] != 0


def png_bands(file: BinaryIO) -> tuple[int, Iterator[Band]]:
    """Return the channels (1 or 3) of a PNG that is not interlaced, and its rows in bands, (n, W) or (n, W, 3)."""
    chunks = _chunks(file)
    kind, body = next(chunks, (b"", b""))
    if kind != b"IHDR" or len(body) != 13:  # noqa: PLR2004 - the length of IHDR
        raise BadPicture("a damaged PNG (no header chunk)")
    width, height, bits, colour = struct.unpack_from(">IIBB", body)
    if colour not in CHANNELS:
        raise BadPicture(f"a damaged PNG (colour type {colour})")
    header = Header(width, height, bits, colour)
    for kind, body in chunks:
        if kind == b"PLTE":
            header = Header(width, height, bits, colour, np.frombuffer(body, np.uint8).reshape(-1, 3))
        if kind == b"IDAT":
            return (3 if colour in {2, 3, 6} else 1), _bands(header, body, chunks)
    raise BadPicture("a damaged PNG (no data)")


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield (kind, content) of each chunk up to the last."""
    if file.read(len(MAGIC)) != MAGIC:
        raise BadPicture("not a PNG")
    while True:
        head = file.read(8)
        if len(head) < 8:  # noqa: PLR2004 - length and kind
            raise BadPicture("a truncated PNG (no end marker)")
        length, kind = struct.unpack(">I4s", head)
        if length > LONGEST_CHUNK:
            raise BadPicture("a damaged PNG (impossible chunk length)")
        body = file.read(length)
        check = file.read(4)
        if len(check) < 4:  # noqa: PLR2004 - a checksum
            raise BadPicture("a truncated PNG")
        if zlib.crc32(body, zlib.crc32(kind)) != int.from_bytes(check, "big"):
            raise BadPicture(f"a damaged PNG (checksum of a {kind.decode('ascii', 'replace')} chunk)")
        if kind == b"IEND":
            return
        yield kind, body


def _bands(header: Header, first: bytes, chunks: Iterator[tuple[bytes, bytes]]) -> Iterator[Band]:
    """Yield rows."""
    step = header.row_bytes + 1
    rows = max(1, BAND_BYTES // step)
    above = bytes(header.row_bytes)
    left = header.height
    for filtered in _blocks(_inflated(first, chunks, step * header.height), rows * step):
        count = min(len(filtered) // step, left)
        if count:
            raw = _unfiltered(header, above, filtered[: count * step], count)
            above = raw[-1].tobytes()
            left -= count
            yield _pixels(header, raw)


def _inflated(first: bytes, chunks: Iterator[tuple[bytes, bytes]], total: int) -> Iterator[bytes]:
    """Yield inflated data, at most `total` bytes and a little at a time."""
    inflate = zlib.decompressobj()
    data: bytes | None = first
    while data is not None and total > 0:
        try:
            for at in range(0, len(data), READ_BYTES):
                tail = data[at : at + READ_BYTES]
                while tail and total > 0:
                    out = inflate.decompress(tail, min(total, BAND_BYTES))
                    total -= len(out)
                    yield out
                    tail = inflate.unconsumed_tail
        except zlib.error as error:
            raise BadPicture(f"a damaged PNG ({error})") from error
        data = next((body for kind, body in chunks if kind == b"IDAT"), None)
    for _ in chunks:
        pass  # to the end marker: a file cut short behind its last row is cut short all the same


def _blocks(stream: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Gather a stream into blocks of `size`; the last may be shorter."""
    waiting = bytearray()
    for piece in stream:
        waiting += piece
        while len(waiting) >= size:
            yield bytes(waiting[:size])
            del waiting[:size]
    if waiting:
        yield bytes(waiting)


def _unfiltered(header: Header, above: bytes, filtered: bytes, count: int) -> Band:
    """Return rows (n, bytes) as they were before filtering."""
    colour, bits = DISGUISES[header.pixel_bytes]
    width = header.row_bytes // header.pixel_bytes
    ihdr = struct.pack(">IIBBBBB", width, count + 1, bits, colour, 0, 0, 0)
    data = zlib.compress(b"\0" + above + filtered, 0)
    small = b"".join((MAGIC, _chunk(b"IHDR", ihdr), _chunk(b"IDAT", data), _chunk(b"IEND", b"")))
    pixels = cv2.imdecode(np.frombuffer(small, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or len(pixels) != count + 1:
        raise BadPicture("a damaged PNG (rows that cannot be unfiltered)")
    if pixels.ndim == 3:  # noqa: PLR2004 - with colours, which OpenCV turns round
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)  # noqa: PLR2004
    if bits == 16:  # noqa: PLR2004 - bits
        pixels = pixels.astype(">u2")
    return np.ascontiguousarray(pixels[1:]).view(np.uint8).reshape(count, header.row_bytes)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def _pixels(header: Header, raw: Band) -> Band:
    """Return pixels, (n, W) or (n, W, 3), of raw rows (n, bytes)."""
    if header.bits < 8:  # noqa: PLR2004 - several pixels in a byte
        spread = np.unpackbits(raw, axis=1).reshape(len(raw), -1, header.bits)
        weights = 1 << np.arange(header.bits)[::-1]
        values = (spread @ weights).astype(np.uint8)[:, : header.width]
        raw = values if header.colour == 3 else values * np.uint8(255 // (2**header.bits - 1))  # noqa: PLR2004
    elif header.bits == 16:  # noqa: PLR2004 - the upper byte comes first
        raw = raw[:, ::2]
    if header.palette is not None and header.colour == 3:  # noqa: PLR2004 - indices into a palette
        if int(raw.max(initial=0)) >= len(header.palette):
            raise BadPicture("a damaged PNG (a colour beyond its palette)")
        return np.asarray(header.palette[raw])
    channels = CHANNELS[header.colour]
    if channels == 1:
        return np.ascontiguousarray(raw)
    shaped = raw.reshape(len(raw), header.width, channels)
    return np.ascontiguousarray(shaped[..., 0] if channels == 2 else shaped[..., :3])  # noqa: PLR2004 - grey and alpha
