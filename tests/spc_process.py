"""The SPC service alone in a process, so that a test can kill it: `python spc_process.py BUS_URL PREFIX INTERVAL_S`."""

import asyncio
import sys

from kpi_engine.spc_service import SpcService
from taktwatch.bus.connect import open_bus
from taktwatch.config import KafkaConfig, KpiConfig, LineConfig, SpcConfig
from taktwatch.topics import Topics

CHARTS = SpcConfig(min_n=200, least_n=50, phase1_subgroups=20)


async def main(url: str, prefix: str, interval_s: float) -> None:
    """Run until killed."""
    bus = open_bus(url, KafkaConfig(), client="spc-process")
    config = LineConfig(kpi=KpiConfig(checkpoint_interval_s=interval_s), spc=CHARTS)
    await SpcService(config, bus, Topics(prefix)).run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
