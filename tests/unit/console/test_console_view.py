"""The live view, folded from timelines."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timelines import at, mark, result

from dashboards.console.view import (
    KEEP_BOARDS,
    Heard,
    LiveView,
    StationState,
    empty_view,
    find_board,
    fold,
    line_clock,
    station_state,
    takt_s,
    verdict_name,
    waiting,
)
from taktwatch.records import (
    AlertState,
    AlertTransition,
    MarkState,
    Notification,
    Outcome,
    Place,
    Record,
    Severity,
    Verdict,
)

SILENT_AFTER = timedelta(seconds=10)


def heard(record: Record, clock: str, offset: int = 0) -> Heard:
    return Heard(record=record, place=Place(topic="results", partition=0, offset=offset), logged_at=at(clock))


def view_of(*story: Heard, stations: dict[str, str] | None = None) -> LiveView:
    view = empty_view("line-1", {"top": "board"} if stations is None else stations)
    for one in story:
        view = fold(view, one)
    return view


def transition(state: AlertState, clock: str, **labels: str) -> AlertTransition:
    return AlertTransition(
        alert_id="a1",
        rule="defect-rate",
        severity=Severity.CRITICAL,
        labels={"line": "line-1", **labels},
        previous=AlertState.PENDING,
        state=state,
        at=at(clock),
        value=0.3,
        n=32,
        summary="",
        window_start=at(clock),
        revision=1,
    )


def test_the_newest_board_is_in_front() -> None:
    view = view_of(heard(result(0, "12:00:00"), "12:00:01", 0), heard(result(1, "12:00:02"), "12:00:03", 1))
    assert [board.result.seq for board in view.stations["top"].boards] == [1, 0]
    assert view.stations["top"].boards[0].place.offset == 1


def test_the_first_result_of_a_frame_counts_and_a_repeat_changes_nothing() -> None:
    once = view_of(heard(result(0, "12:00:00", verdict=Verdict.FAIL), "12:00:01", 0))
    again = fold(once, heard(result(0, "12:00:00", verdict=Verdict.PASS), "12:00:05", 9))
    assert again is once


def test_the_view_is_bounded() -> None:
    story = [heard(result(seq, "12:00:00"), "12:00:01", seq) for seq in range(KEEP_BOARDS + 20)]
    boards = view_of(*story).stations["top"].boards
    assert len(boards) == KEEP_BOARDS
    assert boards[0].result.seq == KEEP_BOARDS + 19


def test_another_line_on_the_same_bus_is_not_shown() -> None:
    view = view_of()
    assert fold(view, heard(result(0, "12:00:00", line="line-2"), "12:00:01")) is view
    assert fold(view, heard(transition(AlertState.FIRING, "12:00:00", line="line-2"), "12:00:01")) is view


def test_a_station_that_line_toml_does_not_name_appears_when_it_is_heard() -> None:
    view = view_of(heard(result(0, "12:00:00", station="aoi-9"), "12:00:01"), stations={})
    assert list(view.stations) == ["aoi-9"]


def test_a_board_is_found_by_its_frame() -> None:
    view = view_of(heard(result(0, "12:00:00"), "12:00:01"))
    found = find_board(view, result(0, "12:00:00").frame_id)
    assert found is not None
    assert found.result.seq == 0
    assert find_board(view, "0" * 32) is None


def test_the_takt_is_the_median_beat_whatever_order_results_come_in() -> None:
    clocks = ["12:00:00", "12:00:04", "12:00:02", "12:01:00", "12:00:06"]
    view = view_of(*(heard(result(seq, clock), "12:02:00", seq) for seq, clock in enumerate(clocks)))
    assert takt_s(view.stations["top"]) == 2.0


@pytest.mark.parametrize(
    ("story", "now", "state"),
    [
        ([], "12:00:00", StationState.EXPECTED),
        ([(mark(0, "12:00:00"), "12:00:00")], "12:00:05", StationState.RUNNING),
        ([(mark(0, "12:00:00"), "12:00:00")], "12:00:11", StationState.SILENT),
        ([(mark(0, "12:00:00", MarkState.LOST), "12:00:00")], "12:00:01", StationState.LOST),
        ([(mark(0, "12:00:00", MarkState.CLOSED), "12:00:00")], "13:00:00", StationState.CLOSED),
    ],
)
def test_a_station_is_what_its_last_sign_of_life_says(
    story: list[tuple[Record, str]], now: str, state: StationState
) -> None:
    view = view_of(*(heard(record, clock, offset) for offset, (record, clock) in enumerate(story)))
    assert station_state(view.stations["top"], at(now), SILENT_AFTER) is state


def test_results_that_drain_a_backlog_do_not_make_a_silent_camera_look_alive() -> None:
    view = view_of(heard(mark(5, "12:00:00"), "12:00:00", 0), heard(result(5, "12:00:00"), "12:00:30", 1))
    assert station_state(view.stations["top"], at("12:00:31"), SILENT_AFTER) is StationState.SILENT


def test_a_camera_that_sends_without_getting_verdicts_is_stalled() -> None:
    view = view_of(
        heard(mark(0, "12:00:00"), "12:00:00", 0),
        heard(result(0, "12:00:00"), "12:00:00", 1),
        heard(mark(9, "12:00:30"), "12:00:30", 2),
    )
    assert waiting(view.stations["top"]) == 9
    assert station_state(view.stations["top"], at("12:00:31"), SILENT_AFTER) is StationState.STALLED


def test_a_detector_that_never_ran_shows_as_stalled_once_patience_is_over() -> None:
    view = view_of(heard(mark(0, "12:00:00"), "12:00:00", 0), heard(mark(9, "12:00:09"), "12:00:09", 1))
    assert station_state(view.stations["top"], at("12:00:09"), SILENT_AFTER) is StationState.RUNNING
    view = fold(view, heard(mark(11, "12:00:11"), "12:00:11", 2))
    assert station_state(view.stations["top"], at("12:00:11"), SILENT_AFTER) is StationState.STALLED


def test_the_end_of_an_old_session_does_not_end_the_new_one() -> None:
    view = view_of(
        heard(mark(0, "12:00:00", session="s2"), "12:00:00", 0),
        heard(mark(9, "11:59:00", MarkState.LOST, session="s1", author="watchdog"), "12:00:01", 1),
    )
    assert station_state(view.stations["top"], at("12:00:02"), SILENT_AFTER) is StationState.RUNNING


def test_a_line_in_real_time_is_shown_by_the_clock() -> None:
    view = view_of(heard(result(0, "12:00:00"), "12:00:01"))
    assert line_clock(view, at("12:00:30")) == at("12:00:30")


def test_old_pictures_are_shown_at_the_time_they_carry_moved_on_by_what_passed() -> None:
    view = view_of(heard(result(0, "06:00:00"), "12:00:01"))
    assert line_clock(view, at("12:00:11")) == at("06:00:10")


def test_an_alert_is_open_until_it_is_resolved_and_stays_in_the_history() -> None:
    firing = view_of(heard(transition(AlertState.FIRING, "12:00:00", station="top"), "12:00:00"))
    assert list(firing.open) == ["a1"]
    resolved = fold(firing, heard(transition(AlertState.RESOLVED, "12:05:00", station="top"), "12:05:00"))
    assert not resolved.open
    assert [step.state for step in resolved.history] == [AlertState.RESOLVED, AlertState.FIRING]


def test_what_was_told_is_kept_with_the_alert() -> None:
    told = Notification(key="k", alert_id="a1", channel="mail", attempted_at=at("12:00:01"), delivered=True)
    assert view_of(heard(told, "12:00:01")).notifications == (told,)


def test_a_frame_without_verdict_is_named_by_its_outcome_and_an_unknown_never_passes() -> None:
    assert verdict_name(result(0, "12:00:00", outcome=Outcome.DEAD, verdict=None)) == "dead"
    assert verdict_name(result(0, "12:00:00", verdict=None)) == "review"


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=40))
def test_folding_the_same_records_gives_the_same_view_and_never_a_frame_twice(story: list[tuple[int, bool]]) -> None:
    records = [
        heard(result(seq, "12:00:00") if board else mark(seq, "12:00:00"), "12:00:01", offset)
        for offset, (seq, board) in enumerate(story)
    ]
    view = view_of(*records)
    assert view_of(*records) == view
    frames = [board.result.frame_id for board in view.stations["top"].boards]
    assert len(frames) == len(set(frames))
