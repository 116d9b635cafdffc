"""A line for benchmarks: simulated boards on an embedded bus, and a detector that inspects them in this process.

Frames are what a camera publishes: encoded pictures with the hash of their golden template. What the detector said is
read from the log afterwards, with the time at which the bus took it: measuring costs the measured nothing.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from detector.engines import Channels, Engine
from detector.failsafe import SafeEngine
from detector.inspect import Inspector
from detector.service import GROUP, DetectorService
from taktwatch.assets import Asset, make_asset, publish_asset
from taktwatch.bus import Bus, Message, Outgoing
from taktwatch.bus.connect import open_bus
from taktwatch.clock import now
from taktwatch.config import LineConfig, parse_config
from taktwatch.pictures import decode as decode_picture
from taktwatch.pictures import encode_jpeg, encode_png
from taktwatch.records import Frame, InspectionResult, frame_id
from taktwatch.simulator import BOARD_DEFECTS, board, golden
from taktwatch.simulator.look import BoardLook
from taktwatch.topics import Topics
from taktwatch.wire import decode, encode

__all__ = [
    "LAYOUTS",
    "MODEL",
    "PRODUCT",
    "TOPICS",
    "Boards",
    "Camera",
    "Spent",
    "Stopwatch",
    "batches",
    "draw",
    "line",
    "listening",
    "prepared",
    "said",
    "settings",
    "working",
]

T = TypeVar("T")

MODEL, PRODUCT = "board-sim", "panel"
TOPICS = Topics()
LAYOUTS = range(41_000_000, 41_000_003)
"""Products that nothing was trained on."""


@dataclass(frozen=True)
class Boards:
    """Encoded pictures of boards, one JPEG each, and the golden template of each."""

    pictures: tuple[bytes, ...]
    templates: tuple[Asset, ...]

    def __len__(self) -> int:
        """How many."""
        return len(self.pictures)


def draw(number: int, side: int, *, aligned: bool) -> Boards:
    """Draw so many boards of `side` px squared; every third has a defect. Aligned: the board lies as its template."""
    reach = {"max_shift_px": 0.0, "max_rotation_deg": 0.0} if aligned else {}
    look = BoardLook(**reach)  # type: ignore[arg-type]  # floats all of them
    size = (side, side)
    layouts = [LAYOUTS[at % len(LAYOUTS)] for at in range(number)]
    goldens = {
        one: make_asset(encode_png(golden(one, size=size, look=look)), "template", "image/png") for one in LAYOUTS
    }
    pictures = [
        board(layout, at, size=size, look=look, defects=(BOARD_DEFECTS[at % 6],) if at % 3 == 0 else ()).picture
        for at, layout in enumerate(layouts)
    ]
    return Boards(tuple(encode_jpeg(one, 95) for one in pictures), tuple(goldens[one] for one in layouts))


def settings(folder: Path, models: Path, *, stations: int = 8, takt_s: float = 1.0, **detector: object) -> LineConfig:
    """Return a line of so many stations of one product on an embedded bus in `folder`."""
    names = [f"station-{number}" for number in range(stations)]
    source = {"kind": "simulator"}
    tables = {
        "line": "benchmark",
        "data_dir": str(folder),
        "bus": f"sqlite:///{folder}/bus",
        "stations": [
            {"name": name, "product": PRODUCT, "source": source, "boards_per_minute": 60 / takt_s} for name in names
        ],
        "products": {
            PRODUCT: {"model": MODEL, "um_per_px": 20.8, "classes": {name: {"score": 0.5} for name in BOARD_DEFECTS}}
        },
        "detector": {"models_dir": str(models), "device": "cpu", **detector},
    }
    return parse_config(tables, "benchmark", {})


class Camera:
    """Publishes frames of boards, one after the other, each with its own id."""

    def __init__(self, config: LineConfig, bus: Bus, boards: Boards) -> None:
        self.config, self.bus, self.boards = config, bus, boards
        self.number = 0

    async def publish(self, frames: int, station: int = 0) -> None:
        """Publish so many frames of a station at once, as taken now; None of them waits for a verdict."""
        at, name = now(), self.config.stations[station].name
        records = []
        for _ in range(frames):
            seq, self.number = self.number, self.number + 1
            image = self.boards.pictures[seq % len(self.boards)]
            frame = Frame(
                frame_id=frame_id("benchmark", name, "s", seq),
                line="benchmark",
                station=name,
                product=PRODUCT,
                view="board",
                session="s",
                seq=seq,
                visit=seq,
                taken_at=at,
                received_at=at,
                um_per_px=20.8,
                sha256=hashlib.sha256(image).hexdigest(),
                image=image,
                media_type="image/jpeg",
                template_sha256=self.boards.templates[seq % len(self.boards)].sha256,
            )
            value, headers = encode(frame)
            records.append(Outgoing(TOPICS.frames, frame.frame_id.encode(), value, headers))
        await self.bus.publish(records)

    async def inspected(self) -> None:
        """Wait until every frame that was published has its result; looked at seldom, for a look costs time, too."""
        while (await results(self.bus)) < self.published:  # noqa: ASYNC110 - they lie in a database
            await asyncio.sleep(0.25)

    @property
    def published(self) -> int:
        """How many frames so far."""
        return self.number


@asynccontextmanager
async def line(config: LineConfig, boards: Boards) -> AsyncIterator[Camera]:
    """Set up the bus with the boards' templates."""
    bus = open_bus(config.bus_url, config.kafka, client="benchmark")
    try:
        await bus.ensure(TOPICS.specs(None))
        for template in {one.sha256: one for one in boards.templates}.values():
            await publish_asset(bus, TOPICS, template)
        yield Camera(config, bus, boards)
    finally:
        await bus.close()


