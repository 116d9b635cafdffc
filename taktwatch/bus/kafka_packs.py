"""Kafka's batches as the compiled library reads and makes them: what was fetched, what it leaves, what it says."""

import struct
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from aiokafka.consumer.fetcher import FetchResult
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

from taktwatch.bus import Message, Pack, Sheaf
from taktwatch.bus.kafka_records import unpacked
from taktwatch.clock import now
from taktwatch.errors import BackendUnavailable
from taktwatch.instants import EPOCH, microseconds
from taktwatch.native import CORRUPT, END, FOREIGN, Engine

__all__ = ["PackTaking", "SheafBatch", "messages_in", "others_in"]

PACK_BYTES = 2**20
"""A pack ends with the batch that makes it so large: a thousand records at once, then others have their turn."""

BEFORE_LENGTH = 12
"""So many bytes of a batch its length does not count."""


class PackTaking:
    """What was fetched of a partition, handed out as it came, in pieces of whole batches."""

    def __init__(self, found: FetchResult) -> None:
        self._found: Any = found
        self._body: bytes = self._found._partition_records._records.body  # noqa: SLF001 - there is no public way
        self._at = 0

    def take(self, max_records: int | None = None) -> list[Pack]:  # noqa: ARG002 - a pack is one
        """Return the next pack, if there is one."""
        found = self._found
        if not found.check_assignment(found._topic_partition) or not found.has_more():  # noqa: SLF001
            return []
        fetched = found._partition_records  # noqa: SLF001
        (topic, partition), first = fetched._tp, fetched.next_fetch_offset  # noqa: SLF001
        start = self._at
        end, after = whole_batches(self._body, start, PACK_BYTES)
        self._at = end
        fetched.next_fetch_offset = max(first, after)
        found._update_position()  # noqa: SLF001
        if whole_batches(self._body, end, 0)[0] == end:
            found._partition_records = None  # noqa: SLF001 - there is no more
        return [Pack(topic, partition, first, self._body, start, end)] if end > start else []


HEAD = struct.Struct(">qi11xi")
"""Of a batch: its first offset, how many bytes follow, and how far its last offset lies beyond the first."""


def whole_batches(body: bytes, start: int, enough: int) -> tuple[int, int]:
    """Return where batches end that are `enough` bytes or one batch more, and the offset after them.

    The last batch of an answer may be cut off: it does not count.
    """
    end, after = start, 0
    while len(body) - end >= HEAD.size:
        first, length, span = HEAD.unpack_from(body, end)
        if end + BEFORE_LENGTH + length > len(body):
            break
        end += BEFORE_LENGTH + length
        after = first + span + 1
        if end - start >= enough:
            break
    return end, after


def others_in(engine: Engine, pack: Pack) -> Iterator[Message]:
    """Let the library take in what is ordinary; yield every other message in its turn.

    Raises `BackendUnavailable` for a batch whose checksum is wrong: it is fetched again.
    """
    engine.open(pack.first, pack.start)
    while (found := engine.next(pack.body, pack.end)) != END:
        if found == CORRUPT:
            raise BackendUnavailable(f"a damaged batch in {pack.topic}/{pack.partition}; it is fetched again")
        if found == FOREIGN:
            yield from messages_in(pack, engine.foreign_start())
            return
        entry = engine.entry()
        yield Message(
            pack.topic,
            pack.partition,
            entry.offset,
            EPOCH + timedelta(milliseconds=entry.logged_ms),
            entry.key,
            entry.value,
            {name.decode(): value for name, value in entry.headers},
        )


def messages_in(pack: Pack, start: int | None = None) -> Iterator[Message]:
    """Yield the messages of a pack, or of its batches from byte `start` on."""
    batches = MemoryRecords(pack.body[pack.start if start is None else start : pack.end])
    for messages, _ in unpacked(pack.topic, pack.partition, batches, pack.first):
        yield from messages


LEADING = struct.Struct(">qiibI")
"""A batch's first offset, length, epoch of its leader, magic and checksum."""

HEADING = struct.Struct(">hiqqqhii")
"""What the checksum is of, before the records: attributes, last offset, first and last time, producer, its epoch, the
number of its first record, and how many there are."""


class SheafBatch(BatchBuilder):
    """A batch whose records are packed already: aiokafka's sender asks for its bytes when it knows who produces it."""

    def __init__(self, sheaf: Sheaf) -> None:
        self._sheaf = sheaf
        self._producer = (-1, -1, -1)
        self._built: bytes | None = None

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._producer = (producer_id, producer_epoch, base_sequence)

    def _build(self) -> bytes:
        if self._built is None:  # a batch that is sent again is the same batch
            count, records = self._sheaf.count, self._sheaf.records
            now_ms = microseconds(now()) // 1000  # the broker puts its own time over it
            body = HEADING.pack(0, count - 1, now_ms, now_ms, *self._producer, count) + records
            length = LEADING.size - BEFORE_LENGTH + len(body)
            self._built = LEADING.pack(0, length, -1, 2, calc_crc32c(body)) + body
        return self._built

    def size(self) -> int:
        """Return how many bytes it has."""
        return LEADING.size + HEADING.size + len(self._sheaf.records)

    def record_count(self) -> int:
        """Return how many records it has."""
        return self._sheaf.count

    def close(self) -> None:
        """Nothing is added to it in any case."""

    def closed(self) -> bool:
        """Return that nothing can be added."""
        return True
