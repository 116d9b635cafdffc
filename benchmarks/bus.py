"""What the bus costs: publish, read and consume, for pictures and small records, and after 500 MB have piled up.

python benchmarks/bus.py                      the embedded bus in a temporary folder
python benchmarks/bus.py kafka://HOST:PORT    that broker
python benchmarks/bus.py kafka                a broker of its own, as the tests start it
"""

import asyncio
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from servers.kafka import KafkaBroker  # noqa: E402 - its folder was just made known

from taktwatch.bus import Bus, Outgoing, TopicSpec  # noqa: E402
from taktwatch.bus.connect import open_bus  # noqa: E402
from taktwatch.config import KafkaConfig  # noqa: E402

PICTURE = os.urandom(100_000)
RESULT = os.urandom(300)
HEADERS = {"taktwatch_schema": b"1.0", "ce_type": b"taktwatch.frame"}
WEEK = timedelta(days=7)


def outgoing(topic: str, value: bytes, count: int) -> list[Outgoing]:
    """Return records spread over keys."""
    return [Outgoing(topic, str(number).encode(), value, HEADERS) for number in range(count)]


async def publish(bus: Bus, topic: str, value: bytes, count: int, batch: int) -> float:
    """Return records a second."""
    records = outgoing(topic, value, batch)
    begun = time.perf_counter()
    for _ in range(count // batch):
        await bus.publish(records)
    return count / (time.perf_counter() - begun)


async def read(bus: Bus, topic: str, starts: dict[int, int]) -> float:
    """Return records a second, from these offsets to the end."""
    begun, found = time.perf_counter(), 0
    async for messages in bus.read(topic, start=starts):
        found += len(messages)
    return found / (time.perf_counter() - begun)


async def consume(bus: Bus, topic: str, count: int) -> float:
    """Return records a second of a group member that commits every batch."""
    begun, found = 0.0, 0
    async with bus.consumer(uuid.uuid4().hex, [topic], member="m") as consumer:
        while found < count:
            messages = await consumer.poll(500, timedelta(seconds=5))
            begun = begun or time.perf_counter() - 1e-3  # joining is not what is measured
            found += len(messages)
            await consumer.commit({(m.topic, m.partition): m.offset + 1 for m in messages})
    return found / (time.perf_counter() - begun)


async def measure(url: str, table: Table) -> None:
    """Measure one bus and fill the table."""
    bus = open_bus(url, KafkaConfig(), client="benchmark")
    prefix = f"bench{uuid.uuid4().hex[:8]}"
    frames, results = TopicSpec(f"{prefix}.frames", 8, WEEK), TopicSpec(f"{prefix}.results", 4, WEEK)
    await bus.ensure([frames, results])

    async def ends(topic: str) -> dict[int, int]:
        return {number: span.next for number, span in (await bus.spans(topic)).items()}

    def row(what: str, rate: float, size: int) -> None:
        table.add_row(what, f"{rate:,.0f}", f"{rate * size / 1e6:,.1f}")

    await publish(bus, results.name, RESULT, 200, 1)  # connections and caches
    row("publish 300 B, one a call", await publish(bus, results.name, RESULT, 1000, 1), 300)
    row("publish 300 B, 100 a call", await publish(bus, results.name, RESULT, 20_000, 100), 300)
    count = sum((await ends(results.name)).values())
    row("read 300 B", await read(bus, results.name, dict.fromkeys(range(4), 0)), 300)
    row("consume 300 B, commit each poll", await consume(bus, results.name, count), 300)
    size = len(PICTURE)
    start = await ends(frames.name)
    row("publish 100 kB, one a call", await publish(bus, frames.name, PICTURE, 200, 1), size)
    row("publish 100 kB, 10 a call", await publish(bus, frames.name, PICTURE, 400, 10), size)
    row("read 100 kB", await read(bus, frames.name, start), size)
    await publish(bus, frames.name, PICTURE, 5_000, 10)
    table.add_section()
    start = await ends(frames.name)
    row("after 500 MB: publish 100 kB, one a call", await publish(bus, frames.name, PICTURE, 200, 1), size)
    row("after 500 MB: publish 100 kB, 10 a call", await publish(bus, frames.name, PICTURE, 400, 10), size)
    row("after 500 MB: read 100 kB", await read(bus, frames.name, start), size)
    row("after 500 MB: consume 100 kB", await consume(bus, frames.name, 6_000), size)
    row("after 500 MB: publish 300 B, one a call", await publish(bus, results.name, RESULT, 1000, 1), 300)
    await bus.close()


@contextmanager
def bus_at(argument: str) -> Iterator[str]:
    """Provide the address that was asked for."""
    with tempfile.TemporaryDirectory(prefix="taktwatch-bench-") as folder:
        if argument == "sqlite":
            yield f"sqlite:///{folder}/bus"
        elif argument == "kafka":
            broker = KafkaBroker(Path(folder) / "kafka").start()
            try:
                yield f"kafka://{broker.bootstrap}"
            finally:
                broker.kill()
        else:
            yield argument


def main(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    """Measure and print."""
    with bus_at(sys.argv[1] if len(sys.argv) > 1 else "sqlite") as url:
        table = Table("what", "records/s", "MB/s", title=url.partition("://")[0])
        for column in table.columns[1:]:
            column.justify = "right"
        run(measure(url, table))
        Console(width=80).print(table)


if __name__ == "__main__":
    main(asyncio.run)
