"""Batches as Kafka's brokers send them, unpacked into messages."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_UNCOMMITTED, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

from taktwatch.bus import Message
from taktwatch.bus.kafka_records import EPOCH, Fetched, messages_in

MS = 1_772_524_800_000


def batch(first: int, values: list[bytes | None], kind: bytes = b"x") -> bytearray:
    """Return a batch as the log holds it, its first record at an offset."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=2**20,
    )
    for place, value in enumerate(values):
        builder.append(place, timestamp=MS, key=None, value=value, headers=[("kind", kind)])
    built = bytearray(builder.build())
    built[:8] = first.to_bytes(8, "big")
    return built


def fetched(log: bytes, offset: int) -> PartitionRecords:
    """Return what a fetch from an offset brought."""
    return PartitionRecords(
        TopicPartition("t", 3), MemoryRecords(log), None, offset, None, None, True, READ_UNCOMMITTED
    )


def test_a_fetch_amid_a_batch_gives_what_is_at_and_after_its_offset() -> None:
    records = fetched(bytes(batch(10, [b"a", b"b", b"c"]) + batch(13, [b"d"])), 11)
    stamp = EPOCH + timedelta(milliseconds=MS)
    assert list(messages_in(records)) == [
        Message("t", 3, offset, stamp, b"", value, {"kind": b"x"})
        for offset, value in ((11, b"b"), (12, b"c"), (13, b"d"))
    ]
    assert records.next_fetch_offset == 14


def test_the_position_follows_each_message_that_is_taken() -> None:
    records = fetched(bytes(batch(10, [b"a", None])), 10)
    messages = messages_in(records)
    assert next(messages).value == b"a"
    assert records.next_fetch_offset == 11
    assert next(messages).value == b""


def test_a_batch_that_compaction_shortened_is_passed_whole() -> None:
    log = batch(10, [b"a", b"b"])
    shortened = bytearray(batch(10, [b"a"]))
    shortened[17:27] = log[17:27]  # checksum's place, attributes, and the last offset it once had
    records = fetched(bytes(with_checksum(shortened)), 10)
    assert [message.offset for message in messages_in(records)] == [10]
    assert records.next_fetch_offset == 12


def test_each_message_has_its_own_headers_though_equal_ones_are_one_object() -> None:
    kinds = [b"x", b"x", b"y", b"x"]
    log = b"".join(batch(place, [b"v"], kind) for place, kind in enumerate(kinds))
    messages = list(messages_in(fetched(log, 0)))
    assert [message.headers for message in messages] == [{"kind": kind} for kind in kinds]
    assert messages[0].headers is messages[1].headers


def test_messages_are_taken_as_many_as_are_wanted_and_the_position_follows() -> None:
    records = fetched(bytes(batch(10, [b"a", b"b", b"c"])), 10)
    place = TopicPartition("t", 3)
    consumed: list[int] = []
    state = SimpleNamespace(paused=False, position=10, consumed_to=consumed.append)
    assignment = SimpleNamespace(active=True, state_value=lambda _: state)
    found = FetchResult(place, assignment=assignment, partition_records=records, backoff=0)
    Fetched()[place] = found
    assert [message.value for message in found.getall(2)] == [b"a", b"b"]
    state.position = consumed[-1]
    assert [message.value for message in found.getall(2)] == [b"c"]
    assert consumed == [12, 13]
    assert not found.has_more()


def test_a_damaged_batch_is_refused() -> None:
    log = batch(10, [b"abcdef"])
    log[-4] ^= 1
    with pytest.raises(CorruptRecordException, match="t/3"):
        list(messages_in(fetched(bytes(log), 10)))


def with_checksum(log: bytearray) -> bytearray:
    """Set the checksum right again: CRC-32C of all that follows it."""
    log[17:21] = calc_crc32c(bytes(log[21:])).to_bytes(4, "big")
    return log
