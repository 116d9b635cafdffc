"""The takt repeats to the microsecond, and the belt keeps time."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ingest.pacing import Pace, Takt

START = datetime(2026, 3, 3, tzinfo=UTC)


def test_a_board_a_second_at_sixty_boards_a_minute() -> None:
    assert [Takt(START, 60).stamp(seq) - START for seq in (0, 1, 3600)] == [
        timedelta(0),
        timedelta(seconds=1),
        timedelta(hours=1),
    ]


@given(st.floats(0.01, 6000), st.integers(0, 10**7))
def test_stamps_never_go_back_and_do_not_drift(boards_per_minute: float, seq: int) -> None:
    takt = Takt(START, boards_per_minute)
    assert takt.stamp(seq) <= takt.stamp(seq + 1)
    assert abs((takt.stamp(seq) - START).total_seconds() - seq * 60 / boards_per_minute) < 1e-5 + seq * 1e-9


def test_a_resumed_belt_is_due_at_once_and_then_on_the_beat() -> None:
    pace = Pace(Takt(START, 30), seq=7)
    assert [pace.due_s(seq) for seq in (7, 8, 10)] == [0, 2, 6]


def test_a_belt_that_is_behind_hurries_until_it_has_caught_up() -> None:
    pace = Pace(Takt(START, 60), seq=5, lead_s=-2.5)
    assert [pace.due_s(seq) for seq in (5, 6, 7, 8, 9)] == [-2.5, -1.5, -0.5, 0.5, 1.5]


@given(st.integers(0, 1000), st.integers(0, 1000), st.floats(-100, 100))
def test_the_stamp_clock_shows_a_boards_stamp_when_the_board_is_due(first: int, later: int, lead_s: float) -> None:
    pace = Pace(Takt(START, 45), first, lead_s)
    seq = first + later
    assert abs(pace.reached(pace.due_s(seq)) - pace.takt.stamp(seq)) <= timedelta(microseconds=2)
