"""Topics and groups as a Kafka cluster knows them."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from taktwatch.bus import TopicSetup, TopicSpec
from taktwatch.bus.kafka_link import REQUEST_BYTES, Link
from taktwatch.bus.outgoing import check_name
from taktwatch.errors import RecordNotFound

__all__ = ["KafkaAdmin", "topic_settings"]

COMPACTION = {
    "cleanup.policy": "compact",
    "segment.ms": "300000",
    "segment.bytes": str(64 * 2**20),
    "min.cleanable.dirty.ratio": "0.2",
    "max.compaction.lag.ms": "600000",
    "delete.retention.ms": "60000",
}
"""Small segments and early cleaning: a reader that looks for the last record of a key reads a short log."""

DYNAMIC_TOPIC_CONFIG = 1


def topic_settings(spec: TopicSpec, replication: int) -> dict[str, str]:
    """Return a topic's settings; with three replicas, one may be away.

    >>> topic_settings(TopicSpec("t", 1), 3)["min.insync.replicas"]
    '2'
    """
    settings = {
        "max.message.bytes": str(REQUEST_BYTES),
        "message.timestamp.type": "LogAppendTime",
        "min.insync.replicas": str(max(1, replication - 1)),
        "retention.ms": retention_ms(spec),
    }
    return settings | COMPACTION if spec.compacted else settings


def retention_ms(spec: TopicSpec) -> str:
    """Return the retention as Kafka writes it; -1 keeps records for ever."""
    return "-1" if spec.retention is None else str(spec.retention // timedelta(milliseconds=1))


class KafkaAdmin:
    """Creates topics, counts partitions, reads a group's offsets. Connects at first use."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._client: AIOKafkaAdminClient | None = None
        self._lock = asyncio.Lock()
        self._counts: dict[str, int] = {}

    async def close(self) -> None:
        """Release the connection."""
        if self._client is not None:
            await self._client.close()

    async def ensure(self, specs: Sequence[TopicSpec]) -> None:
        """Create the topics that are missing; an existing topic takes the retention of its spec."""
        for spec in specs:
            check_name(spec)
        existing = await self._all_counts()
        async with self._link.explained():
            await self._create([spec for spec in specs if spec.name not in existing])
            for spec in specs:
                if spec.name in existing:
                    await self._keep_for(spec)
        while missing := {spec.name for spec in specs} - set(await self._all_counts()):
            async with self._link.explained():
                await asyncio.sleep(0.05 if missing else 0)

    async def _create(self, specs: Sequence[TopicSpec]) -> None:
        if not specs:
            return
        replication = self._link.config.replication
        topics = [
            NewTopic(s.name, s.partitions, replication, topic_configs=topic_settings(s, replication)) for s in specs
        ]
        client = await self._connected()
        response: Any = await client.create_topics(topics)
        for name, code, *reason in response.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise error(f"cannot create topic {name}: {reason}")

    async def _keep_for(self, spec: TopicSpec) -> None:
        """Change the retention of an existing topic; the protocol wants its other own settings repeated."""
        client = await self._connected()
        own = {
            name: value
            for name, (value, source) in (await self._settings(spec.name)).items()
            if source == DYNAMIC_TOPIC_CONFIG
        }
        if own.get("retention.ms") != retention_ms(spec):
            own["retention.ms"] = retention_ms(spec)
            await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, spec.name, configs=own)])

    async def _settings(self, topic: str) -> dict[str, tuple[str, int]]:
        """Return every setting of a topic, defaults too, as its value and where it comes from."""
        client = await self._connected()
        responses: list[Any] = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        return {
            name: (value, source)
            for _, _, _, _, entries in responses[0].resources
            for name, value, _, source, *_ in entries
        }

    async def describe(self, topic: str) -> TopicSetup:
        """Return how a topic is set up. Raises `RecordNotFound` where nobody created it."""
        partitions = await self.partitions(topic)
        async with self._link.explained():
            settings = {name: value for name, (value, _) in (await self._settings(topic)).items()}
        kept_ms = int(settings["retention.ms"])
        faults = []
        if int(settings["max.message.bytes"]) < REQUEST_BYTES:
            faults.append(f"max.message.bytes is {settings['max.message.bytes']}, wanted {REQUEST_BYTES}")
        if settings["message.timestamp.type"] != "LogAppendTime":
            faults.append(f"message.timestamp.type is {settings['message.timestamp.type']}, wanted LogAppendTime")
        retention = None if kept_ms < 0 else timedelta(milliseconds=kept_ms)
        compacted = "compact" in settings["cleanup.policy"]
        return TopicSetup(TopicSpec(topic, partitions, retention, compacted=compacted), tuple(faults))

    async def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has. Raises `RecordNotFound` where nobody created it."""
        if topic not in self._counts:
            self._counts = await self._all_counts()
        try:
            return self._counts[topic]
        except KeyError:
            raise RecordNotFound(f"no topic {topic!r} on {self._link.url}; `taktwatch run` creates it") from None

    async def _all_counts(self) -> dict[str, int]:
        """Count the partitions of all topics; to ask for one that is missing would create it on many brokers."""
        async with self._link.explained():
            client = await self._connected()
            topics = await client.describe_topics()
        return {topic["topic"]: len(topic["partitions"]) for topic in topics if topic["error_code"] == 0}

    async def ping(self) -> None:
        """Ask the cluster for anything. Raises `BackendUnavailable` where it does not answer."""
        await self._all_counts()

    async def committed(self, group: str, topic: str) -> dict[int, int]:
        """Return the group's next offset to read by partition."""
        partitions = [TopicPartition(topic, number) for number in range(await self.partitions(topic))]
        async with self._link.explained():
            client = await self._connected()
            offsets = await client.list_consumer_group_offsets(group, partitions=partitions)
        return {partition.partition: saved.offset for partition, saved in offsets.items() if saved.offset >= 0}

    async def _connected(self) -> AIOKafkaAdminClient:
        async with self._lock:
            if self._client is None:
                client = AIOKafkaAdminClient(**self._link.settings())
                try:
                    await client.start()
                except BaseException:
                    await client.close()
                    raise
                self._client = client
            return self._client