@asynccontextmanager
async def working(camera: Camera, engine: Engine) -> AsyncIterator[DetectorService]:
    """Let a detector work, on an engine that is loaded already."""
    service = DetectorService(camera.config, camera.bus, TOPICS, member=GROUP)
    service.duty.current.engines[MODEL] = SafeEngine(engine)
    stop = asyncio.Event()
    task = asyncio.create_task(service.run(stop))
    try:
        yield service
    finally:
        stop.set()
        await task


@asynccontextmanager
async def listening(camera: Camera) -> AsyncIterator[dict[tuple[int, int], datetime]]:
    """Wait for results as a reader of the bus does; when each was read, by its partition and offset."""
    heard: dict[tuple[int, int], datetime] = {}
    start = dict.fromkeys(await camera.bus.spans(TOPICS.results), 0)

    async def listen() -> None:
        async for batch in camera.bus.follow(TOPICS.results, start=start):
            at = now()
            heard.update({(message.partition, message.offset): at for message in batch})

    task = asyncio.create_task(listen())
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def prepared(config: LineConfig, engine: Engine, boards: Boards) -> list[Channels]:
    """Return what the network sees of boards."""
    inspector = Inspector(config, engines={MODEL: engine})
    return [
        inspector.prepare(PRODUCT, decode_picture(picture), decode_picture(template.body)).inputs.channels
        for picture, template in zip(boards.pictures, boards.templates, strict=True)
    ]


async def results(bus: Bus) -> int:
    """Count the results in the log."""
    return sum(span.next for span in (await bus.spans(TOPICS.results)).values())


async def said(bus: Bus) -> list[tuple[Message, InspectionResult]]:
    """Return all results in the log, each with the record it came in."""
    records = [message async for batch in bus.read(TOPICS.results) for message in batch]
    decoded = [(message, decode(message.value, message.headers)) for message in records]
    return [(message, record) for message, record in decoded if isinstance(record, InspectionResult)]


@dataclass(frozen=True)
class Spent:
    """What some frames took: seconds of wall clock and of this process's CPU time."""

    frames: int
    wall_s: float
    cpu_s: float

    @property
    def busy(self) -> float:
        """Share of the cores that was in use, 0 to 1."""
        return self.cpu_s / self.wall_s / len(os.sched_getaffinity(0))


class Stopwatch:
    """Measures wall clock and CPU time from when it was made.

    >>> Stopwatch().spent(3).frames
    3
    """

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def spent(self, frames: int) -> Spent:
        """Return what so many frames took."""
        return Spent(frames, time.perf_counter() - self.wall, time.process_time() - self.cpu)


def batches(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """Cut a sequence into pieces of at most `most`."""
    for first in range(0, len(items), most):
        yield items[first : first + most]
