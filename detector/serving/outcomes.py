"""From a frame and what was said of it to its one terminal result. Pure."""

from datetime import datetime

import msgspec

from detector.steps import Inspection
from taktwatch.bus import MAX_RECORD_BYTES, Message
from taktwatch.errors import BadPicture
from taktwatch.records import DeadLetter, Frame, InspectionResult, Outcome, Place, outcome_of

__all__ = ["dead_frame", "dead_record", "dead_result", "inspected", "place_on_panel", "skipped_result"]

KEPT_BYTES = MAX_RECORD_BYTES - 2**20
"""A dead letter keeps so much of a body; its headers need room beside it."""


def place_on_panel(frame: Frame, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return where a picture of `shape` (h, w) begins on its panel, (x, y); (0, 0) for one that is no piece of any.

    Raises `BadPicture` where its size is not that of its place.
    """
    if frame.tile is None:
        return 0, 0
    x0, y0, x1, y1 = frame.tile.box_px
    if shape != (y1 - y0, x1 - x0):
        raise BadPicture(
            f"frame {frame.frame_id}: piece {frame.tile.index} of {frame.tile.panel} is {shape[1]}x{shape[0]} px, "
            f"its place {x1 - x0}x{y1 - y0}; cut all pieces as the first one says"
        )
    return x0, y0


def inspected(
    frame: Frame, place: Place, said: Inspection, *, opportunities: int, config_sha256: str, at: datetime
) -> InspectionResult:
    """Return the result of an inspected frame."""
    return msgspec.structs.replace(
        dead_result(frame, place, "", config_sha256=config_sha256, at=at),
        outcome=Outcome.INSPECTED,
        verdict=said.verdict,
        reasons=said.reasons,
        doubts=tuple(str(doubt) for doubt in said.doubts),
        detections=said.detections,
        layers=said.layers,
        opportunities=opportunities,
        model=said.model,
        registration=said.registration,
        timings_us=said.timings_us,
    )


def dead_result(frame: Frame, place: Place, reason: str, *, config_sha256: str, at: datetime) -> InspectionResult:
    """Return the result of a frame that cannot be inspected."""
    return outcome_of(frame, Outcome.DEAD, reason, config_sha256=config_sha256, at=at, place=place)


def skipped_result(frame: Frame, place: Place, reason: str, *, config_sha256: str, at: datetime) -> InspectionResult:
    """Return the result of a frame that its station's overload policy leaves uninspected."""
    return outcome_of(frame, Outcome.SKIPPED, reason, config_sha256=config_sha256, at=at, place=place)


def dead_frame(frame: Frame, place: Place, error: str, at: datetime) -> DeadLetter:
    """Return a frame's picture as received, why it could not be inspected, and where it lies."""
    return DeadLetter(
        error=error,
        source="detector",
        received_at=at,
        body=frame.image[:KEPT_BYTES],
        body_bytes=len(frame.image),
        sha256=frame.sha256,
        line=frame.line,
        station=frame.station,
        frame_id=frame.frame_id,
        place=place,
    )


def dead_record(message: Message, error: str, sha256: str) -> DeadLetter:
    """Return the bytes of a record that is no frame."""
    return DeadLetter(
        error=error,
        source="detector",
        received_at=message.timestamp,
        body=message.value[:KEPT_BYTES],
        body_bytes=len(message.value),
        sha256=sha256,
        place=message.place,
    )
