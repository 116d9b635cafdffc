"""The KPI sink: windows in, rows of the store out. Committed after they are written, so a crash writes some again.

A stale writer may publish an older revision after a newer one: what was written is remembered, and never goes back.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from itertools import islice

import structlog

from kpi_engine.checks import dead_letter
from kpi_engine.membership import FIRST_PAUSE_S, LONGEST_PAUSE_S, pause, stay_joined
from kpi_engine.metrics import BAD_RECORDS, STALE, STORE_HELD, STORE_RETRIES, STORED
from taktwatch.bus import Bus, Consumer, Message, Outgoing
from taktwatch.config import LineConfig
from taktwatch.errors import BackendUnavailable, BadRecord
from taktwatch.records import KpiWindow, WindowState
from taktwatch.store import KpiStore
from taktwatch.topics import Topics
from taktwatch.wire import decode, encode

__all__ = ["GROUP", "KpiSink"]

LONGEST_WISH_S = 60.0
"""A store that asks to be left alone for longer is asked again after so long; a group waits for minutes, not hours."""

GROUP = "kpi-store"
BATCH = 1000
NEVER = (-1, 0)
RANK = {state: rank for rank, state in enumerate(WindowState)}

log = structlog.get_logger()

REMEMBERED = 100_000
"""How many windows' revisions are remembered: those of a stale writer's horizon, and far more."""

Found = tuple[KpiWindow, Message]
"""A window and the message it came in."""

Key = tuple[object, ...]
Age = tuple[int, int]


class KpiSink:
    """Writes what the KPI service published; one batch in hand at most, however long the store is away."""

    def __init__(self, config: LineConfig, bus: Bus, topics: Topics, store: KpiStore, *, member: str = GROUP) -> None:
        self.poll_time = timedelta(seconds=config.kpi.checkpoint_interval_s)  # windows come no faster
        self.bus = bus
        self.topics = topics
        self.store = store
        self.member = member
        self.prepared = False
        self.written: dict[Key, Age] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop`. Raises `ConfigError` where the store refuses our credentials."""
        await stay_joined(GROUP, lambda: self.work(stop), stop)

    async def work(self, stop: asyncio.Event) -> None:
        """Join the group and write until `stop`. Raises `BackendUnavailable` where the bus is gone."""
        async with self.bus.consumer(GROUP, [self.topics.kpis], member=self.member) as consumer:
            await self.write_patiently(consumer, [], stop)  # whoever reads the store finds it prepared
            while not stop.is_set():
                messages = await consumer.poll(BATCH, self.poll_time)
                if messages and await self.write_patiently(consumer, await self.newest(messages), stop):
                    await consumer.commit(positions(messages))

    async def newest(self, messages: Sequence[Message]) -> list[Found]:
        """Return the newest revision of each window in a batch, in log order; what is no window is a dead letter."""
        found: dict[Key, Found] = {}
        for message in messages:
            try:
                window = window_in(message)
            except BadRecord as error:
                await self.bury(message, error)
                continue
            key = key_of(window)
            known = age(found[key][0]) if key in found else self.written.get(key, NEVER)
            if age(window) >= known:
                found[key] = (window, message)
            else:
                STALE.inc()
        return list(found.values())

    async def write_patiently(self, consumer: Consumer, found: Sequence[Found], stop: asyncio.Event) -> bool:
        """Write, however long the store is away; nothing is fetched meanwhile. False when stopped before."""
        pause_s = FIRST_PAUSE_S
        held = consumer.assigned
        STORE_HELD.set(len(found))
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
                        "the kpis topic changed hands meanwhile; reading on from the commit"
                    ) from error
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                STORE_HELD.set(0)
                await consumer.resume(held)
                for message, reason in refused:
                    await self.bury(message, reason)
                return True
        return False

    async def write(self, found: Sequence[Found]) -> list[tuple[Message, BadRecord]]:
        """Write windows; halve what the store refuses until the refused ones stand alone, and return those."""
        if not found:
            return []
        try:
            await self.store.write([window for window, _ in found])
        except BadRecord as error:
            if len(found) == 1:
                return [(found[0][1], error)]
            middle = len(found) // 2
            return await self.write(found[:middle]) + await self.write(found[middle:])
        STORED.inc(len(found))
        self.remember(found)
        return []

    def remember(self, found: Sequence[Found]) -> None:
        """Note what was written; the windows written longest ago are forgotten first."""
        for window, _ in found:
            self.written.pop(key_of(window), None)
            self.written[key_of(window)] = age(window)
        for key in list(islice(self.written, max(0, len(self.written) - REMEMBERED))):
            del self.written[key]

    async def bury(self, message: Message, error: BadRecord) -> None:
        """Publish a dead letter."""
        log.warning("a window cannot be stored", place=str(message.place), error=str(error))
        BAD_RECORDS.labels(message.topic).inc()
        value, headers = encode(dead_letter(message, error, GROUP))
        await self.bus.publish([Outgoing(self.topics.dead, message.key, value, headers)])


def window_in(message: Message) -> KpiWindow:
    """Return the window in a message. Raises `BadRecord` for anything else."""
    record = decode(message.value, message.headers)
    if not isinstance(record, KpiWindow):
        raise BadRecord(f"a {type(record).__name__} in {message.topic}, where KPI windows are expected")
    return record


def key_of(window: KpiWindow) -> Key:
    """Return which window it is, whatever its revision."""
    return window.window, window.start, window.line, window.station, window.product, window.lot


def age(window: KpiWindow) -> Age:
    """Order of the revisions of one window."""
    return window.revision, RANK[window.state]


def positions(messages: Sequence[Message]) -> dict[tuple[str, int], int]:
    """Return the next offset to read of each partition."""
    return {(message.topic, message.partition): message.offset + 1 for message in messages}
