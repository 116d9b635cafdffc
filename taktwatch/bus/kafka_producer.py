"""Publishing to Kafka: durable on return, and honest within a bounded time when the cluster is away."""

import asyncio
from asyncio import Future
from collections.abc import Mapping, Sequence
from datetime import timedelta

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata

from taktwatch.bus import Outgoing, Sheaf
from taktwatch.bus.kafka_admin import KafkaAdmin
from taktwatch.bus.kafka_link import REQUEST_BYTES, Link
from taktwatch.bus.kafka_packs import SheafBatch
from taktwatch.bus.outgoing import check_sizes, partition_of, record_bytes
from taktwatch.errors import BackendUnavailable, RecordTooLarge
from taktwatch.records import Place

__all__ = ["KafkaProducer"]

LINGER_MS = 0
"""A batch fills while the one before it is on its way; waiting for more would only delay whoever publishes alone."""
BATCH_BYTES = 256 * 2**10

FEW = 16
"""So many records are sent one by one."""

ABANDON_S = 1.0
"""How long the requests of a failed producer may take to end before their connections are cut."""


class KafkaProducer:
    """One idempotent producer, `acks=all`.

    After a failure it is thrown away whole and the next publish begins anew: what it still held is reported as failed,
    so nothing is sent behind the caller's back after the caller was told no.
    """

    def __init__(self, link: Link, admin: KafkaAdmin) -> None:
        self._link = link
        self._admin = admin
        self._producer: AIOKafkaProducer | None = None
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        """Send what is pending, then release the connections."""
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                async with self._link.explained():
                    await producer.stop()
            except BackendUnavailable:
                await abandon(producer)

    async def publish(self, records: Sequence[Outgoing]) -> list[Place]:
        """Publish, and say where each record lies. Raises `RecordTooLarge`, `BackendUnavailable`."""
        check_sizes(records)
        producer: AIOKafkaProducer | None = None
        try:
            async with self._link.explained():
                counts = {topic: await self._admin.partitions(topic) for topic in {record.topic for record in records}}
                producer = await self._started()
                return await send(producer, records, counts)
        except BackendUnavailable:
            await self._give_up(producer)
            raise

    async def publish_sheaves(self, sheaves: Sequence[Sheaf]) -> None:
        """Publish records that are packed already. Raises `BackendUnavailable`."""
        producer: AIOKafkaProducer | None = None
        try:
            async with self._link.explained():
                counts = {topic: await self._admin.partitions(topic) for topic in {sheaf.topic for sheaf in sheaves}}
                producer = await self._started()
                lanes: dict[tuple[str, int], list[Sheaf]] = {}
                for sheaf in sheaves:
                    place = (sheaf.topic, partition_of(sheaf.key, counts[sheaf.topic]))
                    lanes.setdefault(place, []).append(sheaf)
                sending = [send_sheaves(producer, place, lane) for place, lane in lanes.items()]
                outcomes = await asyncio.gather(*sending, return_exceptions=True)
                failed = [outcome for outcome in outcomes if outcome is not None]
                if failed:
                    raise failed[0]
        except BackendUnavailable:
            await self._give_up(producer)
            raise

    async def _give_up(self, producer: AIOKafkaProducer | None) -> None:
        if producer is not None and self._producer is producer:
            self._producer = None
            await abandon(producer)

    async def _started(self) -> AIOKafkaProducer:
        async with self._lock:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._link.settings(),
                    acks="all",
                    enable_idempotence=True,
                    linger_ms=LINGER_MS,
                    max_batch_size=BATCH_BYTES,
                    max_request_size=REQUEST_BYTES,
                    request_timeout_ms=self._link.timeout // timedelta(milliseconds=1),
                )
                try:
                    async with self._link.explained():
                        await producer.start()
                except BaseException:
                    await abandon(producer)
                    raise
                self._producer = producer
            return self._producer


async def send(producer: AIOKafkaProducer, records: Sequence[Outgoing], counts: Mapping[str, int]) -> list[Place]:
    """Hand all records to the producer, then wait until all are durable.

    A few records share their batches with what others publish meanwhile; many fill batches of their own, for a future
    and a call for each would cost more than all else that is done with a small record.
    """
    keyed: dict[tuple[str, bytes], list[int]] = {}
    lanes: dict[tuple[str, int], list[int]] = {}
    for index, record in enumerate(records):
        lane = keyed.get((record.topic, record.key))
        if lane is None:
            place = (record.topic, partition_of(record.key, counts[record.topic]))
            lane = keyed[record.topic, record.key] = lanes.setdefault(place, [])
        lane.append(index)
    way = send_each if len(records) <= FEW else send_batches
    sending = (way(producer, place, [records[i] for i in indices]) for place, indices in lanes.items())
    outcomes = await asyncio.gather(*sending, return_exceptions=True)
    places: list[Place | None] = [None] * len(records)
    for ((topic, number), indices), offsets in zip(lanes.items(), outcomes, strict=True):
        if isinstance(offsets, BaseException):
            raise offsets
        for index, offset in zip(indices, offsets, strict=True):
            places[index] = Place(topic=topic, partition=number, offset=offset)
    return [place for place in places if place is not None]


