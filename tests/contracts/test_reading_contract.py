"""Reading gives the same numbers over every store, and numbers that fit each other."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from servers.influx import InfluxServer
from spc_line import IDENTITY, subgroups, window

from kpi_engine.spc.fold import SpcState, fold_window
from kpi_engine.spc.phase1 import baseline
from kpi_engine.spc.plans import SpcSettings
from kpi_engine.spc.points import ControlPoint
from taktwatch.kpis import METRICS, defects_total, merge, metric
from taktwatch.records import KpiWindow, WindowState
from taktwatch.store import KpiQuery, KpiStore
from taktwatch.store.connect import open_store
from taktwatch.store.reading import (
    By,
    chart_series,
    drifts,
    lots,
    pareto_rows,
    parts,
    read_parts,
    roll_up,
    rolled_yields,
    total,
    totals,
    trend,
)

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
CLASSES = ["open", "short", "mousebite", "spur", "pin hole"]


def drawn(rng: random.Random, minute: int, station: str, product: str, revision: int) -> KpiWindow:
    """Return a window of some minute with counts that fit together."""
    inspected = rng.randrange(60)
    failed = rng.randrange(inspected + 1)
    review = rng.randrange(inspected - failed + 1)
    start = NOON + timedelta(minutes=minute)
    return KpiWindow(
        window="1m",
        start=start,
        end=start + timedelta(minutes=1),
        line="line-1",
        station=station,
        product=product,
        revision=revision,
        state=rng.choice(list(WindowState)),
        accepted=inspected + 2,
        inspected=inspected,
        passed=inspected - failed - review,
        failed=failed,
        review=review,
        skipped=1,
        dead=1,
        first_pass=inspected,
        first_pass_passed=inspected - failed - review,
        opportunities=250 * inspected,
        defects={name: rng.randrange(1, 9) for name in rng.sample(CLASSES, rng.randrange(4))} if failed else {},
        layer_um2=rng.randrange(10**9),
        corroded_um2=rng.randrange(10**6),
        deepest_um=rng.randrange(40),
        measured=inspected,
        extent_sum_bp=sum(extents := [rng.randrange(800) for _ in range(inspected)]),
        extent_squares_bp2=sum(extent * extent for extent in extents),
        depth_sum_bp=sum(depths := [rng.randrange(10_001) for _ in range(inspected)]),
        depth_squares_bp2=sum(depth * depth for depth in depths),
        depth_sum_100nm=sum(depths) // 20,
        depth_squares_100nm2=sum(depth * depth for depth in depths) // 400,
        layer_length_um=rng.randrange(10**6),
        corroded_length_um=rng.randrange(10**4),
        scored=failed,
        score_sum_bp=sum(scores := [rng.randrange(5000, 10_001) for _ in range(failed)]),
        score_squares_bp2=sum(score * score for score in scores),
        latency_sum_us=120_000 * inspected,
        latency_buckets={key: rng.randrange(1, 30) for key in rng.sample(range(60, 80), 3)} if inspected else {},
    )


def day(seed: int) -> list[KpiWindow]:
    """Return some hours of two stations and two products, some minutes corrected, and sums over all stations."""
    rng = random.Random(seed)
    places = [("top", "a"), ("top", "b"), ("section", "c")]
    windows = [
        drawn(rng, minute, station, product, minute + 1)
        for minute in range(200)
        for station, product in places
        if rng.random() < 0.8
    ]
    corrected = [drawn(rng, minute, "top", "a", 1000 + minute) for minute in range(0, 200, 7)]
    return [*windows, *corrected, *(drawn(rng, minute, "*", "*", 1) for minute in range(200))]


def answers(windows: Sequence[KpiWindow]) -> list[object]:
    """Return everything that is shown of these windows."""
    kept_apart: list[tuple[By, ...]] = [(), ("station",), ("product",), ("station", "product")]
    steps = [timedelta(minutes=1), timedelta(minutes=7), timedelta(hours=1), timedelta(days=1)]
    return [
        total(windows),
        *(totals(windows, by) for by in kept_apart),
        *(roll_up(windows, step, by) for step in steps for by in kept_apart),
        pareto_rows(windows),
        *(trend(windows, name, timedelta(minutes=10)) for name in METRICS),
        rolled_yields(windows),
        drifts(windows[20:], timedelta(minutes=30), windows[:20]),
        chart_series(windows, (0, 0), cumulated, name=lambda point: point[0]),
    ]


def cumulated(state: tuple[int, int], window: KpiWindow) -> tuple[tuple[int, int], list[tuple[str, int, int]]]:
    """A chart that adds up the failed and the inspected of every hour."""
    failed, inspected = state[0] + window.failed, state[1] + window.inspected
    return (failed, inspected), [(f"{window.start:%H}", failed, inspected)]


@pytest.mark.influxdb
@pytest.mark.parametrize("seed", range(3))
def test_every_answer_is_equal_over_sqlite_and_influxdb(tmp_path: Path, influx: InfluxServer, seed: int) -> None:
    async def main() -> None:
        stores: list[KpiStore] = [
            open_store(f"sqlite:///{tmp_path / 'kpis.sqlite'}", {}),
            open_store(f"influxdb://{influx.address}", influx.environ),
        ]
        queries = [
            KpiQuery("1m", NOON, NOON + timedelta(hours=4)),
            KpiQuery("1m", NOON + timedelta(minutes=13), NOON + timedelta(minutes=99), station="top"),
            KpiQuery("1m", NOON, NOON + timedelta(hours=4), line="line-1", product="c"),
            KpiQuery("1m", NOON, NOON + timedelta(hours=4), station="unheard of"),
        ]
        told = []
        for store in stores:
            await store.prepare()
            await store.write(day(seed))
            told.append([answers(await read_parts(store, query)) for query in queries])
            await store.close()
        sqlite, influxdb = told
        assert sqlite == influxdb
        assert sqlite[0][0] is not None

    asyncio.run(main())


@pytest.mark.influxdb
def test_the_lines_own_control_chart_is_equal_over_sqlite_and_influxdb(tmp_path: Path, influx: InfluxServer) -> None:
    """The chart is handed in: whoever shows it folds the windows that the store gives."""
    charts = SpcSettings(limits=((IDENTITY, baseline(subgroups([5, 9, 2, 4, 6, 3, 7, 5, 1, 8] * 2), IDENTITY)),))
    windows = [window(minute, failed=1 if minute < 60 else 9) for minute in range(120)]

    async def main() -> None:
        told = []
        for url, environ in (
            (f"sqlite:///{tmp_path / 'kpis.sqlite'}", {}),
            (f"influxdb://{influx.address}", influx.environ),
        ):
            store = open_store(url, environ)
            await store.prepare()
            await store.write(windows)
            query = KpiQuery("1m", windows[0].start, windows[-1].end)
            chart = partial(fold_window, settings=charts)
            points = chart_series(await read_parts(store, query), SpcState(), chart, name=point_name)
            told.append(points)
            await store.close()
        assert told[0] == told[1]
        assert [bool(point.signals) for point in told[0]][::12] == [False, True]
        assert len(told[0]) == 24

    asyncio.run(main())


def point_name(point: ControlPoint) -> tuple[str, str, datetime]:
    """What a point keeps when it is charted again."""
    return point.chart, point.panel, point.start


def lot_hours(lot: str, *hours: int) -> list[KpiWindow]:
    """The hours of one lot, whose sums over the line lie beside it."""
    made = [
        msgspec.structs.replace(drawn(random.Random(f"{lot}{hour}"), 60 * hour, "top", "a", 1), window="lot", lot=lot)
        for hour in hours
    ]
    return [*made, *(msgspec.structs.replace(one, station="*") for one in made)]


@pytest.mark.parametrize("backend", ["sqlite", pytest.param("influxdb", marks=pytest.mark.influxdb)])
def test_a_lot_is_one_row_however_many_hours_it_ran(
    request: pytest.FixtureRequest, tmp_path: Path, backend: str
) -> None:
    environ: Mapping[str, str] = {}
    address = f"sqlite:///{tmp_path / 'kpis.sqlite'}"
    if backend == "influxdb":
        influx: InfluxServer = request.getfixturevalue("influx")
        address, environ = f"influxdb://{influx.address}", influx.environ
    windows = [*lot_hours("L2", 0), *lot_hours("L1", 0, 1, 2), *lot_hours("L3", 2), *lot_hours("L1", 30)]

    async def main() -> list[KpiWindow]:
        store = open_store(address, environ)
        await store.prepare()
        await store.write(windows)
        found = await read_parts(store, KpiQuery("lot", NOON, NOON + timedelta(hours=24)))
        await store.close()
        return found

    rows = lots(asyncio.run(main()))
    assert [(row.window.lot, row.windows) for row in rows] == [("L1", 3), ("L2", 1), ("L3", 1)]
    whole = merge(parts(lot_hours("L1", 0, 1, 2)))
    assert whole is not None
    assert rows[0].window == whole
    assert (whole.start, whole.lot) == (NOON, "L1")


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), step=st.integers(1, 300))
def test_steps_stations_and_the_whole_fit_each_other(seed: int, step: int) -> None:
    windows = parts(day(seed))
    whole = total(windows)
    assert whole is not None
    for rolled in (roll_up(windows, timedelta(minutes=step)), totals(windows), totals(windows, ("product",))):
        again = merge(one.window for one in rolled)
        assert again is not None
        assert sum(one.windows for one in rolled) == len(windows)
        for name in METRICS.keys() - {"throughput_per_hour", "takt_s"}:
            assert metric(again, name) == metric(whole.window, name)
        assert again.defects == whole.window.defects
    rows = pareto_rows(windows)
    assert sum(row.count for row in rows) == defects_total(whole.window)
    assert [row.count for row in rows] == sorted((row.count for row in rows), reverse=True)
    assert rows[-1].cumulative == 1.0


def test_a_point_that_comes_again_replaces_the_earlier_one() -> None:
    windows = [window for window in parts(day(1)) if window.station == "top"]
    points = chart_series(windows, (0, 0), cumulated, name=lambda point: point[0])
    assert [name for name, _, _ in points] == ["12", "13", "14", "15"]
    whole = total(windows)
    assert whole is not None
    assert points[-1][1:] == (whole.window.failed, whole.window.inspected)


def test_no_windows_give_no_numbers() -> None:
    assert (total([]), totals([]), roll_up([], timedelta(hours=1)), pareto_rows([])) == (None, [], [], [])
