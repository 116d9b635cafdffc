"""What every bus promises, on every backend: one suite, real servers."""

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from contracts.bus_backends import Backend, KafkaBackend, SqliteBackend

from taktwatch.bus import MAX_RECORD_BYTES, Bus, Consumer, Message, Outgoing, Partition, Rebalance, TopicSpec
from taktwatch.bus.outgoing import partition_of
from taktwatch.checkpoints import load_checkpoint, save_checkpoint
from taktwatch.clock import now
from taktwatch.errors import BackendUnavailable, OffsetLost, RecordNotFound, RecordTooLarge
from taktwatch.records import Checkpoint, Place
from taktwatch.topics import Topics, lag

ROOT = Path(__file__).parents[2]
SOON = timedelta(seconds=0.3)
PATIENCE = timedelta(seconds=30)


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    if request.param == "sqlite":
        return SqliteBackend(f"sqlite:///{tmp_path / 'bus'}")
    return KafkaBackend(f"kafka://{request.getfixturevalue('kafka_broker')}")


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

    async def line(self, start: str = "") -> str:
        """Return the next line that begins so."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE.total_seconds()):
            while True:
                line = await asyncio.to_thread(self._process.stdout.readline)
                assert line, "the process ended early"
                if line.startswith(start):
                    return line.strip()

    def kill(self) -> list[str]:
        """Kill it where it stands and return the lines it still said."""
        self._process.send_signal(signal.SIGKILL)
        rest, _ = self._process.communicate(timeout=30)
        return rest.splitlines()

    def suspend(self, *, on: bool) -> None:
        self._process.send_signal(signal.SIGSTOP if on else signal.SIGCONT)

    def tell(self) -> None:
        """Ask it to leave in order."""
        assert self._process.stdin is not None
        self._process.stdin.write("leave\n")
        self._process.stdin.flush()

    def close(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.communicate(timeout=30)


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    processes: list[Process] = []

    def one(*arguments: str) -> Process:
        processes.append(Process(*arguments))
        return processes[-1]

    yield one
    for process in processes:
        process.close()


# Publishing and reading


def test_what_was_published_comes_back(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("frames")
        async with opened(backend, spec) as bus:
            before = now()
            headers = {"ce_id": b"\x00\xff", "content-type": b"image/png"}
            places = await bus.publish([Outgoing(spec.name, b"a\x00key", bytes(range(256)), headers)])
            (message,) = await everything(bus, spec.name)
            assert message.place == places[0] == Place(topic=spec.name, partition=0, offset=0)
            assert (message.key, message.value) == (b"a\x00key", bytes(range(256)))
            assert message.headers == headers
            assert before - timedelta(milliseconds=1) <= message.timestamp <= now() + timedelta(milliseconds=1)

    run(main())


def test_an_empty_value_and_no_headers_come_back(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t")
        async with opened(backend, spec) as bus:
            await bus.publish([Outgoing(spec.name, b"", b"")])
            (message,) = await everything(bus, spec.name)
            assert (message.key, message.value, message.headers) == (b"", b"", {})

    run(main())


def test_records_of_one_key_keep_their_order(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t", 4)
        async with opened(backend, spec) as bus:
            keys = [b"a", b"b", b"c", b"d", b"e"]
            for number in range(20):
                await bus.publish([Outgoing(spec.name, key, str(number).encode()) for key in keys])
            by_key: dict[bytes, list[int]] = {key: [] for key in keys}
            for message in await everything(bus, spec.name):
                by_key[message.key].append(int(message.value))
                assert message.partition == partition_of(message.key, 4)
            assert by_key == {key: list(range(20)) for key in keys}

    run(main())


def test_offsets_are_dense_from_zero_in_every_partition(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t", 3)
        async with opened(backend, spec) as bus:
            batch = [Outgoing(spec.name, str(n).encode(), b"x") for n in range(40)]
            places = await bus.publish(batch[:15]) + await bus.publish(batch[15:])
            offsets: dict[int, list[int]] = {}
            for place in places:
                offsets.setdefault(place.partition, []).append(place.offset)
            assert offsets == {number: list(range(len(found))) for number, found in offsets.items()}
            assert {number: span.next for number, span in (await bus.spans(spec.name)).items()} == {
                number: len(offsets.get(number, [])) for number in range(3)
            }

    run(main())


def test_calls_at_the_same_time_all_arrive(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t", 2)
        async with opened(backend, spec) as bus:
            calls = [bus.publish([Outgoing(spec.name, str(n % 7).encode(), str(n).encode())]) for n in range(200)]
            await asyncio.gather(*calls)
            assert sorted(values(await everything(bus, spec.name))) == list(range(200))

    run(main())


def test_a_batch_may_go_to_several_topics(backend: Backend) -> None:
    async def main() -> None:
        one, two = backend.spec("one"), backend.spec("two")
        async with opened(backend, one, two) as bus:
            places = await bus.publish([Outgoing(two.name, b"k", b"1"), Outgoing(one.name, b"k", b"2")])
            assert [place.topic for place in places] == [two.name, one.name]
            assert values(await everything(bus, one.name)) == [2]
            assert values(await everything(bus, two.name)) == [1]

    run(main())


def test_ensuring_a_topic_again_keeps_its_partitions_and_records(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t", 2)
        async with opened(backend, spec) as bus:
            await bus.publish(numbered(spec.name, range(3)))
            await bus.ensure([TopicSpec(spec.name, 5, timedelta(days=1))])
            assert sorted(await bus.spans(spec.name)) == [0, 1]
            assert values(await everything(bus, spec.name)) == [0, 1, 2]

    run(main())


def test_an_unknown_topic_is_named(backend: Backend) -> None:
    async def main() -> None:
        async with opened(backend) as bus:
            missing = backend.name("missing")
            for call in (bus.spans(missing), bus.publish([Outgoing(missing, b"", b"")]), bus.last(missing, b"")):
                with pytest.raises(RecordNotFound, match=missing):
                    await call
            with pytest.raises(RecordNotFound, match=missing):
                async with bus.consumer("g", [missing], member="m"):
                    pass

    run(main())


def test_a_picture_of_twelve_megabytes_travels(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("frames", 2)
        picture = os.urandom(12 * 2**20)
        async with opened(backend, spec) as bus:
            (place,) = await bus.publish([Outgoing(spec.name, b"k", picture, {"sha256": b"x"})])
            assert (await bus.fetch(place)).value == picture
            async with bus.consumer(backend.name("g"), [spec.name], member="m") as consumer:
                (message,) = await poll_count(consumer, 1)
            assert hashlib.sha256(message.value).digest() == hashlib.sha256(picture).digest()

    run(main())


def test_the_largest_record_travels_and_a_larger_one_is_refused_by_name_and_size(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("frames")
        async with opened(backend, spec) as bus:
            largest = Outgoing(spec.name, b"k", bytes(MAX_RECORD_BYTES - 3), {"h": b"1"})
            await bus.publish([largest])
            with pytest.raises(RecordTooLarge, match=f"16,777,217 bytes for {spec.name}"):
                await bus.publish([Outgoing(spec.name, b"k", bytes(MAX_RECORD_BYTES))])
            await bus.publish(numbered(spec.name, range(7, 8)))
            found = await everything(bus, spec.name)
            assert [len(message.value) for message in found] == [MAX_RECORD_BYTES - 3, 1]

    run(main())


def test_a_range_is_read_by_offsets_without_a_group(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t", 2)
        async with opened(backend, spec) as bus:
            number = partition_of(b"k", 2)
            await bus.publish(numbered(spec.name, range(10)))
            await bus.publish([Outgoing(spec.name, b"other" if number != partition_of(b"other", 2) else b"o", b"99")])
            assert values(await everything(bus, spec.name, start={number: 3}, end={number: 7})) == [3, 4, 5, 6]
            assert values(await everything(bus, spec.name, start={number: 8})) == [8, 9]
            assert values(await everything(bus, spec.name, start={number: 10})) == []
            assert values(await everything(bus, spec.name, start={number: 5}, end={number: 999})) == [5, 6, 7, 8, 9]

    run(main())


def test_a_range_is_read_by_log_time_without_a_group(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t", 2)
        async with opened(backend, spec) as bus:
            marks = []
            for part in (range(5), range(5, 10), range(10, 15)):
                await bus.publish(numbered(spec.name, part))
                await asyncio.sleep(0.02)
                marks.append(now())
                await asyncio.sleep(0.02)
            assert values(await everything(bus, spec.name, start=marks[0], end=marks[1])) == list(range(5, 10))
            assert values(await everything(bus, spec.name, end=marks[0])) == list(range(5))
            assert values(await everything(bus, spec.name, start=marks[1])) == list(range(10, 15))
            assert values(await everything(bus, spec.name, start=marks[2])) == []

    run(main())


def test_reading_ends_where_the_topic_ended_when_it_began(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t")
        async with opened(backend, spec) as bus:
            await bus.publish(numbered(spec.name, range(1200)))
            found: list[Message] = []
            async for batch in bus.read(spec.name):
                found += batch
                await bus.publish(numbered(spec.name, range(5000, 5001)))
            assert values(found) == list(range(1200))

    run(main())


def test_an_empty_topic_reads_as_nothing(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t", 3)
        async with opened(backend, spec) as bus:
            assert await everything(bus, spec.name) == []
            assert await everything(bus, spec.name, start=now()) == []

    run(main())


def test_one_record_is_fetched_by_its_place(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t", 2)
        async with opened(backend, spec) as bus:
            places = await bus.publish([Outgoing(spec.name, str(n).encode(), str(n).encode()) for n in range(10)])
            for number in (7, 0, 9):
                assert int((await bus.fetch(places[number])).value) == number
            with pytest.raises(RecordNotFound, match="no record 99"):
                await bus.fetch(Place(topic=spec.name, partition=0, offset=99))
            with pytest.raises(RecordNotFound):
                await bus.fetch(Place(topic=spec.name, partition=5, offset=0))

    run(main())


def test_a_record_that_retention_removed_is_not_found(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t")
        async with opened(backend, spec) as bus:
            (place,) = await bus.publish([Outgoing(spec.name, b"k", bytes(100_000))])
            await backend.remove_all(bus, spec.name)
            with pytest.raises(RecordNotFound):
                await bus.fetch(place)
            assert (await bus.spans(spec.name))[0].first == 1
            (later,) = await bus.publish(numbered(spec.name, range(1)))
            assert later.offset == 1  # offsets are never used again

    run(main())


def test_the_newest_record_of_a_key_is_found(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("checkpoints", compacted=True)
        async with opened(backend, spec) as bus, opened(backend) as other:
            assert await bus.last(spec.name, b"a") is None
            await bus.publish(numbered(spec.name, range(5), b"a") + numbered(spec.name, range(50, 53), b"b"))
            for reader in (bus, other):
                newest = await reader.last(spec.name, b"a")
                assert newest is not None
                assert int(newest.value) == 4
                assert await reader.last(spec.name, b"c") is None
            await other.publish(numbered(spec.name, range(5, 6), b"a"))
            newest, unchanged = await bus.last(spec.name, b"a"), await bus.last(spec.name, b"b")
            assert newest is not None
            assert unchanged is not None
            assert (int(newest.value), int(unchanged.value)) == (5, 52)

    run(main())


def test_a_follower_sees_new_records_and_idle_moments(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t", 2)
        async with opened(backend, spec) as bus, opened(backend) as other:
            await bus.publish(numbered(spec.name, range(3)))
            number = partition_of(b"k", 2)
            from_now, from_one = bus.follow(spec.name), bus.follow(spec.name, start={number: 1})
            async with asyncio.timeout(PATIENCE.total_seconds()):
                assert await anext(from_now) == []
                await other.publish(numbered(spec.name, range(3, 5)))
                assert await taken(from_now, 2) == [3, 4]
                assert await taken(from_one, 4) == [1, 2, 3, 4]
            await from_now.aclose()  # type: ignore[attr-defined] # both backends return generators
            await from_one.aclose()  # type: ignore[attr-defined]

    run(main())


async def taken(batches: AsyncIterator[list[Message]], count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        found += values(await anext(batches))
    return found


# Groups


def test_a_group_without_a_commit_starts_at_the_beginning(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t")
        async with opened(backend, spec) as bus:
            await bus.publish(numbered(spec.name, range(5)))
            async with bus.consumer(backend.name("g"), [spec.name], member="m") as consumer:
                assert values(await poll_count(consumer, 5)) == list(range(5))
                assert await consumer.poll(10, timedelta(0)) == []

    run(main())


def test_a_poll_returns_no_more_than_it_was_asked_for(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t", 3)
        async with opened(backend, spec) as bus:
            await bus.publish([Outgoing(spec.name, str(n).encode(), str(n).encode()) for n in range(50)])
            async with bus.consumer(backend.name("g"), [spec.name], member="m") as consumer:
                found: list[Message] = []
                while len(found) < 50:
                    batch = await consumer.poll(7, PATIENCE)
                    assert 1 <= len(batch) <= 7
                    found += batch
            assert sorted(values(found)) == list(range(50))

    run(main())


def test_a_member_goes_on_from_its_commit(backend: Backend) -> None:
    async def main() -> None:
        spec, group = backend.spec("t"), backend.name("g")
        async with opened(backend, spec) as bus:
            await bus.publish(numbered(spec.name, range(10)))
            async with bus.consumer(group, [spec.name], member="m") as consumer:
                await poll_count(consumer, 10)
                await consumer.commit({(spec.name, 0): 4})
            assert await bus.committed(group, spec.name) == {0: 4}
            assert await lag(bus, group, spec.name) == 6
            async with bus.consumer(group, [spec.name], member="m") as consumer:
                assert values(await poll_count(consumer, 6)) == [4, 5, 6, 7, 8, 9]

    run(main())


def test_another_group_reads_everything_for_itself(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t")
        async with opened(backend, spec) as bus:
            await bus.publish(numbered(spec.name, range(5)))
            for group in ("one", "two"):
                async with bus.consumer(backend.name(group), [spec.name], member="m") as consumer:
                    found = await poll_count(consumer, 5)
                    await consumer.commit(after(found))
                    assert values(found) == list(range(5))
            assert await bus.committed(backend.name("three"), spec.name) == {}

    run(main())


def test_what_was_polled_and_not_committed_comes_again_after_a_crash(
    backend: Backend, start: Callable[..., Process]
) -> None:
    async def main() -> None:
        spec, group = backend.spec("t"), backend.name("g")
        async with opened(backend, spec) as bus:
            await bus.publish(numbered(spec.name, range(5)))
            process = start("join", backend.url, spec.name, group, "nocommit")
            assert await process.line("got") == "got 0 1 2 3 4"
            process.kill()
            async with bus.consumer(group, [spec.name], member="another") as consumer:
                assert values(await poll_count(consumer, 5)) == list(range(5))

    run(main())


def test_a_restarted_member_takes_its_place_again_without_waiting_for_its_lease(
    backend: Backend, start: Callable[..., Process]
) -> None:
    async def main() -> None:
        spec, group = backend.spec("t"), backend.name("g")
        async with opened(backend, spec) as bus:
            process = start("join", backend.url, spec.name, group, "same-name")
            assert await process.line("held") == "held 0"
            process.kill()
            await bus.publish(numbered(spec.name, range(5)))
            async with bus.consumer(group, [spec.name], member="same-name") as consumer:
                assert values(await poll_count(consumer, 5)) == list(range(5))

    run(main())


def test_members_share_the_partitions(backend: Backend) -> None:
    async def main() -> None:
        spec, group = backend.spec("t", 4), backend.name("g")
        async with opened(backend, spec) as bus, opened(backend) as other:
            every = {(spec.name, number) for number in range(4)}
            async with bus.consumer(group, [spec.name], member="a") as a:
                await poll_all([a], lambda: a.assigned == every)
                async with other.consumer(group, [spec.name], member="b") as b:
                    await poll_all([a, b], lambda: len(a.assigned) == len(b.assigned) == 2)
                    assert a.assigned | b.assigned == every
                    await bus.publish([Outgoing(spec.name, str(n).encode(), str(n).encode()) for n in range(40)])
                    found: dict[str, list[Message]] = {"a": [], "b": []}
                    async with asyncio.timeout(PATIENCE.total_seconds()):
                        while len(found["a"]) + len(found["b"]) < 40:
                            found["a"] += await a.poll(100, SOON)
                            found["b"] += await b.poll(100, SOON)
                    assert sorted(values(found["a"] + found["b"])) == list(range(40))
                    for name, consumer in (("a", a), ("b", b)):
                        assert {(m.topic, m.partition) for m in found[name]} <= consumer.assigned

    run(main())


def test_who_leaves_hands_over_at_once(backend: Backend) -> None:
    async def main() -> None:
        spec, group = backend.spec("t", 2), backend.name("g")
        watcher = Watcher()
        async with opened(backend, spec) as bus, opened(backend) as other:
            async with other.consumer(group, [spec.name], member="b") as b:
                async with bus.consumer(group, [spec.name], member="a", rebalance=watcher.rebalance) as a:
                    await poll_all([a, b], lambda: len(a.assigned) == len(b.assigned) == 1)
                    held = a.assigned
                assert watcher.events[-1] == ("revoked", held)
                assert a.assigned == frozenset()
                await poll_all([b], lambda: len(b.assigned) == 2)

    run(main())


def test_a_dead_members_partitions_go_to_the_living(backend: Backend, start: Callable[..., Process]) -> None:
    async def main() -> None:
        spec, group = backend.spec("t", 2), backend.name("g")
        async with opened(backend, spec) as bus, bus.consumer(group, [spec.name], member="living") as living:
            process = start("join", backend.url, spec.name, group, "dying")
            await poll_all([living], lambda: len(living.assigned) == 2)
            await poll_all([living], lambda: len(living.assigned) == 1)
            assert len((await process.line("held 0" if (spec.name, 1) in living.assigned else "held 1")).split()) == 2
            process.kill()
            await bus.publish([Outgoing(spec.name, str(n).encode(), str(n).encode()) for n in range(20)])
            assert sorted(values(await poll_count(living, 20))) == list(range(20))
            assert len(living.assigned) == 2

    run(main())


def test_several_processes_share_a_group_and_lose_nothing(backend: Backend, start: Callable[..., Process]) -> None:
    async def main() -> None:
        spec, group = backend.spec("t", 6), backend.name("g")
        async with opened(backend, spec) as bus:
            processes = [start("join", backend.url, spec.name, group, f"m{n}") for n in range(3)]
            for process in processes:
                while len((await process.line("held")).split()) != 3:
                    pass
            await bus.publish([Outgoing(spec.name, str(n).encode(), str(n).encode()) for n in range(60)])
            async with asyncio.timeout(PATIENCE.total_seconds()):
                while await lag(bus, group, spec.name):
                    await asyncio.sleep(0.05)
            said = [line for process in processes for line in process.kill()]
            got = [int(word) for line in said if line.startswith("got") for word in line.split()[1:]]
            assert sorted(got) == list(range(60))

    run(main())


def test_partitions_are_announced_and_start_at_restored_positions(backend: Backend) -> None:
    async def main() -> None:
        spec, group = backend.spec("t", 2), backend.name("g")
        number = partition_of(b"k", 2)
        watcher = Watcher({(spec.name, number): 3})
        async with opened(backend, spec) as bus:
            await bus.publish(numbered(spec.name, range(6)))
            async with bus.consumer(group, [spec.name], member="m", rebalance=watcher.rebalance) as consumer:
                assert values(await poll_count(consumer, 3)) == [3, 4, 5]
                assert watcher.events == [("assigned", frozenset({(spec.name, 0), (spec.name, 1)}))]
            assert watcher.events[-1] == ("revoked", frozenset({(spec.name, 0), (spec.name, 1)}))

    run(main())


def test_a_member_that_ends_by_an_error_is_not_asked_to_save_its_state(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t")
        watcher = Watcher()
        async with opened(backend, spec) as bus:
            with pytest.raises(ZeroDivisionError):
                async with bus.consumer(backend.name("g"), [spec.name], member="m", rebalance=watcher.rebalance) as c:
                    await poll_all([c], lambda: bool(c.assigned))
                    raise ZeroDivisionError
            assert [kind for kind, _ in watcher.events] == ["assigned"]

    run(main())


def test_a_checkpoint_is_saved_with_its_position_and_restored_by_the_next_member(backend: Backend) -> None:
    async def main() -> None:
        topics, group = Topics(backend.prefix), backend.name("g")

        def folding(bus: Bus, sums: dict[Partition, int], positions: dict[Partition, int]) -> Rebalance:
            async def assigned(partitions: frozenset[Partition]) -> Mapping[Partition, int]:
                for partition in partitions:
                    saved = await load_checkpoint(bus, topics, group, partition)
                    sums[partition] = int(saved.state) if saved else 0
                    if saved:
                        positions[partition] = saved.position
                return {partition: positions[partition] for partition in partitions if partition in positions}

            async def revoked(partitions: frozenset[Partition]) -> None:
                for topic, number in partitions:
                    position, state = positions.get((topic, number), 0), str(sums[topic, number]).encode()
                    checkpoint = Checkpoint(group=group, topic=topic, partition=number, position=position, state=state)
                    await save_checkpoint(bus, topics, checkpoint)

            return Rebalance(assigned, revoked)

        async with opened(backend, *topics.specs(timedelta(days=1))) as bus:
            await bus.publish([Outgoing(topics.results, str(n).encode(), b"1") for n in range(30)])
            total = 0
            for member, count in (("first", 12), ("second", 18)):
                sums: dict[Partition, int] = {}
                positions: dict[Partition, int] = {}
                rebalance = folding(bus, sums, positions)
                async with bus.consumer(group, [topics.results], member=member, rebalance=rebalance) as consumer:
                    taken_now = 0
                    while taken_now < count:
                        for message in await consumer.poll(min(5, count - taken_now), PATIENCE):
                            partition = message.topic, message.partition
                            sums[partition] += int(message.value)
                            positions[partition] = message.offset + 1
                            taken_now += 1
                    total = sum(sums.values())
            assert total == 30  # nothing twice, nothing lost, though nothing was committed

    run(main())


def test_a_paused_partition_waits_and_membership_goes_on(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t", 2)
        keys = {partition_of(key, 2): key for key in (b"a", b"b", b"c", b"d", b"e")}
        async with opened(backend, spec) as bus:
            async with bus.consumer(backend.name("g"), [spec.name], member="m") as consumer:
                await poll_all([consumer], lambda: len(consumer.assigned) == 2)
                await consumer.pause(frozenset({(spec.name, 0)}))
                await bus.publish([Outgoing(spec.name, keys[n], str(n).encode()) for n in (0, 1)])
                assert values(await poll_count(consumer, 1)) == [1]
                assert await consumer.poll(10, SOON) == []
                assert len(consumer.assigned) == 2
                await consumer.resume(frozenset({(spec.name, 0)}))
                assert values(await poll_count(consumer, 1)) == [0]

    run(main())


def test_an_offset_lost_to_retention_stops_the_group_and_nothing_jumps(backend: Backend) -> None:
    async def main() -> None:
        spec, group = backend.spec("t"), backend.name("g")
        async with opened(backend, spec) as bus:
            await bus.publish(numbered(spec.name, range(10)))
            async with bus.consumer(group, [spec.name], member="m") as consumer:
                await poll_count(consumer, 10)
                await consumer.commit({(spec.name, 0): 4})
            await backend.remove_all(bus, spec.name)
            await bus.publish(numbered(spec.name, range(10, 12)))
            async with bus.consumer(group, [spec.name], member="m") as consumer:
                for _ in range(2):
                    with pytest.raises(OffsetLost, match=f"{spec.name}/0: offset 4 is gone"):
                        await poll_until(consumer, bool)
            assert await bus.committed(group, spec.name) == {0: 4}
            with pytest.raises(OffsetLost):
                await everything(bus, spec.name, start={0: 4})
            assert values(await everything(bus, spec.name)) == [10, 11]

    run(main())


def test_records_lost_before_the_first_commit_stop_the_group_too(backend: Backend) -> None:
    async def main() -> None:
        spec, group = backend.spec("t"), backend.name("g")
        async with opened(backend, spec) as bus:
            await bus.publish(numbered(spec.name, range(10)))
            async with bus.consumer(group, [spec.name], member="m") as consumer:
                await poll_count(consumer, 10)
            await backend.remove_all(bus, spec.name)
            async with bus.consumer(group, [spec.name], member="m") as consumer:
                with pytest.raises(OffsetLost):
                    await poll_until(consumer, bool)

    run(main())


def test_a_zombie_cannot_commit(backend: Backend, start: Callable[..., Process]) -> None:
    async def main() -> None:
        spec, group = backend.spec("t"), backend.name("g")
        async with opened(backend, spec) as bus:
            zombie = start("join", backend.url, spec.name, group, "zombie")
            assert await zombie.line("held") == "held 0"
            zombie.suspend(on=True)
            await bus.publish(numbered(spec.name, range(10)))
            async with bus.consumer(group, [spec.name], member="heir") as heir:
                found = await poll_count(heir, 10)
                await heir.commit(after(found))
                zombie.suspend(on=False)
                # The zombie fetches with its old membership, may read, and commits what it read; then it learns.
                async with asyncio.timeout(PATIENCE.total_seconds()):
                    while (await zombie.line("held")) != "held":
                        await heir.poll(1, timedelta(0))
                assert await bus.committed(group, spec.name) == {0: 10}

    run(main())


def test_a_commit_of_partitions_not_held_saves_nothing(backend: Backend) -> None:
    async def main() -> None:
        spec, group = backend.spec("t", 2), backend.name("g")
        async with opened(backend, spec) as bus, opened(backend) as other:
            await bus.publish([Outgoing(spec.name, str(n).encode(), str(n).encode()) for n in range(20)])
            async with (
                bus.consumer(group, [spec.name], member="a") as a,
                other.consumer(group, [spec.name], member="b") as b,
            ):
                await poll_all([a, b], lambda: len(a.assigned) == len(b.assigned) == 1)
                before = await bus.committed(group, spec.name)
                ((topic, number),) = b.assigned
                await a.commit({(topic, number): 5})
                assert await bus.committed(group, spec.name) == before

    run(main())


# A bus that is away


def test_a_process_killed_while_publishing_loses_nothing_that_was_acknowledged(
    backend: Backend, start: Callable[..., Process]
) -> None:
    async def main() -> None:
        spec = backend.spec("t", 3)
        async with opened(backend, spec) as bus:
            process = start("publish", backend.url, spec.name)
            for _ in range(20):
                acknowledged = int(await process.line())
            acknowledged = max([acknowledged, *(int(line) for line in process.kill())])
            found = {int(m.value.rstrip(b".")): m for m in await everything(bus, spec.name)}
            assert set(range(acknowledged + 1)) <= set(found)
            assert all(len(m.value) == len(str(number)) + 40_000 for number, m in found.items())
            await bus.publish(numbered(spec.name, range(1)))  # and the bus goes on

    run(main())


def calls_of(bus: Bus) -> list[Callable[[], Awaitable[object]]]:
    async def join() -> None:
        async with bus.consumer("g", ["t"], member="m") as consumer:
            await consumer.poll(1, SOON)

    return [
        lambda: bus.ensure([TopicSpec("t", 1)]),
        lambda: bus.publish([Outgoing("t", b"k", b"v")]),
        lambda: bus.spans("t"),
        lambda: bus.fetch(Place(topic="t", partition=0, offset=0)),
        lambda: bus.last("t", b"k"),
        lambda: bus.committed("g", "t"),
        lambda: everything(bus, "t"),
        join,
    ]


def test_a_bus_that_does_not_answer_says_so_and_names_its_address(backend: Backend, tmp_path: Path) -> None:
    async def main() -> None:
        away = tmp_path / "away"
        away.write_text("a file where the folder should be")
        url, named = {
            SqliteBackend: (f"sqlite:///{away}", str(away)),
            KafkaBackend: ("kafka://127.0.0.1:1", "Kafka at kafka://127.0.0.1:1 does not answer; is it running"),
        }[type(backend)]
        bus = type(backend)(url).open()
        try:
            for call in calls_of(bus):
                with pytest.raises(BackendUnavailable, match=named):
                    await call()
        finally:
            await bus.close()

    run(main())
