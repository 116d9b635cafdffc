"""Kafka's batches as they came, for the compiled library to read, and what of them it leaves."""

import struct
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from aiokafka.consumer.fetcher import FetchResult
from aiokafka.record.memory_records import MemoryRecords

from taktwatch.bus import Message, Pack
from taktwatch.bus.kafka_records import unpacked
from taktwatch.errors import BackendUnavailable
from taktwatch.instants import EPOCH
from taktwatch.native import CORRUPT, END, FOREIGN, Engine

__all__ = ["PackTaking", "messages_in", "others_in"]

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
