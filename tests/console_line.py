"""A line for the console's tests: real records on a real bus, pictures drawn here, windows written to a real store."""

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from dashboards.console.service import ConsoleService
from taktwatch.bus import Bus, Outgoing
from taktwatch.bus.connect import open_bus
from taktwatch.clock import now
from taktwatch.config import LineConfig, parse_config
from taktwatch.records import (
    AlertState,
    AlertTransition,
    Detection,
    Frame,
    InspectionResult,
    KpiWindow,
    MarkState,
    ModelRef,
    Outcome,
    Place,
    Record,
    Registration,
    Severity,
    StationMark,
    Verdict,
    WindowState,
    frame_id,
)
from taktwatch.rle import area, bbox, encode
from taktwatch.store import KpiStore
from taktwatch.store.connect import open_store
from taktwatch.topics import Topics
from taktwatch.wire import encode as to_wire

LINE = "line-1"
SIDE_PX = 160
UM_PER_PX = 20.0
MODEL = ModelRef(
    name="board-sim", model_id="m" * 12, weights_sha256="a" * 64, engine="torch", precision="fp32", device="cpu"
)

BoolMask = npt.NDArray[np.bool_]
Result = TypeVar("Result")


def line_config(stations: Sequence[str] = ("top", "section"), **tables: object) -> LineConfig:
    """Return the settings of a line with these stations and a console on a free port."""
    described = {
        "line": LINE,
        "stations": [{"name": name, "product": "demo", "source": {"kind": "simulator"}} for name in stations],
        "products": {"demo": {"model": "board-sim", "um_per_px": UM_PER_PX}},
        "console": {"port": 0},
        **tables,
    }
    return parse_config(described, "the test", {})


def draw_board(seq: int, *, defect: bool) -> tuple[bytes, BoolMask]:
    """Return a PNG of a board with traces, and the mask (H, W) of its defect: a blob of copper between two of them."""
    rng = np.random.default_rng(seq)
    picture = np.full((SIDE_PX, SIDE_PX, 3), (40, 90, 30), np.uint8)
    for y in range(20, SIDE_PX, 24):
        cv2.line(picture, (8, y), (SIDE_PX - 8, y), (60, 160, 210), 6)
    mask = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    if defect:
        x, y = (int(value) for value in rng.integers(40, SIDE_PX - 40, 2))
        cv2.ellipse(mask, (x, y), (7, 11), 0, 0, 360, 1, -1)
        picture[mask > 0] = (60, 160, 210)
    picture = cv2.add(picture, rng.integers(0, 18, picture.shape, dtype=np.uint8))
    _, png = cv2.imencode(".png", picture)
    return png.tobytes(), mask.astype(np.bool_)


def detection(label: str, mask: BoolMask, score: float) -> Detection:
    """Return the detection of a mask (H, W)."""
    rle = encode(mask)
    x0, y0, x1, y1 = bbox(rle)
    return Detection(
        label=label,
        score=score,
        box_px=(float(x0), float(y0), float(x1), float(y1)),
        mask=rle,
        area_px=area(rle),
        area_um2=round(area(rle) * UM_PER_PX**2),
    )


class Conveyor:
    """Puts frames, results, marks and alerts of one session on the bus, as ingest, detector and alerts would."""

    def __init__(self, bus: Bus, topics: Topics) -> None:
        self.bus = bus
        self.topics = topics

    async def put(self, topic: str, key: str, record: Record) -> Place:
        """Publish one record."""
        value, headers = to_wire(record)
        [place] = await self.bus.publish([Outgoing(topic, key.encode(), value, headers)])
        return place

    async def board(
        self,
        seq: int,
        *,
        station: str = "top",
        verdict: Verdict = Verdict.PASS,
        taken_at: datetime | None = None,
        picture: tuple[bytes, Sequence[Detection]] | None = None,
    ) -> InspectionResult:
        """Send one board past a camera and inspect it; a failed one has a short outlined."""
        if picture is None:
            image, mask = draw_board(seq, defect=verdict is Verdict.FAIL)
            picture = image, [detection("short", mask, 0.93)] if mask.any() else []
        image, detections = picture
        taken_at = taken_at or now()
        frame = Frame(
            frame_id=frame_id(LINE, station, "s1", seq),
            line=LINE,
            station=station,
            product="demo",
            view="board",
            session="s1",
            seq=seq,
            visit=seq,
            taken_at=taken_at,
            received_at=taken_at,
            um_per_px=UM_PER_PX,
            sha256=hashlib.sha256(image).hexdigest(),
            image=image,
            media_type="image/png",
            serial=f"B{seq:05d}",
        )
        place = await self.put(self.topics.frames, frame.frame_id, frame)
        result = InspectionResult(
            frame_id=frame.frame_id,
            line=LINE,
            station=station,
            product="demo",
            view="board",
            session="s1",
            seq=seq,
            visit=seq,
            event_at=taken_at,
            taken_at=taken_at,
            received_at=taken_at,
            inspected_at=taken_at + timedelta(milliseconds=180),
            outcome=Outcome.INSPECTED,
            sha256=frame.sha256,
            um_per_px=UM_PER_PX,
            serial=frame.serial,
            place=place,
            verdict=verdict,
            reasons=tuple(f"{one.label}: score {one.score:.2f}" for one in detections if one.label != "copper_layer"),
            detections=tuple(detections),
            opportunities=250,
            model=MODEL,
            config_sha256="c" * 64,
            template_sha256="d" * 64,
            registration=Registration(matrix=(1.0, 0.0, 0.6, 0.0, 1.0, -0.4), quality=0.97),
            timings_us={"decode": 8_100, "register": 21_400, "model": 118_000, "masks": 6_300, "judge": 400},
        )
        await self.put(self.topics.results, LINE, result)
        return result

    async def mark(
        self, last_seq: int, *, station: str = "top", state: MarkState = MarkState.OPEN, session: str = "s1"
    ) -> StationMark:
        """Say what ingest would say of a station."""
        mark = StationMark(
            line=LINE, station=station, session=session, product="demo", last_seq=last_seq, time=now(), state=state
        )
        await self.put(self.topics.results, LINE, mark)
        return mark

    async def alert(self, state: AlertState, *, station: str = "top", number: int = 1) -> AlertTransition:
        """Let a rule speak."""
        at = now()
        transition = AlertTransition(
            alert_id=f"alert-{station}-{number}",
            rule="defect-rate",
            severity=Severity.CRITICAL,
            labels={"line": LINE, "station": station},
            previous=AlertState.PENDING,
            state=state,
            at=at,
            value=0.31,
            n=32,
            summary=f"defect rate of {station} is 31.3 % of 32 boards, above 25 %",
            window_start=at.replace(second=0, microsecond=0),
            revision=7,
        )
        await self.put(self.topics.alerts, f"defect-rate/{station}", transition)
        return transition


