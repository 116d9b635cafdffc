"""Kafka's batches as the bus's messages.

aiokafka makes a frozen dataclass of eleven fields of every record before anybody sees it: twice as much work as to read
the record. Here a consumer's fetcher is given a place for what it fetches that unpacks each batch into messages itself.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol

import aiokafka.consumer.fetcher as fetcher_module
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import FetchError, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords

from taktwatch.bus import Message
from taktwatch.instants import EPOCH

__all__ = ["BRIEFLY_MS", "PATIENTLY_MS", "getmany", "give_messages", "has_fetched", "unpacked"]


AHEAD_S = 0.02
"""For so long a fetch waits for what lies here to be taken, to ask for those partitions, too: then it asks for the
others. aiokafka's own 0.1 s is longer than a fast reader works on one partition's share of a fetch."""

BRIEFLY_MS = 50
PATIENTLY_MS = 500
"""How long the broker waits for records. While it does, nothing else is asked of it: where records of other partitions
lie here already, briefly, for their reader soon wants more."""


def give_messages(consumer: AIOKafkaConsumer, way: "type[Taking] | None" = None) -> None:
    """Let a started consumer, before it fetches, return `Message`s in place of its own records, or what `way` makes."""
    fetcher: Any = consumer._fetcher  # noqa: SLF001 - there is no public way
    fetcher._records = Fetched(fetcher, way)  # noqa: SLF001
    fetcher._prefetch_backoff = AHEAD_S  # noqa: SLF001


async def getmany(
    consumer: AIOKafkaConsumer, *partitions: TopicPartition, timeout_ms: int, max_records: int
) -> Mapping[TopicPartition, list[Message]]:
    """Return what a consumer that gives messages has fetched, or fetches within the time.

    A fetcher that hears of an answer and of records taken in the same moment believes its request still on its way, and
    sleeps 0.2 s: whoever is about to wait wakes it.
    """
    if timeout_ms:
        fetcher: Any = consumer._fetcher  # noqa: SLF001 - there is no public way
        fetcher._notify(fetcher._wait_consume_future)  # noqa: SLF001
    found: Any = await consumer.getmany(*partitions, timeout_ms=timeout_ms, max_records=max_records)
    return dict(found)


def has_fetched(consumer: AIOKafkaConsumer) -> bool:
    """Whether `getmany` returns at once: something lies here, and no rebalance is under way that it would wait for."""
    fetcher: Any = consumer._fetcher  # noqa: SLF001 - there is no public way
    return bool(fetcher._records) and not fetcher._subscriptions.reassignment_in_progress  # noqa: SLF001


class Taking(Protocol):
    """How what was fetched of a partition is handed out."""

    def __init__(self, found: FetchResult) -> None: ...

    def take(self, max_records: int | None = None) -> Sequence[Any]:
        """Return what comes next."""


class Fetched(OrderedDict[TopicPartition, FetchResult | FetchError]):
    """What a fetcher brought and nobody took yet."""

    def __init__(self, fetcher: Any, way: "type[Taking] | None" = None) -> None:
        super().__init__()
        self._fetcher = fetcher
        self._way = way or Unpacking
        self._be_patient()

    def __setitem__(self, place: TopicPartition, found: FetchResult | FetchError) -> None:
        """Let what was fetched be unpacked our way; an error stays one."""
        if isinstance(found, FetchResult):
            taking: Any = found
            taking.getall = self._way(found).take
        super().__setitem__(place, found)
        self._be_patient()

    def __delitem__(self, place: TopicPartition) -> None:
        """Forget what was taken."""
        super().__delitem__(place)
        self._be_patient()

    def clear(self) -> None:
        """Forget everything: the partitions are another's now."""
        super().clear()
        self._be_patient()

    def _be_patient(self) -> None:
        self._fetcher._fetch_max_wait_ms = BRIEFLY_MS if self else PATIENTLY_MS  # noqa: SLF001 - as above


class Unpacking:
    """What was fetched of a partition, unpacked a batch at a time as it is taken."""

    def __init__(self, found: FetchResult) -> None:
        self._found: Any = found
        self._batches = batches_in(self._found._partition_records)  # noqa: SLF001 - there is no public way
        self._ready: list[Message] = []
        self._after = 0

    def take(self, max_records: int | None = None) -> list[Message]:
        """Return the next messages: what `FetchResult.getall` does, without two calls and a record for each.

        Raises `CorruptRecordException` for a batch whose checksum is wrong.
        """
        found = self._found
        if not found.check_assignment(found._topic_partition) or not found.has_more():  # noqa: SLF001
            return []
        ready, exhausted = self._ready, False
        while not exhausted and (max_records is None or len(ready) < max_records):
            messages, self._after = next(self._batches, (None, self._after))
            exhausted = messages is None
            ready += messages or ()
        taken, left = (ready, []) if max_records is None else (ready[:max_records], ready[max_records:])
        self._ready = left
        found._partition_records.next_fetch_offset = left[0].offset if left else self._after  # noqa: SLF001
        found._update_position()  # noqa: SLF001
        if exhausted and not left:
            found._partition_records = None  # noqa: SLF001 - there is no more
        return taken


Batches: Any = MemoryRecords


class Kept(Batches):  # type: ignore[misc]  # aiokafka's, compiled
    """Batches whose bytes can be asked for: aiokafka keeps them to itself."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self.body = body


fetcher_module.MemoryRecords = Kept  # type: ignore[attr-defined]  # there is no public way


def batches_in(fetched: PartitionRecords) -> Iterator[tuple[list[Message], int]]:
    """Yield the messages of each of a partition's batches from where it was fetched, and the offset after the batch."""
    parts: Any = fetched
    (topic, partition), batches = parts._tp, parts._records  # noqa: SLF001
    return unpacked(topic, partition, batches, parts.next_fetch_offset)


def unpacked(topic: str, partition: int, batches: Any, wanted: int) -> Iterator[tuple[list[Message], int]]:
    """Yield the messages of each batch from offset `wanted` on, and the offset after the batch.

    The broker stamps log times in milliseconds, one for a whole batch of its own: equal ones are one object, and so
    are the headers of records that follow each other. Raises
    `CorruptRecordException` for a batch whose checksum is wrong.
    """
    stamp_ms, stamp = -1, EPOCH
    named: list[tuple[str, bytes]] = []
    headers: dict[str, bytes] = {}
    while batches.has_next():
        batch = batches.next_batch()
        if not batch.validate_crc():
            raise CorruptRecordException(f"a damaged batch in {topic}/{partition}")
        messages: list[Message] = []
        for record in () if batch.is_control_batch else batch:
            if record.timestamp != stamp_ms:
                stamp_ms = record.timestamp
                stamp = EPOCH + timedelta(milliseconds=stamp_ms)
            if record.headers != named:
                named = record.headers
                headers = dict(named)
            messages.append(
                Message(topic, partition, record.offset, stamp, record.key or b"", record.value or b"", headers)
            )
        if messages and messages[0].offset < wanted:  # a batch comes whole
            messages = [message for message in messages if message.offset >= wanted]
        yield messages, batch.next_offset  # of a compacted batch the last records may be gone
