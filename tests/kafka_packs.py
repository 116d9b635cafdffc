"""Records as Kafka's batches, as a broker gives them out."""

from collections.abc import Iterable, Mapping, Sequence

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from taktwatch.bus import Pack
from taktwatch.records import InspectionResult, StationMark
from taktwatch.wire import encode

Logged = tuple[InspectionResult | StationMark, int]
"""A record, and when the bus took it: milliseconds since 1970."""

Raw = tuple[bytes, Mapping[str, bytes], int]
"""A record's value and headers as they travel, and when the bus took it."""


def raw(records: Iterable[Logged]) -> list[Raw]:
    """Return records as they travel."""
    return [(*encode(record), logged_ms) for record, logged_ms in records]


def batch(records: Sequence[Raw], first: int, *, compression: int = 0) -> bytes:
    """Return one batch of magic 2 whose first offset is `first`."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=compression,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=2**24,
    )
    for index, (value, headers, logged_ms) in enumerate(records):
        builder.append(index, logged_ms, b"line", value, list(headers.items()))
    built = bytearray(builder.build())
    built[:8] = first.to_bytes(8, "big")  # the checksum does not cover it: the broker writes it
    return bytes(built)


def pack_of(body: bytes, wanted: int) -> Pack:
    """Return a pack of batches, of which records below `wanted` were asked for by nobody."""
    return Pack("taktwatch.results", 0, wanted, body, 0, len(body))
