"""Every panel's query against a real InfluxDB that taktwatch's own store wrote: the same numbers come back."""

import asyncio
import csv
import io
import json
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from servers.influx import InfluxServer

from taktwatch import kpis
from taktwatch.records import ControlPoint, KpiWindow, MarkState, Review, Verdict, WindowState
from taktwatch.review_figures import figures
from taktwatch.reviews import EXAMPLES, minutes_of
from taktwatch.store.connect import open_store
from taktwatch.store.reading import drifts

BOARDS = Path(__file__).parents[3] / "dashboards" / "grafana" / "dashboards"
LINE = json.loads((BOARDS / "taktwatch-line.json").read_text(encoding="utf-8"))
START = datetime(2026, 3, 3, 12, tzinfo=UTC)
Row = dict[str, str]


def window(minute: int, station: str, product: str, **sums: Any) -> KpiWindow:
    start = START + timedelta(minutes=minute)
    return KpiWindow(
        window="1m",
        start=start,
        end=start + timedelta(minutes=1),
        line="line-1",
        station=station,
        product=product,
        revision=minute,
        state=WindowState.CLOSED,
        **sums,
    )


def scores(scored: int, mean: float) -> dict[str, int]:
    """Return the sums of so many detections that all have one score."""
    bp = round(mean * 10_000)
    return {"scored": scored, "score_sum_bp": scored * bp, "score_squares_bp2": scored * bp * bp}


def board(minute: int, failed: int, product: str = "demo-board") -> KpiWindow:
    return window(
        minute,
        "top",
        product,
        accepted=23,
        inspected=20,
        passed=19 - failed,
        failed=failed,
        review=1,
        skipped=1,
        dead=1,
        missing=1,
        first_pass=18,
        first_pass_passed=18 - failed,
        opportunities=5000,
        defects={"open": failed, "spurious copper": 1} if failed else {},
        latency_sum_us=2_000_000,
        latency_buckets={66: 15, 70: 5},
        **scores(2 * failed, 0.9),
    )


def section(minute: int) -> KpiWindow:
    state = MarkState.LOST if minute == 5 else MarkState.OPEN
    if state is MarkState.LOST:
        return window(minute, "section", "demo-section", station_state=state)
    sums = {"accepted": 10, "inspected": 10, "passed": 10, "first_pass": 10, "first_pass_passed": 10}
    copper = {"layer_um2": 1_000_000, "corroded_um2": 10_000 * minute}
    return window(minute, "section", "demo-section", **sums, **copper, opportunities=40, latency_buckets={68: 10})


DAYS_BEFORE = [window(-60 * 24 * day, "top", "demo-board", inspected=20, **scores(50, 0.95)) for day in (1, 2, 9)]
WINDOWS = [
    *(board(minute, failed) for minute, failed in enumerate([0, 2, 5, 0, 1])),
    board(4, 3, product="other board"),
    *(section(minute) for minute in range(6)),
]
TOP = [each for each in WINDOWS if each.station == "top"]


def point(index: int, value: float, *signals: str) -> ControlPoint:
    learning = index == 0
    return ControlPoint(
        chart="run" if learning else "laney_ewma",
        line="line-1",
        station="top",
        product="demo-board",
        metric="defect_rate",
        start=START + timedelta(minutes=5 * index),
        end=START + timedelta(minutes=5 * index + 5),
        amount=5,
        n=500,
        value=value,
        centre=None if learning else 0.01,
        lower=None if learning else 0.005,
        upper=None if learning else 0.015,
        signals=signals,
        revision=index,
    )


POINTS = [point(0, 0.011), point(1, 0.012), point(2, 0.021, "1 point beyond the control limits"), point(3, 0.009)]


def word(board: int, machine: Verdict, human: Verdict, rate: float = 0.02, minute: int = 0) -> Review:
    return msgspec.structs.replace(
        EXAMPLES[0],
        visit=board,
        machine=machine,
        human=human,
        sampled=machine is Verdict.PASS,
        weight=1 / rate,
        reviewed_at=START + timedelta(minutes=minute),
    )


FAIL, PASS = Verdict.FAIL, Verdict.PASS
WORDS = [
    *(word(board, FAIL, PASS if board < 3 else FAIL, minute=board) for board in range(20)),
    *(word(board, PASS, FAIL if board == 31 else PASS, rate=0.02 if board < 40 else 0.3) for board in range(30, 70)),
    word(0, FAIL, FAIL, minute=-30),  # a second thought: in the hour before
]
REVIEWS = minutes_of(WORDS)


