"""What every KPI store promises, checked on each backend."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers.influx import InfluxServer

from taktwatch.errors import BackendUnavailable, BadRecord, ConfigError
from taktwatch.kpis import METRICS
from taktwatch.records import KpiWindow, MarkState, WindowState
from taktwatch.store import KpiQuery, KpiStore
from taktwatch.store.connect import open_store
from taktwatch.store.reading import pareto_rows, read_parts, trend

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
DAY = KpiQuery("1m", NOON - timedelta(days=1), NOON + timedelta(days=1))

Open = Callable[[], KpiStore]


def window(minute: int = 0, **changes: Any) -> KpiWindow:
    full = KpiWindow(
        window="1m",
        start=NOON + timedelta(minutes=minute),
        end=NOON + timedelta(minutes=minute + 1),
        line="line-1",
        station="top",
        product="board",
        revision=17,
        state=WindowState.CLOSED,
        accepted=12,
        inspected=10,
        passed=7,
        failed=2,
        review=1,
        skipped=1,
        dead=1,
        missing=0,
        late_or_repeat=3,
        first_pass=9,
        first_pass_passed=6,
        opportunities=2500,
        defects={"open": 2, "spurious_copper": 1},
        layer_um2=123_456_789,
        corroded_um2=4321,
        deepest_um=12,
        surface_corrosion=1,
        measured=10,
        extent_sum_bp=1234,
        extent_squares_bp2=456_789,
        depth_sum_bp=4321,
        depth_squares_bp2=2_345_678,
        depth_sum_100nm=777,
        depth_squares_100nm2=88_888,
        latency_sum_us=1_234_567,
        latency_buckets={66: 9, 80: 1},
        marks=60,
        station_state=MarkState.LOST,
    )
    return msgspec.structs.replace(full, **changes)


@pytest.fixture(params=["sqlite", pytest.param("influxdb", marks=pytest.mark.influxdb)])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Mapping[str, str]]:
    """Where a fresh store lies, and the environment that opens it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'kpis.sqlite'}", {}
    influx = request.getfixturevalue("influx")
    return f"influxdb://{influx.address}", influx.environ


@pytest.fixture
def opened(address: tuple[str, Mapping[str, str]]) -> Open:
    return lambda: open_store(*address)


def with_store(open_it: Open, work: Callable[[KpiStore], Coroutine[Any, Any, Any]]) -> Any:
    """Run work on a prepared store and close it."""

    async def main() -> Any:
        store = open_it()
        try:
            await store.prepare()
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(main())


def written_and_read(open_it: Open, *batches: list[KpiWindow], query: KpiQuery = DAY) -> list[KpiWindow]:
    """Write batches one after the other and return what a query finds."""

    async def work(store: KpiStore) -> list[KpiWindow]:
        for batch in batches:
            await store.write(batch)
        return await store.read(query)

    found: list[KpiWindow] = with_store(open_it, work)
    return found


def test_what_is_written_comes_back_equal_and_in_order(opened: Open) -> None:
    idle = KpiWindow(
        window="1m",
        start=NOON,
        end=NOON + timedelta(minutes=1),
        line="line-1",
        station="section",
        product="section",
        revision=0,
        state=WindowState.OPEN,
    )
    windows = [window(2), window(0), idle, window(1, station="bottom"), window(1)]
    assert written_and_read(opened, windows) == [idle, window(0), window(1, station="bottom"), window(1), window(2)]


def test_what_is_written_is_there_for_another_process(opened: Open) -> None:
    assert written_and_read(opened, [window()]) == [window()]
    assert written_and_read(opened) == [window()]


def test_writing_again_changes_nothing(opened: Open) -> None:
    assert written_and_read(opened, [window()], [window()], [window()]) == [window()]


def test_many_may_prepare_a_store_at_once(opened: Open) -> None:
    async def main() -> list[KpiWindow]:
        stores = [opened() for _ in range(8)]
        try:
            await asyncio.gather(*(store.prepare() for store in stores))
            await stores[0].write([window()])
            return await stores[-1].read(DAY)
        finally:
            for store in stores:
                await store.close()

    assert asyncio.run(main()) == [window()]


def test_preparing_twice_keeps_what_was_written(opened: Open) -> None:
    async def work(store: KpiStore) -> list[KpiWindow]:
        await store.write([window()])
        await store.prepare()
        return await store.read(DAY)

    assert with_store(opened, work) == [window()]


def test_a_higher_revision_replaces_every_field(opened: Open) -> None:
    corrected = KpiWindow(
        window="1m",
        start=NOON,
        end=NOON + timedelta(minutes=1),
        line="line-1",
        station="top",
        product="board",
        revision=18,
        state=WindowState.FINAL,
        accepted=13,
        inspected=13,
        passed=13,
        defects={"open": 2, "spurious_copper": 5},
    )
    assert written_and_read(opened, [window()], [corrected]) == [corrected]


