"""What the KPI engine carries, on a real Kafka broker: python benchmarks/kpi_engine.py [--quix PYTHON] [--write].

The fold runs in a process of its own on one core. Quix Streams, where an interpreter that has it is named (or in
TAKTWATCH_QUIX_PYTHON), folds the same topic in the same run on the same core; without one its row says "not run".
`--write` puts the table into docs/benchmarks.md.
"""

import argparse
import asyncio
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

import msgspec  # noqa: E402 - folders of our own were just made known
from aiokafka import AIOKafkaConsumer, TopicPartition  # noqa: E402
from aiokafka.admin import AIOKafkaAdminClient  # noqa: E402
from kpi_factory import CONFIG, Factory  # noqa: E402
from servers.influx import InfluxServer  # noqa: E402
from servers.kafka import KafkaBroker  # noqa: E402

from kpi_engine.rules import rules_of  # noqa: E402
from kpi_engine.service import GROUP, KpiService  # noqa: E402
from kpi_engine.sinks.windows import GROUP as SINK_GROUP  # noqa: E402
from kpi_engine.sinks.windows import KpiSink  # noqa: E402
from kpi_engine.windows import Image, drain, empty, fold, restore, save  # noqa: E402
from taktwatch.bus import Bus, Outgoing  # noqa: E402
from taktwatch.bus.connect import open_bus  # noqa: E402
from taktwatch.checkpoints import Checkpoints  # noqa: E402
from taktwatch.clock import now  # noqa: E402
from taktwatch.config import KafkaConfig, LineConfig  # noqa: E402
from taktwatch.native import Engine, available  # noqa: E402
from taktwatch.records import BoardVerdict, InspectionResult, KpiWindow, MarkState, StationMark, WindowState  # noqa: E402
from taktwatch.store import KpiQuery  # noqa: E402
from taktwatch.store.connect import open_store  # noqa: E402
from taktwatch.topics import Topics, lag  # noqa: E402
from taktwatch.wire import decode, encode, headers_of  # noqa: E402

BATCH = 5000
OPEN_KEYS = 200_000
TURNS = 3
"""Folds without a store and with one, in turns: the middle ones count."""
CORRECTED = 60_000
BEGIN, END = "<!-- kpi-engine: begin -->", "<!-- kpi-engine: end -->"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    found: str
    target: str


@dataclass(frozen=True)
class Fold:
    """How a log was folded: results (marks and repeats come on top), and seconds for all of it."""

    results: float
    wall_s: float
    cpu_s: float
    stored_s: float = 0.0

    @property
    def rate(self) -> float:
        """Results a second of the wall clock."""
        return self.results / self.wall_s

    @property
    def cpu_rate(self) -> float:
        """Results a second of CPU time: what one core would do that has nothing else to do."""
        return self.results / self.cpu_s

    def __str__(self) -> str:
        """Return both rates."""
        return (
            f"{self.rate:,.0f}/s wall, {self.cpu_rate:,.0f}/s CPU ({1e6 * self.cpu_s / self.results:.1f} us a result)"
        )


def opened(url: str) -> Bus:
    """Open a bus."""
    return open_bus(url, KafkaConfig(), client="benchmark")


async def fill(url: str, topics: Topics, factory: Factory) -> int:
    """Write the factory's log; return how many records it has."""
    bus = opened(url)
    await bus.ensure(topics.specs(None))
    written = 0
    for line in range(factory.lines):
        batch: list[Outgoing] = []
        for record in factory.records(line):
            batch.append(Outgoing(topics.results, record.line.encode(), *encode(record)))
            if len(batch) == BATCH:
                written += len(await bus.publish(batch))
                batch = []
        written += len(await bus.publish(batch))
    found = 0
    async for messages in bus.read(topics.results):  # a broker that has just started compiles its way out, too
        found += len(messages)
    await bus.close()
    if found != written:
        raise RuntimeError(f"{written} records written, {found} there")
    return written


async def begin_anew(url: str, topics: Topics) -> None:
    """Let the KPI group begin at the beginning: no windows, no checkpoints."""
    servers = url.removeprefix("kafka://")
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.delete_topics([topics.checkpoints, topics.kpis])
    await admin.close()
    for group, topic, count in ((GROUP, topics.results, 4), (SINK_GROUP, topics.kpis, 1)):
        consumer = AIOKafkaConsumer(bootstrap_servers=servers, group_id=group, enable_auto_commit=False)
        await consumer.start()
        consumer.assign([TopicPartition(topic, number) for number in range(count)])
        if topic == topics.results:
            await consumer.commit({TopicPartition(topic, number): 0 for number in range(count)})
        await consumer.stop()
    await asyncio.sleep(1)
    bus = opened(url)
    await bus.ensure(topics.specs(None))
    await bus.close()


