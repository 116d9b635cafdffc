"""Publishing to Kafka: durable on return, and honest within a bounded time when the cluster is away."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from taktwatch.bus import Outgoing
from taktwatch.bus.kafka_admin import KafkaAdmin
from taktwatch.bus.kafka_link import REQUEST_BYTES, Link
from taktwatch.bus.outgoing import check_sizes, partition_of, record_bytes
from taktwatch.errors import BackendUnavailable, RecordTooLarge
from taktwatch.records import Place

__all__ = ["KafkaProducer"]

LINGER_MS = 0
"""A batch fills while the one before it is on its way; waiting for more would only delay whoever publishes alone."""
BATCH_BYTES = 256 * 2**10

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
            if producer is not None and self._producer is producer:
                self._producer = None
                await abandon(producer)
            raise

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


async def send(producer: AIOKafkaProducer, records: Sequence[Outgoing], counts: dict[str, int]) -> list[Place]:
    """Hand all records to the producer, then wait until all are durable."""
    pending = []
    for record in records:
        try:
            pending.append(
                await producer.send(
                    record.topic,
                    value=record.value,
                    key=record.key,
                    partition=partition_of(record.key, counts[record.topic]),
                    headers=list(record.headers.items()),
                )
            )
        except MessageSizeTooLargeError as error:
            raise RecordTooLarge(
                f"a record of {record_bytes(record):,} bytes for {record.topic} exceeds the bus's limit; split it"
            ) from error
    results = await asyncio.gather(*pending, return_exceptions=True)
    places = []
    for record, result in zip(records, results, strict=True):
        if isinstance(result, MessageSizeTooLargeError):
            raise RecordTooLarge(
                f"Kafka refuses a record of {record_bytes(record):,} bytes "
                f"for {record.topic}; raise the topic's max.message.bytes"
            ) from result
        if isinstance(result, BaseException):
            raise result
        if result.offset < 0:  # it was a repeat that the broker had kept already, and forgotten where
            raise KafkaError(f"the broker does not say where a record for {record.topic} lies")
        places.append(Place(topic=result.topic, partition=result.partition, offset=result.offset))
    return places


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
