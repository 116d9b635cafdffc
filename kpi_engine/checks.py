"""What a record must be to be counted: one that is not goes to the dead topic, and the partition goes on."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from math import isfinite

from taktwatch.bus import Message
from taktwatch.errors import BadRecord
from taktwatch.records import DeadLetter, InspectionResult, LayerProfile, StationMark
from taktwatch.wire import decode

__all__ = ["dead_letter", "readable"]

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
LONGEST_LATENCY = timedelta(days=3650)
MOST_FRAMES = 2**53
MOST_OPPORTUNITIES = 10**9
MOST_AREA_UM2 = 1e13
MOST_DEPTH_UM = 1e9
DEAD_BYTES = 2**20
"""How much of a refused record is kept; results are kilobytes."""


def readable(message: Message) -> InspectionResult | StationMark:
    """Return the record in a message of the results topic.

    Raises `BadRecord` for bytes that are no record, records of another kind, and numbers no sum can hold. Stations and
    products that line.toml does not know are counted like any other: the file may have changed since.
    """
    record = decode(message.value, message.headers)
    if isinstance(record, StationMark):
        check_time("time", record.time)
        check_range("last_seq", record.last_seq, -1, MOST_FRAMES)
    elif isinstance(record, InspectionResult):
        check_result(record)
    else:
        raise BadRecord(f"a {type(record).__name__} in {message.topic}, where results and marks are expected")
    return record


def check_result(result: InspectionResult) -> None:
    """Refuse a result whose times or numbers are impossible."""
    for name in ("event_at", "received_at", "inspected_at"):
        check_time(name, getattr(result, name))
    if abs(result.inspected_at - result.received_at) > LONGEST_LATENCY:
        raise BadRecord(f"a latency of {result.inspected_at - result.received_at}; are the machines' clocks set?")
    check_range("seq", result.seq, 0, MOST_FRAMES)
    check_range("opportunities", result.opportunities, 0, MOST_OPPORTUNITIES)
    if result.layers:
        check_range("um_per_px", result.um_per_px, 0, MOST_DEPTH_UM)
    for layer in result.layers:
        check_layer(layer, result.um_per_px)


def check_layer(layer: LayerProfile, um_per_px: float) -> None:
    """Refuse a layer of impossible size."""
    for name in ("layer_px", "corroded_px"):
        check_range(f"{name} of layer {layer.layer}", getattr(layer, name) * um_per_px * um_per_px, 0, MOST_AREA_UM2)
    check_range(f"deepest_um of layer {layer.layer}", layer.deepest_um, 0, MOST_DEPTH_UM)


def check_time(name: str, time: datetime) -> None:
    """Refuse a time without zone or outside the years windows can be made for."""
    if time.tzinfo is None:
        raise BadRecord(f"{name} {time.isoformat()} has no time zone; times are UTC")
    if not EARLIEST <= time < LATEST:
        raise BadRecord(f"{name} {time.isoformat()} is not between {EARLIEST.year} and {LATEST.year}")


def check_range(name: str, number: float, low: float, high: float) -> None:
    """Refuse a number outside low..high, and what is no number."""
    if not (isfinite(number) and low <= number <= high):
        raise BadRecord(f"{name} is {number}, not between {low} and {high}")


def dead_letter(message: Message, error: Exception, source: str) -> DeadLetter:
    """Return what is kept of a message that cannot be used."""
    return DeadLetter(
        error=str(error),
        source=source,
        received_at=message.timestamp,
        body=message.value[:DEAD_BYTES],
        body_bytes=len(message.value),
        sha256=sha256(message.value).hexdigest(),
        line=message.key.decode(errors="replace").split("/", 1)[0],
        place=message.place,
    )
