"""One KPI service on one core until it has folded a log: kpi_fold.py BUS_URL PREFIX RECORDS [KPIS_URL].

With a store's address, the sink runs in the same process, as `taktwatch run kpi` runs it. Prints JSON: records, wall
and CPU seconds (all threads) from the first batch in hand to the last record saved, and how much later all is stored.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

import structlog  # noqa: E402 - after the path
from kpi_factory import CONFIG  # noqa: E402

from kpi_engine.service import KpiService  # noqa: E402
from kpi_engine.sinks.windows import GROUP, KpiSink  # noqa: E402
from taktwatch.bus.connect import open_bus  # noqa: E402
from taktwatch.config import KafkaConfig  # noqa: E402
from taktwatch.store.connect import open_store  # noqa: E402
from taktwatch.topics import Topics, lag  # noqa: E402

LOOK_S = 0.05


async def main(url: str, prefix: str, wanted: int, kpis_url: str | None) -> None:
    """Run the service and measure."""
    bus, topics = open_bus(url, KafkaConfig(), client="benchmark-fold"), Topics(prefix)
    service = KpiService(CONFIG, bus, topics)
    services = [service.run]
    store = None
    if kpis_url:
        store = open_store(kpis_url, os.environ, retention=timedelta(days=730))
        services.append(KpiSink(CONFIG, bus, topics, store).run)
    stop = asyncio.Event()
    running = [asyncio.create_task(run(stop)) for run in services]
    while not (before := sum(state.position for state in service.states.values())):  # noqa: ASYNC110
        await asyncio.sleep(LOOK_S / 10)  # the service folds meanwhile
    wall, cpu = time.perf_counter(), time.process_time()
    while sum(service.saved.values()) < wanted:
        await wait(running)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    stored = time.perf_counter()
    while store and await lag(bus, GROUP, topics.kpis):
        await wait(running)
    stored = time.perf_counter() - stored
    stop.set()
    await asyncio.gather(*running)
    if store:
        await store.close()
    await bus.close()
    print(json.dumps({"records": wanted - before, "wall_s": wall, "cpu_s": cpu, "stored_s": stored}))


async def wait(running: Sequence[asyncio.Task[None]]) -> None:
    """Let services run for a moment. Raises what one ended with."""
    await asyncio.sleep(LOOK_S)
    for task in running:
        if task.done():
            await task


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(file=sys.stderr))
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else None))
