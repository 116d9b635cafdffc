"""Records as Kafka's batches, as a broker gives them out."""

from collections.abc import Sequence

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from taktwatch.bus import Pack
from taktwatch.records import InspectionResult, StationMark
from taktwatch.wire import encode

Logged = tuple[InspectionResult | StationMark, int]
"""A record, and when the bus took it: milliseconds since 1970."""


def batch(records: Sequence[Logged], first: int, *, compression: int = 0) -> bytes:
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
    for index, (record, logged_ms) in enumerate(records):
        value, headers = encode(record)
        builder.append(index, logged_ms, record.line.encode(), value, list(headers.items()))
    built = bytearray(builder.build())
    built[:8] = first.to_bytes(8, "big")  # the checksum does not cover it: the broker writes it
    return bytes(built)


def pack(records: Sequence[Logged], first: int, wanted: int | None = None) -> Pack:
    """Return a pack of one batch, of which offsets below `wanted` were asked for by nobody."""
    return Pack("taktwatch.results", 0, first if wanted is None else wanted, batch(records, first))
