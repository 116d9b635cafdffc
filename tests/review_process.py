"""The review sink alone in a process, to be killed: `python review_process.py BUS_URL PREFIX STORE MEMBER`."""

import asyncio
import os
import sys

from kpi_engine.sinks.reviews import ReviewSink
from taktwatch.bus.connect import open_bus
from taktwatch.config import KafkaConfig, KpiConfig, LineConfig
from taktwatch.store.connect import open_store
from taktwatch.topics import Topics


async def main(url: str, prefix: str, store: str, member: str) -> None:
    """Run until killed."""
    bus = open_bus(url, KafkaConfig(), client="review-process")
    config = LineConfig(kpi=KpiConfig(checkpoint_interval_s=0.02))
    await ReviewSink(config, bus, Topics(prefix), open_store(store, os.environ), member=member).run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
