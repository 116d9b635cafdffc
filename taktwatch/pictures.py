"""Pictures from bytes and to bytes, with limits that hold before anything is decoded. No I/O.

Everything from outside comes in through `decode`; its errors are one line that names the input. A picture is turned
as its EXIF note says, as every viewer shows it; masks and boxes are in these turned coordinates.
"""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from taktwatch.errors import BadPicture
from taktwatch.picture_headers import PictureInfo, is_whole, jpeg_units, read_header

__all__ = ["MAX_PX", "MAX_SIDE", "PictureInfo", "check", "decode", "encode_jpeg", "encode_png", "probe"]

MAX_PX: Final = 64_000_000
"""Most pixels a picture may have, unless the caller says otherwise."""
MAX_SIDE: Final = 20_000
"""Most pixels a side may have."""

GREY: Final = 128
"""What a JPEG decoder fills in where coded data is missing."""

cv2.utils.logging.setLogLevel(
    cv2.utils.logging.LOG_LEVEL_SILENT
)  # OpenCV prints about damaged pictures; here they become errors that name the input


def probe(data: bytes, *, name: str = "the picture") -> PictureInfo:
    """Return kind and size by reading the header alone.

    Raises `BadPicture` for empty bytes and for what is no PNG, JPEG, BMP, TIFF or WebP.

    >>> probe(b"hello", name="notes.jpg")
    Traceback (most recent call last):
    taktwatch.errors.BadPicture: notes.jpg: not a picture (begins with b'hello'); send PNG, JPEG, BMP, TIFF or WebP
    """
    if not data:
        raise BadPicture(f"{name}: empty, 0 bytes; was the file written completely?")
    try:
        info = read_header(data)
    except BadPicture as error:
        raise BadPicture(f"{name}: {error}") from error
    if info is None:
        raise BadPicture(f"{name}: not a picture (begins with {data[:8]!r}); send PNG, JPEG, BMP, TIFF or WebP")
    if info.width == 0 or info.height == 0:
        raise BadPicture(f"{name}: a picture of {info.width} x {info.height} px has nothing to inspect")
    return info


def check(data: bytes, *, name: str = "the picture", max_px: int = MAX_PX, max_side: int = MAX_SIDE) -> PictureInfo:
    """Return kind and size of a picture that is within the limits and complete, without decoding it.

    Raises `BadPicture`.
    """
    info = probe(data, name=name)
    if max(info.width, info.height) > max_side or info.width * info.height > max_px:
        raise BadPicture(
            f"{name}: {info.width} x {info.height} px is over the limit of {max_side} px a side and {max_px} px in all;"
            " send it in strips"
        )
    if not is_whole(data, info):
        kind = info.media_type.removeprefix("image/").upper()
        raise BadPicture(f"{name}: a truncated {kind} (no end marker); send the whole file")
    return info


def decode(
    data: bytes, *, name: str = "the picture", max_px: int = MAX_PX, max_side: int = MAX_SIDE
) -> npt.NDArray[np.uint8]:
    """Return the picture as RGB, uint8 (H, W, 3), contiguous.

    Grey is repeated in all channels, 16 bits keep their upper 8, an alpha channel is dropped. Raises `BadPicture`
    for what is no picture, is cut short, or exceeds the limits (before memory is taken for it).
    """
    info = check(data, name=name, max_px=max_px, max_side=max_side)
    pixels = decoded(data)
    if pixels is None:
        raise BadPicture(f"{name}: a damaged {info.media_type} that cannot be decoded; send it again")
    if sorted(pixels.shape[:2]) != sorted((info.height, info.width)):
        raise BadPicture(f"{name}: its header says {info.width} x {info.height} px, its data differs; send it again")
    if info.media_type == "image/jpeg" and ends_early(data, pixels):
        raise BadPicture(f"{name}: a truncated JPEG (data ends before the last row); send the whole file")
    return np.ascontiguousarray(pixels)


def decoded(data: bytes) -> npt.NDArray[np.uint8] | None:
    """Let OpenCV decode; None where it cannot."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        return None
    return None if pixels is None else np.asarray(pixels, dtype=np.uint8)


def ends_early(data: bytes, pixels: npt.NDArray[np.uint8]) -> bool:
    """Say whether a JPEG's data ran out before its last row although an end marker follows.

    Missing units decode to plain grey. Real grey takes at least 2 bits a block: where half of that is taken off the
    end and the picture above the grey changes, those bytes were not the grey's, so the grey was made up. Progressive
    JPEGs lose detail, not rows: of them this cannot be told.
    """
    if np.any(pixels[-1, -1] != GREY) or (units := jpeg_units(data)) is None:
        return False
    coloured = np.flatnonzero(np.any(pixels != GREY, axis=(1, 2)))
    above = int(coloured[-1]) + 1 if coloured.size else 0
    grey_units = (len(pixels) - above) // units.height * -(-pixels.shape[1] // units.width)
    end = data.rindex(b"\xff\xd9")
    needed = grey_units * units.blocks * 2 // 8
    if end - units.data_at < needed:
        return True
    shorter = decoded(data[: end - needed // 2].rstrip(b"\xff") + b"\xff\xd9")
    return shorter is None or not np.array_equal(shorter[:above], pixels[:above])


def encode_png(rgb: npt.NDArray[np.uint8]) -> bytes:
    """Encode uint8 (H, W, 3) RGB losslessly.

    >>> picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    >>> bool(np.array_equal(decode(encode_png(picture)), picture))
    True
    """
    return encoded(".png", rgb, [cv2.IMWRITE_PNG_COMPRESSION, 1])


def encode_jpeg(rgb: npt.NDArray[np.uint8], quality: int = 90) -> bytes:
    """Encode uint8 (H, W, 3) RGB as JPEG of `quality` 1 to 100, colour at full resolution."""
    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return encoded(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, quality, *sampling])


def encoded(suffix: str, rgb: npt.NDArray[np.uint8], settings: list[int]) -> bytes:
    """Let OpenCV encode."""
    ok, buffer = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), settings)
    if not ok:
        raise BadPicture(f"a picture of shape {rgb.shape} cannot be written as {suffix}")
    return bytes(buffer.tobytes())
