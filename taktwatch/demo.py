"""The demo: a simulated (or recorded) line on real services, and a summary that has to balance."""

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from taktwatch.alertlog import open_alerts
from taktwatch.app import SERVICES, Line, open_line, run_line
from taktwatch.config import FolderSource, LineConfig, ProductConfig, SimulatorSource, StationConfig
from taktwatch.errors import ConfigError
from taktwatch.ledger import StationLedger, first_results, read_ledger
from taktwatch.records import AlertTransition, InspectionResult, KpiWindow, Outcome, Verdict
from taktwatch.simulator import SimulatedPicture
from taktwatch.store import KpiQuery
from taktwatch.store.reading import read_parts
from taktwatch.topics import lag
from taktwatch.wire import decode

__all__ = ["Progress", "Summary", "TruthTable", "plan", "run_demo"]

GROUPS = (
    ("detector", "frames"),
    ("kpi", "results"),
    ("kpi-store", "kpis"),
    ("spc", "kpis"),
    ("spc-store", "spc"),
    ("alerts", "kpis"),
    ("alerts", "spc"),
)
"""Who must have read what before the line is at rest."""


PATIENCE_S = 30.0
"""How long the boards in hand may take once ingest has stopped."""


class TruthTable(msgspec.Struct, frozen=True, kw_only=True):
    """Verdicts on simulated boards against what the simulator drew; a `review` stops a board as `fail` does."""

    defective_stopped: int
    defective_passed: int
    good_stopped: int
    good_passed: int


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a demo run did. `digest` is equal for two runs that judged every frame alike."""

    stations: tuple[StationLedger, ...]
    truth: dict[str, TruthTable]
    windows: tuple[KpiWindow, ...]
    alerts: tuple[AlertTransition, ...]
    boards_per_second: float
    seconds: float
    digest: str
    prefix: str

    @property
    def balanced(self) -> bool:
        """Every station balances."""
        return all(station.balanced for station in self.stations)


class Progress:
    """What the demo has seen so far: the first result of each frame, and counts by station."""

    def __init__(self) -> None:
        self.results: dict[str, InspectionResult] = {}
        self.by_station: Counter[str] = Counter()

    def add(self, result: InspectionResult) -> None:
        """Count a result unless it is a repeat."""
        if result.frame_id not in self.results:
            self.results[result.frame_id] = result
            self.by_station[result.station] += 1


def plan(
    config: LineConfig,
    *,
    boards: int | None,
    seed: int,
    source: Path | None,
    product: str | None,
    start: datetime,
    paced: bool,
) -> LineConfig:
    """Return the configuration of a demo: simulated stations with this seed, or one station over a folder of pictures.

    `boards` are shared among the stations by their takt; None runs until stopped.
    """
    if source is not None:
        chosen = product or ("deeppcb" if any(source.glob("*_test.*")) else None)
        if chosen is None:
            raise ConfigError(f"{source} has no ID_test.* pictures; name what it shows with --product")
        config.product(chosen)
        folder = FolderSource(kind="folder", path=source.resolve(), boards=boards)
        station = StationConfig(
            name="top", product=chosen, source=folder, boards_per_minute=30, paced=paced, start=start
        )
        return config.model_copy(update={"stations": (station,)})
    simulated = [station for station in config.stations if isinstance(station.source, SimulatorSource)]
    if not simulated:
        raise ConfigError("the configuration has no simulated station; use the shipped line.toml or give --source")
    shares = share(boards, [station.boards_per_minute for station in simulated])
    stations = tuple(
        station.model_copy(
            update={
                "source": station.source.model_copy(update={"seed": seed, "boards": count}),
                "paced": paced,
                "start": start,
            }
        )
        for station, count in zip(simulated, shares, strict=True)
        if count != 0
    )
    return config.model_copy(update={"stations": stations})


def share(boards: int | None, weights: list[float]) -> list[int | None]:
    """Share boards by weight, nothing lost to rounding.

    >>> share(300, [30, 15])
    [200, 100]
    >>> share(1, [30, 15])
    [1, 0]
    """
    if boards is None:
        return [None] * len(weights)
    total = sum(weights)
    counts = [int(boards * weight / total) for weight in weights]
    counts[0] += boards - sum(counts)
    return list(counts)


async def run_demo(
    config: LineConfig,
    stop: asyncio.Event,
    *,
    exit_when_done: bool,
    on_ready: Callable[[Line, Progress], None],
    clock: Callable[[], float],
) -> Summary:
    """Run all services until the boards are done (or until `stop`), and say what happened.

    `clock` gives monotonic seconds.
    """
    progress = Progress()
    rest = asyncio.Event()
    began = clock()
    async with open_line(config, SERVICES) as line:
        stops = {"ingest": stop}
        services = asyncio.create_task(
            run_line(line, rest, stops=stops, on_start=lambda: on_ready(line, progress)), name="services"
        )
        watcher = asyncio.create_task(watch(line, progress))
        try:
            finished = asyncio.create_task(until_finished(line, stop) if exit_when_done else stop.wait())
            await asyncio.wait({finished, services}, return_when=asyncio.FIRST_COMPLETED)
            finished.cancel()
            stop.set()  # ingest ends; the boards in hand are still inspected and counted
            if not services.done():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(until_at_rest(line), PATIENCE_S)
        finally:
            stop.set()
            rest.set()
            await services
            seconds = clock() - began
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
        return await summarise(line, seconds)


async def watch(line: Line, progress: Progress) -> None:
    """Count results as they come."""
    spans = await line.bus.spans(line.topics.results)
    start = {partition: span.first for partition, span in spans.items()}
    async for batch in line.bus.follow(line.topics.results, start=start):
        for message in batch:
            record = decode(message.value, message.headers)
            if isinstance(record, InspectionResult):
                progress.add(record)


async def until_finished(line: Line, stop: asyncio.Event) -> None:
    """Return when ingest has sent its last board and the line is at rest, or at `stop`."""
    ingest: Any = line.services["ingest"]
    waits = {asyncio.create_task(ingest.finished.wait()), asyncio.create_task(stop.wait())}
    _, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in pending:
        wait.cancel()
    if not stop.is_set():
        await until_at_rest(line)


async def until_at_rest(line: Line) -> None:
    """Return when every group has read all that was written for it, twice in a row."""
    quiet = 0
    while quiet < 2:  # noqa: PLR2004 - a second look, since one stage feeds the next
        lags = [await lag(line.bus, group, getattr(line.topics, topic)) for group, topic in GROUPS]
        quiet = quiet + 1 if not any(lags) else 0
        await asyncio.sleep(0.3)


async def summarise(line: Line, seconds: float) -> Summary:
    """Read back what the run left on the bus and in the store."""
    results = await first_results(line)
    transitions = [
        record
        async for batch in line.bus.read(line.topics.alerts)
        for message in batch
        if isinstance(record := decode(message.value, message.headers), AlertTransition)
    ]
    return Summary(
        stations=await read_ledger(line),
        truth=await asyncio.to_thread(truth_tables, line.config, results),
        windows=tuple(await read_windows(line, results)),
        alerts=tuple(open_alerts(transitions)),
        boards_per_second=pace(results),
        seconds=seconds,
        digest=digest(results),
        prefix=line.topics.prefix,
    )


async def read_windows(line: Line, results: list[InspectionResult]) -> list[KpiWindow]:
    """Read the windows these results fall into from the store."""
    times = [result.event_at for result in results]
    if line.store is None or not times:
        return []
    query = KpiQuery(
        window="1m",
        since=min(times) - timedelta(minutes=1),
        until=max(times) + timedelta(minutes=1),
        line=line.config.line,
    )
    return await read_parts(line.store, query)


def pace(results: list[InspectionResult]) -> float:
    """Return results per second of wall clock from the first to the last; 0 where there are fewer than two."""
    times = sorted(result.inspected_at for result in results)
    span = (times[-1] - times[0]).total_seconds() if times else 0.0
    return (len(times) - 1) / span if span else 0.0


def digest(results: list[InspectionResult]) -> str:
    """Hash frame ids, outcomes, verdicts and class counts, in order of frame id."""
    seen = sorted(
        (r.frame_id, str(r.outcome), str(r.verdict), tuple(sorted(Counter(d.label for d in r.detections).items())))
        for r in results
    )
    return hashlib.sha256(repr(seen).encode()).hexdigest()


def truth_tables(config: LineConfig, results: list[InspectionResult]) -> dict[str, TruthTable]:
    """Compare verdicts with what the simulator drew, by simulated station.

    The truth is drawn again from the seed here: it never travels with a frame.
    """
    from ingest.cameras.simulator import draw

    tables = {}
    for station in config.stations:
        source, product = station.source, config.product(station.product)
        if not isinstance(source, SimulatorSource):
            continue
        inspected = [r for r in results if r.station == station.name and r.outcome is Outcome.INSPECTED]
        with ThreadPoolExecutor() as pool:
            drawn = list(pool.map(partial(draw, source, product.view), [result.visit for result in inspected]))
        defective = [is_defective(board, product) for board in drawn]
        stopped = [result.verdict is not Verdict.PASS for result in inspected]
        counts = Counter(zip(defective, stopped, strict=True))
        tables[station.name] = TruthTable(
            defective_stopped=counts[True, True],
            defective_passed=counts[True, False],
            good_stopped=counts[False, True],
            good_passed=counts[False, False],
        )
    return tables


def is_defective(drawn: SimulatedPicture, product: ProductConfig) -> bool:
    """Say whether a simulated board breaks the product's rules: any defect, or corrosion beyond a layer's limits."""
    if product.view == "board":
        return bool(drawn.truths)
    limits = product.section
    return any(
        layer.corroded.sum() > limits.max_corroded_area_share * layer.envelope.sum()
        or layer.deepest_px > limits.max_depth_share * layer.thickness_px
        or (layer.surface and not limits.allow_surface)
        for layer in drawn.layers
    )
