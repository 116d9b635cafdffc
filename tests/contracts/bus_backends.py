"""The backends that the bus contract runs against, each with what a test needs beside the protocol."""

import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from taktwatch.bus import Bus, TopicSpec
from taktwatch.bus.kafka import KafkaBus
from taktwatch.bus.sqlite import SqliteBus
from taktwatch.bus.sqlite_log import TopicLog
from taktwatch.clock import now
from taktwatch.config import KafkaConfig

LEASE = timedelta(seconds=2)
"""How long a group waits for a dead member: short, so that tests are."""

TIMEOUT = timedelta(seconds=8)


def open_short(url: str) -> Bus:
    """Open a bus with short leases and time limits."""
    kind, _, rest = url.partition("://")
    if kind == "sqlite":
        return SqliteBus(Path(rest.removeprefix("/")), lease=LEASE)
    return KafkaBus(rest, KafkaConfig(), client="tests", timeout=TIMEOUT, session=LEASE)


@dataclass(frozen=True)
class Backend(ABC):
    """A real backend, and names that no other test uses."""

    url: str
    prefix: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:10]}")

    def open(self) -> Bus:
        """Return a bus of its own, as another process would have."""
        return open_short(self.url)

    def name(self, name: str) -> str:
        """Return a name of this test alone."""
        return f"{self.prefix}.{name}"

    def spec(self, name: str, partitions: int = 1, *, compacted: bool = False) -> TopicSpec:
        """Return a topic of this test alone."""
        return TopicSpec(self.name(name), partitions, None if compacted else timedelta(days=7), compacted=compacted)

    @abstractmethod
    async def remove_all(self, bus: Bus, topic: str) -> None:
        """Remove every record of a topic, as retention does."""


class SqliteBackend(Backend):
    """The embedded bus."""

    async def remove_all(self, bus: Bus, topic: str) -> None:  # noqa: ARG002 - Kafka's needs it
        """Let retention run a year later."""
        folder = Path(self.url.removeprefix("sqlite:///"))
        log = TopicLog(folder, topic, segment_bytes=2**20)
        try:
            log.sweep(now() + timedelta(days=365))
        finally:
            log.close()


class KafkaBackend(Backend):
    """A real broker."""

    async def remove_all(self, bus: Bus, topic: str) -> None:
        """Let the broker delete up to the end, as its retention does."""
        spans = await bus.spans(topic)
        admin = AIOKafkaAdminClient(bootstrap_servers=self.url.removeprefix("kafka://"))
        await admin.start()
        try:
            before = {TopicPartition(topic, n): RecordsToDelete(span.next) for n, span in spans.items()}
            await admin.delete_records(before)
        finally:
            await admin.close()
