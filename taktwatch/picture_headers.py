"""What a picture says of itself in its first bytes: kind and size, without decoding anything.

Only the five formats cameras write are read: PNG, JPEG, BMP, TIFF and WebP. `is_whole` finds files cut short.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from taktwatch.errors import BadPicture

__all__ = ["JpegUnits", "PictureInfo", "is_whole", "jpeg_units", "read_header"]

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8\xff"
TIFF_MAGICS = {b"II*\x00": "<", b"MM\x00*": ">"}

JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of a JPEG frame header; the three taken out are tables."""
JPEG_SEQUENTIAL = frozenset({0xC0, 0xC1})
JPEG_SCAN, JPEG_END, JPEG_FILL = 0xDA, 0xD9, 0xFF
JPEG_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
JPEG_IN_SCAN = frozenset({0x00, 0xFF, *range(0xD0, 0xD8)})  # what follows 0xFF within a scan
"""A marker that ends entropy-coded data: stuffed zeros and restart markers belong to the data."""

TIFF_WIDTH, TIFF_HEIGHT = 256, 257
TIFF_SHORT = 3


@dataclass(frozen=True)
class PictureInfo:
    """Sides in pixels as the header gives them (before any EXIF turn) and the media type."""

    width: int
    height: int
    media_type: str


@dataclass(frozen=True)
class JpegUnits:
    """Smallest coded units of a JPEG coded in one pass: sides in pixels, blocks in each, where their data begins."""

    width: int
    height: int
    blocks: int
    data_at: int


def read_header(data: bytes) -> PictureInfo | None:
    """Return what the header says, or None where the bytes are no picture of a known kind.

    Raises `BadPicture` where the header itself is cut short or damaged.

    >>> read_header(b"BM" + bytes(16) + struct.pack("<ii", 640, -480))
    PictureInfo(width=640, height=480, media_type='image/bmp')
    """
    try:
        if data.startswith(PNG_MAGIC):
            return png_header(data)
        if data.startswith(JPEG_MAGIC):
            return jpeg_header(data)
        if data.startswith(b"BM"):
            width, height = struct.unpack_from("<ii", data, 18)
            return PictureInfo(abs(width), abs(height), "image/bmp")
        if data[:4] in TIFF_MAGICS:
            return tiff_header(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return webp_header(data)
    except (struct.error, IndexError) as error:
        raise BadPicture("a picture cut off in its header; send the whole file") from error
    return None


def is_whole(data: bytes, info: PictureInfo) -> bool:
    """Say whether the file ends where its format ends; formats that carry their length are left to the decoder."""
    match info.media_type:
        case "image/png":
            return any(kind == b"IEND" for kind, _ in png_chunks(data))
        case "image/jpeg":
            return jpeg_ends(data)
        case _:
            return True


def png_header(data: bytes) -> PictureInfo:
    """Read IHDR, the first chunk."""
    if data[12:16] != b"IHDR":
        raise BadPicture("a damaged PNG (no header chunk)")
    width, height = struct.unpack_from(">II", data, 16)
    return PictureInfo(width, height, "image/png")


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield (kind, end) of each chunk that is wholly there."""
    at = len(PNG_MAGIC)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 12 + length
        if end > len(data):
            return
        yield data[at + 4 : at + 8], end
        at = end


def jpeg_segments(data: bytes, at: int = 2) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start of its content, end of its content) up to the next scan or the end of the picture.

    Raises `struct.error` or `IndexError` where the data ends first.
    """
    marker = 0
    while marker not in {JPEG_SCAN, JPEG_END}:
        while data[at] == JPEG_FILL and data[at + 1] == JPEG_FILL:
            at += 1
        if data[at] != JPEG_FILL:
            raise BadPicture("a damaged JPEG (no marker where one belongs)")
        marker = data[at + 1]
        at += 2
        length = 0
        if marker not in JPEG_STANDALONE and marker != JPEG_END:
            (length,) = struct.unpack_from(">H", data, at)
        yield marker, at + 2, at + length
        at += length


def jpeg_header(data: bytes) -> PictureInfo:
    """Read the frame header, wherever it stands among the tables."""
    for marker, start, _ in jpeg_segments(data):
        if marker in JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, start + 1)
            return PictureInfo(width, height, "image/jpeg")
    raise BadPicture("a damaged JPEG (no frame header before its data)")


def jpeg_units(data: bytes) -> JpegUnits | None:
    """Return the coded units of a whole JPEG, or None where it is coded in several passes."""
    factors: list[tuple[int, int]] = []
    for marker, start, end in jpeg_segments(data):
        if marker in JPEG_FRAMES:
            if marker not in JPEG_SEQUENTIAL:
                return None
            components = data[start + 5]
            factors = [divmod(data[start + 7 + 3 * index], 16) for index in range(components)]
        if marker == JPEG_SCAN and data[start] == len(factors):
            if len(factors) == 1:
                return JpegUnits(8, 8, 1, end)
            across, down = (8 * max(pair[axis] for pair in factors) for axis in (0, 1))
            return JpegUnits(across, down, sum(h * v for h, v in factors), end)
    return None


def jpeg_ends(data: bytes) -> bool:
    """Say whether the scans are followed by the end marker."""
    at = 2
    try:
        while True:
            *_, (marker, _, end) = jpeg_segments(data, at)
            if marker == JPEG_END:
                return True
            data = data[:end] + data[end:].replace(b"\xff\0", b"\0\0")  # a byte of the picture, ten in a thousand
            at = data.index(b"\xff", end)
            while data[at + 1] in JPEG_IN_SCAN:
                at = data.index(b"\xff", at + 1)
    except (struct.error, IndexError, ValueError, BadPicture):
        return False


def tiff_header(data: bytes) -> PictureInfo:
    """Read width and height from the first directory."""
    order = TIFF_MAGICS[data[:4]]
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (entries,) = struct.unpack_from(f"{order}H", data, at)
    sides: dict[int, int] = {}
    for index in range(entries):
        entry = at + 2 + 12 * index
        tag, kind = struct.unpack_from(f"{order}HH", data, entry)
        if tag in {TIFF_WIDTH, TIFF_HEIGHT}:
            (sides[tag],) = struct.unpack_from(f"{order}{'H' if kind == TIFF_SHORT else 'I'}", data, entry + 8)
    if sides.keys() != {TIFF_WIDTH, TIFF_HEIGHT}:
        raise BadPicture("a damaged TIFF (its first directory names no width and height)")
    return PictureInfo(sides[TIFF_WIDTH], sides[TIFF_HEIGHT], "image/tiff")


def webp_header(data: bytes) -> PictureInfo:
    """Read the canvas of a lossy, lossless or extended WebP."""
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        raise BadPicture("a damaged WebP (no picture chunk)")
    return PictureInfo(width, height, "image/webp")
