"""A shot becomes a frame: its name, its times, and whether it can be inspected at all. Pure."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from ingest.cameras.shot import HEAD_BYTES, Shot
from taktwatch.config import IngestConfig
from taktwatch.errors import BadPicture
from taktwatch.pictures import decode, probe
from taktwatch.records import DeadLetter, Frame, frame_id

__all__ = ["Origin", "dead_letter", "fault_of", "head_of", "is_skewed", "make_frame"]


@dataclass(frozen=True)
class Origin:
    """What all frames of a session share."""

    line: str
    station: str
    session: str
    product: str
    view: str
    um_per_px: float
    lot: str | None


def make_frame(
    shot: Shot,
    origin: Origin,
    *,
    seq: int,
    visit: int,
    taken_at: datetime,
    received_at: datetime,
    template_sha256: str | None,
    max_clock_skew_s: float,
) -> Frame:
    """Name and describe a shot. Its bytes are not touched; a fault keeps the head alone of what the bus cannot take."""
    stamped = shot.taken_at is None
    return Frame(
        frame_id=frame_id(origin.line, origin.station, origin.session, seq),
        line=origin.line,
        station=origin.station,
        product=origin.product,
        view=origin.view,
        session=origin.session,
        seq=seq,
        visit=visit,
        taken_at=taken_at,
        received_at=received_at,
        um_per_px=origin.um_per_px,
        sha256=shot.sha256 or hashlib.sha256(shot.data).hexdigest(),
        image=shot.data,
        media_type=media_type_of(shot),
        lot=origin.lot,
        serial=shot.serial,
        template_sha256=template_sha256,
        stamped=stamped,
        tile=shot.tile,
        clock_skewed=not stamped and is_skewed(taken_at, received_at, max_clock_skew_s),
    )


def media_type_of(shot: Shot) -> str:
    r"""Return what the bytes are, whatever their name says.

    >>> media_type_of(Shot(name="a.png", data=b"BM" + bytes(16) + b"\1\0\0\0\1\0\0\0", media_type="image/png"))
    'image/bmp'
    """
    try:
        return probe(shot.data).media_type
    except BadPicture:
        return shot.media_type


def is_skewed(taken_at: datetime, received_at: datetime, max_clock_skew_s: float) -> bool:
    """Say whether a camera's clock is too far from ours, either way, to be believed."""
    return abs((received_at - taken_at).total_seconds()) > max_clock_skew_s


def fault_of(shot: Shot, limits: IngestConfig) -> str:
    """Return why a shot cannot be inspected, in one line that names it; empty where it can.

    >>> fault_of(Shot(name="a.jpg", data=b""), IngestConfig())
    'a.jpg: empty, 0 bytes; was the file written completely?'
    """
    if shot.fault:
        return shot.fault
    if len(shot.data) > limits.max_picture_bytes:
        return f"{shot.name}: {len(shot.data)} bytes, more than the {limits.max_picture_bytes} a line takes"
    if shot.sound:
        return ""
    try:
        decode(shot.data, name=shot.name, max_px=limits.max_picture_px, max_side=limits.max_side_px)
    except BadPicture as error:
        return str(error)
    return ""


def dead_letter(frame: Frame, error: str, source: str, whole_bytes: int) -> DeadLetter:
    """Return the bytes as received with the reason; a body over the bus's size was cut to its head before."""
    return DeadLetter(
        error=error,
        source=source,
        received_at=frame.received_at,
        body=frame.image,
        body_bytes=whole_bytes,
        sha256=frame.sha256,
        line=frame.line,
        station=frame.station,
        frame_id=frame.frame_id,
    )


def head_of(data: bytes) -> bytes:
    """Return the part that is kept of bytes too large for the bus."""
    return data[:HEAD_BYTES]
