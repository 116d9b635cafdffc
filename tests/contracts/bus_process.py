"""A process of its own for the bus contract, made to be killed: `publish|join|hold URL TOPIC [GROUP MEMBER]`."""

import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from bus_backends import open_short

from taktwatch.bus import Outgoing


def say(*words: object) -> None:
    """Print a line at once."""
    print(*words, flush=True)  # noqa: T201 - the parent reads it


async def publish(url: str, topic: str) -> None:
    """Publish numbers for ever; a number is printed once it was acknowledged."""
    bus = open_short(url)
    number = 0
    while True:
        batch = [Outgoing(topic, str(n).encode(), str(n).encode() + b"." * 40_000) for n in range(number, number + 5)]
        await bus.publish(batch)
        number += 5
        say(number - 1)


async def join(url: str, topic: str, group: str, member: str) -> None:
    """Join a group, print what is held and what comes, commit each batch; ends when stdin says so, or is killed."""
    bus = open_short(url)
    end = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    async with bus.consumer(group, [topic], member=member) as consumer:
        shown: frozenset[tuple[str, int]] | None = None
        while not end.done():
            messages = await consumer.poll(10, timedelta(seconds=0.2))
            if consumer.assigned != shown:
                shown = consumer.assigned
                say("held", *sorted(number for _, number in shown))
            if messages:
                say("got", *(message.value.decode() for message in messages))
                if "nocommit" not in member:
                    await consumer.commit({(m.topic, m.partition): m.offset + 1 for m in messages})
    await bus.close()
    say("left")


async def hold(url: str, topic: str, group: str, member: str) -> None:
    """Join a group, print what comes, and commit it only when stdin says so."""
    bus = open_short(url)
    async with bus.consumer(group, [topic], member=member) as consumer:
        messages = []
        while not messages:
            messages = await consumer.poll(10, timedelta(seconds=1))
        say("got", *(message.value.decode() for message in messages))
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        await consumer.commit({(m.topic, m.partition): m.offset + 1 for m in messages})
        say("committed")
    await bus.close()


if __name__ == "__main__":
    modes = {"publish": publish, "join": join, "hold": hold}
    try:
        asyncio.run(modes[sys.argv[1]](*sys.argv[2:]))
    finally:
        os._exit(0)  # the thread that reads stdin would keep the process
