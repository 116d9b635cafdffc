"""Boards, not pictures, are counted."""

import pytest
from timelines import Timeline, at

from kpi_engine.windows import Rules, drain_verdicts, restore, save
from taktwatch.kpis import defect_rate, dpmo, first_pass_yield
from taktwatch.records import BoardVerdict, MarkState, Outcome, Verdict, board_id

THREE_VIEWS = Rules(views={"board": 3}, verdicts=True)


def board(line: Timeline) -> BoardVerdict:
    """Return the one verdict that came out since the last call."""
    (verdict,) = drain_verdicts(line.state)
    return verdict


def test_three_views_of_one_board_are_one_board_and_the_worst_view_decides() -> None:
    line = Timeline(THREE_VIEWS)
    line.frame(0, "12:00:10.0", visit=7, view="left", verdict=Verdict.PASS)
    line.frame(1, "12:00:10.3", visit=7, view="middle", verdict=Verdict.FAIL, reasons=("open at (120, 340)",))
    assert line.window("12:00:00").inspected == 0
    line.frame(2, "12:00:10.6", visit=7, view="right", verdict=Verdict.REVIEW, reasons=("out of focus",))

    window = line.window("12:00:00")
    assert (window.accepted, window.inspected, window.failed, window.first_pass) == (3, 1, 1, 1)
    assert (defect_rate(window).value, window.opportunities) == (1.0, 250)
    verdict = board(line)
    assert (verdict.verdict, verdict.inspected, len(verdict.frames)) == (Verdict.FAIL, 3, 3)
    assert verdict.reasons == ("open at (120, 340)", "out of focus")
    assert verdict.board_id == board_id("line-1", "top", "s1", 7)
    assert (verdict.event_at, verdict.decided_at) == (at("12:00:10"), at("12:00:10.7"))


def test_one_board_inspected_three_times_is_one_first_pass_and_two_re_inspections() -> None:
    line = Timeline(Rules(verdicts=True))
    line.frame(0, "12:00:10", serial="SN-1", verdict=Verdict.FAIL)  # fails,
    line.frame(1, "12:04:10", serial="SN-1", verdict=Verdict.FAIL)  # is repaired and fails again,
    line.frame(2, "12:09:10", serial="SN-1", verdict=Verdict.PASS)  # is repaired again and passes

    hour = line.rolled("1h", "12:00:00")
    assert (hour.inspected, hour.passed, hour.failed) == (3, 1, 2)
    assert (hour.first_pass, hour.first_pass_passed) == (1, 0)
    assert first_pass_yield(hour).value == 0.0
    assert [line.window(f"12:0{minute}:00").first_pass for minute in (0, 4, 9)] == [1, 0, 0]
    assert [said.reinspection for said in drain_verdicts(line.state)] == [False, True, True]


@pytest.mark.parametrize("views", [1, 3])
def test_a_verdict_says_whether_its_board_was_seen_before(views: int) -> None:
    """Two boards, one of them twice; more than one horizon later its visit is a first pass again."""
    line = Timeline(Rules(views={"board": views}, verdicts=True))
    visits = [
        ("12:00:10", "SN-1"),
        ("12:01:10", "SN-2"),
        ("12:02:10", "SN-1"),
        ("13:10:00", "SN-1"),
        ("13:11:00", None),
    ]
    for visit, (clock, serial) in enumerate(visits):
        for view in range(views):
            line.frame(visit * views + view, clock, visit=visit, view=f"v{view}", serial=serial)
    assert [said.reinspection for said in drain_verdicts(line.state)] == [False, False, True, False, False]


def test_a_board_whose_view_never_comes_is_for_review() -> None:
    line = Timeline(THREE_VIEWS)
    line.mark(-1, "12:00:00")
    line.frame(0, "12:00:10.0", visit=7)
    line.frame(2, "12:00:10.6", visit=7)
    line.frame(3, "12:00:20.0", visit=8)
    line.mark(3, "12:00:59")
    line.mark(3, "12:05:00")
    window = line.window("12:00:00")
    assert (window.inspected, window.passed, window.review, window.missing) == (2, 0, 2, 1)
    first, second = drain_verdicts(line.state)
    assert (first.verdict, first.reasons) == (Verdict.REVIEW, ("view missing: 2 of 3 pictures are in",))
    assert second.reasons == ("view missing: 1 of 3 pictures are in",)


