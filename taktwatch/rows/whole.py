"""Formats whose decoder gives no rows: JPEG, BMP, WebP and interlaced PNG are decoded whole."""

import cv2
import numpy as np
import numpy.typing as npt

from taktwatch.errors import BadPicture
from taktwatch.picture_headers import JPEG_FRAMES, JPEG_MAGIC, jpeg_segments
from taktwatch.pictures import check, decode

__all__ = ["whole_picture"]


def whole_picture(data: bytes, name: str, max_px: int, max_side: int) -> npt.NDArray[np.uint8]:
    """Return the picture, uint8 (H, W) where a JPEG is grey, else RGB (H, W, 3). Raises `BadPicture`."""
    if not _is_grey_jpeg(data):
        return decode(data, name=name, max_px=max_px, max_side=max_side)
    check(data, name=name, max_px=max_px, max_side=max_side)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if pixels is None:
        raise BadPicture(f"{name}: a damaged JPEG that cannot be decoded; send it again")
    return np.asarray(pixels, np.uint8)


def _is_grey_jpeg(data: bytes) -> bool:
    """Whether a JPEG has one component: a third of the memory, then."""
    if not data.startswith(JPEG_MAGIC):
        return False
    return any(marker in JPEG_FRAMES and data[start + 5] == 1 for marker, start, _ in jpeg_segments(data))
