"""What people say on its way into real stores: corrected by later words, whatever happens to the writer."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from contracts.bus_backends import Backend, KafkaBackend, SqliteBackend
from contracts.bus_helpers import opened as with_retention
from kpi_line import PATIENCE_S, QUICK, TOPICS, eventually, letters, opened, running, send
from servers.influx import InfluxServer

from kpi_engine.sinks.reviews import GROUP, ReviewSink
from taktwatch.bus import Bus, Outgoing
from taktwatch.clock import now
from taktwatch.records import Review, ReviewWindow, Verdict
from taktwatch.review_figures import figures
from taktwatch.reviews import EXAMPLES, SUMS, minutes_of
from taktwatch.store import KpiStore, ReviewQuery
from taktwatch.store.connect import open_store
from taktwatch.store.reading import floor_time
from taktwatch.topics import Topics, lag

PROCESS = Path(__file__).parents[1] / "review_process.py"
HOUR = timedelta(hours=1)
FULL_HOUR = floor_time(now(), HOUR)
"""A time that the store still keeps; words are dated by hours before it."""

Address = tuple[str, Mapping[str, str]]


@pytest.fixture(params=["sqlite", pytest.param("influxdb", marks=pytest.mark.influxdb)])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Address:
    """Where a fresh store lies, and the environment that opens it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'kpis.sqlite'}", {}
    influx = request.getfixturevalue("influx")
    return f"influxdb://{influx.address}", influx.environ


def word(board: int, *, hours: float, human: Verdict = Verdict.FAIL, machine: Verdict = Verdict.FAIL) -> Review:
    """Return a word on a board, said so many hours before the last full hour; passed boards were drawn, one in 50."""
    drawn = machine is Verdict.PASS
    return msgspec.structs.replace(
        EXAMPLES[0],
        visit=board,
        machine=machine,
        human=human,
        sampled=drawn,
        weight=50.0 if drawn else 1.0,
        reviewed_at=FULL_HOUR - hours * HOUR,
    )