def minute_window(
    start: datetime, *, station: str = "top", inspected: int, failed: int, revision: int = 1
) -> KpiWindow:
    """Return the KPIs of one minute, as the engine would sum them."""
    return KpiWindow(
        window="1m",
        start=start,
        end=start + timedelta(minutes=1),
        line=LINE,
        station=station,
        product="demo",
        revision=revision,
        state=WindowState.CLOSED,
        accepted=inspected,
        inspected=inspected,
        passed=inspected - failed,
        failed=failed,
        first_pass=inspected,
        first_pass_passed=inspected - failed,
        opportunities=250 * inspected,
        defects={"short": failed} if failed else {},
        latency_sum_us=180_000 * inspected,
        latency_buckets={69: inspected} if inspected else {},
    )


def this_minute() -> datetime:
    """Return the start of the present minute."""
    return now().astimezone(UTC).replace(second=0, microsecond=0)


@dataclass
class RunningConsole:
    """A console that serves, and what it stands on."""

    config: LineConfig
    bus: Bus
    store: KpiStore
    service: ConsoleService
    conveyor: Conveyor

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.service.url


@asynccontextmanager
async def running_console(
    folder: Path, *, environ: Mapping[str, str] | None = None, port: int = 0, **tables: object
) -> AsyncIterator[RunningConsole]:
    """Run a console over a bus and a store in `folder`, on a free port unless one is given."""
    config = line_config(console={"port": port}, **tables)
    bus = open_bus(f"sqlite:///{folder}/bus", config.kafka, client="test")
    store = open_store(f"sqlite:///{folder}/kpis.sqlite", {})
    topics = Topics()
    await bus.ensure(topics.specs(None))
    await store.prepare()
    service = ConsoleService(config, bus, topics, store, environ=environ or {})
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    listening = asyncio.create_task(service.listening.wait())
    try:
        await asyncio.wait({running, listening}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        yield RunningConsole(config, bus, store, service, Conveyor(bus, topics))
    finally:
        listening.cancel()
        stop.set()
        try:
            await running
        finally:
            await store.close()
            await bus.close()


class ConsoleThread:
    """A running console in a thread of its own, for tests that drive a browser; `do` runs a coroutine beside it."""

    def __init__(
        self, folder: Path, *, port: int = 0, environ: Mapping[str, str] | None = None, **tables: object
    ) -> None:
        self.folder, self.port, self.environ, self.tables = folder, port, environ, tables
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.stack = AsyncExitStack()

    def __enter__(self) -> Self:
        self.thread.start()
        try:
            self.console = self.do(self.start())
        except BaseException:
            self.end_loop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.do(self.stack.aclose())
        finally:
            self.end_loop()

    async def start(self) -> RunningConsole:
        """Start the console inside the loop."""
        return await self.stack.enter_async_context(
            running_console(self.folder, port=self.port, environ=self.environ, **self.tables)
        )

    def end_loop(self) -> None:
        """Stop the loop and close it."""
        self.do(self.loop.shutdown_default_executor())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def do(self, work: Coroutine[object, object, Result]) -> Result:
        """Run a coroutine in the console's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds; the test's own time limit ends it."""
    while not await condition():  # noqa: ASYNC110 - what is waited for is behind HTTP, there is no event
        await asyncio.sleep(0.05)
