"""The KPI service alone in a process, so that a test can kill it: `python kpi_process.py BUS_URL PREFIX INTERVAL_S`."""

import asyncio
import sys

from kpi_engine.service import KpiService
from taktwatch.bus.connect import open_bus
from taktwatch.config import KafkaConfig, KpiConfig, LineConfig
from taktwatch.topics import Topics


async def main(url: str, prefix: str, interval_s: float) -> None:
    """Run until killed."""
    bus = open_bus(url, KafkaConfig(), client="kpi-process")
    config = LineConfig(kpi=KpiConfig(checkpoint_interval_s=interval_s, silent_after_s=3600))
    await KpiService(config, bus, Topics(prefix)).run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
