"""What the KPI stores cost: windows corrected again and again, each write durable on return, and read back.

python benchmarks/store.py [SECONDS]     SQLite in a temporary folder, and an InfluxDB of its own, as the tests start it

A corrected window is written whole: one point of `kpi` (InfluxDB) or one row (SQLite), and one point for each class.
"""

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from servers.influx import InfluxServer  # noqa: E402 - its folder was just made known

from taktwatch.records import KpiWindow, WindowState  # noqa: E402
from taktwatch.store import KpiQuery, KpiStore  # noqa: E402
from taktwatch.store.connect import open_store  # noqa: E402
from taktwatch.store.influx_points import lines  # noqa: E402

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
CLASSES = ("open", "short", "mousebite", "spur", "spurious_copper", "pin_hole")
BATCH = 1000
MINUTES, STATIONS = 600, 10
TARGET = 10_000


def factory(revision: int, rng: random.Random) -> list[KpiWindow]:
    """Return a batch of corrected windows of a factory of ten stations, with three classes each on average."""
    return [
        KpiWindow(
            window="1m",
            start=(start := NOON + timedelta(minutes=rng.randrange(MINUTES))),
            end=start + timedelta(minutes=1),
            line="line-1",
            station=f"station-{rng.randrange(STATIONS)}",
            product="board",
            revision=revision * BATCH + number,
            state=WindowState.CLOSED,
            accepted=40,
            inspected=40,
            passed=36,
            failed=4,
            first_pass=40,
            first_pass_passed=36,
            opportunities=10_000,
            defects={name: rng.randrange(1, 9) for name in rng.sample(CLASSES, rng.randrange(7))},
            latency_sum_us=4_800_000,
            latency_buckets={66: 10, 67: 20, 68: 10},
        )
        for number in range(BATCH)
    ]


async def sustained(store: KpiStore, seconds: float) -> tuple[float, float, float]:
    """Return points a second, windows a second, and the slowest write in ms, over so many seconds of correcting."""
    rng = random.Random(1)
    ready = [factory(revision, rng) for revision in range(20)]
    points = [sum(len(lines(window)) for window in batch) for batch in ready]
    await store.prepare()
    await store.write(ready[0])  # connections and caches
    begun, done, windows, slowest, turn = time.perf_counter(), 0, 0, 0.0, 0
    while time.perf_counter() - begun < seconds:
        before = time.perf_counter()
        await store.write(ready[turn % len(ready)])
        slowest = max(slowest, time.perf_counter() - before)
        done += points[turn % len(ready)]
        windows += BATCH
        turn += 1
    took = time.perf_counter() - begun
    return done / took, windows / took, 1e3 * slowest


async def reading(store: KpiStore) -> float:
    """Return windows a second, read as the console reads a shift of all stations."""
    query = KpiQuery("1m", NOON, NOON + timedelta(hours=8), line="line-1")
    begun, found = time.perf_counter(), 0
    for _ in range(3):
        found += len(await store.read(query))
    return found / (time.perf_counter() - begun)


async def measure(name: str, url: str, environ: Mapping[str, str], seconds: float, table: Table) -> None:
    """Measure one store and add its row."""
    store = open_store(url, environ)
    points, windows, slowest_ms = await sustained(store, seconds)
    read = await reading(store)
    verdict = f"{points / TARGET:.1f} x target" if points >= TARGET else "below target"
    table.add_row(name, f"{points:,.0f}", f"{windows:,.0f}", f"{slowest_ms:,.0f}", f"{read:,.0f}", verdict)
    await store.close()


def main() -> None:
    """Measure both stores, one after the other, and print."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    table = Table(
        "store", "points/s", "windows/s", "slowest write, ms", "read, windows/s", f"{TARGET:,} corrected points/s",
        title=f"Correcting windows for {seconds:g} s, {BATCH} windows a write, durable on return",
    )  # fmt: skip
    for column in table.columns[1:5]:
        column.justify = "right"
    with tempfile.TemporaryDirectory(prefix="taktwatch-bench-") as folder:
        server = InfluxServer(Path(folder) / "influx").start()
        try:
            asyncio.run(measure("sqlite", f"sqlite:///{folder}/kpis.sqlite", {}, seconds, table))
            asyncio.run(measure("influxdb", f"influxdb://{server.address}", server.environ, seconds, table))
        finally:
            server.kill()
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
