"""What the KPI engine carries, on a real Kafka broker: python benchmarks/kpi_engine.py [--quix PYTHON] [--write].

The fold runs in a process of its own on one core. Quix Streams, where an interpreter that has it is named (or in
TAKTWATCH_QUIX_PYTHON), folds the same topic in the same run on the same core. `--write` puts the table into
docs/benchmarks.md.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

from kpi_factory import Factory  # noqa: E402 - its folder was just made known
from servers.kafka import KafkaBroker  # noqa: E402

from taktwatch.bus import Outgoing  # noqa: E402
from taktwatch.bus.connect import open_bus  # noqa: E402
from taktwatch.config import KafkaConfig  # noqa: E402
from taktwatch.topics import Topics  # noqa: E402
from taktwatch.wire import encode  # noqa: E402

BATCH = 5000


async def fill(url: str, topics: Topics, factory: Factory) -> int:
    """Write the factory's log; return how many records it has."""
    bus = open_bus(url, KafkaConfig(), client="benchmark")
    await bus.ensure(topics.specs(None))
    written = 0
    for line in range(factory.lines):
        batch: list[Outgoing] = []
        for record in factory.records(line):
            batch.append(Outgoing(topics.results, record.line.encode(), *encode(record)))
            if len(batch) == BATCH:
                await bus.publish(batch)
                written += len(batch)
                batch = []
        await bus.publish(batch)
        written += len(batch)
    await bus.close()
    return written
