"""Points of control charts into the store. Committed after they are written, so a crash writes some again.

A crash of their author publishes older revisions once more: what was written is remembered, and never goes back.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from itertools import islice

import structlog

from kpi_engine.checks import dead_letter
from kpi_engine.membership import FIRST_PAUSE_S, LONGEST_PAUSE_S, pause, stay_joined
from kpi_engine.metrics import BAD_RECORDS, POINTS_STORED, STORE_RETRIES
from kpi_engine.sink import positions
from taktwatch.bus import Bus, Consumer, Message, Outgoing
from taktwatch.config import LineConfig
from taktwatch.errors import BackendUnavailable, BadRecord
from taktwatch.records import ControlPoint
from taktwatch.store import KpiStore
from taktwatch.topics import Topics
from taktwatch.wire import decode, encode

__all__ = ["GROUP", "SpcSink"]

GROUP = "spc-store"
BATCH = 1000
REMEMBERED = 10_000
"""How many points' revisions are remembered."""

log = structlog.get_logger()

Found = tuple[ControlPoint, Message]
"""A point and the message it came in."""


class SpcSink:
    """Writes what the SPC service published; one batch in hand at most, however long the store is away."""

    def __init__(self, config: LineConfig, bus: Bus, topics: Topics, store: KpiStore, *, member: str = GROUP) -> None:
        self.poll_time = timedelta(seconds=config.kpi.checkpoint_interval_s)
        self.bus = bus
        self.topics = topics
        self.store = store
        self.member = member
        self.prepared = False
        self.written: dict[tuple[object, ...], int] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop`. Raises `ConfigError` where the store refuses our credentials."""
        await stay_joined(GROUP, lambda: self.work(stop), stop)

    async def work(self, stop: asyncio.Event) -> None:
        """Join the group and write until `stop`. Raises `BackendUnavailable` where the bus is gone."""
        async with self.bus.consumer(GROUP, [self.topics.spc], member=self.member) as consumer:
            while not stop.is_set():
                messages = await consumer.poll(BATCH, self.poll_time)
                if messages and await self.write_patiently(consumer, await self.newest(messages), stop):
                    await consumer.commit(positions(messages))

    async def newest(self, messages: Sequence[Message]) -> list[Found]:
        """Return the newest revision of each point in a batch, in log order; what is no point is a dead letter."""
        found: dict[tuple[object, ...], Found] = {}
        for message in messages:
            try:
                point = point_in(message)
            except BadRecord as error:
                await self.bury(message, error)
                continue
            key = key_of(point)
            known = found[key][0].revision if key in found else self.written.get(key, point.revision)
            if point.revision >= known:
                found[key] = (point, message)
        return list(found.values())

    async def write_patiently(self, consumer: Consumer, found: Sequence[Found], stop: asyncio.Event) -> bool:
        """Write, however long the store is away; nothing is fetched meanwhile. False when stopped before."""
        pause_s = FIRST_PAUSE_S
        held = consumer.assigned
        while not stop.is_set():
            try:
                if not self.prepared:
                    await self.store.prepare()
                    self.prepared = True
                refused = await self.write(found)
            except BackendUnavailable as error:
                log.warning("the store does not answer", error=str(error), pause_s=pause_s)
                STORE_RETRIES.inc()
                await consumer.pause(held)
                await pause(pause_s, stop)
                if await consumer.poll(1, timedelta(0)):  # stays a member; paused partitions bring nothing
                    raise BackendUnavailable("the spc topic changed hands; reading on from the commit") from error
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                await consumer.resume(held)
                for message, reason in refused:
                    await self.bury(message, reason)
                return True
        return False

    async def write(self, found: Sequence[Found]) -> list[tuple[Message, BadRecord]]:
        """Write points; halve what the store refuses until the refused ones stand alone, and return those."""
        if not found:
            return []
        try:
            await self.store.write_points([point for point, _ in found])
        except BadRecord as error:
            if len(found) == 1:
                return [(found[0][1], error)]
            middle = len(found) // 2
            return await self.write(found[:middle]) + await self.write(found[middle:])
        POINTS_STORED.inc(len(found))
        for point, _ in found:
            self.written.pop(key_of(point), None)
            self.written[key_of(point)] = point.revision
        for key in list(islice(self.written, max(0, len(self.written) - REMEMBERED))):
            del self.written[key]
        return []

    async def bury(self, message: Message, error: BadRecord) -> None:
        """Publish a dead letter."""
        log.warning("a control point cannot be stored", place=str(message.place), error=str(error))
        BAD_RECORDS.labels(message.topic).inc()
        value, headers = encode(dead_letter(message, error, GROUP))
        await self.bus.publish([Outgoing(self.topics.dead, message.key, value, headers)])


def key_of(point: ControlPoint) -> tuple[object, ...]:
    """Return which point it is, whatever its revision."""
    return point.start, point.line, point.station, point.product, point.metric, point.chart, point.panel


def point_in(message: Message) -> ControlPoint:
    """Return the point in a message. Raises `BadRecord` for anything else."""
    record = decode(message.value, message.headers)
    if not isinstance(record, ControlPoint):
        raise BadRecord(f"a {type(record).__name__} in {message.topic}, where control points are expected")
    return record
