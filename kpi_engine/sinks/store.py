"""From a topic into the store: what every sink does. Committed after it is written, so a crash writes some again.

A stale writer may publish an older revision after a newer one: what was written is remembered, and never goes back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Generic, TypeVar

import structlog
from prometheus_client import Counter, Gauge

from kpi_engine.checks import dead_letter
from kpi_engine.membership import FIRST_PAUSE_S, LONGEST_PAUSE_S, pause, stay_joined
from kpi_engine.metrics import BAD_RECORDS, STORE_RETRIES
from taktwatch.bus import Bus, Consumer, Message, Outgoing, Rebalance
from taktwatch.config import LineConfig
from taktwatch.errors import BackendUnavailable, BadRecord
from taktwatch.records import Place, Record
from taktwatch.store import KpiStore
from taktwatch.topics import Topics
from taktwatch.wire import decode, encode

__all__ = ["BATCH", "Age", "Key", "Rows", "Source", "StoreSink"]

LONGEST_WISH_S = 60.0
"""A store that asks to be left alone for longer is asked again after so long; a group waits for minutes, not hours."""

BATCH = 1000

log = structlog.get_logger()

R = TypeVar("R", bound=Record)

Key = tuple[object, ...]
Age = tuple[int, int]
Source = Message | Place
"""The message that a row came with, or where it can be fetched."""

NEVER: Age = (-1, 0)


@dataclass(frozen=True)
class Rows(Generic[R]):
    """What a sink moves: records of one kind, which row each is (`key_of`), and how new (`age_of`).

    `name` and `names` are its words; `remembered` is how many rows' ages are kept.
    """

    group: str
    topic: str
    kind: type[R]
    name: str
    names: str
    write: Callable[[Sequence[R]], Awaitable[None]]
    key_of: Callable[[R], Key]
    age_of: Callable[[R], Age]
    remembered: int
    stored: Counter
    stale: Counter | None = None
    held: Gauge | None = None


class StoreSink(Generic[R]):
    """Writes what was published; one batch in hand at most, however long the store is away."""

    def __init__(
        self, rows: Rows[R], config: LineConfig, bus: Bus, topics: Topics, store: KpiStore, *, member: str
    ) -> None:
        self.rows = rows
        self.poll_time = timedelta(seconds=config.kpi.checkpoint_interval_s)  # rows come no faster
        self.bus = bus
        self.topics = topics
        self.store = store
        self.member = member
        self.prepared = False
        self.written: dict[Key, Age] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop`. Raises `ConfigError` where the store refuses our credentials."""
        await stay_joined(self.rows.group, lambda: self.work(stop), stop)

    async def work(self, stop: asyncio.Event) -> None:
        """Join the group and write until `stop`. Raises `BackendUnavailable` where the bus is gone."""
        rebalance = self.rebalance()
        async with self.bus.consumer(
            self.rows.group, [self.rows.topic], member=self.member, rebalance=rebalance
        ) as consumer:
            await self.write_patiently(consumer, [], stop)  # whoever reads the store finds it prepared
            while not stop.is_set():
                messages = await consumer.poll(BATCH, self.poll_time)
                found = await self.newest(messages)
                if (messages or found) and await self.write_patiently(consumer, found, stop):
                    await consumer.commit(positions(messages))

    def rebalance(self) -> Rebalance | None:
        """Return what is to be done when the partition comes or goes: nothing."""
        return None

    async def newest(self, messages: Sequence[Message]) -> list[tuple[R, Source]]:
        """Return the newest revision of each row in a batch, in log order; what is none is a dead letter."""
        found: dict[Key, tuple[R, Source]] = {}
        for message in messages:
            try:
                row = self.row_in(message)
            except BadRecord as error:
                await self.bury(message, error)
                continue
            key = self.rows.key_of(row)
            known = self.rows.age_of(found[key][0]) if key in found else self.written.get(key, NEVER)
            if self.rows.age_of(row) >= known:
                found[key] = (row, message)
            elif self.rows.stale is not None:
                self.rows.stale.inc()
        return list(found.values())

    async def write_patiently(self, consumer: Consumer, found: Sequence[tuple[R, Source]], stop: asyncio.Event) -> bool:
        """Write, however long the store is away; nothing is fetched meanwhile. False when stopped before."""
        pause_s = FIRST_PAUSE_S
        held = consumer.assigned
        self.show_held(len(found))
        while not stop.is_set():
            try:
                if not self.prepared:
                    await self.store.prepare()
                    self.prepared = True
                refused = await self.write(found)
            except BackendUnavailable as error:
                wait_s = min(max(pause_s, error.retry_after_s), LONGEST_WISH_S)
                log.warning("the store does not answer", error=str(error), pause_s=wait_s)
                STORE_RETRIES.inc()
                await consumer.pause(held)
                await pause(wait_s, stop)
                if await consumer.poll(1, timedelta(0)):  # stays a member; paused partitions bring nothing
                    raise BackendUnavailable(
                        f"the topic {self.rows.topic} changed hands meanwhile; reading on from the commit"
                    ) from error
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                self.show_held(0)
                await consumer.resume(held)
                for source, reason in refused:
                    await self.bury(source, reason)
                return True
        return False

    async def write(self, found: Sequence[tuple[R, Source]]) -> list[tuple[Source, BadRecord]]:
        """Write rows; halve what the store refuses until the refused ones stand alone, and return those."""
        if not found:
            return []
        try:
            await self.rows.write([row for row, _ in found])
        except BadRecord as error:
            if len(found) == 1:
                return [(found[0][1], error)]
            middle = len(found) // 2
            return await self.write(found[:middle]) + await self.write(found[middle:])
        self.rows.stored.inc(len(found))
        self.remember([row for row, _ in found])
        return []

    def remember(self, rows: Sequence[R]) -> None:
        """Note what was written; the rows written longest ago are forgotten first."""
        for row in rows:
            self.written.pop(self.rows.key_of(row), None)
            self.written[self.rows.key_of(row)] = self.rows.age_of(row)
        for key in list(islice(self.written, max(0, len(self.written) - self.rows.remembered))):
            del self.written[key]

    def row_in(self, message: Message) -> R:
        """Return the row in a message. Raises `BadRecord` for anything else."""
        record = decode(message.value, message.headers)
        if not isinstance(record, self.rows.kind):
            raise BadRecord(f"a {type(record).__name__} in {message.topic}, where {self.rows.names} are expected")
        return record

    def show_held(self, rows: int) -> None:
        """Show how many rows are in hand that the store has not taken yet."""
        if self.rows.held is not None:
            self.rows.held.set(rows)

    async def bury(self, source: Source, error: BadRecord) -> None:
        """Publish a dead letter."""
        message = source if isinstance(source, Message) else await self.bus.fetch(source)
        log.warning("a row cannot be stored", kind=self.rows.name, place=str(message.place), error=str(error))
        BAD_RECORDS.labels(message.topic).inc()
        value, headers = encode(dead_letter(message, error, self.rows.group))
        await self.bus.publish([Outgoing(self.topics.dead, message.key, value, headers)])


def positions(messages: Sequence[Message]) -> dict[tuple[str, int], int]:
    """Return the next offset to read of each partition."""
    return {(message.topic, message.partition): message.offset + 1 for message in messages}
