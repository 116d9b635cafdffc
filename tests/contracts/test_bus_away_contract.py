"""What every bus promises when something dies: the publisher, the bus itself, the broker in the middle."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from contracts.bus_backends import TIMEOUT, Backend, KafkaBackend, SqliteBackend
from contracts.bus_helpers import SOON, Process, after, everything, numbered, opened, poll_all, poll_until, run, values
from servers.kafka import KafkaBroker

from taktwatch.bus import Bus, Outgoing, TopicSpec
from taktwatch.errors import BackendUnavailable
from taktwatch.records import Place


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


# A broker of the test's own, killed and started again


def opened_kafka(broker: KafkaBroker) -> KafkaBackend:
    return KafkaBackend(f"kafka://{broker.bootstrap}")


@pytest.mark.kafka
def test_a_broker_restarted_in_the_middle_loses_nothing(own_kafka: Callable[[], KafkaBroker]) -> None:
    async def main() -> None:
        broker = own_kafka()
        backend = opened_kafka(broker)
        spec, group = backend.spec("t", 2), backend.name("g")
        acknowledged: set[int] = set()
        restarted = asyncio.Event()

        async def publish(bus: Bus) -> None:
            number = 0
            while not (restarted.is_set() and len(acknowledged) > enough):
                with suppress(BackendUnavailable):
                    await bus.publish([Outgoing(spec.name, str(number).encode(), str(number).encode())])
                    acknowledged.add(number)
                    number += 1
                await asyncio.sleep(0.01)

        async def consume(bus: Bus, publishing: asyncio.Task[None]) -> None:
            async with bus.consumer(group, [spec.name], member="m") as consumer:
                while not (publishing.done() and acknowledged <= seen):
                    with suppress(BackendUnavailable):
                        messages = await consumer.poll(50, SOON)
                        seen.update(values(messages))
                        if messages:
                            await consumer.commit(after(messages))

        enough = 10**9
        seen: set[int] = set()
        async with opened(backend, spec) as bus, asyncio.timeout(90):
            publishing = asyncio.create_task(publish(bus))
            consuming = asyncio.create_task(consume(bus, publishing))
            while len(seen) < 20:  # noqa: ASYNC110 - until the line runs
                await asyncio.sleep(0.01)
            await asyncio.to_thread(broker.restart)
            enough = len(acknowledged) + 20
            restarted.set()
            await publishing
            await consuming
            spans = await bus.spans(spec.name)
            assert await bus.committed(group, spec.name) == {number: span.next for number, span in spans.items()}

    run(main())


@pytest.mark.kafka
def test_publishing_fails_in_bounded_time_while_the_broker_is_away_and_works_again_after(
    own_kafka: Callable[[], KafkaBroker],
) -> None:
    async def main() -> None:
        broker = own_kafka()
        backend = opened_kafka(broker)
        spec = backend.spec("t")
        async with opened(backend, spec) as bus:
            await bus.publish(numbered(spec.name, range(1)))
            await asyncio.to_thread(broker.kill)
            async with asyncio.timeout(4 * TIMEOUT.total_seconds()):
                calls = [bus.publish(numbered(spec.name, range(n, n + 1))) for n in (1, 2, 3)]
                for outcome in await asyncio.gather(*calls, return_exceptions=True):
                    assert isinstance(outcome, BackendUnavailable), outcome
                    assert f"Kafka at {backend.url} does not answer" in str(outcome)
                with pytest.raises(BackendUnavailable):
                    await bus.spans(spec.name)
            await asyncio.to_thread(broker.start)
            async with asyncio.timeout(60):
                while True:
                    with suppress(BackendUnavailable):
                        await bus.publish(numbered(spec.name, range(4, 5)))
                        break
            found = values(await everything(bus, spec.name))
            assert (found[0], found[-1]) == (0, 4)

    run(main())


@pytest.mark.kafka
def test_a_silent_member_learns_that_the_broker_is_away(own_kafka: Callable[[], KafkaBroker]) -> None:
    async def main() -> None:
        broker = own_kafka()
        backend = opened_kafka(broker)
        spec = backend.spec("t")
        async with (
            opened(backend, spec) as bus,
            bus.consumer(backend.name("g"), [spec.name], member="m") as consumer,
        ):
            await poll_all([consumer], lambda: bool(consumer.assigned))
            await asyncio.to_thread(broker.kill)
            with pytest.raises(BackendUnavailable):
                await poll_until(consumer, bool)
            with pytest.raises(BackendUnavailable):
                await consumer.commit({(spec.name, 0): 0})
            await asyncio.to_thread(broker.start)
            async with asyncio.timeout(60):
                while True:
                    with suppress(BackendUnavailable):
                        await bus.publish(numbered(spec.name, range(1)))
                        break
                found: list[int] = []
                while not found:
                    with suppress(BackendUnavailable):
                        found = values(await consumer.poll(1, SOON))

    run(main())
