"""Two KPI services that both believe to own a partition: what they publish is the same, and readers see one."""

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from kpi_line import (
    PATIENCE_S,
    QUICK,
    eventually,
    latest,
    minutes,
    opened,
    published,
    records,
    running,
    send,
    undisturbed,
)
from timelines import mark, result

from kpi_engine.service import GROUP
from kpi_engine.sinks.windows import KpiSink
from taktwatch.bus import Bus
from taktwatch.records import KpiWindow, WindowState
from taktwatch.store import KpiQuery
from taktwatch.store.sqlite import SqliteKpiStore
from taktwatch.topics import Topics, lag

PROCESS = Path(__file__).parents[1] / "kpi_process.py"
INTERVAL_S, SESSION_S = "1.5", "1"


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def bus_url(request: pytest.FixtureRequest) -> str:
    """The address of a real bus."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_bus_url"))
    return f"kafka://{request.getfixturevalue('kafka_broker')}"


class Members:
    """KPI services in processes of their own; what still runs at the end is killed."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, url: str, topics: Topics, member: str) -> subprocess.Popen[bytes]:
        environ = {**os.environ, "PYTHONPATH": str(PROCESS.parents[1])}
        arguments = [url, topics.prefix, INTERVAL_S, member, SESSION_S]
        self.processes.append(subprocess.Popen([sys.executable, PROCESS, *arguments], env=environ))
        return self.processes[-1]


@pytest.fixture
def members() -> Iterator[Members]:
    found = Members()
    yield found
    for process in found.processes:
        process.kill()
        process.wait(PATIENCE_S)


async def windows_in(bus: Bus, topics: Topics) -> list[KpiWindow]:
    return [record for record in await records(bus, topics.kpis) if isinstance(record, KpiWindow)]


@pytest.mark.slow
def test_two_writers_at_once_publish_the_same_windows(bus_url: str, members: Members, tmp_path: Path) -> None:
    """An owner is stopped with a batch in hand; its successor publishes that batch; then the owner wakes up."""

    async def main() -> None:
        topics = Topics(f"t{uuid.uuid4().hex[:10]}")
        async with opened(bus_url, topics) as bus:

            async def counted(boards: int) -> bool:
                known = latest(await windows_in(bus, topics))
                return sum(window.inspected for window in minutes(known)) == boards

            async def twice() -> bool:
                said = [(w.start, w.revision, w.state) for w in await windows_in(bus, topics) if w.window == "1m"]
                return len(set(said)) < len(said)

            async def folded() -> bool:
                return await lag(bus, GROUP, topics.results) == 0

            boards = 0
            owner = members.start(bus_url, topics, "first")
            for attempt in range(6):
                await send(bus, [result(boards, "12:00:00", serial=f"B{boards}")], topics.results)
                boards += 1
                await eventually(lambda: counted(boards))  # noqa: B023 - awaited here
                batch = [result(boards + n, f"12:{n:02}:00", serial=f"B{n}") for n in range(50)]
                boards += len(batch)
                await send(bus, [*batch, *batch[:5], mark(boards - 1, "12:50:00")], topics.results)
                await asyncio.sleep(0.3)  # time enough to fold, mostly too short to publish
                owner.send_signal(signal.SIGSTOP)
                successor = members.start(bus_url, topics, f"next-{attempt}")
                await eventually(lambda: counted(boards))  # noqa: B023 - awaited here
                await eventually(folded)
                owner.send_signal(signal.SIGCONT)
                await asyncio.sleep(2 * float(INTERVAL_S))
                if await twice():
                    break
                owner.kill()
                owner = successor
            assert await twice(), "there were never two writers"

            said: dict[tuple[object, ...], KpiWindow] = {}
            for window in await windows_in(bus, topics):
                key = (window.start, window.station, window.product, window.window, window.revision, window.state)
                assert said.setdefault(key, window) == window
            assert await published(bus, topics) == await undisturbed(bus, topics)

            store = SqliteKpiStore(tmp_path / "kpis.sqlite")

            async def stored() -> bool:
                return await lag(bus, "kpi-store", topics.kpis) == 0

            async with running(KpiSink(QUICK, bus, topics, store)):
                await eventually(stored)
            first = min(window.start for window in said.values())
            rows = await store.read(KpiQuery(window="1m", since=first, until=first + timedelta(days=1)))
            await store.close()
            assert latest(rows) == latest(minutes(await undisturbed(bus, topics)))
            assert {row.state for row in rows} <= set(WindowState)

    asyncio.run(main())