def test_a_board_that_moves_to_the_minute_before_leaves_nothing_behind(opened: Open) -> None:
    """Its picture of a moment earlier came late: the later minute loses its one board, figures and defects with it."""
    one = window(1, accepted=2, inspected=1, passed=0, failed=1, review=0, latency_buckets={66: 1}, defects={"spur": 1})
    left = window(
        1, revision=18, accepted=2, inspected=0, passed=0, failed=0, review=0, opportunities=0, first_pass=0,
        first_pass_passed=0, latency_sum_us=0, latency_buckets={}, defects={}, layer_um2=0, corroded_um2=0,
    )  # fmt: skip
    come = msgspec.structs.replace(one, start=NOON, end=NOON + timedelta(minutes=1), revision=18)
    assert written_and_read(opened, [one], [come, left]) == [come, left]

    async def shown(store: KpiStore) -> tuple[list[float | None], list[tuple[str, int]]]:
        windows = await read_parts(store, DAY)
        points = [trend([part], name, timedelta(minutes=1)) for part in windows for name in METRICS]
        values = [point.rate.value for [point] in points]
        return values, [(row.label, row.count) for row in pareto_rows(windows)]

    values, classes = with_store(opened, shown)
    assert classes == [("spur", 1)]
    assert values == [METRICS[name](part).value for part in (come, left) for name in METRICS]


def test_of_one_batch_the_last_revision_stays(opened: Open) -> None:
    first, second = window(revision=17, state=WindowState.OPEN), window(revision=17)
    assert written_and_read(opened, [first, second]) == [second]


def test_a_query_finds_what_starts_in_its_half_open_span(opened: Open) -> None:
    windows = [window(minute) for minute in range(4)]
    query = KpiQuery("1m", NOON + timedelta(minutes=1), NOON + timedelta(minutes=3))
    assert written_and_read(opened, windows, query=query) == windows[1:3]
    assert written_and_read(opened, query=KpiQuery("1m", NOON, NOON)) == []


def test_a_query_filters_by_kind_line_station_and_product(opened: Open) -> None:
    windows = [
        window(),
        window(line="line-2"),
        window(station="bottom"),
        window(product="other"),
        window(window="1h"),
    ]

    async def work(store: KpiStore) -> list[list[KpiWindow]]:
        await store.write(windows)
        return [
            await store.read(msgspec_query)
            for msgspec_query in (
                KpiQuery("1h", DAY.since, DAY.until),
                KpiQuery("1m", DAY.since, DAY.until, line="line-2"),
                KpiQuery("1m", DAY.since, DAY.until, station="bottom"),
                KpiQuery("1m", DAY.since, DAY.until, line="line-1", station="top", product="other"),
                KpiQuery("1m", DAY.since, DAY.until, product="unheard of"),
            )
        ]

    assert with_store(opened, work) == [[windows[4]], [windows[1]], [windows[2]], [windows[3]], []]


NAMES = [
    "two words",
    "a,b=c",
    'say "hi"',
    "C:\\boards\\",
    "100%",
    "%41",
    "Lötstopp 板",
    "line\nbreak\r\ttab",
    "${evil}",
    'x" or true or r.station == "',
    "",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_come_back_as_they_were_and_find_themselves_alone(opened: Open, name: str) -> None:
    odd = window(line=name, station=name, product=name, defects={name: 3})
    query = KpiQuery("1m", DAY.since, DAY.until, line=name, station=name, product=name)
    assert written_and_read(opened, [odd, window()], query=query) == [odd]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    counts=st.lists(st.integers(0, 2**53), min_size=6, max_size=6),
)
def test_any_name_and_any_count_come_back(opened: Open, name: str, counts: list[int]) -> None:
    odd = window(
        product=name,
        inspected=counts[0],
        failed=min(counts[0], counts[1]),
        opportunities=counts[2],
        layer_um2=counts[3],
        latency_buckets={counts[4] % 200: counts[4]},
        defects={name: counts[5]},
        revision=2**53,
    )
    assert written_and_read(opened, [odd], query=KpiQuery("1m", DAY.since, DAY.until, product=name)) == [odd]


def test_a_number_the_store_cannot_hold_is_a_bad_record_that_names_the_window(opened: Open) -> None:
    with pytest.raises(BadRecord, match="line-1/top"):
        written_and_read(opened, [window(revision=2**63)])


def test_figures_without_value_are_no_reason_to_refuse_a_window(opened: Open) -> None:
    empty = window(inspected=0, passed=0, failed=0, review=0, opportunities=0, layer_um2=0, latency_buckets={})
    assert written_and_read(opened, [empty]) == [empty]


def test_a_thousand_windows_are_written_at_once(opened: Open) -> None:
    windows = [window(minute) for minute in range(1100)]
    assert written_and_read(opened, windows) == windows


def test_an_address_of_no_backend_is_refused() -> None:
    with pytest.raises(ConfigError, match="postgres://db"):
        open_store("postgres://db", {})


