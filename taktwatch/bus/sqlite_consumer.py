"""A member of a consumer group on the embedded bus."""

import asyncio
import dataclasses
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from types import TracebackType
from typing import Protocol, Self, TypeVar

import structlog

from taktwatch.bus import Consumer, Message, Pack, Partition, Rebalance, Span
from taktwatch.bus.sqlite_groups import Groups, Member
from taktwatch.bus.sqlite_watch import GROUP, TOPIC, Watch
from taktwatch.errors import BackendUnavailable, MemberReplaced

__all__ = ["POLL_BYTES", "Home", "SqliteConsumer"]

POLL_BYTES = 32 * 2**20
"""How much one poll returns at most, unless a single record is larger."""

MAX_POLL_INTERVAL_S = 300.0
"""A member that has not polled for so long hangs: its lease is no longer renewed and others take over."""

T = TypeVar("T")
log = structlog.get_logger()


class Home(Protocol):
    """What a consumer needs of its bus."""

    clock: Callable[[], datetime]
    lease: timedelta
    watch: Watch

    async def groups(self) -> Groups:
        """Return the group file."""

    async def in_group_thread(self, call: Callable[..., T], *args: object) -> T:
        """Run a blocking call on the group file."""

    async def spans(self, topic: str) -> dict[int, Span]:
        """Return what each partition holds."""

    async def read_some(
        self, topic: str, number: int, start: int, end: int | None, *, max_records: int, max_bytes: int
    ) -> tuple[list[Message], int]:
        """Return messages of a partition and the offset to go on from."""


