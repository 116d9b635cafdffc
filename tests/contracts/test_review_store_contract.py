"""Minutes of reviews in every store: the same contract on each backend, and equal figures over both."""

import asyncio
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from servers.influx import InfluxServer

from taktwatch.errors import BadRecord
from taktwatch.kpis import EXAMPLE
from taktwatch.records import Review, ReviewWindow, Verdict
from taktwatch.review_figures import figures, series
from taktwatch.reviews import EXAMPLES, SUMS, minutes_of
from taktwatch.store import ReviewQuery
from taktwatch.store.connect import open_store

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
DAY = ReviewQuery(NOON - timedelta(days=1), NOON + timedelta(days=1))

Address = tuple[str, Mapping[str, str]]


@pytest.fixture(params=["sqlite", pytest.param("influxdb", marks=pytest.mark.influxdb)])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Address:
    """Where a fresh store lies, and the environment that opens it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'kpis.sqlite'}", {}
    influx = request.getfixturevalue("influx")
    return f"influxdb://{influx.address}", influx.environ


def minute(index: int = 0, **changes: Any) -> ReviewWindow:
    full = ReviewWindow(
        start=NOON + timedelta(minutes=index),
        line="line-1",
        station="top",
        product="board",
        revision=17,
        **{name: 3 + place for place, name in enumerate(SUMS)},
    )
    return msgspec.structs.replace(full, **changes)


def written_and_read(
    address: Address, *batches: list[ReviewWindow], query: ReviewQuery = DAY, retention: timedelta | None = None
) -> list[ReviewWindow]:
    async def main() -> list[ReviewWindow]:
        store = open_store(*address, retention=retention)
        try:
            await store.prepare()
            for batch in batches:
                await store.write_reviews(batch)
            return await store.read_reviews(query)
        finally:
            await store.close()

    return asyncio.run(main())


def test_minutes_come_back_equal_and_in_order(address: Address) -> None:
    minutes = [minute(2), minute(1), minute(0, station="section"), minute(0), minute(1, product="another")]
    assert written_and_read(address, minutes) == [minutes[2], minutes[3], minutes[4], minutes[1], minutes[0]]


def test_writing_minutes_again_changes_nothing(address: Address) -> None:
    assert written_and_read(address, [minute()], [minute()]) == [minute()]


def test_a_correction_takes_everything_out_of_a_minute(address: Address) -> None:
    """The one board in it was reviewed again, hours later."""
    emptied = minute(revision=18, **dict.fromkeys(SUMS, 0))
    assert written_and_read(address, [minute()], [emptied]) == [emptied]


def test_minutes_are_found_by_their_place_and_half_open_span(address: Address) -> None:
    minutes = [minute(0), minute(1), minute(2), minute(1, product="other"), minute(1, line="line-2")]
    query = ReviewQuery(NOON + timedelta(minutes=1), NOON + timedelta(minutes=2), "line-1", "top", "board")
    assert written_and_read(address, minutes, query=query) == [minute(1)]
    assert written_and_read(address, query=ReviewQuery(NOON, NOON)) == []


@pytest.mark.parametrize("name", ["two words", "a,b=c", 'x" or true', "", "100%", "line\nbreak"])
def test_minutes_of_odd_names_find_themselves_alone(address: Address, name: str) -> None:
    odd = minute(station=name, product=name)
    query = ReviewQuery(DAY.since, DAY.until, station=name, product=name)
    assert written_and_read(address, [odd, minute()], query=query) == [odd]


def test_a_minute_the_store_cannot_hold_is_a_bad_record_that_names_it(address: Address) -> None:
    with pytest.raises(BadRecord, match="line-1/top"):
        written_and_read(address, [minute(revision=2**63)])


def test_the_embedded_store_keeps_the_highest_revision_of_a_minute(tmp_path: Path) -> None:
    address: Address = (f"sqlite:///{tmp_path / 'kpis.sqlite'}", {})
    assert written_and_read(address, [minute(revision=20)], [minute(revision=19)]) == [minute(revision=20)]


def test_the_embedded_store_forgets_reviews_with_the_windows_of_their_time(tmp_path: Path) -> None:
    window = msgspec.structs.replace(EXAMPLE, start=NOON, end=NOON + timedelta(minutes=1))

    async def main() -> list[ReviewWindow]:
        store = open_store(f"sqlite:///{tmp_path / 'kpis.sqlite'}", {}, retention=timedelta(hours=6))
        await store.write_reviews([minute(-7 * 60), minute(-5 * 60)])
        await store.write([window])
        found = await store.read_reviews(DAY)
        await store.close()
        return found

    assert asyncio.run(main()) == [minute(-5 * 60)]


def spoken(rng: random.Random, count: int) -> list[Review]:
    """Return words on boards of two stations over a day, drawn at two rates; many boards are spoken of again."""
    words = []
    for _ in range(count):
        visit = rng.randrange(count // 2)
        rate, machine = rng.choice([0.02, 0.3]), random.Random(visit).choice([*Verdict, Verdict.PASS])
        words.append(
            msgspec.structs.replace(
                EXAMPLES[0],
                visit=visit,
                station=("top", "section")[visit % 2],
                machine=machine,
                human=rng.choice([Verdict.PASS, Verdict.FAIL]),
                sampled=machine is Verdict.PASS and visit % 3 > 0,
                weight=1 / rate,
                reviewed_at=NOON + timedelta(seconds=rng.randrange(86_000)),
            )
        )
    return words


@pytest.mark.influxdb
@pytest.mark.parametrize("seed", range(3))
def test_every_figure_is_equal_over_sqlite_influxdb_and_the_words_themselves(
    tmp_path: Path, influx: InfluxServer, seed: int
) -> None:
    minutes = minutes_of(spoken(random.Random(seed), 300))
    stores = [(f"sqlite:///{tmp_path / 'kpis.sqlite'}", {}), (f"influxdb://{influx.address}", influx.environ)]
    assert len({minute.station for minute in minutes}) == 2
    for station in (None, "top", "section", "unheard of"):
        wanted = [one for one in minutes if station in (None, one.station)]
        asked = ReviewQuery(NOON, NOON + timedelta(days=1), station=station)
        for address in stores:
            found = written_and_read(address, minutes, query=asked)
            assert figures(found) == figures(wanted)
            for step in (timedelta(minutes=1), timedelta(minutes=7), timedelta(hours=1), timedelta(days=1)):
                assert series(found, step) == series(wanted, step)
