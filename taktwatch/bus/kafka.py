"""The bus on Apache Kafka: many machines, three replicas, the same promises."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import ClassVar

from taktwatch.bus import Bus, Consumer, Message, Outgoing, Rebalance, Sheaf, Span, TopicSetup, TopicSpec
from taktwatch.bus.kafka_admin import KafkaAdmin
from taktwatch.bus.kafka_consumer import KafkaConsumer
from taktwatch.bus.kafka_link import Link
from taktwatch.bus.kafka_producer import KafkaProducer
from taktwatch.bus.kafka_reader import KafkaReader
from taktwatch.config import KafkaConfig
from taktwatch.records import Place

__all__ = ["KafkaBus"]

TIMEOUT = timedelta(seconds=15)
SESSION = timedelta(seconds=6)
"""How long a group waits for a silent member: the least that brokers allow as they are shipped."""


class KafkaBus(Bus):
    """A bus on a cluster at `servers` (host:port[,host:port]).

    `timeout` bounds every call, a publish too; `session` is how long a group waits for a silent member.
    """

    has_packs: ClassVar[bool] = True

    def __init__(
        self,
        servers: str,
        config: KafkaConfig,
        *,
        client: str,
        timeout: timedelta = TIMEOUT,
        session: timedelta = SESSION,
    ) -> None:
        self._link = Link(servers, config, client, timeout)
        self._session = session
        self._admin = KafkaAdmin(self._link)
        self._producer = KafkaProducer(self._link, self._admin)
        self._reader = KafkaReader(self._link, self._admin)

    async def ensure(self, specs: Sequence[TopicSpec]) -> None:
        """See `Bus.ensure`; an existing topic takes the retention of its spec."""
        await self._admin.ensure(specs)

    async def publish(self, records: Sequence[Outgoing]) -> list[Place]:
        """See `Bus.publish`."""
        return await self._producer.publish(records)

    async def publish_sheaves(self, sheaves: Sequence[Sheaf]) -> None:
        """See `Bus.publish_sheaves`."""
        await self._producer.publish_sheaves(sheaves)

    def consumer(
        self,
        group: str,
        topics: Sequence[str],
        *,
        member: str,
        rebalance: Rebalance | None = None,
        packs: bool = False,
    ) -> Consumer:
        """See `Bus.consumer`."""
        session = self._session
        return KafkaConsumer(
            self._link, self._admin, group, topics, member=member, rebalance=rebalance, session=session, packs=packs
        )

    def read(
        self,
        topic: str,
        *,
        start: datetime | Mapping[int, int] | None = None,
        end: datetime | Mapping[int, int] | None = None,
    ) -> AsyncIterator[list[Message]]:
        """See `Bus.read`; log times are whole milliseconds here."""
        return self._reader.read(topic, start, end)

    def follow(self, topic: str, *, start: Mapping[int, int] | None = None) -> AsyncIterator[list[Message]]:
        """See `Bus.follow`."""
        return self._reader.follow(topic, start)

    async def fetch(self, place: Place) -> Message:
        """See `Bus.fetch`."""
        return await self._reader.fetch(place)

    async def last(self, topic: str, key: bytes) -> Message | None:
        """See `Bus.last`."""
        return await self._reader.last(topic, key)

    async def spans(self, topic: str) -> dict[int, Span]:
        """See `Bus.spans`."""
        return await self._reader.spans(topic)

    async def committed(self, group: str, topic: str) -> dict[int, int]:
        """See `Bus.committed`."""
        return await self._admin.committed(group, topic)

    async def describe(self, topic: str) -> TopicSetup:
        """See `Bus.describe`; faults are a record size or a kind of log time other than ours."""
        return await self._admin.describe(topic)

    async def close(self) -> None:
        """See `Bus.close`."""
        await self._producer.close()
        await self._reader.close()
        await self._admin.close()
