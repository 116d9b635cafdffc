"""The bus: durable, partitioned, replayable topics. One protocol, two backends (`sqlite`, `kafka`).

What every backend promises, and `tests/contracts` checks on both:
- `publish` returns when the records are durable; records of one key keep their order.
- A consumer group shares partitions among its members; a record is delivered at least once: again after a crash,
  never skipped. `commit` saves the next offset to read.
- An offset that retention removed raises `OffsetLost`; nothing jumps.
- Anyone can read a range by offset or by time, or fetch one record, without a group.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Protocol

import msgspec

from taktwatch.records import Place

__all__ = [
    "MAX_RECORD_BYTES",
    "Bus",
    "Consumer",
    "Message",
    "Outgoing",
    "Pack",
    "Partition",
    "Rebalance",
    "Sheaf",
    "Span",
    "TopicSetup",
    "TopicSpec",
]

MAX_RECORD_BYTES = 16 * 2**20
"""The largest record, headers included, that both backends are set up to take."""

Partition = tuple[str, int]
"""A topic and the number of one of its partitions."""


@dataclass(frozen=True)
class TopicSpec:
    """A topic as it should be. `retention` None keeps records for ever; `compacted` keeps the last of each key."""

    name: str
    partitions: int
    retention: timedelta | None = None
    compacted: bool = False


@dataclass(frozen=True)
class TopicSetup:
    """A topic as it is. `faults`: settings of the backend beyond the spec that break a promise, each in words."""

    spec: TopicSpec
    faults: tuple[str, ...] = ()


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """A record on its way out; records of one key go to one partition, in order."""

    topic: str
    key: bytes
    value: bytes
    headers: Mapping[str, bytes] = {}


class Message(msgspec.Struct, frozen=True, gc=False):
    """A record as it lies in the log; `timestamp` (UTC) is when the bus took it."""

    topic: str
    partition: int
    offset: int
    timestamp: datetime
    key: bytes
    value: bytes
    headers: Mapping[str, bytes]

    @property
    def place(self) -> Place:
        """Where this record can be fetched again."""
        return Place(topic=self.topic, partition=self.partition, offset=self.offset)


class Pack(msgspec.Struct, frozen=True, gc=False):
    """What lies in a partition from offset `first` on, in Kafka's record batches: nobody made messages of it yet.

    They lie in `body` from byte `start` to byte `end`; records below `first` may be among them: a batch comes whole.
    """

    topic: str
    partition: int
    first: int
    body: bytes
    start: int
    end: int


class Sheaf(msgspec.Struct, frozen=True, gc=False):
    """So many records of one key on their way out, as they stand one after the other in a Kafka batch."""

    topic: str
    key: bytes
    count: int
    records: bytes


class Span(msgspec.Struct, frozen=True):
    """What a partition holds: the first offset still kept, and the offset the next record will get."""

    first: int
    next: int


@dataclass(frozen=True)
class Rebalance:
    """What a consumer calls when its partitions change.

    `assigned` may return positions to start from (a restored checkpoint); partitions it leaves out go on from the
    committed offset, or from the beginning where nothing was committed. `revoked` is called before they are given away,
    or, where the group went on without this member, as soon as it learns so (a commit then saves nothing). Both are
    called inside `poll` alone, so never amid a batch, and `revoked` on leaving too, unless an error ends the member.
    On Kafka a rebalance revokes everything first, so the same partition may come back at once.
    """

    assigned: Callable[[frozenset[Partition]], Awaitable[Mapping[Partition, int]]]
    revoked: Callable[[frozenset[Partition]], Awaitable[None]]


class Consumer(AbstractAsyncContextManager["Consumer"], Protocol):
    """One member of a consumer group; enter it to join, leave it to hand its partitions on at once."""

    async def poll(self, max_records: int, timeout: timedelta) -> list[Message]:  # noqa: ASYNC109 - a poll, no limit
        """Return up to `max_records` next messages in log order per partition; empty after `timeout`.

        Raises `OffsetLost` where retention removed what was next, `BackendUnavailable` where the bus is gone.
        """

    async def poll_packs(self, timeout: timedelta) -> list[Pack]:  # noqa: ASYNC109 - as above
        """As `poll`, of a consumer that was asked for packs."""

    async def commit(self, positions: Mapping[Partition, int]) -> None:
        """Save the next offset to read of each partition; of partitions no longer held, nothing is saved."""

    async def pause(self, partitions: frozenset[Partition]) -> None:
        """Stop fetching these partitions until `resume`; membership goes on."""

    async def resume(self, partitions: frozenset[Partition]) -> None:
        """Fetch these partitions again."""

    @property
    def assigned(self) -> frozenset[Partition]:
        """The partitions this member holds now."""


class Bus(Protocol):
    """Durable topics. Every method raises `BackendUnavailable` when the backend does not answer.

    `has_packs`: whether its consumers can give `Pack`s, and whether it takes `Sheaf`s.
    """

    has_packs: ClassVar[bool]

    async def ensure(self, specs: Sequence[TopicSpec]) -> None:
        """Create the topics that are missing; an existing topic keeps its partitions."""

    async def publish(self, records: Sequence[Outgoing]) -> list[Place]:
        """Append records, durable on return, and say where each lies. Raises `RecordTooLarge` naming topic and size."""

    async def publish_sheaves(self, sheaves: Sequence[Sheaf]) -> None:
        """Append records that are packed already, durable on return; only of a bus that has packs."""

    def consumer(
        self,
        group: str,
        topics: Sequence[str],
        *,
        member: str,
        rebalance: Rebalance | None = None,
        packs: bool = False,
    ) -> Consumer:
        """Return a member of `group`; `member` is its stable name (static membership).

        `packs`: it is asked by `poll_packs`, where the bus has packs.
        """

    def read(
        self,
        topic: str,
        *,
        start: datetime | Mapping[int, int] | None = None,
        end: datetime | Mapping[int, int] | None = None,
    ) -> AsyncIterator[list[Message]]:
        """Yield batches of what the topic holds now, without a group, each partition in order.

        `start`: from this log time, or from these offsets (only the partitions named); None from the first record kept.
        `end`: before this log time, or before these offsets; None up to the end as it was when the call was made.
        """

    def follow(self, topic: str, *, start: Mapping[int, int] | None = None) -> AsyncIterator[list[Message]]:
        """Yield batches for ever, without a group; `start` None begins at the end. Empty batches mark idleness."""

    async def fetch(self, place: Place) -> Message:
        """Return one record. Raises `RecordNotFound`."""

    async def last(self, topic: str, key: bytes) -> Message | None:
        """Return the newest record of a key (of a compacted topic), or None."""

    async def spans(self, topic: str) -> dict[int, Span]:
        """Return what each partition of the topic holds. Raises `RecordNotFound` for an unknown topic."""

    async def committed(self, group: str, topic: str) -> dict[int, int]:
        """Return the group's next offset to read by partition; partitions never committed are absent."""

    async def describe(self, topic: str) -> TopicSetup:
        """Return how a topic is set up, changing nothing. Raises `RecordNotFound` for an unknown topic."""

    async def close(self) -> None:
        """Release connections and files; what was published stays."""
