"""Hours, shifts and lots, of stations and of the whole line."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from timelines import Timeline, at

from kpi_engine.shifts import Calendar
from kpi_engine.sums import MINUTE_US
from kpi_engine.windows import Rules
from taktwatch.config import LineConfig, ShiftConfig, parse_config
from taktwatch.errors import ConfigError
from taktwatch.instants import instant, microseconds
from taktwatch.records import MarkState, Verdict, WindowState

THREE_SHIFTS = {
    "early": ShiftConfig(start="06:00", end="14:00"),
    "late": ShiftConfig(start="14:00", end="22:00"),
    "night": ShiftConfig(start="22:00", end="06:00"),
}
BERLIN = Calendar("Europe/Berlin", THREE_SHIFTS)


def minute(time: datetime) -> int:
    return microseconds(time) // MINUTE_US


def shift_at(calendar: Calendar, time: datetime) -> tuple[str, datetime, timedelta] | None:
    found = calendar.at(minute(time))
    if found is None:
        return None
    start, end = instant(found.start * MINUTE_US), instant(found.end * MINUTE_US)
    return found.name, start, end - start


def test_an_hour_is_the_sum_of_its_minutes_for_stations_products_and_the_line() -> None:
    line = Timeline()
    line.frame(0, "12:00:10")
    line.frame(1, "12:59:10", verdict=Verdict.FAIL)
    line.frame(2, "12:30:00", product="other")
    line.frame(0, "12:20:00", station="bottom")
    assert line.rolled("1h", "12:00:00", "board", "top").inspected == 2
    assert line.rolled("1h", "12:00:00", "*", "top").inspected == 3
    assert line.rolled("1h", "12:00:00", "board", "*").inspected == 3
    whole = line.rolled("1h", "12:00:00")
    assert (whole.inspected, whole.failed, whole.end) == (4, 1, at("13:00:00"))


def test_an_hour_closes_when_its_last_minute_does_and_leaves_the_horizon_as_final() -> None:
    line = Timeline(Rules(horizon_minutes=5))
    line.frame(0, "12:00:10")
    line.mark(0, "12:59:59")
    assert line.rolled("1h", "12:00:00").state is WindowState.OPEN
    line.mark(0, "13:00:00")
    closed = line.rolled("1h", "12:00:00", "board", "top")
    assert (closed.state, closed.revision) == (WindowState.CLOSED, 2)
    line.frame(1, "12:58:00", verdict=Verdict.FAIL)
    assert line.rolled("1h", "12:00:00").failed == 1
    line.mark(1, "13:05:00")
    final = line.rolled("1h", "12:00:00")
    assert (final.state, final.inspected, final.revision) == (WindowState.FINAL, 2, 4)
    line.frame(2, "12:59:00", logged="13:05:01")
    assert line.rolled("1h", "12:00:00") == final


def test_the_line_s_hour_waits_for_the_slowest_station() -> None:
    line = Timeline()
    line.frame(0, "12:30:00")
    line.frame(0, "12:30:00", station="bottom")
    line.mark(0, "13:00:00")
    assert line.rolled("1h", "12:00:00", "board", "top").state is WindowState.CLOSED
    assert line.rolled("1h", "12:00:00").state is WindowState.OPEN
    line.mark(0, "13:00:05", station="bottom")
    assert line.rolled("1h", "12:00:00").state is WindowState.CLOSED


def test_a_station_that_ended_holds_no_hour_back() -> None:
    line = Timeline(Rules(horizon_minutes=5))
    line.frame(0, "12:10:00", station="bottom")
    line.mark(0, "12:10:01", MarkState.CLOSED, station="bottom")
    line.frame(0, "12:30:00")
    line.mark(0, "13:10:00")
    assert line.rolled("1h", "12:00:00").state is WindowState.FINAL
    assert line.rolled("1h", "12:00:00").inspected == 2


def test_a_station_that_hangs_holds_the_line_back_by_one_horizon_at_most() -> None:
    line = Timeline(Rules(horizon_minutes=5))
    line.frame(0, "12:30:00", station="bottom")
    line.mark(0, "12:30:00")
    line.mark(0, "13:09:00")
    assert line.rolled("1h", "12:00:00").state is WindowState.OPEN
    line.mark(0, "13:10:00")
    assert line.rolled("1h", "12:00:00").state is WindowState.FINAL
    line.frame(1, "12:31:00", station="bottom", logged="13:11:00")
    assert line.rolled("1h", "12:00:00").inspected == 1
    assert line.rolled("1h", "12:00:00", "board", "bottom").inspected == 2


def test_a_lot_is_told_apart_by_the_hour_and_its_parts_add_up() -> None:
    line = Timeline()
    for seq, (clock, lot) in enumerate(
        [("12:10:00", "L1"), ("12:59:30", "L1"), ("12:59:40", "L2"), ("13:00:10", "L1")]
    ):
        line.frame(seq, clock, lot=lot)
    assert line.rolled("lot", "12:00:00", "board", "top", "L1").inspected == 2
    assert line.rolled("lot", "13:00:00", "board", "top", "L1").inspected == 1
    assert line.rolled("lot", "12:00:00", lot="L2").inspected == 1
    assert line.window("12:59:00").inspected == 2
    assert line.window("12:59:00").lot is None


def test_missing_frames_and_marks_find_their_lot_and_minute() -> None:
    line = Timeline()
    line.frame(0, "12:10:00", lot="L1")
    line.frame(2, "12:10:20", lot="L1")
    line.mark(2, "12:10:21")
    line.mark(2, "12:14:00")
    assert line.rolled("lot", "12:00:00", "board", "top", "L1").missing == 1
    window = line.window("12:10:00")
    assert (window.missing, window.accepted, window.marks, window.station_state) == (1, 3, 1, MarkState.OPEN)


def test_a_shift_is_a_window_named_by_the_shift() -> None:
    line = Timeline(Rules(calendar=BERLIN))
    line.frame(0, "12:59:59")
    line.frame(1, "13:00:00", verdict=Verdict.FAIL)
    early, late = line.rolled("shift", "05:00:00"), line.rolled("shift", "13:00:00")
    assert (early.shift, early.inspected, early.end) == ("early", 1, at("13:00:00"))
    assert (late.shift, late.failed) == ("late", 1)


def test_the_night_of_the_change_to_summer_time_has_seven_hours_and_the_other_nine() -> None:
    summer = shift_at(BERLIN, datetime(2026, 3, 29, 1, 30, tzinfo=UTC))
    assert summer == ("night", datetime(2026, 3, 28, 21, tzinfo=UTC), timedelta(hours=7))
    winter = shift_at(BERLIN, datetime(2026, 10, 25, 1, 30, tzinfo=UTC))
    assert winter == ("night", datetime(2026, 10, 24, 20, tzinfo=UTC), timedelta(hours=9))


def test_every_minute_of_a_year_with_three_shifts_lies_in_exactly_one() -> None:
    first = minute(datetime(2026, 1, 1, tzinfo=UTC))
    at_minute, last = first, first + 365 * 1440
    shifts = []
    while at_minute < last:
        shift = BERLIN.at(at_minute)
        assert shift is not None
        assert shift.start <= at_minute < shift.end
        shifts.append(shift)
        at_minute = shift.end
    assert len(shifts) == 365 * 3 + 1
    assert all(before.end == after.start for before, after in pairwise(shifts))


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kolkata"])
def test_shifts_far_from_greenwich_are_found(zone: str) -> None:
    calendar = Calendar(zone, THREE_SHIFTS)
    for hour in range(48):
        assert calendar.at(minute(datetime(2026, 6, 1, tzinfo=UTC)) + 60 * hour) is not None


def test_a_shift_has_its_weekdays() -> None:
    calendar = Calendar("Europe/Berlin", {"day": ShiftConfig(start="06:00", end="14:00", weekdays=["mon"])})
    monday = datetime(2026, 3, 2, 8, tzinfo=UTC)
    assert shift_at(calendar, monday) == ("day", monday.replace(hour=5), timedelta(hours=8))
    assert shift_at(calendar, monday + timedelta(days=1)) is None


@pytest.mark.parametrize(
    ("tables", "complaint"),
    [
        ({"time_zone": "Europe/Nowhere"}, "no zone this machine knows"),
        ({"shifts": {"a": {"start": "06:00", "end": "14:00"}, "b": {"start": "13:00", "end": "20:00"}}}, "overlap"),
        ({"shifts": {"a": {"start": "06:00", "end": "06:00"}}}, "different times"),
        ({"shifts": {"a": {"start": "06:00:30", "end": "14:00"}}}, "whole minutes"),
        ({"shifts": {"n": {"start": "22:00", "end": "06:00"}, "m": {"start": "05:59", "end": "14:00"}}}, "overlap"),
    ],
)
def test_a_calendar_that_makes_no_sense_is_refused(tables: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        parse_config(tables, "line.toml", {})


def test_a_week_of_shifts_that_touch_is_fine() -> None:
    shifts = {
        "early": {"start": "06:00", "end": "14:00", "weekdays": ["mon", "tue", "wed", "thu", "fri"]},
        "night": {"start": "22:00", "end": "06:00", "weekdays": ["sun"]},
    }
    config = parse_config({"time_zone": "Europe/Berlin", "shifts": shifts}, "line.toml", {})
    assert isinstance(config, LineConfig)
    assert list(config.shifts) == ["early", "night"]


def test_roll_ups_that_nobody_wants_are_not_made() -> None:
    line = Timeline(Rules(kinds=frozenset()))
    line.frame(0, "12:00:10", lot="L1")
    assert {window.window for window in line.published} == {"1m"}


def test_a_new_kind_of_roll_up_begins_with_what_it_hears() -> None:
    """Roll-ups are a setting: switched on later, they say what has come since."""
    line = Timeline(Rules(kinds=frozenset()))
    line.frame(0, "12:00:10")
    line.rules = Rules()
    line.frame(1, "12:00:20")
    assert line.rolled("1h", "12:00:00").inspected == 1
