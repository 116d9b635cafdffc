"""Records to bytes and headers, and back, with a schema version.

Small records are JSON in the value. Records with a payload (pictures, dead letters, checkpoints, assets) carry it raw
as the value, exactly as it was, and the rest as JSON in one header. Outsiders find CloudEvents 1.0 attributes (Kafka
protocol binding, binary mode) beside it.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from taktwatch.errors import BadRecord, UnknownSchema
from taktwatch.records import (
    AlertTransition,
    Asset,
    BoardVerdict,
    Checkpoint,
    CheckpointChunk,
    CheckpointManifest,
    ControlPoint,
    DeadLetter,
    Frame,
    InspectionResult,
    KpiWindow,
    ModelActivation,
    Notification,
    Record,
    Review,
    SpcBaseline,
    StationMark,
)

__all__ = ["SCHEMA", "Headers", "decode", "encode", "headers_of", "kind_of"]

SCHEMA = "1.0"
"""Major.minor. A reader takes any minor of its own major (unknown fields are ignored) and refuses another major."""

Headers = Mapping[str, bytes]

SCHEMA_HEADER = "taktwatch_schema"
META_HEADER = "taktwatch_meta"
TYPE_HEADER = "ce_type"

NAMES: dict[type[Record], str] = {
    Frame: "taktwatch.frame",
    InspectionResult: "taktwatch.result",
    StationMark: "taktwatch.mark",
    BoardVerdict: "taktwatch.board",
    KpiWindow: "taktwatch.kpi",
    ControlPoint: "taktwatch.control-point",
    SpcBaseline: "taktwatch.spc-baseline",
    AlertTransition: "taktwatch.alert",
    Notification: "taktwatch.notification",
    Review: "taktwatch.review",
    DeadLetter: "taktwatch.dead",
    Checkpoint: "taktwatch.checkpoint",
    CheckpointChunk: "taktwatch.checkpoint-chunk",
    CheckpointManifest: "taktwatch.checkpoint-manifest",
    Asset: "taktwatch.asset",
    ModelActivation: "taktwatch.model-activation",
}
TYPES = {name.encode(): kind for kind, name in NAMES.items()}
DECODERS: dict[type[Record], msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind) for kind in TYPES.values() if kind.payload is None
}
ENCODER = msgspec.json.Encoder()
HEADERS: dict[type[Record], dict[str, bytes]] = {
    kind: {
        "ce_specversion": b"1.0",
        TYPE_HEADER: name,
        SCHEMA_HEADER: SCHEMA.encode(),
        "content-type": b"application/json",
    }
    for name, kind in TYPES.items()
}
"""What every record of a kind has; a payload's type comes in place of JSON's."""


def encode(record: Record) -> tuple[bytes, dict[str, bytes]]:
    """Return the value and the headers of a record.

    >>> from datetime import UTC, datetime
    >>> mark = StationMark(line="l", station="s", session="a", product="p", last_seq=3,
    ...                    time=datetime(2026, 3, 3, tzinfo=UTC), state="open")
    >>> decode(*encode(mark)) == mark
    True
    """
    kind = type(record)
    headers = dict(HEADERS[kind])
    if kind.payload is None:
        return ENCODER.encode(record), headers
    meta = msgspec.structs.asdict(record)
    value: bytes = meta.pop(kind.payload)
    if isinstance(record, Frame) and record.tile is None:
        del meta["tile"]  # frames of 1.0 had none: those of whole boards look as they always did
    if isinstance(record, Checkpoint) and not record.blocks:
        del meta["blocks"]  # nor had checkpoints any
    headers[META_HEADER] = ENCODER.encode(meta)
    headers["content-type"] = str(meta.get("media_type", "application/octet-stream")).encode()
    if isinstance(record, Frame):
        headers |= cloud_event(record)
    return value, headers


def headers_of(kind: type[Record]) -> Headers:
    """Return what every record of a kind has that travels whole in its value."""
    return HEADERS[kind]


def cloud_event(frame: Frame) -> dict[str, bytes]:
    """CloudEvents attributes and the W3C trace context of a frame: its trace id is the frame id."""
    return {
        "ce_id": frame.frame_id.encode(),
        "ce_source": f"/{frame.line}/{frame.station}".encode(),
        "ce_subject": (frame.serial or frame.frame_id).encode(),
        "ce_time": datetime.isoformat(frame.taken_at).encode(),
        "sha256": frame.sha256.encode(),
        "traceparent": f"00-{frame.frame_id}-{frame.frame_id[:16]}-01".encode(),
    }


def decode(value: bytes, headers: Headers) -> Record:
    """Return the record in a message.

    Raises `UnknownSchema` for another major schema version, `BadRecord` for bytes that are not what they claim.
    """
    kind = kind_of(headers)
    try:
        if kind.payload is None:
            record = DECODERS[kind].decode(value)
        else:
            meta = msgspec.json.decode(headers[META_HEADER])
            record = msgspec.convert({**meta, kind.payload: value}, kind, strict=False)
    except (msgspec.MsgspecError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise BadRecord(f"a damaged {NAMES[kind]} record: {error}") from error
    assert isinstance(record, Record)  # noqa: S101 - narrows the type; every kind in TYPES is a Record
    return record


def kind_of(headers: Headers) -> type[Record]:
    """Return what kind of record a message says it holds. Raises `UnknownSchema`, `BadRecord`."""
    return known_kind(headers.get(SCHEMA_HEADER), headers.get(TYPE_HEADER))


@lru_cache(maxsize=64)
def known_kind(schema: bytes | None, name: bytes | None) -> type[Record]:
    """Return the kind of record with this name, where the schema is ours."""
    check_schema(schema)
    kind = TYPES.get(name or b"")
    if kind is None:
        raise BadRecord(f"a record of unknown type {name!r}; was it written by taktwatch?")
    return kind


def check_schema(schema: bytes | None) -> None:
    """Refuse a record without a schema version or of another major version."""
    if schema is None:
        raise BadRecord(f"a record without the header {SCHEMA_HEADER}; was it written by taktwatch?")
    major = schema.split(b".", 1)[0]
    if major != SCHEMA.split(".", 1)[0].encode():
        raise UnknownSchema(
            f"a record of schema {schema.decode(errors='replace')}; this taktwatch reads {SCHEMA}: upgrade it"
        )
