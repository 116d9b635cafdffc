"""What the fold needs of a result: decoding the rest (masks, hashes, timings) would cost more than folding.

Field by field as in `taktwatch.records`; what is not named here is skipped unread.
"""

from datetime import datetime

import msgspec

from taktwatch.records import InspectionResult, LayerProfile, Outcome, Verdict

__all__ = ["Result", "SlimDetection", "SlimResult", "slim_result"]


class SlimDetection(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Of a `Detection`: what it is, and how sure the model was (a score that is no number is no detection)."""

    label: str = msgspec.field(name="class")
    score: float


class SlimResult(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="inspection_result"):
    """Of an `InspectionResult`: who, when, and what came out."""

    line: str
    station: str
    product: str
    view: str
    session: str
    seq: int
    visit: int
    event_at: datetime
    received_at: datetime
    inspected_at: datetime
    outcome: Outcome
    um_per_px: float
    lot: str | None = None
    serial: str | None = None
    verdict: Verdict | None = None
    reasons: tuple[str, ...] = ()
    detections: tuple[SlimDetection, ...] = ()
    layers: tuple[LayerProfile, ...] = ()
    opportunities: int = 0


Result = InspectionResult | SlimResult
"""A result, whole or slim: the fold does not mind."""

slim_result = msgspec.json.Decoder(SlimResult).decode
"""Decode a result's JSON. Raises `msgspec.MsgspecError`."""
