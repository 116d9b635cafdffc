"""Points of control charts in every store: the same contract on each backend."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from taktwatch.errors import BadRecord
from taktwatch.records import ControlPoint
from taktwatch.store import SpcQuery
from taktwatch.store.connect import open_store

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
DAY = SpcQuery(NOON - timedelta(days=1), NOON + timedelta(days=1))

Address = tuple[str, Mapping[str, str]]


@pytest.fixture(params=["sqlite", pytest.param("influxdb", marks=pytest.mark.influxdb)])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Address:
    """Where a fresh store lies, and the environment that opens it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'kpis.sqlite'}", {}
    influx = request.getfixturevalue("influx")
    return f"influxdb://{influx.address}", influx.environ


def point(index: int = 0, **changes: Any) -> ControlPoint:
    full = ControlPoint(
        chart="laney_ewma",
        line="line-1",
        station="top",
        product="board",
        metric="defect_rate",
        start=NOON + timedelta(minutes=5 * index),
        end=NOON + timedelta(minutes=5 * index + 5),
        amount=14,
        n=510,
        value=0.1 + 0.2,
        centre=1 / 3,
        lower=0.0,
        upper=0.5000000000000001,
        sigma_z=1.73,
        squares=4711,
        signals=("1 point beyond the control limits", 'say "so"\\'),
        baseline_id="ab" * 32,
        revision=17,
    )
    return msgspec.structs.replace(full, **changes)


LEARNING = {"chart": "run", "centre": None, "lower": None, "upper": None, "signals": (), "baseline_id": ""}


def written_and_read(
    address: Address, *batches: list[ControlPoint], query: SpcQuery = DAY, retention: timedelta | None = None
) -> list[ControlPoint]:
    async def main() -> list[ControlPoint]:
        store = open_store(*address, retention=retention)
        try:
            await store.prepare()
            for batch in batches:
                await store.write_points(batch)
            return await store.read_points(query)
        finally:
            await store.close()

    return asyncio.run(main())


def test_points_come_back_equal_to_the_last_digit_and_in_order(address: Address) -> None:
    learning = point(0, **LEARNING, collected=12, wanted=25)
    points = [point(2), point(1, panel="upper"), learning, point(1, panel="lower"), point(1, station="bottom")]
    assert written_and_read(address, points) == [learning, points[4], points[3], points[1], points[0]]


def test_writing_points_again_changes_nothing(address: Address) -> None:
    assert written_and_read(address, [point()], [point()]) == [point()]


def test_a_correction_replaces_every_field_even_those_it_takes_away(address: Address) -> None:
    emptied = point(amount=0, n=0, squares=0, value=None, centre=None, lower=None, upper=None, signals=(), revision=18)
    assert written_and_read(address, [point()], [emptied]) == [emptied]


def test_points_are_found_by_their_place_and_half_open_span(address: Address) -> None:
    points = [point(0), point(1), point(2), point(1, product="other"), point(1, metric="review_rate")]
    query = SpcQuery(NOON + timedelta(minutes=5), NOON + timedelta(minutes=10), "line-1", "top", "board", "defect_rate")
    assert written_and_read(address, points, query=query) == [point(1)]
    assert written_and_read(address, query=SpcQuery(NOON, NOON)) == []


@pytest.mark.parametrize("name", ["two words", "a,b=c", 'x" or true', "", "100%", "line\nbreak"])
def test_points_of_odd_names_find_themselves_alone(address: Address, name: str) -> None:
    odd = point(station=name, product=name)
    query = SpcQuery(DAY.since, DAY.until, station=name, product=name)
    assert written_and_read(address, [odd, point()], query=query) == [odd]


def test_a_point_the_store_cannot_hold_is_a_bad_record_that_names_it(address: Address) -> None:
    with pytest.raises(BadRecord, match="line-1/top"):
        written_and_read(address, [point(revision=2**63)])


def test_the_embedded_store_keeps_the_highest_revision_of_a_point(tmp_path: Path) -> None:
    address: Address = (f"sqlite:///{tmp_path / 'kpis.sqlite'}", {})
    assert written_and_read(address, [point(revision=20)], [point(revision=19)]) == [point(revision=20)]