class Influx:
    """Answers a panel's query as Grafana would send it."""

    def __init__(self, server: InfluxServer, bucket: str) -> None:
        self.server = server
        self.bucket = bucket

    def ask(self, flux: str, every: str = "1m", station: str = ".*") -> list[Row]:
        filled = {
            "v.defaultBucket": f'"{self.bucket}"',
            "v.timeRangeStart": "2026-03-03T11:00:00Z",
            "v.timeRangeStop": "2026-03-03T13:00:00Z",
            "v.windowPeriod": every,
            "${line}": ".*",
            "${station}": station,
            "${product}": ".*",
        }
        for macro, text in filled.items():
            flux = flux.replace(macro, text)
        assert "${" not in flux
        request = urllib.request.Request(
            f"http://{self.server.address}/api/v2/query?org={self.server.org}",
            flux.encode(),
            {
                "Authorization": f"Token {self.server.token}",
                "Content-Type": "application/vnd.flux",
                "Accept": "application/csv",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback
                text = answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{error.read().decode()}\n{flux}") from None
        return [row for table in text.split("\r\n\r\n") for row in csv.DictReader(io.StringIO(table.strip()))]


@pytest.fixture(scope="module")
def line(influx: InfluxServer) -> Influx:
    """A bucket with half an hour of two stations."""
    environ = influx.environ

    async def write() -> None:
        store = open_store(f"influxdb://{influx.address}", environ)
        try:
            await store.prepare()
            await store.write([*DAYS_BEFORE, *WINDOWS])
            await store.write_points(POINTS)
            await store.write_reviews(REVIEWS)
        finally:
            await store.close()

    asyncio.run(write())
    return Influx(influx, environ["INFLUX_BUCKET"])


def panel(title: str) -> list[str]:
    [found] = [each for each in LINE["panels"] if each["title"] == title]
    return [target["query"] for target in found["targets"]]


def number(line: Influx, title: str) -> float:
    [flux] = panel(title)
    [row] = line.ask(flux)
    return float(row["_value"])


@pytest.mark.influxdb
@pytest.mark.parametrize("every", ["1m", "5m"])
@pytest.mark.parametrize("title", [each["title"] for each in LINE["panels"]])
def test_every_panel_of_the_line_gets_rows(line: Influx, title: str, every: str) -> None:
    for flux in panel(title):
        assert line.ask(flux, every), flux


@pytest.mark.influxdb
def test_the_totals_are_those_of_the_same_windows_everywhere_else(line: Influx) -> None:
    merged = kpis.merge(WINDOWS)
    assert merged is not None
    assert number(line, "Defect rate") == kpis.defect_rate(merged).value
    assert number(line, "First-pass yield") == kpis.first_pass_yield(merged).value
    assert number(line, "Inspected") == merged.inspected
    assert number(line, "Failed") == merged.failed
    assert number(line, "To be looked at") == merged.review
    assert number(line, "Missing frames") == merged.missing


@pytest.mark.influxdb
def test_rates_over_longer_times_are_rates_over_all_boards_not_means_of_rates(line: Influx) -> None:
    merged = kpis.merge(TOP)
    assert merged is not None
    for title, wanted in (
        ("Defect rate by station", kpis.defect_rate(merged).value),
        ("First-pass yield by station", kpis.first_pass_yield(merged).value),
        ("Defects per million opportunities", kpis.dpmo(merged).value),
    ):
        [flux] = panel(title)
        [row] = line.ask(flux, every="1h", station="top")
        assert float(row["_value"]) == pytest.approx(wanted), title
        assert (row["line"], row["station"]) == ("line-1", "top")


@pytest.mark.influxdb
def test_each_minute_of_a_station_is_one_point_over_its_products(line: Influx) -> None:
    [flux] = panel("Defect rate by station")
    points = {row["_time"][11:16]: float(row["_value"]) for row in line.ask(flux, station="top")}
    assert points == {"12:00": 0.0, "12:01": 0.1, "12:02": 0.25, "12:03": 0.0, "12:04": 0.1}


@pytest.mark.influxdb
def test_the_pareto_counts_each_class(line: Influx) -> None:
    [flux] = panel("Defects by class")
    merged = kpis.merge(WINDOWS)
    assert merged is not None
    assert [(row["class"], int(row["defects"])) for row in line.ask(flux)] == kpis.pareto(merged)


@pytest.mark.influxdb
def test_a_station_without_defects_has_zero_per_million_not_nothing(line: Influx) -> None:
    [flux] = panel("Defects per million opportunities")
    assert {float(row["_value"]) for row in line.ask(flux, station="section")} == {0.0}


@pytest.mark.influxdb
def test_a_lost_station_is_shown_as_lost(line: Influx) -> None:
    [flux] = panel("Stations")
    assert {row["station"]: row["state"] for row in line.ask(flux)} == {"top": "open", "section": "lost"}


@pytest.mark.influxdb
def test_latency_is_the_worst_minutes(line: Influx) -> None:
    [flux] = panel("Capture to verdict, p95 of the worst minute")
    [row] = line.ask(flux, every="1h", station="top")
    values = [value for each in TOP if (value := kpis.metric(each, "latency_p95_s").value) is not None]
    assert float(row["_value"]) == pytest.approx(max(values))


@pytest.mark.influxdb
def test_what_a_correction_took_out_of_a_minute_is_shown_nowhere(influx: InfluxServer) -> None:
    """A board moves to the minute before: its latency and its defects with it, whoever writes, old process or new."""
    environ = influx.environ
    one = window(1, "top", "demo-board", inspected=1, failed=1, latency_buckets={66: 1}, defects={"spur": 1})
    left = window(1, "top", "demo-board")
    come = window(0, "top", "demo-board", inspected=1, failed=1, latency_buckets={66: 1}, defects={"spur": 1})

    async def write(windows: list[KpiWindow]) -> None:
        store = open_store(f"influxdb://{influx.address}", environ)
        try:
            await store.prepare()
            await store.write(windows)
        finally:
            await store.close()

    asyncio.run(write([one]))
    asyncio.run(write([come, left]))
    there = Influx(influx, environ["INFLUX_BUCKET"])
    [flux] = panel("Capture to verdict, p95 of the worst minute")
    assert [row["_time"][11:16] for row in there.ask(flux)] == ["12:00"]
    [flux] = panel("Defects by class")
    assert [(row["class"], row["defects"]) for row in there.ask(flux)] == [("spur", "1")]


@pytest.mark.influxdb
@pytest.mark.parametrize(("every", "points"), [("1m", 3), ("1h", 1)])
def test_score_drift_compares_each_product_with_its_own_week_before(line: Influx, every: str, points: int) -> None:
    [flux] = panel("Score drift")
    rows = line.ask(flux, every=every)
    assert {(row["station"], row["product"]) for row in rows} == {("top", "demo-board")}  # others had no scores then
    [before] = drifts(TOP, timedelta(days=1), DAYS_BEFORE)[:1]
    assert [float(row["_value"]) for row in rows] == pytest.approx([before.points[0].rate.value] * points)


@pytest.mark.influxdb
def test_a_control_chart_shows_values_between_limits_and_marks_signals(line: Influx) -> None:
    values, signals = panel("Control chart")
    lines: dict[str, list[float]] = {}
    for row in line.ask(values):
        lines.setdefault(row["key"], []).append(float(row["_value"]))
    assert lines == {
        "top demo-board defect_rate run value": [0.011],
        "top demo-board defect_rate laney_ewma value": [0.012, 0.021, 0.009],
        "top demo-board defect_rate laney_ewma centre": [0.01] * 3,
        "top demo-board defect_rate laney_ewma lower": [0.005] * 3,
        "top demo-board defect_rate laney_ewma upper": [0.015] * 3,
    }
    assert [(row["key"], float(row["_value"])) for row in line.ask(signals)] == [
        ("top demo-board defect_rate laney_ewma signal", 0.021)
    ]


@pytest.mark.influxdb
def test_what_people_say_is_shown_with_n_and_interval_as_everywhere_else(line: Influx) -> None:
    [flux] = panel("What people say of the verdicts")
    rows = line.ask(flux)
    [shown_as] = [each for each in LINE["panels"] if each["title"] == "What people say of the verdicts"]
    [ordered] = shown_as["transformations"]
    assert set(ordered["options"]["indexByName"]) == rows[0].keys() - {"", "result", "table"}
    shown = {row["figure"]: row for row in rows}
    told = figures(REVIEWS)
    for name, rate in (("false calls", told.false_call_rate), ("escapes", told.escape_rate)):
        values = [float(shown[name][column]) for column in ("rate", "low", "high")]
        assert values == pytest.approx([rate.value, rate.low, rate.high]), name
        assert int(shown[name]["n"]) == rate.n
    assert told.effective_n < told.escape_rate.n == 40
    assert line.ask(flux, station="section") == []


@pytest.mark.influxdb
def test_false_calls_and_escapes_are_shown_by_the_hour_of_the_last_word(line: Influx) -> None:
    [flux] = panel("False calls and escapes")
    lines: dict[str, list[tuple[str, float]]] = {}
    for row in line.ask(flux):
        lines.setdefault(row["key"], []).append((row["_time"][11:16], float(row["_value"])))
    hours = [figures(one for one in REVIEWS if one.start.hour == hour) for hour in (11, 12)]
    false_calls = [hour.false_call_rate for hour in hours]
    escapes = hours[1].escape_rate
    assert [time for time, _ in lines["top false calls"]] == ["11:00", "12:00"]
    for name, found in (("", "value"), (" low", "low"), (" high", "high")):
        assert [value for _, value in lines[f"top false calls{name}"]] == pytest.approx(
            [getattr(rate, found) for rate in false_calls]
        )
        assert lines[f"top escapes{name}"] == [("12:00", pytest.approx(getattr(escapes, found)))]
    assert {row["_time"][11:16] for row in line.ask(flux, every="24h")} == {"11:00"}  # one step over all