def on_one_core(python: str, script: str, *arguments: str, environ: Mapping[str, str] = os.environ) -> dict[str, float]:
    """Run a script of this folder on the last core and return what it measured."""
    core = str(max(os.sched_getaffinity(0)))
    command = ["taskset", "-c", core, python, str(ROOT / "benchmarks" / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, env=dict(environ))
    if done.returncode:
        raise RuntimeError(f"{script} failed: {done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def folding(measured: Mapping[str, float], share: float) -> Fold:
    """Return a fold's figures; `share` of the records are results."""
    return Fold(measured["records"] * share, measured["wall_s"], measured["cpu_s"], measured.get("stored_s", 0.0))


def folded(url: str, topics: Topics, written: int, share: float, *, store: str, environ: Mapping[str, str]) -> Fold:
    """Let a KPI service of its own fold the whole log, and write into a store where there is one."""
    arguments = (url, topics.prefix, str(written), *([store] if store else []))
    return folding(on_one_core(sys.executable, "kpi_fold.py", *arguments, environ=environ), share)


def middle(folds: Sequence[Fold]) -> Fold:
    """Return the fold of the middle pace."""
    return sorted(folds, key=lambda fold: fold.rate)[len(folds) // 2]


async def corrected_points(url: str, environ: Mapping[str, str], influx_url: str) -> float:
    """Return corrected windows written to InfluxDB a second, sustained: every one a second revision."""
    topics, bus = Topics("corrected"), opened(url)
    await bus.ensure(topics.specs(None))
    start = now().replace(second=0, microsecond=0) - timedelta(days=1)
    for revision in (1, 2):
        for first in range(0, CORRECTED, BATCH):
            windows = [
                KpiWindow(
                    window="1m",
                    start=start + timedelta(minutes=number % 1000),
                    end=start + timedelta(minutes=number % 1000 + 1),
                    line="line-1",
                    station=f"station-{number // 1000}",
                    product="demo-board",
                    revision=revision,
                    state=WindowState.CLOSED,
                    accepted=60 + revision,
                    inspected=60 + revision,
                    passed=50,
                    failed=10 + revision,
                    first_pass=60,
                    first_pass_passed=50,
                    opportunities=15_000,
                    defects={"open": 7, "short": 3 + revision},
                    latency_sum_us=6_000_000,
                    latency_buckets={65: 20, 66: 30, 67: 10 + revision},
                    marks=60,
                )
                for number in range(first, first + BATCH)
            ]
            await bus.publish([Outgoing(topics.kpis, b"line-1", *encode(window)) for window in windows])
    store, stop = open_store(influx_url, environ), asyncio.Event()
    sink = asyncio.create_task(KpiSink(CONFIG, bus, topics, store).run(stop))
    await until(bus, topics, CORRECTED)
    begun, before = time.perf_counter(), await left(bus, topics)
    await until(bus, topics, 0)
    took = time.perf_counter() - begun
    stop.set()
    await sink
    await store.close()
    await bus.close()
    return before / took


async def until(bus: Bus, topics: Topics, most: int) -> None:
    """Wait until the sink has at most so many windows left."""
    while await left(bus, topics) > most:  # noqa: ASYNC110 - another task works on it
        await asyncio.sleep(0.02)


async def left(bus: Bus, topics: Topics) -> int:
    """Return how many windows the sink has not committed yet."""
    return await lag(bus, SINK_GROUP, topics.kpis)


async def restoring(url: str) -> tuple[float, float, int, int]:
    """Return seconds, and of CPU, from nothing to a restored state of 200,000 open serials, their number, and bytes."""
    state, rules, topics = empty(), rules_of(CONFIG), Topics("restored")
    bus = opened(url)
    await bus.ensure(topics.specs(None))
    for offset, record in enumerate(Factory(lines=1, stations=30, seconds=3550).records(0)):
        fold(state, record, offset, 1_770_000_000_000_000, rules)
        if offset % BATCH == 0 and open_keys(state.stations) >= OPEN_KEYS:
            break
    drain(state)
    saved = save(state)
    member = Checkpoints(bus, topics, GROUP, "benchmark")
    partition = (topics.results, 0)
    await member.load(partition)
    for _ in range(3):
        await member.save(partition, state.position, saved.head, saved.blocks)
    await bus.close()
    fresh = opened(url)
    begun, busy = time.perf_counter(), time.process_time()
    loading = Checkpoints(fresh, topics, GROUP, "benchmark")
    checkpoint = await loading.load(partition)
    keys = 0
    if checkpoint is not None:
        engine = Engine(headers_of(BoardVerdict)) if available() else None  # as the service does
        restored = restore(Image(checkpoint.state, loading.blocks(partition)), engine)
        keys = open_keys(restored.stations) + (engine.count()[1] if engine else 0)
    took, busy = time.perf_counter() - begun, time.process_time() - busy
    await fresh.close()
    return took, busy, keys, len(saved.head) + sum(map(len, saved.blocks))


def open_keys(stations: Mapping[str, object]) -> int:
    """Count the serials a state remembers."""
    return sum(len(getattr(station, "serials", ())) for station in stations.values())


async def takeover(url: str) -> float:
    """Return seconds from kill -9 of an owner to windows of all its lines by a standby; settings as shipped."""
    topics, bus = Topics("takeover"), opened(url)
    await bus.ensure(topics.specs(None))
    process = [sys.executable, str(ROOT / "tests" / "kpi_process.py"), url, topics.prefix, "1"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    names = ("owner", "standby")
    members = [
        subprocess.Popen(  # noqa: ASYNC220 - nothing else runs yet
            [*process, name], env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for name in names
    ]
    records = [iter(list(Factory(lines=4, stations=1, seconds=4000).records(line))) for line in range(4)]

    async def covered(since: int, patience_s: float) -> float | None:
        """Publish for all lines until each has a window after an offset; return when."""
        heard: set[str] = set()
        deadline = time.perf_counter() + patience_s
        async for messages in bus.follow(topics.kpis, start={0: since}):
            heard |= {message.key.decode().split("/")[0] for message in messages}
            if len(heard) == len(records):
                return time.perf_counter()
            if time.perf_counter() > deadline:
                break
        return None

    async def belt() -> None:
        while True:
            for line, source in enumerate(records):
                batch = [next(source) for _ in range(3)]
                await bus.publish([Outgoing(topics.results, f"line-{line}".encode(), *encode(r)) for r in batch])
            await asyncio.sleep(0.1)

    running = asyncio.create_task(belt())
    try:
        await covered(0, 60)
        await asyncio.sleep(8)  # the group has settled, both have partitions
        members[0].kill()
        begun = time.perf_counter()
        after = (await bus.spans(topics.kpis))[0].next
        ended = await covered(after, 60)
        return float("inf") if ended is None else ended - begun
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        for member in members:
            member.kill()
            member.wait()
        await bus.close()


async def idle_and_late(  # noqa: C901 - a scene in two acts
    url: str, environ: Mapping[str, str], influx_url: str | None
) -> tuple[float, float | None]:
    """Return seconds to a standing belt's closed window, and to a late frame's corrected point in InfluxDB.

    Ingest's marks come once a second, as live; the window's end and its publication are read off the log.
    """
    topics, bus = Topics("idle"), opened(url)
    await bus.ensure(topics.specs(None))
    stop, services = asyncio.Event(), [KpiService(LineConfig(), bus, topics)]
    store = open_store(influx_url, environ) if influx_url else None
    tasks = [service.run(stop) for service in services]
    if store:
        tasks.append(KpiSink(LineConfig(), bus, topics, store).run(stop))
    running = [asyncio.create_task(task) for task in tasks]
    board = next(r for r in Factory(lines=1, stations=1, seconds=16).records(0) if isinstance(r, InspectionResult))

    def taken(seq: int, seconds_ago: float) -> InspectionResult:
        at = now() - timedelta(seconds=seconds_ago)
        return msgspec.structs.replace(
            board, seq=seq, event_at=at, taken_at=at, received_at=at, inspected_at=at, serial=None, visit=seq
        )

    async def send(record: InspectionResult | StationMark) -> None:
        await bus.publish([Outgoing(topics.results, b"line-0", *encode(record))])

    await send(taken(0, 0.0))
    first = now().replace(second=0, microsecond=0)
    end = first + timedelta(minutes=1)
    closed_at = None
    while closed_at is None:
        mark = StationMark(
            line=board.line,
            station=board.station,
            session=board.session,
            product=board.product,
            last_seq=0,
            time=now(),
            state=MarkState.OPEN,
        )
        await send(mark)
        if now() > end + timedelta(seconds=30):
            break
        await asyncio.sleep(1)
        async for messages in bus.read(topics.kpis):
            for message in messages:
                window = decode(message.value, message.headers)
                if isinstance(window, KpiWindow) and window.start == first and window.window == "1m":
                    closed_at = message.timestamp if window.state is WindowState.CLOSED else closed_at
    published_s = float("inf") if closed_at is None else (closed_at - end).total_seconds()
    late_s = None
    if store:
        begun = time.perf_counter()
        await send(taken(1, (now() - first).total_seconds() - 1))
        query = KpiQuery("1m", first, end, station=board.station)
        while not any(row.inspected == 2 for row in await store.read(query)):
            await asyncio.sleep(0.05)
            if time.perf_counter() - begun > 60:
                break
        late_s = time.perf_counter() - begun
    stop.set()
    await asyncio.gather(*running)
    if store:
        await store.close()
    await bus.close()
    return published_s, late_s


def write(rows: list[Row], note: str) -> None:
    """Put the table between its markers in docs/benchmarks.md."""
    page = ROOT / "docs" / "benchmarks.md"
    table = "\n".join(
        ["| what | found | target |", "|---|---|---|", *(f"| {r.what} | {r.found} | {r.target} |" for r in rows)]
    )
    text = page.read_text(encoding="utf-8")
    fresh = f"{BEGIN}\n{note}\n\n{table}\n{END}"
    page.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: fresh, text, flags=re.DOTALL), encoding="utf-8")


def measure(folder: Path, quix: str | None, seconds: int) -> tuple[list[Row], str]:
    """Measure everything and return the table and a note on where."""
    broker = KafkaBroker(folder / "kafka").start()
    influx: InfluxServer | None = None
    rows: list[Row] = []

    def row(what: str, found: str, target: str) -> None:
        rows.append(Row(what, found, target))
        print(f"{what}: {found} (target {target})", flush=True)

    try:
        influx = InfluxServer(folder / "influx").start()
        influx_url, environ = f"influxdb://{influx.address}", {**os.environ, **influx.environ}
        url, topics, factory = f"kafka://{broker.bootstrap}", Topics("bench"), Factory(seconds=seconds)
        written = asyncio.run(fill(url, topics, factory))
        share = factory.results / written
        loads = [os.getloadavg()[0]]
        alone: list[Fold] = []
        stored: list[Fold] = []
        for turn in range(TURNS):
            for folds in (alone, stored) if turn % 2 == 0 else (stored, alone):
                asyncio.run(begin_anew(url, topics))
                store = influx_url if folds is stored else ""
                folds.append(folded(url, topics, written, share, store=store, environ=environ))
        row("results folded on one core, checkpoints every second", str(middle(alone)), "100,000/s")
        if quix:
            arguments = (broker.bootstrap, topics.results, "bench.quix", str(written // 2))
            peer = folding(on_one_core(quix, "kpi_quix.py", *arguments), share)
            row("Quix Streams 3.28 tumbling windows, same topic, same core", str(peer), "-")
            ratio = f"{middle(alone).rate / peer.rate:.1f}x wall, {middle(alone).cpu_rate / peer.cpu_rate:.1f}x CPU"
            row("against Quix Streams", ratio, "4x")
        else:
            row("Quix Streams tumbling windows", "not run", "-")
        loads.append(os.getloadavg()[0])
        row("with InfluxDB written by the same process", str(middle(stored)), "-")
        shares = median(one.rate / other.rate for one, other in zip(stored, alone, strict=True))
        row("with InfluxDB against without", f"{shares:.0%} wall", "95 %")
        row("then until all of it is stored", f"{middle(stored).stored_s:.1f} s", "-")
        loads.append(os.getloadavg()[0])
        rate = asyncio.run(corrected_points(url, environ, influx_url))
        row("corrected points into InfluxDB (a window and two classes are three)", f"{3 * rate:,.0f}/s", "10,000/s")
        took, busy, keys, size = asyncio.run(restoring(url))
        what = f"restore of {keys:,} open serials and their boards ({size / 1e6:.0f} MB)"
        row(what, f"{took:.2f} s, {busy:.2f} s of CPU", "2 s")
        row("takeover after kill -9, by a standby", f"{asyncio.run(takeover(url)):.1f} s", "10 s")
        idle_s, late_s = asyncio.run(idle_and_late(url, environ, influx_url))
        row("idle belt: a minute's end to its closed window published", f"{idle_s:.1f} s", "2 s")
        row("late frame to its corrected point read from InfluxDB", f"{late_s:.2f} s", "5 s")
        loads.append(os.getloadavg()[0])
    finally:
        broker.kill()
        if influx is not None:
            influx.kill()
    note = (
        f"{os.cpu_count()} cores, shared with other work: load averages {', '.join(f'{load:.1f}' for load in loads)} "
        f"over the run. {factory.results:,} results of 1.3 kB in {written:,} records, "
        f"{factory.lines * factory.stations} stations, {factory.seconds / 60:.0f} minutes of event time."
    )
    return rows, note


def main() -> None:
    """Measure, print, and write where asked to."""
    parser = argparse.ArgumentParser(description="What the KPI engine carries, on a real Kafka broker.")
    parser.add_argument("--quix", default=os.environ.get("TAKTWATCH_QUIX_PYTHON"), help="a Python that has quixstreams")
    parser.add_argument("--seconds", type=int, default=18_000, help="of event time in the log")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="taktwatch-bench-") as folder:
        rows, note = measure(Path(folder), options.quix, options.seconds)
    print(note)
    if options.write:
        write(rows, note)


if __name__ == "__main__":
    main()
