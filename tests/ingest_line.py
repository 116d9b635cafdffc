"""A small line to ingest from, and what it left on the bus."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingest.service import IngestService
from taktwatch.bus import Bus, Outgoing
from taktwatch.bus.connect import open_bus
from taktwatch.config import LineConfig, parse_config
from taktwatch.errors import BackendUnavailable
from taktwatch.records import Asset, DeadLetter, Frame, InspectionResult, MarkState, Place, Record, StationMark
from taktwatch.topics import Topics
from taktwatch.wire import decode

__all__ = [
    "SMALL",
    "TOPICS",
    "GatedBus",
    "Taken",
    "drive",
    "line_config",
    "opened_bus",
    "read_taken",
    "running",
    "until",
]

START = "2026-03-03T06:00:00Z"
TOPICS = Topics()
SMALL = {"kind": "simulator", "height_px": 128, "width_px": 160, "defect_probability": 0.5}


def line_config(folder: Path, *stations: Mapping[str, Any], **ingest: Any) -> LineConfig:
    """Describe a line in `folder`; stations are simulated, unpaced and start at START unless they say otherwise."""
    names = ("top", "side", "third")
    tables = {
        "data_dir": str(folder),
        "stations": [
            {
                "name": name, "product": "board", "paced": False, "start": START, "boards_per_minute": 60,
                "source": SMALL, **station,
            }
            for name, station in zip(names, stations, strict=False)
        ],
        "products": {
            "board": {"model": "m", "um_per_px": 20.8},
            "section": {"model": "m", "um_per_px": 1.5, "view": "section"},
        },
        "ingest": {"mark_interval_s": 0.05, **ingest},
    }  # fmt: skip
    return parse_config(tables, "the test", {})


class GatedBus:
    """The real bus behind a gate: closed, it is away, as every backend says it. `order` is the topics published to."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.closed = False
        self.refused = 0
        self.order: list[str] = []

    async def publish(self, records: Sequence[Outgoing]) -> list[Place]:
        if self.closed:
            self.refused += 1
            raise BackendUnavailable("the bus is away: the gate is closed")
        self.order += [record.topic for record in records]
        return await self._bus.publish(records)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)


@asynccontextmanager
async def opened_bus(config: LineConfig) -> AsyncIterator[Bus]:
    """Open the line's bus."""
    bus = open_bus(config.bus_url, config.kafka, client="test")
    try:
        yield bus
    finally:
        await bus.close()


@asynccontextmanager
async def running(config: LineConfig, bus: Any) -> AsyncIterator[IngestService]:
    """Run ingest until the block ends, then stop it the polite way. Its error, if it has one, is raised at the end."""
    service, stop = IngestService(config, bus, TOPICS), asyncio.Event()
    task = asyncio.create_task(service.run(stop))
    try:
        yield service
    finally:
        stop.set()
        await task


async def drive(config: LineConfig) -> IngestService:
    """Run ingest on its own bus until its sources are finished."""
    async with opened_bus(config) as bus:
        service = IngestService(config, bus, TOPICS)
        await service.run(asyncio.Event())
        return service


async def until(condition: Any) -> None:
    """Wait until the condition holds; the test's own time limit is the only one."""
    while not condition():  # noqa: ASYNC110 - what is awaited is counters and files, not events
        await asyncio.sleep(0.005)


@dataclass
class Taken:
    """What ingest put on the bus, in log order."""

    frames: list[Frame] = field(default_factory=list)
    outcomes: list[InspectionResult] = field(default_factory=list)
    marks: list[StationMark] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    assets: list[Asset] = field(default_factory=list)

    def add(self, record: Record) -> None:
        """File one record."""
        match record:
            case Frame():
                self.frames.append(record)
            case InspectionResult():
                self.outcomes.append(record)
            case StationMark():
                self.marks.append(record)
            case DeadLetter():
                self.dead.append(record)
            case Asset():
                self.assets.append(record)

    def seqs(self, station: str = "top") -> list[int]:
        """Return the numbers of all that was accepted, each once, sorted."""
        return sorted({record.seq for record in [*self.frames, *self.outcomes] if record.station == station})

    def last_mark(self, station: str = "top") -> StationMark:
        """Return the newest mark of a station."""
        return [mark for mark in self.marks if mark.station == station][-1]

    def check_marks(self) -> None:
        """Check every mark against every frame: what a mark says must hold."""
        for mark in self.marks:
            same = [r for r in [*self.frames, *self.outcomes] if (r.station, r.session) == (mark.station, mark.session)]
            assert all(record.taken_at >= mark.time for record in same if record.seq > mark.last_seq)
            if mark.state is MarkState.CLOSED:
                assert max((record.seq for record in same), default=-1) == mark.last_seq


async def read_taken(config: LineConfig) -> Taken:
    """Read all that ingest wrote."""
    taken = Taken()
    async with opened_bus(config) as bus:
        for topic in (TOPICS.frames, TOPICS.results, TOPICS.dead, TOPICS.assets):
            async for batch in bus.read(topic):
                for message in batch:
                    taken.add(decode(message.value, message.headers))
    taken.check_marks()
    return taken
