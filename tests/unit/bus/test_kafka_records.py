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
from taktwatch.bus.kafka_records import BRIEFLY_MS, PATIENTLY_MS, Fetched
from taktwatch.instants import EPOCH

MS = 1_772_524_800_000
PLACE = TopicPartition("t", 3)


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
    return PartitionRecords(PLACE, MemoryRecords(log), None, offset, None, None, True, READ_UNCOMMITTED)


class Taking:
    """A partition's fetch as a consumer takes it, and the positions it came to."""

    def __init__(self, log: bytes, offset: int) -> None:
        self.fetcher = SimpleNamespace()
        self.consumed = [offset]
        self.state = SimpleNamespace(paused=False, position=offset, consumed_to=self.consume)
        assignment = SimpleNamespace(active=True, state_value=lambda _: self.state)
        self.records = fetched(log, offset)
        self.found = FetchResult(PLACE, assignment=assignment, partition_records=self.records, backoff=0)
        self.lying = Fetched(self.fetcher)
        self.lying[PLACE] = self.found

    def consume(self, position: int) -> None:
        self.state.position = position
        self.consumed.append(position)

    def take(self, most: int | None = None) -> list[Message]:
        messages: list[Message] = self.found.getall(most)
        return messages


def test_a_fetch_amid_a_batch_gives_what_is_at_and_after_its_offset() -> None:
    taking = Taking(bytes(batch(10, [b"a", b"b", b"c"]) + batch(13, [b"d"])), 11)
    stamp = EPOCH + timedelta(milliseconds=MS)
    assert taking.take() == [
        Message("t", 3, offset, stamp, b"", value, {"kind": b"x"})
        for offset, value in ((11, b"b"), (12, b"c"), (13, b"d"))
    ]
    assert taking.state.position == 14


def test_a_batch_that_compaction_shortened_is_passed_whole() -> None:
    log = batch(10, [b"a", b"b"])
    shortened = bytearray(batch(10, [b"a"]))
    shortened[17:27] = log[17:27]  # checksum's place, attributes, and the last offset it once had
    taking = Taking(bytes(with_checksum(shortened)), 10)
    assert [message.offset for message in taking.take()] == [10]
    assert taking.state.position == 12


def test_each_message_has_its_own_headers_though_equal_ones_are_one_object() -> None:
    kinds = [b"x", b"x", b"y", b"x"]
    messages = Taking(b"".join(batch(place, [b"v"], kind) for place, kind in enumerate(kinds)), 0).take()
    assert [message.headers for message in messages] == [{"kind": kind} for kind in kinds]
    assert messages[0].headers is messages[1].headers


def test_messages_are_taken_as_many_as_are_wanted_and_the_position_follows() -> None:
    taking = Taking(bytes(batch(10, [b"a", None, b"c"]) + batch(13, [b"d"])), 10)
    assert [message.value for message in taking.take(2)] == [b"a", b""]
    assert taking.found.has_more()
    assert [message.value for message in taking.take(2)] == [b"c", b"d"]
    assert taking.take(2) == []
    assert taking.consumed == [10, 12, 14, 14]
    assert not taking.found.has_more()


def test_of_a_partition_that_is_paused_or_was_sought_nothing_is_taken() -> None:
    paused, sought = Taking(bytes(batch(10, [b"a"])), 10), Taking(bytes(batch(10, [b"a"])), 10)
    paused.state.paused = True
    sought.state.position = 3
    assert paused.take() == sought.take() == []


def test_the_broker_waits_briefly_for_others_while_something_lies_here() -> None:
    taking = Taking(bytes(batch(10, [b"a"])), 10)
    assert taking.fetcher._fetch_max_wait_ms == BRIEFLY_MS
    del taking.lying[PLACE]
    assert taking.fetcher._fetch_max_wait_ms == PATIENTLY_MS
    taking.lying[PLACE] = taking.found
    taking.lying.clear()
    assert taking.fetcher._fetch_max_wait_ms == PATIENTLY_MS


def test_a_damaged_batch_is_refused() -> None:
    log = batch(10, [b"abcdef"])
    log[-4] ^= 1
    with pytest.raises(CorruptRecordException, match="t/3"):
        Taking(bytes(log), 10).take()


def with_checksum(log: bytearray) -> bytearray:
    """Set the checksum right again: CRC-32C of all that follows it."""
    log[17:21] = calc_crc32c(bytes(log[21:])).to_bytes(4, "big")
    return log