@pytest.mark.parametrize("outcome", [Outcome.DEAD, Outcome.SKIPPED])
def test_a_board_with_a_view_nobody_could_inspect_is_for_review_unless_it_failed(outcome: Outcome) -> None:
    line = Timeline(THREE_VIEWS)
    for visit, verdict in enumerate((Verdict.PASS, Verdict.FAIL)):
        line.frame(3 * visit, "12:00:10", visit=visit, verdict=verdict)
        line.frame(3 * visit + 1, "12:00:11", visit=visit, outcome=outcome, verdict=None, view="back")
        line.frame(3 * visit + 2, "12:00:12", visit=visit)
    window = line.window("12:00:00")
    assert (window.inspected, window.review, window.failed, window.dead + window.skipped) == (2, 1, 1, 2)
    reviewed, failed = drain_verdicts(line.state)
    assert (reviewed.verdict, reviewed.reasons) == (Verdict.REVIEW, (f"view missing: back was {outcome}",))
    assert (failed.verdict, failed.inspected) == (Verdict.FAIL, 2)


def test_a_board_of_which_nothing_could_be_inspected_is_stopped_and_counted_in_no_figure() -> None:
    line = Timeline(Rules(verdicts=True))
    line.frame(0, "12:00:10", outcome=Outcome.DEAD, verdict=None)
    assert line.window("12:00:00").inspected == 0
    verdict = board(line)
    assert (verdict.verdict, verdict.inspected, verdict.reasons) == (
        Verdict.REVIEW,
        0,
        ("view missing: board was dead",),
    )


def test_a_late_view_corrects_its_board_and_its_window() -> None:
    line = Timeline(THREE_VIEWS)
    line.frame(0, "12:00:59.8", visit=7)
    line.frame(2, "12:01:00.4", visit=7)
    line.mark(2, "12:04:00", MarkState.CLOSED)
    line.mark(2, "12:04:00", MarkState.CLOSED, logged="12:07:00")
    before, reviewed = line.window("12:00:00"), board(line)
    assert (before.review, before.passed) == (1, 0)
    line.frame(1, "12:01:00.1", visit=7, logged="12:08:00")
    after, corrected = line.window("12:00:00"), board(line)
    assert (after.review, after.passed, after.inspected) == (0, 1, 1)
    assert (corrected.verdict, corrected.reasons, corrected.board_id) == (Verdict.PASS, (), reviewed.board_id)
    assert corrected.revision > reviewed.revision
    assert line.window("12:01:00").inspected == 0


def test_a_board_is_counted_in_the_minute_of_its_first_view_even_when_that_comes_last() -> None:
    line = Timeline(THREE_VIEWS)
    line.frame(1, "12:01:00.1", visit=7, serial="SN-1")
    line.frame(2, "12:01:00.4", visit=7, serial="SN-1")
    line.mark(2, "12:03:30", logged="12:01:30")
    line.mark(2, "12:04:00", MarkState.CLOSED, logged="12:04:00")
    assert (line.window("12:01:00").review, line.window("12:01:00").first_pass) == (1, 1)
    line.frame(0, "12:00:59.8", visit=7, serial="SN-1", logged="12:08:00")
    for clock, boards in (("12:00:00", 1), ("12:01:00", 0)):
        window = line.window(clock)
        assert (window.inspected, window.passed, window.review, window.first_pass) == (boards, boards, 0, boards)
    assert line.window("12:01:00").latency_buckets == {}


def test_opportunities_are_those_of_boards_not_of_pictures() -> None:
    line = Timeline(THREE_VIEWS)
    for seq in range(6):
        line.frame(seq, f"12:00:{10 + seq}", visit=seq // 3)
    window = line.window("12:00:00")
    assert (window.opportunities, dpmo(window).n) == (500, 2)


def test_a_board_s_latency_goes_from_its_first_picture_to_its_last_verdict() -> None:
    line = Timeline(THREE_VIEWS)
    for seq, clock in enumerate(("12:00:10.0", "12:00:10.3", "12:00:10.6")):
        line.frame(seq, clock, visit=7)
    assert line.window("12:00:00").latency_sum_us == 700_000


def test_open_boards_survive_a_restart_and_old_ones_are_forgotten() -> None:
    line = Timeline(THREE_VIEWS)
    line.frame(0, "12:00:10", visit=7)
    line.state = restore(save(line.state))
    line.frame(1, "12:00:11", visit=7)
    line.frame(2, "12:00:12", visit=7)
    assert line.window("12:00:00").passed == 1
    board(line)
    line.mark(2, "14:00:00")
    station = next(iter(line.state.stations.values()))
    assert station.boards == {}