def test_influxdb_without_its_variables_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="INFLUX_BUCKET, INFLUX_TOKEN"):
        open_store("influxdb://localhost:8086", {"INFLUX_ORG": "o"})


@pytest.mark.influxdb
def test_a_stopped_server_is_unavailable_and_works_again_after_a_restart(own_influx: InfluxServer) -> None:
    async def main() -> None:
        store = open_store(f"influxdb://{own_influx.address}", own_influx.environ)
        await store.prepare()
        await store.write([window(0)])
        await asyncio.to_thread(own_influx.kill)
        for refused in (store.write([window(1)]), store.read(DAY), store.prepare()):
            with pytest.raises(BackendUnavailable, match=own_influx.address):
                await refused
        await asyncio.to_thread(own_influx.start)
        await store.write([window(1)])
        assert await store.read(DAY) == [window(0), window(1)]
        await store.close()

    asyncio.run(main())


@pytest.mark.influxdb
def test_a_wrong_token_names_its_variable(influx: InfluxServer) -> None:
    async def main() -> None:
        store = open_store(f"influxdb://{influx.address}", {**influx.environ, "INFLUX_TOKEN": "wrong"})
        for refused in (store.prepare(), store.write([window()]), store.read(DAY)):
            with pytest.raises(ConfigError, match="INFLUX_TOKEN"):
                await refused
        await store.close()

    asyncio.run(main())


@pytest.mark.influxdb
def test_a_missing_bucket_names_its_variable(influx: InfluxServer) -> None:
    async def main() -> None:
        store = open_store(f"influxdb://{influx.address}", influx.environ)
        for refused in (store.write([window()]), store.read(DAY)):
            with pytest.raises(ConfigError, match="INFLUX_BUCKET"):
                await refused
        await store.close()

    asyncio.run(main())


@pytest.mark.influxdb
def test_what_retention_refuses_is_a_bad_record(influx: InfluxServer) -> None:
    """A point older than the bucket keeps is answered with 422; the sink must be able to put it aside."""

    async def main() -> None:
        store = open_store(f"influxdb://{influx.address}", influx.environ, retention=timedelta(hours=1))
        await store.prepare()
        with pytest.raises(BadRecord, match="422"):
            await store.write([window(-60 * 24 * 365)])
        await store.close()

    asyncio.run(main())


def test_the_embedded_store_keeps_the_highest_revision_whoever_writes_last(tmp_path: Path) -> None:
    def opened() -> KpiStore:
        return open_store(f"sqlite:///{tmp_path / 'kpis.sqlite'}", {})

    newest = window(revision=20, inspected=20)
    assert written_and_read(opened, [newest], [window(revision=19)]) == [newest]
    final = window(revision=20, state=WindowState.FINAL)
    assert written_and_read(opened, [final], [window(revision=20)]) == [final]


def test_the_embedded_store_forgets_what_retention_does_not_keep(tmp_path: Path) -> None:
    def opened() -> KpiStore:
        return open_store(f"sqlite:///{tmp_path / 'kpis.sqlite'}", {}, retention=timedelta(hours=6))

    assert written_and_read(opened, [window(-60 * 7), window(0)]) == [window(0)]


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "kpis.sqlite").write_bytes(b"certainly no database, whatever its name says" * 100)
    with pytest.raises(ConfigError, match=r"kpis\.sqlite"):
        written_and_read(lambda: open_store(f"sqlite:///{tmp_path / 'kpis.sqlite'}", {}))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BackendUnavailable, match="file"):
        written_and_read(lambda: open_store(f"sqlite:///{tmp_path / 'file' / 'kpis.sqlite'}", {}))


def test_lots_of_the_same_hour_are_told_apart_and_shifts_keep_their_name(opened: Open) -> None:
    first, second = (window(window="lot", lot=lot) for lot in ("L1", "L 2,=%"))
    whole = window(window="lot", lot="L1", station="*", product="*")
    shift = window(window="shift", shift="früh", product="*")
    nameless = window(window="lot", lot="")
    plain = window()

    async def work(store: KpiStore) -> list[list[KpiWindow]]:
        await store.write([first, second, whole, shift, nameless, plain])
        await store.write([first])
        return [
            await store.read(query)
            for query in (
                KpiQuery("lot", DAY.since, DAY.until, product="board"),
                KpiQuery("lot", DAY.since, DAY.until, lot="L1"),
                KpiQuery("lot", DAY.since, DAY.until, product="board", lot="L 2,=%"),
                KpiQuery("lot", DAY.since, DAY.until, lot=""),
                KpiQuery("shift", DAY.since, DAY.until),
                DAY,
            )
        ]

    lots, one, other, empty, shifts, minutes = with_store(opened, work)
    assert lots == [nameless, second, first]
    assert one == [whole, first]
    assert (other, empty, shifts, minutes) == ([second], [nameless], [shift], [plain])
