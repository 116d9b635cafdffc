"""Reading a Kafka topic without a group: ranges, single records, the last of a key, and what comes in."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from taktwatch.bus import Message, Span
from taktwatch.bus.kafka_admin import KafkaAdmin
from taktwatch.bus.kafka_link import FETCH_BYTES, PARTITION_BYTES, Link, stop_consumer
from taktwatch.bus.kafka_records import getmany, give_messages
from taktwatch.bus.outgoing import partition_of
from taktwatch.errors import BackendUnavailable, OffsetLost, RecordNotFound
from taktwatch.instants import EPOCH
from taktwatch.records import Place

__all__ = ["KafkaReader"]

BATCH_RECORDS = 500
SLICE_MS = 200
IDLE_MS = 1000


class KafkaReader:
    """Consumers that belong to no group. A range or a follower has its own; single look-ups share one."""

    def __init__(self, link: Link, admin: KafkaAdmin) -> None:
        self._link = link
        self._admin = admin
        self._open: set[AIOKafkaConsumer] = set()
        self._shared: AIOKafkaConsumer | None = None
        self._lock = asyncio.Lock()
        self._keys: dict[tuple[str, int], KeyIndex] = {}

    async def close(self) -> None:
        """Stop every consumer, those of unfinished iterators too."""
        for consumer in list(self._open):
            await self._stop(consumer)

    async def spans(self, topic: str) -> dict[int, Span]:
        """Return what each partition holds."""
        partitions = await self._partitions(topic)
        consumer = await self._lookup()
        async with self._link.explained():
            first = await consumer.beginning_offsets(partitions)
            after = await consumer.end_offsets(partitions)
        return {partition.partition: Span(first[partition], after[partition]) for partition in partitions}

    async def read(
        self, topic: str, start: datetime | Mapping[int, int] | None, end: datetime | Mapping[int, int] | None
    ) -> AsyncIterator[list[Message]]:
        """Yield what lies in the range, each partition in order; see `Bus.read`."""
        spans = await self.spans(topic)
        ends = {number: span.next for number, span in spans.items()}
        if isinstance(end, datetime):
            ends |= await self._find(topic, end, ends)
        elif end is not None:
            ends |= {number: min(offset, ends[number]) for number, offset in end.items()}
        if isinstance(start, datetime):
            starts = await self._find(topic, start, ends)
        else:
            starts = {number: span.first for number, span in spans.items()} if start is None else dict(start)
        left = {TopicPartition(topic, n): ends[n] for n, position in starts.items() if position < ends[n]}
        if not left:
            return
        async with self._assigned({partition: starts[partition.partition] for partition in left}) as consumer:
            async for batch in self._until(consumer, left):
                yield batch

    async def _until(self, consumer: AIOKafkaConsumer, left: dict[TopicPartition, int]) -> AsyncIterator[list[Message]]:
        """Read on until each partition's position reaches its end: where compaction left gaps, no record lies there."""
        loop = asyncio.get_running_loop()
        progress = loop.time()
        while left:
            async with self._link.explained():
                found = await getmany(consumer, timeout_ms=SLICE_MS, max_records=BATCH_RECORDS)
                positions = {partition: await consumer.position(partition) for partition in left}
            for partition, messages in found.items():
                if batch := [m for m in messages if partition in left and m.offset < left[partition]]:
                    yield batch
            reached = [partition for partition, position in positions.items() if position >= left[partition]]
            for partition in reached:
                consumer.pause(partition)
                del left[partition]
            if found or reached:
                progress = loop.time()
            elif loop.time() - progress > self._link.timeout.total_seconds():
                raise self._link.unavailable()

    async def follow(self, topic: str, start: Mapping[int, int] | None) -> AsyncIterator[list[Message]]:
        """Yield batches for ever; an empty one after an idle second."""
        positions = {number: span.next for number, span in (await self.spans(topic)).items()} | dict(start or {})
        async with self._assigned({TopicPartition(topic, n): offset for n, offset in positions.items()}) as consumer:
            while True:
                async with self._link.explained():
                    found = await getmany(consumer, timeout_ms=IDLE_MS, max_records=BATCH_RECORDS)
                for messages in found.values():
                    yield messages
                if not found:
                    await self.spans(topic)  # silence of the topic, or of the broker?
                    yield []

    async def fetch(self, place: Place) -> Message:
        """Return one record. Raises `RecordNotFound`."""
        gone = RecordNotFound(
            f"no record {place.offset} in {place.topic}/{place.partition}; retention removed it, or it never was"
        )
        span = (await self.spans(place.topic)).get(place.partition)
        if span is None or not span.first <= place.offset < span.next:
            raise gone
        consumer = await self._lookup()
        async with self._lock, self._link.explained():
            try:
                message = await one_record(consumer, TopicPartition(place.topic, place.partition), place.offset)
            except OffsetLost:
                raise gone from None
        if message.offset != place.offset:
            raise gone
        return message

    async def last(self, topic: str, key: bytes) -> Message | None:
        """Return the newest record of a key: reads on from where the last look ended, and remembers offsets alone."""
        number = partition_of(key, await self._admin.partitions(topic))
        index = self._keys.setdefault((topic, number), KeyIndex())
        async with index.lock:
            span = (await self.spans(topic))[number]
            if span.next < index.position:  # the topic was made anew
                index.forget()
            start, end = max(index.position, span.first), span.next
            newest: Message | None = None
            if start < end:
                async for batch in self.read(topic, {number: start}, {number: end}):
                    for message in batch:
                        index.offsets[message.key] = message.offset
                        newest = message if message.key == key else newest
                index.position = end
            offset = index.offsets.get(key)
        if newest is not None or offset is None:
            return newest
        try:
            return await self.fetch(Place(topic=topic, partition=number, offset=offset))
        except RecordNotFound:
            if (await self.spans(topic))[number].next == end:
                return None
            return await self.last(topic, key)  # compacted away in favour of a newer one

    async def _find(self, topic: str, time: datetime, ends: Mapping[int, int]) -> dict[int, int]:
        """Return the first offset at or after a log time (whole milliseconds); the end where there is none."""
        wanted = {TopicPartition(topic, number): max(0, (time - EPOCH) // timedelta(milliseconds=1)) for number in ends}
        consumer = await self._lookup()
        async with self._link.explained():
            found = await consumer.offsets_for_times(wanted)
        places = ((partition.partition, found.get(partition)) for partition in wanted)
        return {number: ends[number] if place is None else place.offset for number, place in places}

    async def _partitions(self, topic: str) -> list[TopicPartition]:
        return [TopicPartition(topic, number) for number in range(await self._admin.partitions(topic))]

    async def _lookup(self) -> AIOKafkaConsumer:
        """Return the consumer that single look-ups share; it asks for a byte and gets one batch whole."""
        async with self._lock:
            if self._shared is None:
                self._shared = await self._started(max_partition_fetch_bytes=1)
            return self._shared

    @asynccontextmanager
    async def _assigned(self, positions: Mapping[TopicPartition, int]) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = await self._started(max_partition_fetch_bytes=PARTITION_BYTES)
        try:
            consumer.assign(list(positions))
            for partition, position in positions.items():
                consumer.seek(partition, position)
            yield consumer
        finally:
            await self._stop(consumer)

    async def _started(self, *, max_partition_fetch_bytes: int) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            **self._link.settings(),
            request_timeout_ms=self._link.timeout // timedelta(milliseconds=1),
            auto_offset_reset="none",
            enable_auto_commit=False,
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=max_partition_fetch_bytes,
        )
        self._open.add(consumer)
        try:
            async with self._link.explained():
                await consumer.start()
        except BaseException:
            await self._stop(consumer)
            raise
        give_messages(consumer)
        return consumer

    async def _stop(self, consumer: AIOKafkaConsumer) -> None:
        self._open.discard(consumer)
        with suppress(BackendUnavailable, KafkaError):
            async with self._link.explained():
                await stop_consumer(consumer)


class KeyIndex:
    """Where the newest record of each key of a partition lies, as far as it was read."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.position = 0
        self.offsets: dict[bytes, int] = {}

    def forget(self) -> None:
        """Begin anew."""
        self.position = 0
        self.offsets.clear()


async def one_record(consumer: AIOKafkaConsumer, partition: TopicPartition, offset: int) -> Message:
    """Return the first record at or after an offset that lies before the end."""
    consumer.assign([partition])
    consumer.seek(partition, offset)
    while True:
        found = await getmany(consumer, partition, timeout_ms=SLICE_MS, max_records=1)
        for messages in found.values():
            consumer.pause(partition)  # do not fetch what follows
            return messages[0]
