"""The KPI service killed in the middle, on both buses."""

import asyncio
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from kpi_line import PATIENCE_S, QUICK, eventually, minutes, opened, published, records, running, send, undisturbed
from timelines import mark, result

from kpi_engine.service import GROUP, KpiService
from taktwatch.topics import Topics, lag

PROCESS = Path(__file__).parents[1] / "kpi_process.py"


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def bus_url(request: pytest.FixtureRequest) -> str:
    """The address of a real bus."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_bus_url"))
    return f"kafka://{request.getfixturevalue('kafka_broker')}"


def start_process(url: str, topics: Topics) -> subprocess.Popen[bytes]:
    """Start the KPI service in a process of its own, saving its state 50 times a second."""
    environ = {**os.environ, "PYTHONPATH": str(PROCESS.parents[1])}
    return subprocess.Popen([sys.executable, PROCESS, url, topics.prefix, "0.02"], env=environ)


def test_kill_9_in_the_middle_changes_no_window(bus_url: str) -> None:
    """The service is killed again and again while boards come; no window may show it, not even in its revision."""

    topics = Topics(f"t{uuid.uuid4().hex[:10]}")

    async def main() -> None:
        async with opened(bus_url, topics) as bus:
            for life in range(5):
                process = start_process(bus_url, topics)
                try:
                    before = len(await records(bus, topics.kpis))
                    for part in range(4):
                        first = (life * 4 + part) * 30
                        seqs = list(range(first, first + 30))
                        boards = [
                            result(seq, f"12:{seq // 30:02}:{seq % 30 * 2:02}", serial=f"B{seq % 500}") for seq in seqs
                        ]
                        await send(
                            bus, [*boards, *boards[:3], mark(seqs[-1], f"12:{seqs[-1] // 30:02}:59")], topics.results
                        )
                        await asyncio.sleep(0.05)

                    async def came_to_life(before: int = before) -> bool:
                        return len(await records(bus, topics.kpis)) > before

                    await eventually(came_to_life)
                finally:
                    process.kill()
                    process.wait(PATIENCE_S)

            async def folded() -> bool:
                return await lag(bus, GROUP, topics.results) == 0

            async with running(KpiService(QUICK, bus, topics)):
                await eventually(folded)
            windows = await published(bus, topics)
            assert windows == await undisturbed(bus, topics)
            assert sum(window.inspected for window in minutes(windows)) == 600
            assert sum(window.late_or_repeat for window in minutes(windows)) == 60

    asyncio.run(main())
