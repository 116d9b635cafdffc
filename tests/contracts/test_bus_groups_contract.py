"""What every bus promises of consumer groups, on every backend: members, commits, crashes, lost offsets."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta

import pytest
from contracts.bus_backends import LEASE, Backend
from contracts.bus_helpers import (
    PATIENCE,
    SOON,
    Process,
    Watcher,
    after,
    everything,
    numbered,
    opened,
    poll_all,
    poll_count,
    poll_until,
    run,
    values,
)

from taktwatch.bus import Bus, Message, Outgoing, Partition, Rebalance
from taktwatch.bus.outgoing import partition_of
from taktwatch.checkpoints import load_checkpoint, save_checkpoint
from taktwatch.errors import BackendUnavailable, OffsetLost
from taktwatch.records import Checkpoint
from taktwatch.topics import Topics, lag


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
        async with (
            opened(backend, spec) as bus,
            opened(backend) as other,
            other.consumer(group, [spec.name], member="b") as b,
        ):
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
            assert len((await process.line("held ", meanwhile=living)).split()) == 2
            process.kill()
            await bus.publish([Outgoing(spec.name, str(n).encode(), str(n).encode()) for n in range(20)])
            await poll_until(living, lambda found: set(values(found)) == set(range(20)))
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
                while await lag(bus, group, spec.name):  # noqa: ASYNC110 - other processes commit
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


def test_a_callback_that_failed_is_called_again_by_the_next_poll(backend: Backend) -> None:
    async def main() -> None:
        spec, group = backend.spec("t", 2), backend.name("g")
        failures = ["assigned", "revoked"]
        calls: list[str] = []

        async def called(name: str) -> None:
            calls.append(name)
            if name in failures:
                failures.remove(name)
                raise BackendUnavailable(name)

        async def assigned(_: frozenset[Partition]) -> Mapping[Partition, int]:
            await called("assigned")
            return {}

        async def revoked(_: frozenset[Partition]) -> None:
            await called("revoked")

        async with (
            opened(backend, spec) as bus,
            opened(backend) as other,
            bus.consumer(group, [spec.name], member="a", rebalance=Rebalance(assigned, revoked)) as a,
        ):
            with pytest.raises(BackendUnavailable, match="assigned"):
                await poll_until(a, bool)
            assert a.assigned == frozenset()
            await poll_all([a], lambda: len(a.assigned) == 2)
            async with other.consumer(group, [spec.name], member="b") as b:
                with pytest.raises(BackendUnavailable, match="revoked"):
                    await poll_all([b, a], lambda: False)
                await poll_all([b, a], lambda: len(a.assigned) == len(b.assigned) == 1)
                assert calls[:4] == ["assigned", "assigned", "revoked", "revoked"]

    run(main())


def test_a_member_that_ends_by_an_error_is_not_asked_to_save_its_state(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t")
        watcher = Watcher()
        async with opened(backend, spec) as bus:
            with pytest.raises(ZeroDivisionError):  # noqa: PT012 - leaving the member is what is tested
                async with bus.consumer(backend.name("g"), [spec.name], member="m", rebalance=watcher.rebalance) as c:
                    await poll_all([c], lambda: bool(c.assigned))
                    raise ZeroDivisionError
            assert [kind for kind, _ in watcher.events] == ["assigned"]

    run(main())


class Sums:
    """A state per partition, and the position it belongs to, kept in checkpoints alone."""

    def __init__(self, bus: Bus, topics: Topics, group: str) -> None:
        self.bus, self.topics, self.group = bus, topics, group
        self.state: dict[Partition, tuple[int, int]] = {}

    def fold(self, message: Message) -> None:
        total, _ = self.state[message.topic, message.partition]
        self.state[message.topic, message.partition] = total + int(message.value), message.offset + 1

    async def assigned(self, partitions: frozenset[Partition]) -> Mapping[Partition, int]:
        for partition in partitions:
            saved = await load_checkpoint(self.bus, self.topics, self.group, partition)
            self.state[partition] = (int(saved.state), saved.position) if saved else (0, 0)
        return {partition: self.state[partition][1] for partition in partitions}

    async def revoked(self, partitions: frozenset[Partition]) -> None:
        for partition in partitions:
            (topic, number), (total, position) = partition, self.state[partition]
            state = str(total).encode()
            checkpoint = Checkpoint(group=self.group, topic=topic, partition=number, position=position, state=state)
            await save_checkpoint(self.bus, self.topics, checkpoint)


def test_a_checkpoint_is_saved_with_its_position_and_restored_by_the_next_member(backend: Backend) -> None:
    async def main() -> None:
        topics, group = Topics(backend.prefix), backend.name("g")
        async with opened(backend, *topics.specs(timedelta(days=1))) as bus:
            await bus.publish([Outgoing(topics.results, str(n).encode(), b"1") for n in range(30)])
            for member, count in (("first", 12), ("second", 18)):
                sums = Sums(bus, topics, group)
                rebalance = Rebalance(sums.assigned, sums.revoked)
                async with bus.consumer(group, [topics.results], member=member, rebalance=rebalance) as consumer:
                    while count:
                        messages = await consumer.poll(min(5, count), PATIENCE)
                        count -= len(messages)  # noqa: PLW2901 - what is left to take
                        for message in messages:
                            sums.fold(message)
            assert sum(total for total, _ in sums.state.values()) == 30  # nothing twice, nothing lost, no commit needed

    run(main())


def test_a_paused_partition_waits_and_membership_goes_on(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t", 2)
        keys = {partition_of(key, 2): key for key in (b"a", b"b", b"c", b"d", b"e")}
        async with (
            opened(backend, spec) as bus,
            bus.consumer(backend.name("g"), [spec.name], member="m") as consumer,
        ):
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
            await bus.publish(numbered(spec.name, range(3)))
            zombie = start("hold", backend.url, spec.name, group, "zombie")
            assert await zombie.line("got") == "got 0 1 2"
            zombie.suspend(on=True)
            await bus.publish(numbered(spec.name, range(3, 10)))
            async with bus.consumer(group, [spec.name], member="heir") as heir:
                found = await poll_count(heir, 10)
                await heir.commit(after(found))
                zombie.suspend(on=False)
                zombie.tell()
                await zombie.line("committed", meanwhile=heir)
                assert await bus.committed(group, spec.name) == {0: 10}

    run(main())


def test_a_zombie_cannot_commit_when_its_heir_has_left(backend: Backend, start: Callable[..., Process]) -> None:
    async def main() -> None:
        spec, group = backend.spec("t"), backend.name("g")
        async with opened(backend, spec) as bus:
            await bus.publish(numbered(spec.name, range(3)))
            zombie = start("hold", backend.url, spec.name, group, "zombie")
            await zombie.line("got")
            zombie.suspend(on=True)
            await bus.publish(numbered(spec.name, range(3, 10)))
            async with bus.consumer(group, [spec.name], member="heir") as heir:
                await heir.commit(after(await poll_count(heir, 10)))
            zombie.suspend(on=False)
            await asyncio.sleep(LEASE.total_seconds())  # it hears that it was struck off
            zombie.tell()
            await zombie.line("committed")
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
