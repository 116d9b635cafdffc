"""A bus with the topics of a line, and the KPI services running on it for as long as a test needs them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from timelines import newest

from kpi_engine.rules import rules_of
from kpi_engine.windows import drain, empty, fold
from taktwatch.bus import Bus, Outgoing
from taktwatch.bus.connect import open_bus
from taktwatch.config import KafkaConfig, KpiConfig, LineConfig
from taktwatch.instants import microseconds
from taktwatch.records import DeadLetter, InspectionResult, KpiWindow, Record, StationMark
from taktwatch.topics import Topics
from taktwatch.wire import decode, encode

TOPICS = Topics()
QUICK = LineConfig(kpi=KpiConfig(checkpoint_interval_s=0.05, silent_after_s=3600))
PATIENCE_S = 60.0

Windows = dict[tuple[str, ...], KpiWindow]


class Service(Protocol):
    """What runs until stopped."""

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop`."""


@asynccontextmanager
async def opened(url: str, topics: Topics = TOPICS) -> AsyncIterator[Bus]:
    """Open a bus with all topics of a line."""
    bus = open_bus(url, KafkaConfig(), client="tests")
    await bus.ensure(topics.specs(None))
    try:
        yield bus
    finally:
        await bus.close()


@asynccontextmanager
async def running(*services: Service) -> AsyncIterator[None]:
    """Run services inside the block; one that fails fails the test."""
    stop = asyncio.Event()
    tasks = [asyncio.create_task(service.run(stop)) for service in services]
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE_S)


async def eventually(true: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so; fail after a long while."""

    async def wait() -> None:
        while not await true():  # noqa: ASYNC110 - other processes change it
            await asyncio.sleep(0.02)

    await asyncio.wait_for(wait(), PATIENCE_S)


async def send(bus: Bus, records: Sequence[Record], topic: str = TOPICS.results) -> None:
    """Publish records, keyed by line."""
    outgoing = []
    for record in records:
        value, headers = encode(record)
        outgoing.append(Outgoing(topic, b"line-1", value, headers))
    await bus.publish(outgoing)


async def records(bus: Bus, topic: str) -> list[Record]:
    """Return every record a topic holds."""
    return [decode(message.value, message.headers) async for batch in bus.read(topic) for message in batch]


async def published(bus: Bus, topics: Topics = TOPICS) -> Windows:
    """Return the newest published revision of every window."""
    windows = [record for record in await records(bus, topics.kpis) if isinstance(record, KpiWindow)]
    return latest(windows)


async def letters(bus: Bus) -> list[DeadLetter]:
    """Return the dead letters."""
    return [record for record in await records(bus, TOPICS.dead) if isinstance(record, DeadLetter)]


async def undisturbed(bus: Bus, topics: Topics = TOPICS) -> Windows:
    """Fold the results topic from its beginning in one go: what must come out, revisions included."""
    state, rules = empty(), rules_of(QUICK)
    windows: list[KpiWindow] = []
    async for batch in bus.read(topics.results):
        for message in batch:
            record = decode(message.value, message.headers)
            assert isinstance(record, InspectionResult | StationMark)
            fold(state, record, message.offset, microseconds(message.timestamp), rules)
            windows += drain(state)
    return latest(windows)


def latest(windows: Sequence[KpiWindow]) -> Windows:
    """Return the newest revision of every window, by line, station, product and start; of a roll-up with its kind."""
    return {
        (window.line, window.station, window.product, start_of(window)): window
        for window in sorted(windows, key=newest)
    }


def start_of(window: KpiWindow) -> str:
    """Return when a window starts; of a roll-up also what it is."""
    start = f"{window.start:%H:%M}"
    return start if window.window == "1m" else f"{window.window} {start} {window.lot or ''}"


def minutes(windows: Windows) -> list[KpiWindow]:
    """Return the one-minute windows."""
    return [window for window in windows.values() if window.window == "1m"]
