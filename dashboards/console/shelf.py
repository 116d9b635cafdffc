"""Pictures of frames as they lie in the log, checked against their hash; small versions and outlines."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import cv2
import numpy as np

from dashboards.console.outlines import Outline, outline
from taktwatch.bus import Bus
from taktwatch.errors import BadRecord, RecordNotFound
from taktwatch.pictures import decode as decode_picture
from taktwatch.pictures import encode_jpeg
from taktwatch.records import Frame, InspectionResult
from taktwatch.wire import decode as decode_record

__all__ = ["Captured", "Recent", "Shelf"]

KEEP_THUMBNAILS = 512
KEEP_OUTLINES = 512
WORKERS = 2
JPEG_QUALITY = 85
SHOWN_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "image/bmp", "image/tiff"})

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """The values used last, at most `most` of them.

    >>> kept = Recent(2)
    >>> for key in "abc":
    ...     kept.put(key, key.upper())
    >>> kept.get("a"), kept.get("c")
    (None, 'C')
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.values: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        """Return a value and count it as used, or None."""
        if key in self.values:
            self.values.move_to_end(key)
        return self.values.get(key)

    def put(self, key: Key, value: Value) -> None:
        """Keep a value; the one used longest ago makes room."""
        self.values[key] = value
        self.values.move_to_end(key)
        while len(self.values) > self.most:
            self.values.popitem(last=False)


@dataclass(frozen=True)
class Captured:
    """A picture as captured. `media_type` is what it may be sent as: what is no picture goes out as plain bytes."""

    body: bytes
    media_type: str
    sha256: str


class Shelf:
    """Fetches frames from the bus and makes what the page shows of them; works in threads, few at a time."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.thumbnails: Recent[tuple[str, int], bytes] = Recent(KEEP_THUMBNAILS)
        self.outlined: Recent[str, tuple[Outline, ...]] = Recent(KEEP_OUTLINES)
        self.workers = asyncio.Semaphore(WORKERS)

    async def picture(self, result: InspectionResult) -> Captured:
        """Return the picture of a frame as captured.

        Raises `RecordNotFound` where the log no longer holds it, `BadRecord` where something else lies there.
        """
        if result.place is None:
            raise RecordNotFound(
                f"frame {result.frame_id} has no picture in the log: it was {result.outcome} before it got there"
            )
        message = await self.bus.fetch(result.place)
        async with self.workers:
            return await asyncio.to_thread(checked, message.value, dict(message.headers), result)

    async def thumbnail(self, result: InspectionResult, width_px: int) -> bytes:
        """Return the picture as JPEG, at most `width_px` wide. Raises as `picture` does, and `BadPicture`."""
        key = (result.frame_id, width_px)
        if (kept := self.thumbnails.get(key)) is not None:
            return kept
        captured = await self.picture(result)
        async with self.workers:
            small = await asyncio.to_thread(shrink, captured.body, width_px)
        self.thumbnails.put(key, small)
        return small

    async def outlines(self, result: InspectionResult) -> tuple[Outline, ...]:
        """Return the outlines of all detections of a frame."""
        if (kept := self.outlined.get(result.frame_id)) is not None:
            return kept
        async with self.workers:
            made = await asyncio.to_thread(lambda: tuple(outline(detection) for detection in result.detections))
        self.outlined.put(result.frame_id, made)
        return made


def checked(value: bytes, headers: dict[str, bytes], result: InspectionResult) -> Captured:
    """Return the picture in a message, provided that it is the one the result speaks of."""
    frame = decode_record(value, headers)
    if not isinstance(frame, Frame) or frame.frame_id != result.frame_id:
        raise BadRecord(f"{result.place} does not hold frame {result.frame_id}; was the topic created anew?")
    if hashlib.sha256(frame.image).hexdigest() != result.sha256:
        raise BadRecord(
            f"the picture of frame {result.frame_id} does not hash to what was inspected; it was damaged or edited"
        )
    media_type = frame.media_type if frame.media_type in SHOWN_TYPES else "application/octet-stream"
    return Captured(body=frame.image, media_type=media_type, sha256=result.sha256)


def shrink(image: bytes, width_px: int) -> bytes:
    """Decode a picture and encode it as JPEG of at most `width_px`; never larger than it was."""
    picture = decode_picture(image)
    height, width = picture.shape[:2]
    if width > width_px:
        size = (width_px, max(1, round(height * width_px / width)))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return encode_jpeg(picture, JPEG_QUALITY)
