"""What the fold needs of a result: decoding the rest (masks, hashes, timings) would cost more than folding.

Field by field as in `taktwatch.records`; what is not named here is skipped unread.
"""

from datetime import datetime

import msgspec

from taktwatch.records import InspectionResult, LayerProfile, Outcome, Tile, Verdict

__all__ = ["PlacedDetection", "PlacedResult", "Result", "SlimDetection", "SlimResult", "placed_result", "slim_result"]


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
    tile: Tile | None = None


class PlacedDetection(SlimDetection, frozen=True, kw_only=True, gc=False):
    """Of a `Detection` on a piece of a panel: where it is, too."""

    box_px: tuple[float, float, float, float]


class PlacedResult(SlimResult, frozen=True, kw_only=True, gc=False, tag="inspection_result"):
    """Of the result of a panel's piece: what it shares with its neighbours is counted once, so places matter."""

    detections: tuple[PlacedDetection, ...] = ()


Result = InspectionResult | SlimResult
"""A result, whole or slim: the fold does not mind."""

slim_result = msgspec.json.Decoder(SlimResult).decode
"""Decode a result's JSON. Raises `msgspec.MsgspecError`."""

placed_result = msgspec.json.Decoder(PlacedResult).decode
"""Decode the JSON of a result that has a `tile`. Raises `msgspec.MsgspecError`."""
