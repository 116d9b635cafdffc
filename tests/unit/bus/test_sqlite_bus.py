"""The embedded bus as one process sees it: several objects on one folder, waiting, and closing."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from taktwatch.bus import Message, Outgoing, TopicSpec
from taktwatch.bus.connect import open_bus
from taktwatch.bus.kafka import KafkaBus
from taktwatch.bus.sqlite import SqliteBus
from taktwatch.bus.sqlite_watch import TOPIC, Watch
from taktwatch.config import KafkaConfig
from taktwatch.errors import BackendUnavailable, ConfigError, MemberReplaced, OffsetLost

SPEC = TopicSpec("t", 1, timedelta(hours=1))


async def swept(bus: SqliteBus, *, first: int) -> None:
    """Wait until the writing thread, after it published, has applied retention."""
    async with asyncio.timeout(20):
        while (await bus.spans("t"))[0].first != first:  # noqa: ASYNC110 - another thread's work
            await asyncio.sleep(0.01)


def test_an_address_opens_its_backend(tmp_path: Path) -> None:
    async def main() -> None:
        bus = open_bus(f"sqlite:///{tmp_path}/bus", KafkaConfig(), client="test")
        assert isinstance(bus, SqliteBus)
        assert bus.folder == tmp_path / "bus"
        await bus.ensure([SPEC])
        await bus.close()
        kafka = open_bus("kafka://one:9092,two:9092", KafkaConfig(), client="test")
        assert isinstance(kafka, KafkaBus)
        await kafka.close()

    asyncio.run(main())


@pytest.mark.parametrize("url", ["redis://host", "sqlite:///", "kafka://", "sqlite", ""])
def test_another_address_is_refused_by_name(url: str) -> None:
    with pytest.raises(ConfigError, match="sqlite:///FOLDER"):
        open_bus(url, KafkaConfig(), client="test")


@pytest.mark.parametrize("name", ["", "../etc", "a/b", "a b", ".hidden", "x" * 250])
def test_a_topic_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    async def main() -> None:
        bus = SqliteBus(tmp_path)
        with pytest.raises(ConfigError, match="is no topic name"):
            await bus.ensure([TopicSpec(name, 1)])
        await bus.close()

    asyncio.run(main())


def test_two_buses_on_one_folder_write_and_wake_each_other(tmp_path: Path) -> None:
    async def main() -> None:
        one, two = SqliteBus(tmp_path), SqliteBus(tmp_path)
        await one.ensure([SPEC])
        follower = two.follow("t")
        waiting = asyncio.create_task(anext(follower))
        await asyncio.sleep(0.1)
        await asyncio.gather(*(bus.publish([Outgoing("t", b"k", b"v")]) for bus in (one, two) for _ in range(20)))
        found: list[Message] = []
        async with asyncio.timeout(20):
            while len(found) < 40:
                found += await waiting
                waiting = asyncio.create_task(anext(follower))
        assert [m.offset for m in found] == list(range(40))
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await one.close()
        await two.close()

    asyncio.run(main())


def test_publishing_applies_retention_as_time_goes_by(tmp_path: Path) -> None:
    async def main() -> None:
        clock = [datetime(2026, 3, 3, tzinfo=UTC)]
        bus = SqliteBus(tmp_path, clock=lambda: clock[0])
        await bus.ensure([SPEC])
        for _ in range(6):
            clock[0] += timedelta(minutes=30)
            await bus.publish([Outgoing("t", b"k", bytes(100_000))])
        await swept(bus, first=3)  # it is three o'clock: what is older than two is gone
        async with bus.consumer("g", ["t"], member="m") as consumer:
            while not (messages := await consumer.poll(10, timedelta(seconds=1))):
                pass
        assert [message.offset for message in messages] == [3, 4, 5]
        await bus.close()

    asyncio.run(main())


def test_a_follower_that_retention_overtook_stops(tmp_path: Path) -> None:
    async def main() -> None:
        clock = [datetime(2026, 3, 3, tzinfo=UTC)]
        bus = SqliteBus(tmp_path, clock=lambda: clock[0])
        await bus.ensure([SPEC])
        await bus.publish([Outgoing("t", b"k", b"old")] * 3)
        follower = bus.follow("t", start={0: 0})
        assert len(await anext(follower)) == 3
        slow = bus.follow("t", start={0: 1})
        clock[0] += timedelta(hours=5)
        await bus.publish([Outgoing("t", b"k", b"new")])
        await swept(bus, first=3)
        with pytest.raises(OffsetLost):
            await anext(slow)
        assert [m.value for m in await anext(follower)] == [b"new"]
        await bus.close()

    asyncio.run(main())


def test_a_second_process_of_the_same_name_ends_the_first(tmp_path: Path) -> None:
    async def main() -> None:
        one, two = SqliteBus(tmp_path), SqliteBus(tmp_path)
        await one.ensure([SPEC])
        async with one.consumer("g", ["t"], member="same") as first:
            await first.poll(1, timedelta(0))
            async with two.consumer("g", ["t"], member="same") as second:
                await second.poll(1, timedelta(0))
                with pytest.raises(MemberReplaced, match="give each its own name"):
                    await first.poll(1, timedelta(seconds=20))
                assert second.assigned == {("t", 0)}
        await one.close()
        await two.close()

    asyncio.run(main())


def test_a_closed_bus_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        bus = SqliteBus(tmp_path)
        await bus.ensure([SPEC])
        await bus.close()
        await bus.close()
        for call in (bus.publish([Outgoing("t", b"", b"")]), bus.spans("t"), bus.committed("g", "t")):
            with pytest.raises(BackendUnavailable, match="was closed"):
                await call

    asyncio.run(main())


def test_nothing_that_changed_before_the_wait_is_missed() -> None:
    async def main() -> None:
        state = {"n": 0}

        async def probe(names: frozenset[tuple[str, str]]) -> dict[tuple[str, str], object]:
            return dict.fromkeys(names, state["n"])

        watch = Watch(probe)
        names = [(TOPIC, "t")]
        seen = watch.versions(names)
        watch.touch((TOPIC, "t"))
        async with asyncio.timeout(10):
            await watch.wait(names, seen, 60)  # changed since it was seen: returns at once
            await watch.wait(names, watch.versions(names), 60)  # nothing is known yet: the first look wakes
            seen = watch.versions(names)
            state["n"] += 1  # another process
            await watch.wait(names, seen, 60)
        await watch.close()

    asyncio.run(main())
