"""What a record must be to be counted: one that is not goes to the dead topic, and the partition goes on."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from math import isfinite

import msgspec

from kpi_engine.slim import Result, SlimResult, placed_result, slim_result
from taktwatch.bus import Message
from taktwatch.errors import BadRecord
from taktwatch.records import DeadLetter, InspectionResult, LayerProfile, Record, StationMark, Tile
from taktwatch.wire import decode, kind_of

__all__ = ["check_station", "dead_letter", "readable"]

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
LONGEST_LATENCY = timedelta(days=3650)
MOST_FRAMES = 2**53
MOST_OPPORTUNITIES = 10**9
MOST_TILES = 100_000
MOST_AREA_UM2 = 1e13
MOST_DEPTH_UM = 1e9
DEAD_BYTES = 2**20
"""How much of a refused record is kept; results are kilobytes."""


def readable(message: Message, kind: type[Record] | None = None) -> SlimResult | StationMark:
    """Return the record in a message of the results topic; of a result, what is needed to count it.

    `kind`: what the message's headers say that it holds, where they were read already.
    Raises `BadRecord` for bytes that are no record, records of another kind, and numbers no sum can hold. Products that
    line.toml does not know are counted like any other: the file may have changed since.
    """
    if kind is None:
        kind = kind_of(message.headers)
    if kind is InspectionResult:
        try:
            result = slim_result(message.value)
            if result.tile is not None:
                result = placed_result(message.value)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BadRecord(f"a damaged taktwatch.result record: {error}") from error
        if not is_plain(result):
            check_result(result)
        return result
    if kind is not StationMark:
        raise BadRecord(f"a {kind.__name__} in {message.topic}, where results and marks are expected")
    mark = decode(message.value, message.headers)
    assert isinstance(mark, StationMark)  # noqa: S101 - narrows the type; its headers say so
    check_time("time", mark.time)
    check_range("last_seq", mark.last_seq, -1, MOST_FRAMES)
    return mark


def check_station(record: Result | StationMark, line: str, stations: frozenset[str]) -> None:
    """Refuse a record of this line from a station that line.toml does not name; other lines have files of their own."""
    if record.station not in stations and record.line == line and stations:
        raise BadRecord(
            f"station {record.station!r} is not in line.toml, which has {', '.join(sorted(stations))} for line {line!r}"
        )


def is_plain(result: Result) -> bool:
    """Whether nothing is wrong with a result at first sight: no layers to measure, all else in range."""
    received_at, inspected_at = result.received_at, result.inspected_at
    try:
        return (
            not result.layers
            and result.tile is None
            and EARLIEST <= result.event_at < LATEST
            and EARLIEST <= received_at <= inspected_at < LATEST
            and inspected_at - received_at <= LONGEST_LATENCY
            and 0 <= result.seq <= MOST_FRAMES
            and 0 <= result.opportunities <= MOST_OPPORTUNITIES
            and (not result.detections or all(0 <= found.score <= 1 for found in result.detections))
        )
    except TypeError:  # a time without zone
        return False


def check_result(result: Result) -> None:
    """Refuse a result whose times or numbers are impossible."""
    for name in ("event_at", "received_at", "inspected_at"):
        check_time(name, getattr(result, name))
    if abs(result.inspected_at - result.received_at) > LONGEST_LATENCY:
        raise BadRecord(f"a latency of {result.inspected_at - result.received_at}; are the machines' clocks set?")
    check_range("seq", result.seq, 0, MOST_FRAMES)
    check_range("opportunities", result.opportunities, 0, MOST_OPPORTUNITIES)
    for found in result.detections:
        check_range(f"score of {found.label}", found.score, 0, 1)
    if result.layers:
        check_range("um_per_px", result.um_per_px, 0, MOST_DEPTH_UM)
    for layer in result.layers:
        check_layer(layer, result.um_per_px)
    if result.tile is not None:
        check_tile(result.tile)


def check_tile(tile: Tile) -> None:
    """Refuse a piece that lies on no panel."""
    check_range("tile.of", tile.of, 1, MOST_TILES)
    check_range("tile.index", tile.index, 0, tile.of - 1)
    x0, y0, x1, y1 = tile.box_px
    if not (0 <= x0 < x1 <= tile.size_px[0] and 0 <= y0 < y1 <= tile.size_px[1]):
        raise BadRecord(f"tile.box_px {tile.box_px} does not lie on a panel of {tile.size_px} px")


def check_layer(layer: LayerProfile, um_per_px: float) -> None:
    """Refuse a layer of impossible size."""
    for name in ("length_px", "corroded_length_px"):
        check_range(f"{name} of layer {layer.layer}", getattr(layer, name) * um_per_px, 0, MOST_DEPTH_UM)
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
