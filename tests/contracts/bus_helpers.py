"""What the bus contract's tests have in common: short words for publishing, polling, and other processes."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from contracts.bus_backends import Backend

from taktwatch.bus import Bus, Consumer, Message, Outgoing, Partition, Rebalance, TopicSpec

ROOT = Path(__file__).parents[2]
SOON = timedelta(seconds=0.3)
PATIENCE = timedelta(seconds=30)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


@asynccontextmanager
async def opened(backend: Backend, *specs: TopicSpec) -> AsyncIterator[Bus]:
    bus = backend.open()
    try:
        await bus.ensure(specs)
        yield bus
    finally:
        await bus.close()


def numbered(topic: str, numbers: range, key: bytes = b"k") -> list[Outgoing]:
    return [Outgoing(topic, key, str(number).encode()) for number in numbers]


async def everything(bus: Bus, topic: str, **bounds: Any) -> list[Message]:
    return [message async for batch in bus.read(topic, **bounds) for message in batch]


def values(messages: list[Message]) -> list[int]:
    return [int(message.value) for message in messages]


async def poll_until(consumer: Consumer, enough: Callable[[list[Message]], bool]) -> list[Message]:
    """Poll until it is enough; a test that waits in vain fails."""
    found: list[Message] = []
    async with asyncio.timeout(PATIENCE.total_seconds()):
        while not enough(found):
            found += await consumer.poll(100, SOON)
    return found


async def poll_count(consumer: Consumer, count: int) -> list[Message]:
    return await poll_until(consumer, lambda found: len(found) >= count)


async def poll_all(consumers: list[Consumer], settled: Callable[[], bool]) -> None:
    """Let several members poll in turn until the group has settled."""
    async with asyncio.timeout(PATIENCE.total_seconds()):
        while not settled():
            for consumer in consumers:
                await consumer.poll(100, timedelta(seconds=0.05))


def after(messages: list[Message]) -> dict[Partition, int]:
    return {(message.topic, message.partition): message.offset + 1 for message in messages}


class Watcher:
    """Notes what a rebalance says, and answers with chosen positions."""

    def __init__(self, positions: Mapping[Partition, int] | None = None) -> None:
        self.events: list[tuple[str, frozenset[Partition]]] = []
        self.positions = positions or {}

    async def _assigned(self, partitions: frozenset[Partition]) -> Mapping[Partition, int]:
        self.events.append(("assigned", partitions))
        return {partition: self.positions[partition] for partition in partitions if partition in self.positions}

    async def _revoked(self, partitions: frozenset[Partition]) -> None:
        self.events.append(("revoked", partitions))

    @property
    def rebalance(self) -> Rebalance:
        return Rebalance(self._assigned, self._revoked)


class Process:
    """Another process on the same bus; its lines are read as they come."""

    def __init__(self, *arguments: str) -> None:
        script = ROOT / "tests" / "contracts" / "bus_process.py"
        self._process = subprocess.Popen(
            [sys.executable, str(script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.strip())

    async def line(self, start: str = "", meanwhile: Consumer | None = None) -> str:
        """Return the next line that begins so; `meanwhile` a member of this process goes on polling."""
        async with asyncio.timeout(PATIENCE.total_seconds()):
            while True:
                with suppress(Empty):
                    while not (line := self._lines.get_nowait()).startswith(start):
                        pass
                    return line
                assert self._reading.is_alive() or not self._lines.empty(), "the process ended early"
                if meanwhile is not None:
                    await meanwhile.poll(100, timedelta(0))
                await asyncio.sleep(0.02)

    def kill(self) -> list[str]:
        """Kill it where it stands and return the lines it still said."""
        self.close()
        rest = []
        with suppress(Empty):
            while True:
                rest.append(self._lines.get_nowait())
        return rest

    def suspend(self, *, on: bool) -> None:
        self._process.send_signal(signal.SIGSTOP if on else signal.SIGCONT)

    def tell(self) -> None:
        """Ask it to leave in order."""
        assert self._process.stdin is not None
        self._process.stdin.write("leave\n")
        self._process.stdin.flush()

    def close(self) -> None:
        self._process.kill()
        self._process.wait(30)
        self._reading.join(30)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