def words(count: int, seed: int = 1) -> list[Review]:
    """Return words on boards of which many are spoken of again, over three days."""
    rng = random.Random(seed)
    return [
        word(
            rng.randrange(count // 2),
            hours=rng.uniform(1, 72),
            machine=rng.choice([Verdict.PASS, Verdict.FAIL]),
            human=rng.choice([Verdict.PASS, Verdict.FAIL]),
        )
        for _ in range(count)
    ]


async def at_rest(bus: Bus, topics: Topics = TOPICS) -> bool:
    """Whether everything said is committed, and so stored."""
    return await lag(bus, GROUP, topics.reviews) == 0


async def stored(store: KpiStore) -> list[ReviewWindow]:
    return await store.read_reviews(ReviewQuery(FULL_HOUR - timedelta(days=400), FULL_HOUR + timedelta(days=1)))


def test_a_later_word_corrects_the_minute_of_the_word_before_it(sqlite_bus_url: str, address: Address) -> None:
    passed = {"machine": Verdict.PASS, "human": Verdict.PASS}
    first = [word(1, hours=30), word(2, hours=30, human=Verdict.PASS), word(3, hours=30, **passed)]
    second = [word(1, hours=2, human=Verdict.PASS), word(3, hours=1, machine=Verdict.PASS)]

    async def main() -> None:
        store = open_store(*address)
        async with opened(sqlite_bus_url) as bus, running(ReviewSink(QUICK, bus, TOPICS, store)):
            await send(bus, first, TOPICS.reviews)
            await eventually(lambda: at_rest(bus))
            [minute] = await stored(store)
            assert (minute.revision, minute.failed, minute.false_calls, minute.drawn) == (2, 2, 1, 1)
            await send(bus, second, TOPICS.reviews)
            await eventually(lambda: at_rest(bus))
            found = await stored(store)
            assert found == minutes_of([*first, *second])
            assert [(one.revision, one.failed, one.drawn) for one in found] == [(4, 1, 0), (3, 1, 0), (4, 0, 1)]
            whole = figures(found)
            assert (whole.false_call_rate.value, whole.false_call_rate.n) == (1.0, 2)
            assert (whole.escape_rate.value, whole.escape_rate.n) == (1.0, 1)
        await store.close()

    asyncio.run(main())


def test_a_new_life_heals_what_a_stale_writer_or_an_old_copy_left(sqlite_bus_url: str, address: Address) -> None:
    said = [word(number, hours=40 - number) for number in range(5)]

    async def main() -> None:
        store = open_store(*address)
        async with opened(sqlite_bus_url) as bus:
            async with running(ReviewSink(QUICK, bus, TOPICS, store)):
                await send(bus, said, TOPICS.reviews)
                await eventually(lambda: at_rest(bus))
            [*_, newest] = await stored(store)
            stale = msgspec.structs.replace(newest, **dict.fromkeys(SUMS, 9))
            await store.write_reviews([stale])
            assert stale in await stored(store)
            async with running(ReviewSink(QUICK, bus, TOPICS, store)):

                async def healed() -> bool:
                    return await stored(store) == minutes_of(said)

                await eventually(healed)
        await store.close()

    asyncio.run(main())


def test_minutes_of_the_last_day_are_written_again_every_hour(sqlite_bus_url: str, address: Address) -> None:
    said = [word(0, hours=40), word(1, hours=2)]

    async def main() -> None:
        store = open_store(*address)
        async with opened(sqlite_bus_url) as bus:
            sink = ReviewSink(QUICK, bus, TOPICS, store)
            async with running(sink):
                await send(bus, said, TOPICS.reviews)
                await eventually(lambda: at_rest(bus))
                touched = [msgspec.structs.replace(one, **dict.fromkeys(SUMS, 9)) for one in await stored(store)]
                await store.write_reviews(touched)
                sink.tidy(now() + HOUR)  # as if an hour had gone by

                async def healed() -> bool:
                    return await stored(store) == [touched[0], minutes_of(said)[1]]

                await eventually(healed)
        await store.close()

    asyncio.run(main())


def test_what_is_no_review_is_a_dead_letter_once_and_the_rest_is_counted(sqlite_bus_url: str, tmp_path: Path) -> None:
    good = word(1, hours=1)
    weightless = msgspec.structs.replace(word(2, hours=1, machine=Verdict.PASS), weight=0.0)

    async def main() -> None:
        store = open_store(f"sqlite:///{tmp_path / 'kpis.sqlite'}", {})
        async with opened(sqlite_bus_url) as bus:
            await bus.publish([Outgoing(TOPICS.reviews, b"line-1", b"nonsense")])
            await send(bus, [weightless, good], TOPICS.reviews)
            for _ in range(2):  # another life meets them again
                async with running(ReviewSink(QUICK, bus, TOPICS, store)):
                    await eventually(lambda: at_rest(bus))
                assert [letter.place.offset for letter in await letters(bus) if letter.place] == [0, 1]
            [minute] = await stored(store)
            assert (minute.confirmed, minute.revision) == (1, 2)
        await store.close()

    asyncio.run(main())


@pytest.mark.influxdb
def test_minutes_that_the_bucket_no_longer_keeps_are_passed_over(sqlite_bus_url: str, influx: InfluxServer) -> None:
    """InfluxDB would refuse them at every start, and a dead letter each time would say nothing new."""
    said = [word(0, hours=100), word(1, hours=30), word(0, hours=1, human=Verdict.PASS)]

    async def main() -> None:
        store = open_store(f"influxdb://{influx.address}", influx.environ, retention=timedelta(days=3))
        async with opened(sqlite_bus_url) as bus, running(ReviewSink(QUICK, bus, TOPICS, store)):
            await send(bus, said, TOPICS.reviews)
            await eventually(lambda: at_rest(bus))
            assert await stored(store) == minutes_of(said)[1:]
            assert await letters(bus) == []
        await store.close()

    asyncio.run(main())


@pytest.mark.influxdb
def test_a_minute_the_store_refuses_is_a_dead_letter_and_the_others_are_written(
    sqlite_bus_url: str, influx: InfluxServer
) -> None:
    """Ten boards in one minute, each of a million: the squares of their weights exceed 64 bits."""
    million = [msgspec.structs.replace(word(number, hours=2, machine=Verdict.PASS), weight=1e6) for number in range(10)]
    said = [*million, word(20, hours=1), msgspec.structs.replace(million[0], reviewed_at=FULL_HOUR - HOUR)]

    async def main() -> None:
        store = open_store(f"influxdb://{influx.address}", influx.environ)
        async with opened(sqlite_bus_url) as bus, running(ReviewSink(QUICK, bus, TOPICS, store)):
            await send(bus, said[:-1], TOPICS.reviews)
            await eventually(lambda: at_rest(bus))
            [letter] = await letters(bus)
            assert letter.place is not None
            assert (letter.place.offset, "exceeds 64 bits" in letter.error) == (9, True)
            assert await stored(store) == minutes_of(said[:-1])[1:]
            await send(bus, said[-1:], TOPICS.reviews)  # one board less in it: it can be written
            await eventually(lambda: at_rest(bus))
            assert await stored(store) == minutes_of(said)
        await store.close()

    asyncio.run(main())


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def backend(request: pytest.FixtureRequest, sqlite_bus_url: str) -> Backend:
    """A real bus."""
    if request.param == "sqlite":
        return SqliteBackend(sqlite_bus_url)
    return KafkaBackend(f"kafka://{request.getfixturevalue('kafka_broker')}")


def test_a_minute_whose_reviews_are_gone_from_the_topic_stays_as_it_was(backend: Backend, tmp_path: Path) -> None:
    """The topic is kept for ever; somebody gave it a retention. A late word comes into a minute that lost others."""
    before = [word(0, hours=5), word(1, hours=5)]
    after = [word(2, hours=5), msgspec.structs.replace(word(3, hours=0), reviewed_at=now() + timedelta(minutes=5))]

    async def main() -> None:
        store = open_store(f"sqlite:///{tmp_path / 'kpis.sqlite'}", {})
        topics = Topics(backend.prefix)
        async with with_retention(backend, backend.spec("reviews")) as bus:
            async with running(ReviewSink(QUICK, bus, topics, store)):
                await send(bus, before, topics.reviews)
                await eventually(lambda: at_rest(bus, topics))
            whole = await stored(store)
            await backend.remove_all(bus, topics.reviews)
            assert (await bus.spans(topics.reviews))[0].first == 2
            for said in (after, []):  # and after another restart
                async with running(ReviewSink(QUICK, bus, topics, store)):
                    if said:
                        await send(bus, said, topics.reviews)
                    await eventually(lambda: at_rest(bus, topics))
                assert await stored(store) == [*whole, msgspec.structs.replace(minutes_of(after)[1], revision=3)]
        await store.close()

    asyncio.run(main())


class Members:
    """Sinks in processes of their own; what still runs at the end is killed."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, url: str, topics: Topics, store: Address, member: str) -> subprocess.Popen[bytes]:
        environ = {**os.environ, **store[1], "PYTHONPATH": str(PROCESS.parents[1])}
        process = subprocess.Popen([sys.executable, PROCESS, url, topics.prefix, store[0], member], env=environ)
        self.processes.append(process)
        return process


@pytest.fixture
def members() -> Iterator[Members]:
    found = Members()
    yield found
    for process in found.processes:
        process.kill()
        process.wait(PATIENCE_S)


@pytest.mark.slow
def test_a_successor_takes_over_from_a_sink_that_was_killed_amid_the_words(
    backend: Backend, members: Members, tmp_path: Path
) -> None:
    said = words(400)
    url = f"sqlite:///{tmp_path / 'kpis.sqlite'}"

    async def main() -> None:
        topics = Topics(f"t{uuid.uuid4().hex[:10]}")
        store = open_store(url, {})
        async with opened(backend.url, topics) as bus:
            for life in range(3):
                process = members.start(backend.url, topics, (url, {}), "first")
                before = len(await stored(store))

                async def came_to_life(before: int = before) -> bool:
                    return len(await stored(store)) > before

                part = said[100 * life : 100 * (life + 1)]
                await send(bus, part[:50], topics.reviews)
                await eventually(came_to_life)
                await send(bus, part[50:], topics.reviews)  # amid this it dies
                process.kill()
                process.wait(PATIENCE_S)
            async with running(ReviewSink(QUICK, bus, topics, store, member="second")):
                await send(bus, said[300:], topics.reviews)
                await eventually(lambda: at_rest(bus, topics))
                assert await stored(store) == minutes_of(said)
        await store.close()

    asyncio.run(main())


@pytest.mark.slow
@pytest.mark.influxdb
def test_a_sink_that_was_stopped_and_wakes_up_after_its_successor_leaves_nothing_wrong(
    sqlite_bus_url: str, influx: InfluxServer, members: Members
) -> None:
    said = [
        msgspec.structs.replace(one, reviewed_at=FULL_HOUR - timedelta(minutes=n % 600))
        for n, one in enumerate(words(300))
    ]
    address = f"influxdb://{influx.address}", influx.environ

    async def main() -> None:
        store = open_store(*address)
        async with opened(sqlite_bus_url) as bus:
            owner = members.start(sqlite_bus_url, TOPICS, address, "first")
            await send(bus, said[:50], TOPICS.reviews)
            await eventually(lambda: at_rest(bus))
            await send(bus, said[50:200], TOPICS.reviews)  # amid this it is stopped
            owner.send_signal(signal.SIGSTOP)
            sink = ReviewSink(QUICK, bus, TOPICS, store, member="second")
            async with running(sink):
                await send(bus, said[200:], TOPICS.reviews)
                await eventually(lambda: at_rest(bus))
                owner.send_signal(signal.SIGCONT)
                await asyncio.sleep(0.5)  # time to write what it had in hand
                owner.kill()
                owner.wait(PATIENCE_S)
                sink.tidy(now() + HOUR)  # as if an hour had gone by

                async def healed() -> bool:
                    return await stored(store) == minutes_of(said)

                await eventually(healed)
        await store.close()

    asyncio.run(main())


def test_of_two_sinks_one_writes_and_the_other_takes_over(sqlite_bus_url: str, address: Address) -> None:
    said = words(200)

    async def main() -> None:
        store = open_store(*address)
        async with opened(sqlite_bus_url) as bus:
            second = ReviewSink(QUICK, bus, TOPICS, store, member="second")
            async with running(second):
                async with running(ReviewSink(QUICK, bus, TOPICS, store, member="first")):
                    for first in range(0, 100, 20):
                        await send(bus, said[first : first + 20], TOPICS.reviews)
                        await eventually(lambda: at_rest(bus))
                await send(bus, said[100:], TOPICS.reviews)
                await eventually(lambda: at_rest(bus))
                assert await stored(store) == minutes_of(said)
        await store.close()

    asyncio.run(main())