class SqliteConsumer(Consumer):
    """Membership is renewed in the background; partitions change hands inside `poll` alone, never amid a batch."""

    def __init__(self, home: Home, group: str, topics: Sequence[str], name: str, rebalance: Rebalance | None) -> None:
        self._home = home
        self._topics = tuple(topics)
        self._rebalance = rebalance
        self._member = Member(group, name, "", {})
        self._positions: dict[Partition, int] = {}
        self._paused: frozenset[Partition] = frozenset()
        self._turn = 0
        self._generation_seen: list[int] | None = None
        self._step_due = 0.0
        self._polled_at = 0.0
        self._heartbeat: asyncio.Task[None] | None = None

    @property
    def assigned(self) -> frozenset[Partition]:
        """The partitions this member holds now."""
        return frozenset(self._positions)

    async def __aenter__(self) -> Self:
        """Join the group; partitions come with the first `poll`."""
        counts = {topic: len(await self._home.spans(topic)) for topic in self._topics}
        self._member = dataclasses.replace(self._member, topics=counts)
        self._polled_at = self._loop_time()
        await self._register()
        self._heartbeat = asyncio.create_task(self._beat())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hand the partitions on at once; `revoked` is called unless an error ends the member (half done)."""
        assert self._heartbeat is not None  # noqa: S101 - entered
        self._heartbeat.cancel()
        await asyncio.gather(self._heartbeat, return_exceptions=True)
        try:
            if kind is None and self._positions:
                await self._revoke(self.assigned)
        finally:
            self._positions.clear()
            try:
                await self._on_groups(Groups.leave, self._member)
            except BackendUnavailable as unavailable:  # the lease runs out by itself
                log.warning("could not leave the group", group=self._member.group, error=str(unavailable))
            self._home.watch.touch((GROUP, self._member.group))

    async def poll_packs(self, timeout: timedelta) -> list[Pack]:  # noqa: ASYNC109 - the protocol's
        """Not to be asked of this bus."""
        raise NotImplementedError("the embedded bus has no packs")

    async def poll(self, max_records: int, timeout: timedelta) -> list[Message]:  # noqa: ASYNC109 - the protocol's
        """See `Consumer.poll`."""
        deadline = self._loop_time() + timeout.total_seconds()
        names = [(GROUP, self._member.group), *((TOPIC, topic) for topic in self._topics)]
        while True:
            self._polled_at = self._loop_time()
            seen = self._home.watch.versions(names)
            await self._take_part(seen[:1])
            if messages := await self._read(max_records):
                return messages
            left_s = min(deadline, self._step_due) - self._loop_time()
            if self._loop_time() >= deadline:
                return []
            await self._home.watch.wait(names, seen, max(left_s, 0))

    async def commit(self, positions: Mapping[Partition, int]) -> None:
        """See `Consumer.commit`."""
        held = {partition: position for partition, position in positions.items() if partition in self._positions}
        if held:
            await self._on_groups(Groups.commit, self._member, held)

    async def pause(self, partitions: frozenset[Partition]) -> None:
        """See `Consumer.pause`."""
        self._paused |= partitions

    async def resume(self, partitions: frozenset[Partition]) -> None:
        """See `Consumer.resume`."""
        self._paused -= partitions

    async def _read(self, max_records: int) -> list[Message]:
        """Read each partition in turn, beginning with another one each time, so that a busy one starves nobody."""
        partitions = sorted(self.assigned - self._paused)
        if not partitions:
            return []
        self._turn = (self._turn + 1) % len(partitions)
        messages: list[Message] = []
        room = POLL_BYTES
        for topic, number in partitions[self._turn :] + partitions[: self._turn]:
            if len(messages) >= max_records or room <= 0:
                break
            found, position = await self._home.read_some(
                topic,
                number,
                self._positions[topic, number],
                None,
                max_records=max_records - len(messages),
                max_bytes=room,
            )
            self._positions[topic, number] = position
            messages += found
            room -= sum(len(message.value) for message in found)
        return messages

    async def _take_part(self, seen: list[int]) -> None:
        """Take a step towards the group's target, when the group changed or a third of the lease went by."""
        if seen == self._generation_seen and self._loop_time() < self._step_due:
            return
        home = self._home
        standing = await self._on_groups(Groups.take_part, self._member, home.clock(), home.lease)
        if standing is None:  # struck off: others may have held our partitions since
            await self._lose(self.assigned)
            await self._register()
            standing = await self._on_groups(Groups.take_part, self._member, home.clock(), home.lease)
        if standing is None:
            return
        if surplus := standing.surplus & self.assigned:
            await self._lose(surplus)
        if standing.surplus:
            await self._on_groups(Groups.release, self._member, standing.surplus)
            home.watch.touch((GROUP, self._member.group))
        if fresh := standing.held - standing.surplus - self.assigned:
            await self._gain(fresh)
        self._generation_seen = seen
        self._step_due = self._loop_time() + home.lease.total_seconds() / 3

    async def _gain(self, fresh: frozenset[Partition]) -> None:
        """Find where to start: a restored checkpoint, else the commit, else the beginning, which is committed at once.

        Without that first commit, records lost to retention before the group commits would go unnoticed.
        """
        chosen = dict(await self._rebalance.assigned(fresh)) if self._rebalance else {}
        starts = {}
        for topic in {topic for topic, _ in fresh}:
            committed = await self._on_groups(Groups.committed, self._member.group, topic)
            spans = await self._home.spans(topic)
            for partition in (partition for partition in fresh if partition[0] == topic):
                number = partition[1]
                if partition not in chosen and number not in committed:
                    starts[partition] = spans[number].first
                self._positions[partition] = chosen.get(partition, committed.get(number, spans[number].first))
        if starts:
            await self._on_groups(Groups.commit, self._member, starts)

    async def _lose(self, partitions: frozenset[Partition]) -> None:
        await self._revoke(partitions)
        for partition in partitions:
            del self._positions[partition]
        self._paused -= partitions

    async def _revoke(self, partitions: frozenset[Partition]) -> None:
        if self._rebalance and partitions:
            await self._rebalance.revoked(partitions)

    async def _register(self) -> None:
        self._member = dataclasses.replace(self._member, incarnation=uuid.uuid4().hex)
        await self._on_groups(Groups.register, self._member, self._home.clock(), self._home.lease)
        self._home.watch.touch((GROUP, self._member.group))

    async def _beat(self) -> None:
        """Renew the lease while somebody polls; what goes wrong here shows in the next poll."""
        while True:
            await asyncio.sleep(self._home.lease.total_seconds() / 3)
            if self._loop_time() - self._polled_at > MAX_POLL_INTERVAL_S:
                continue
            with suppress(BackendUnavailable, MemberReplaced):
                await self._on_groups(Groups.renew, self._member, self._home.clock(), self._home.lease)

    async def _on_groups(self, method: Callable[..., T], *args: object) -> T:
        groups = await self._home.groups()
        return await self._home.in_group_thread(method, groups, *args)

    def _loop_time(self) -> float:
        return asyncio.get_running_loop().time()