async def send_each(producer: AIOKafkaProducer, place: tuple[str, int], records: Sequence[Outgoing]) -> list[int]:
    """Send records of one partition one by one, and return their offsets."""
    topic, number = place
    pending = []
    for record in records:
        headers = list(record.headers.items())
        try:
            pending.append(
                await producer.send(topic, value=record.value, key=record.key, partition=number, headers=headers)
            )
        except MessageSizeTooLargeError as error:
            raise RecordTooLarge(
                f"a record of {record_bytes(record):,} bytes for {topic} exceeds the bus's limit; split it"
            ) from error
    results = await asyncio.gather(*pending, return_exceptions=True)
    return [first_offset(result, record) for result, record in zip(results, records, strict=True)]


async def send_batches(producer: AIOKafkaProducer, place: tuple[str, int], records: Sequence[Outgoing]) -> list[int]:
    """Send records of one partition in batches of their own, and return their offsets."""
    firsts: list[int] = []
    pending: list[Future[RecordMetadata]] = []
    batch: BatchBuilder | None = None
    named: Mapping[str, bytes] = {}
    headers: list[tuple[str, bytes]] = []
    for index, record in enumerate(records):
        if record.headers is not named:  # shared by records of a kind
            named = record.headers
            headers = list(named.items())
        if batch is None or not put(batch, record, headers):
            if batch is not None:
                pending.append(await submitted(producer, batch, place))
            batch = producer.create_batch()
            put(batch, record, headers)  # the first one always fits
            firsts.append(index)
    if batch is not None:
        pending.append(await submitted(producer, batch, place))
    results = await asyncio.gather(*pending, return_exceptions=True)
    offsets: list[int] = []
    for first, after, result in zip(firsts, [*firsts[1:], len(records)], results, strict=True):
        offset = first_offset(result, records[first])
        offsets += range(offset, offset + after - first)
    return offsets


async def send_sheaves(producer: AIOKafkaProducer, place: tuple[str, int], sheaves: Sequence[Sheaf]) -> None:
    """Send sheaves of one partition, a batch each, and wait until they are durable."""
    pending = [await submitted(producer, SheafBatch(sheaf), place) for sheaf in sheaves]
    for result in await asyncio.gather(*pending, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


def put(batch: BatchBuilder, record: Outgoing, headers: list[tuple[str, bytes]]) -> bool:
    """Put a record into a batch; False for a full one. The broker sets the time."""
    return batch.append(timestamp=None, key=record.key, value=record.value, headers=headers) is not None


async def submitted(producer: AIOKafkaProducer, batch: BatchBuilder, place: tuple[str, int]) -> Future[RecordMetadata]:
    """Send a batch as it is, and return the future that says where it lies."""
    batch.close()
    future: Future[RecordMetadata] = await producer.send_batch(batch, place[0], partition=place[1])
    future.add_done_callback(heed)
    return future


def heed(future: Future[RecordMetadata]) -> None:
    """Look at a failure, for where the next batch fails at once nobody waits for this one any more."""
    if not future.cancelled():
        future.exception()


def first_offset(result: RecordMetadata | BaseException, record: Outgoing) -> int:
    """Return where a batch or a record lies, of which `record` is the first. Raises `RecordTooLarge`, `KafkaError`."""
    if isinstance(result, MessageSizeTooLargeError):
        raise RecordTooLarge(
            f"Kafka refuses a record of {record_bytes(record):,} bytes "
            f"for {record.topic}; raise the topic's max.message.bytes"
        ) from result
    if isinstance(result, BaseException):
        raise result
    offset: int = result.offset
    if offset < 0:  # it was a repeat that the broker had kept already, and forgotten where
        raise KafkaError(f"the broker does not say where a record for {record.topic} lies")
    return offset


async def abandon(producer: AIOKafkaProducer) -> None:
    """Close a producer without sending what it holds; its own `stop` would wait for a cluster that may be away.

    The sender ends first: what it has in flight goes back among the waiting batches, which then all fail.
    """
    producer._closed = True  # noqa: SLF001 - else its destructor complains
    sending = producer._sender.sender_task  # noqa: SLF001 - there is no public way
    if sending is not None:
        sending.cancel()
        await asyncio.wait({sending}, timeout=ABANDON_S)
    await producer.client.close()
    if sending is not None:
        await asyncio.wait({sending}, timeout=ABANDON_S)
    producer._message_accumulator.fail_all(KafkaError("its producer was closed after a failure"))  # noqa: SLF001
