"""One KPI service on one core until it has folded a log: python benchmarks/kpi_fold.py BUS_URL PREFIX RECORDS [PROFILE].

Prints JSON: records, wall and CPU seconds (all threads) from the first record in hand to the last one saved.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

import structlog  # noqa: E402 - after the path

from kpi_engine.service import KpiService  # noqa: E402
from taktwatch.bus.connect import open_bus  # noqa: E402
from taktwatch.config import KafkaConfig, KpiConfig, LineConfig  # noqa: E402
from taktwatch.topics import Topics  # noqa: E402

LOOK_S = 0.02


async def main(url: str, prefix: str, wanted: int, profile: str | None) -> None:
    """Run the service and measure."""
    bus = open_bus(url, KafkaConfig(), client="benchmark-fold")
    service = KpiService(LineConfig(kpi=KpiConfig(silent_after_s=1e9)), bus, Topics(prefix))
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(stop))

    def folded() -> int:
        return sum(state.position for state in service.states.values())

    while not folded():
        await asyncio.sleep(LOOK_S)
    before, wall, cpu = folded(), time.perf_counter(), time.process_time()
    if profile:
        sys.path.insert(0, "/tmp")
        import samp

        end = samp.start(profile)
    while sum(service.saved.values()) < wanted:
        await asyncio.sleep(LOOK_S)
        if running.done():
            await running
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if profile:
        end()
    stop.set()
    await running
    await bus.close()
    print(json.dumps({"records": wanted - before, "wall_s": wall, "cpu_s": cpu}))


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(file=sys.stderr))
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else None))
