"""A member of a Kafka consumer group whose partitions change hands inside `poll` alone."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import chain
from types import TracebackType
from typing import Any, Self

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, NoOffsetForPartitionError

from taktwatch.bus import Consumer, Message, Pack, Partition, Rebalance
from taktwatch.bus.kafka_admin import KafkaAdmin
from taktwatch.bus.kafka_link import FETCH_BYTES, PARTITION_BYTES, Link, stop_consumer
from taktwatch.bus.kafka_packs import PackTaking
from taktwatch.bus.kafka_records import getmany, give_messages, has_fetched
from taktwatch.errors import BackendUnavailable

__all__ = ["KafkaConsumer"]

REBALANCE_TIMEOUT_MS = 60_000
"""How long the group waits for a member that is busy with a batch before it goes on without it."""

MAX_POLL_INTERVAL_MS = 300_000

log = structlog.get_logger()


class KafkaConsumer(Consumer):
    """aiokafka tells of a rebalance at any moment; here it waits until the member polls, so no batch is cut in two.

    Positions are always set by us: a restored checkpoint, else the commit, else the beginning. Kafka's own reset, which
    jumps, is off.
    """

    def __init__(
        self,
        link: Link,
        admin: KafkaAdmin,
        group: str,
        topics: Sequence[str],
        *,
        member: str,
        rebalance: Rebalance | None,
        session: timedelta,
        packs: bool = False,
    ) -> None:
        self._link = link
        self._admin = admin
        self._group = group
        self._topics = tuple(topics)
        self._name = f"{group}-{member}"
        self._rebalance = rebalance
        self._session = session
        self._packs = packs
        self._consumer: AIOKafkaConsumer | None = None
        self._held: frozenset[Partition] = frozenset()
        self._paused: frozenset[Partition] = frozenset()
        self._fresh: frozenset[Partition] | None = None
        self._revoking: asyncio.Future[None] | None = None
        self._changed = asyncio.Event()
        self._leaving = False
        self._generation = -1
        self._heard_at = 0.0

    @property
    def assigned(self) -> frozenset[Partition]:
        """The partitions this member holds now."""
        return self._held

    async def __aenter__(self) -> Self:
        """Join the group; partitions come with a `poll`."""
        for topic in self._topics:
            await self._admin.partitions(topic)
        session_ms = self._session // timedelta(milliseconds=1)
        consumer = AIOKafkaConsumer(
            **self._link.settings(),
            group_id=self._group,
            group_instance_id=self._name,
            enable_auto_commit=False,
            auto_offset_reset="none",
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // 3,
            rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
            max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
            request_timeout_ms=REBALANCE_TIMEOUT_MS + 5_000,  # joining waits for the others
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=PARTITION_BYTES,
        )
        self._consumer = consumer
        try:
            async with self._link.explained():
                await consumer.start()
        except BaseException:
            await self._stop()
            raise
        give_messages(consumer, PackTaking if self._packs else None)
        consumer.subscribe(self._topics, listener=Listener(self))
        self._heard_at = self._now()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hand the partitions on at once; `revoked` is called unless an error ends the member."""
        try:
            if kind is None and self._rebalance and self._held:
                await self._rebalance.revoked(self._held)
        finally:
            self._held = frozenset()
            await self._stop()

    async def poll(self, max_records: int, timeout: timedelta) -> list[Message]:  # noqa: ASYNC109 - the protocol's
        """See `Consumer.poll`."""
        found = await self._poll(max_records, timeout)
        return list(chain.from_iterable(found.values()))

    async def poll_packs(self, timeout: timedelta) -> list[Pack]:  # noqa: ASYNC109 - the protocol's
        """See `Consumer.poll_packs`."""
        found: Any = await self._poll(1, timeout)
        return list(chain.from_iterable(found.values()))

    async def _poll(self, most: int, timeout: timedelta) -> Mapping[TopicPartition, Sequence[Message]]:  # noqa: ASYNC109
        deadline = self._now() + timeout.total_seconds()
        while True:
            await self._settle()
            left_s = max(0.0, deadline - self._now())
            found = await self._getmany(most, left_s)
            if any(found.values()):
                self._heard_at = self._now()
                return found
            if self._now() >= deadline and not self._changed.is_set():
                await self._check_alive()
                return {}

    async def commit(self, positions: Mapping[Partition, int]) -> None:
        """See `Consumer.commit`; the broker refuses it from a member that the group has left behind."""
        offsets = {TopicPartition(*p): offset for p, offset in positions.items() if p in self._held}
        if not offsets:
            return
        if self._present_generation() != self._generation:  # struck off: it would commit as nobody
            log.warning("nothing was committed: the group went on without this member", group=self._group)
            return
        try:
            async with self._link.explained():
                await self._client.commit(offsets)
        except (CommitFailedError, IllegalStateError) as error:
            log.warning("nothing was committed: the partitions moved on", group=self._group, error=str(error))

    async def pause(self, partitions: frozenset[Partition]) -> None:
        """See `Consumer.pause`."""
        self._paused |= partitions & self._held
        self._client.pause(*(TopicPartition(*partition) for partition in partitions & self._held))

    async def resume(self, partitions: frozenset[Partition]) -> None:
        """See `Consumer.resume`."""
        self._paused -= partitions
        self._client.resume(*(TopicPartition(*partition) for partition in partitions & self._held))

    @property
    def _client(self) -> AIOKafkaConsumer:
        assert self._consumer is not None  # noqa: S101 - entered
        return self._consumer

    async def _getmany(self, max_records: int, timeout_s: float) -> Mapping[TopicPartition, Sequence[Message]]:
        """Wait for records, but not through a rebalance: aiokafka would wait for its end, and it waits for us.

        What lies here already is taken without a task that waits: a fast reader asks thousands of times a second.
        """
        if not self._changed.is_set() and has_fetched(self._client):
            async with self._link.explained():
                return await getmany(self._client, timeout_ms=0, max_records=max_records)
        fetching = asyncio.create_task(getmany(self._client, timeout_ms=int(timeout_s * 1000), max_records=max_records))
        changed = asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait({fetching, changed}, timeout=timeout_s + 0.1, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
            if not fetching.done():
                fetching.cancel()
            outcome, _ = await asyncio.gather(fetching, changed, return_exceptions=True)
        if isinstance(outcome, asyncio.CancelledError):
            return {}
        if isinstance(outcome, NoOffsetForPartitionError) and self._fresh:
            return {}  # fetched between the assignment and our setting of positions
        async with self._link.explained():
            return fetching.result()

    async def _settle(self) -> None:
        """Do what a rebalance asked for since the last poll; what fails is tried again by the next one."""
        while self._changed.is_set():
            self._changed.clear()
            try:
                if self._revoking is not None:
                    await self._give_up(self._revoking)
                if self._fresh is not None:
                    await self._gain(self._fresh)
            except BaseException:
                self._changed.set()
                raise

    async def _give_up(self, revoking: asyncio.Future[None]) -> None:
        """Let the member save its state, then let the rebalance go on."""
        if self._rebalance and self._held:
            await self._rebalance.revoked(self._held)
        self._held = self._paused = frozenset()
        self._revoking = None
        if not revoking.done():
            revoking.set_result(None)

    async def _gain(self, fresh: frozenset[Partition]) -> None:
        """Set every position, then let the partitions be fetched.

        A start at the beginning is committed at once: else records lost to retention before the group first commits
        would go unnoticed.
        """
        chosen = dict(await self._rebalance.assigned(fresh)) if self._rebalance and fresh else {}
        try:
            async with self._link.explained():
                await self._set_positions({TopicPartition(*partition): chosen.get(partition) for partition in fresh})
        except (CommitFailedError, IllegalStateError) as error:
            log.info("the group moved on before its partitions were taken up", group=self._group, error=str(error))
            if self._fresh is fresh:
                self._fresh = None  # the rebalance that is under way brings others
        else:
            if self._fresh is fresh:
                self._fresh = None
                self._held = fresh

    async def _set_positions(self, chosen: Mapping[TopicPartition, int | None]) -> None:
        client = self._client
        positions: dict[TopicPartition, int] = {}
        for place, position in chosen.items():
            start = await client.committed(place) if position is None else position
            if start is not None:
                positions[place] = start
        new = [place for place in chosen if place not in positions]
        if new:
            beginning = await client.beginning_offsets(new)
            await client.commit(beginning)
            positions |= beginning
        for place, position in positions.items():
            client.seek(place, position)
        client.resume(*chosen)

    async def _check_alive(self) -> None:
        """After a silence, tell a quiet topic from a cluster that is away. Raises `BackendUnavailable`."""
        if self._now() - self._heard_at > self._link.timeout.total_seconds() / 3:
            await self._admin.ping()
            self._heard_at = self._now()

    async def _stop(self) -> None:
        """Leave the group and disconnect. A static member does not leave by itself; without its name it does."""
        self._leaving = True
        if self._revoking is not None and not self._revoking.done():
            self._revoking.set_result(None)
        client = self._client
        if client._coordinator is not None and hasattr(client._coordinator, "_group_instance_id"):  # noqa: SLF001 - see above
            client._coordinator._group_instance_id = None  # noqa: SLF001
        try:
            async with self._link.explained():
                await stop_consumer(client)
        except BackendUnavailable as unavailable:  # the session runs out by itself
            log.warning("could not leave the group", group=self._group, error=str(unavailable))
            await client._client.close()  # noqa: SLF001 - what `stop` would have closed last

    def _present_generation(self) -> int:
        coordinator: Any = self._client._coordinator  # noqa: SLF001 - there is no public way
        generation: int = coordinator.generation
        return generation

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def on_revoked(self) -> None:
        """Hold the rebalance up until the member polls, unless it holds nothing."""
        if self._fresh is not None:  # never handed to the member
            self._fresh = None
        if not self._held or self._leaving:
            return
        self._revoking = asyncio.get_running_loop().create_future()
        self._changed.set()
        await self._revoking

    def on_assigned(self, partitions: frozenset[Partition]) -> None:
        """Note what came; nothing is fetched of it before the member has set its positions."""
        if partitions:
            self._client.pause(*(TopicPartition(*partition) for partition in partitions))
        self._fresh = partitions
        self._generation = self._present_generation()
        self._changed.set()


class Listener(ConsumerRebalanceListener):
    """aiokafka's callbacks, passed on."""

    def __init__(self, member: KafkaConsumer) -> None:
        self._member = member

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # noqa: ARG002 - aiokafka's
        """Called before the group is joined anew; all partitions are given up, so `revoked` says nothing new."""
        await self._member.on_revoked()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Called with all partitions of the new generation."""
        self._member.on_assigned(frozenset((place.topic, place.partition) for place in assigned))
