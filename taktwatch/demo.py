"""The demo: a simulated (or recorded) line on real services, and a summary that has to balance."""

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from taktwatch.alertlog import open_alerts
from taktwatch.app import SERVICES, Line, open_line, run_line
from taktwatch.config import FolderSource, LineConfig, SimulatorSource, StationConfig
from taktwatch.errors import ConfigError
from taktwatch.records import AlertTransition, InspectionResult, KpiWindow, Outcome, Verdict
from taktwatch.store import KpiQuery
from taktwatch.topics import lag
from taktwatch.wire import decode

__all__ = ["Progress", "StationSummary", "Summary", "TruthTable", "plan", "read_ledger", "run_demo"]

GROUPS = (("detector", "frames"), ("kpi", "results"), ("kpi-store", "kpis"), ("alerts", "kpis"))
"""Who must have read what before the line is at rest."""


PATIENCE_S = 30.0
"""How long the boards in hand may take once ingest has stopped."""


class TruthTable(msgspec.Struct, frozen=True, kw_only=True):
    """Verdicts on simulated boards against what the simulator drew; a `review` stops a board as `fail` does."""

    defective_stopped: int
    defective_passed: int
    good_stopped: int
    good_passed: int


class StationSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger of one station, each number from its own source, and its verdicts."""

    station: str
    accepted: int
    inspected: int
    skipped: int
    dead: int
    pending: int
    lost: int
    passed: int
    failed: int
    review: int
    truth: TruthTable | None = None

    @property
    def balanced(self) -> bool:
        """Every accepted frame is accounted for, and none is lost."""
        known = self.inspected + self.skipped + self.dead + self.pending + self.lost
        return self.accepted == known and self.lost == 0


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a demo run did. `digest` is equal for two runs that judged every frame alike."""

    stations: tuple[StationSummary, ...]
    windows: tuple[KpiWindow, ...]
    alerts: tuple[AlertTransition, ...]
    seconds: float
    digest: str
    prefix: str

    @property
    def balanced(self) -> bool:
        """Every station balances."""
        return all(station.balanced for station in self.stations)

    @property
    def boards_per_second(self) -> float:
        """Boards with an outcome by wall clock, start-up of the models included."""
        return sum(station.accepted - station.pending for station in self.stations) / self.seconds


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


async def first_results(line: Line) -> list[InspectionResult]:
    """Read the first result of each frame, in log order."""
    results: dict[str, InspectionResult] = {}
    async for batch in line.bus.read(line.topics.results):
        for message in batch:
            record = decode(message.value, message.headers)
            if isinstance(record, InspectionResult):
                results.setdefault(record.frame_id, record)
    return list(results.values())


async def read_ledger(line: Line) -> tuple[StationSummary, ...]:
    """Return the ledger and the verdicts of every station that the results topic knows."""
    return station_summaries(line, await first_results(line), await read_balance_of(line))


async def read_balance_of(line: Line) -> Any:
    """Return the KPI engine's balance by station."""
    from kpi_engine.balance import read_balance

    return await read_balance(line.bus, line.topics)


def station_summaries(line: Line, results: list[InspectionResult], balances: Any) -> tuple[StationSummary, ...]:
    """Join ledger, verdicts and, for simulated stations, the truth."""
    by_name = {station.name: station for station in line.config.stations}
    summaries = []
    for name, balance in balances.items():
        mine = [result for result in results if result.station == name]
        verdicts = Counter(result.verdict for result in mine)
        summaries.append(
            StationSummary(
                station=name,
                accepted=balance.accepted,
                inspected=balance.inspected,
                skipped=balance.skipped,
                dead=balance.dead,
                pending=balance.pending,
                lost=balance.lost,
                passed=verdicts[Verdict.PASS],
                failed=verdicts[Verdict.FAIL],
                review=verdicts[Verdict.REVIEW],
                truth=truth_table(line.config, by_name[name], mine) if name in by_name else None,
            )
        )
    return tuple(summaries)


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
        stations=station_summaries(line, results, await read_balance_of(line)),
        windows=tuple(await read_windows(line, results)),
        alerts=tuple(open_alerts(transitions)),
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
    return await line.store.read(query)


def digest(results: list[InspectionResult]) -> str:
    """Hash frame ids, outcomes, verdicts and class counts, in order of frame id."""
    seen = sorted(
        (r.frame_id, str(r.outcome), str(r.verdict), tuple(sorted(Counter(d.label for d in r.detections).items())))
        for r in results
    )
    return hashlib.sha256(repr(seen).encode()).hexdigest()


def truth_table(config: LineConfig, station: StationConfig, results: list[InspectionResult]) -> TruthTable | None:
    """Compare verdicts with what the simulator drew; None where the pictures are not simulated.

    The truth is drawn again from the seed here: it never travels with a frame.
    """
    if not isinstance(station.source, SimulatorSource):
        return None
    from ingest.cameras.simulator import is_defective

    view = config.product(station.product).view
    table: Counter[tuple[bool, bool]] = Counter()
    for result in results:
        if result.outcome is Outcome.INSPECTED:
            table[is_defective(station.source, view, result.visit), result.verdict is not Verdict.PASS] += 1
    return TruthTable(
        defective_stopped=table[True, True],
        defective_passed=table[True, False],
        good_stopped=table[False, True],
        good_passed=table[False, False],
    )
