from datetime import timedelta

import pytest
from timelines import Timeline, at

from kpi_engine.windows import Rules, restore, save
from taktwatch.kpis import defect_rate, latency_quantile_s
from taktwatch.records import Detection, LayerProfile, MarkState, Outcome, Rle, Verdict, WindowState


def detection(label: str) -> Detection:
    return Detection(
        label=label, score=0.9, box_px=(0, 0, 2, 2), mask=Rle(size=(4, 4), counts="04"), area_px=4, area_um2=400
    )


def layer(layer_px: int, corroded_px: int, deepest_um: float, *, surface: bool = False) -> LayerProfile:
    return LayerProfile(
        layer="L1",
        layer_px=layer_px,
        corroded_px=corroded_px,
        length_px=100,
        corroded_length_px=10,
        thickness_um=35.0,
        deepest_um=deepest_um,
        residual_um=35.0 - deepest_um,
        sites=1,
        surface=surface,
    )


def test_boards_are_counted_in_the_minute_they_were_taken() -> None:
    line = Timeline()
    line.mark(-1, "12:00:00")
    line.frame(0, "12:00:10")
    line.frame(1, "12:00:59.999999", verdict=Verdict.FAIL, detections=(detection("open"), detection("open")))
    line.frame(2, "12:01:00", verdict=Verdict.REVIEW)
    first, second = line.window("12:00:00"), line.window("12:01:00")
    assert (first.inspected, first.passed, first.failed, first.review) == (2, 1, 1, 0)
    assert (second.inspected, second.review, second.end) == (1, 1, at("12:02:00"))
    assert first.defects == {"open": 2}
    assert first.opportunities == 500
    assert defect_rate(first).value == 0.5


def test_every_sum_of_a_section_is_an_integer() -> None:
    line = Timeline()
    line.frame(
        0,
        "12:00:10",
        um_per_px=1.5,
        layers=(layer(1001, 10, 3.4, surface=True), layer(1000, 0, 0.0)),
        detections=(detection("copper_layer"), detection("corrosion")),
    )
    window = line.window("12:00:00")
    assert (window.layer_um2, window.corroded_um2) == (round(1001 * 2.25) + 2250, round(22.5))
    assert (window.deepest_um, window.surface_corrosion) == (3, 1)
    assert (window.layer_length_um, window.corroded_length_um) == (300, 30)
    assert window.defects == {"corrosion": 1}
    assert (window.scored, window.score_sum_bp, window.score_squares_bp2) == (1, 9000, 9000 * 9000)
    extent_bp, depth_bp = round(10_000 * 10 / 1001), round(10_000 * 3.4 / 35)
    assert window.measured == 1
    assert (window.extent_sum_bp, window.extent_squares_bp2) == (extent_bp, extent_bp**2)
    assert (window.depth_sum_bp, window.depth_squares_bp2) == (depth_bp, depth_bp**2)
    assert (window.depth_sum_100nm, window.depth_squares_100nm2) == (34, 34**2)


def test_of_each_section_the_worst_layer_is_measured_and_good_ones_count_as_nothing() -> None:
    line = Timeline()
    line.frame(0, "12:00:10", layers=(layer(1000, 20, 7.0), layer(1000, 50, 3.5)))
    line.frame(1, "12:00:20", layers=(layer(1000, 0, 0.0),))
    line.frame(2, "12:00:30", layers=(layer(0, 5, 70.0),))  # measured wrongly: deeper than it is thick
    line.frame(3, "12:00:40")
    window = line.window("12:00:00")
    assert (window.inspected, window.measured) == (4, 3)
    assert (window.extent_sum_bp, window.extent_squares_bp2) == (500, 500**2)
    assert (window.depth_sum_bp, window.depth_squares_bp2) == (2000 + 10_000, 2000**2 + 10_000**2)
    assert (window.depth_sum_100nm, window.depth_squares_100nm2) == (70 + 700, 70**2 + 700**2)
    hour = line.rolled("1h", "12:00:00")
    assert (hour.measured, hour.extent_sum_bp, hour.depth_squares_bp2) == (3, 500, window.depth_squares_bp2)


def test_a_section_that_comes_late_or_twice_is_measured_once() -> None:
    line = Timeline()
    line.frame(1, "12:01:10", layers=(layer(1000, 20, 7.0),))
    line.frame(0, "12:00:10", layers=(layer(1000, 30, 7.0),))
    line.frame(0, "12:00:10", layers=(layer(1000, 30, 7.0),))
    assert (line.window("12:00:00").measured, line.window("12:00:00").extent_sum_bp) == (1, 300)


def test_a_window_is_open_then_closed_then_final() -> None:
    line = Timeline(Rules(horizon_minutes=5))
    line.frame(0, "12:00:10")
    assert line.window("12:00:00").state is WindowState.OPEN
    line.mark(0, "12:00:59")
    assert line.window("12:00:00").state is WindowState.OPEN
    line.mark(0, "12:01:00")
    closed = line.window("12:00:00")
    assert (closed.state, closed.revision) == (WindowState.CLOSED, 2)
    line.mark(0, "12:05:59")
    assert line.window("12:00:00").state is WindowState.CLOSED
    line.mark(0, "12:06:00")
    final = line.window("12:00:00")
    assert (final.state, final.revision, final.inspected) == (WindowState.FINAL, 4, 1)


def test_a_frame_still_out_keeps_its_window_open() -> None:
    line = Timeline()
    line.frame(0, "12:00:10")
    line.mark(1, "12:00:50")
    line.mark(2, "12:01:30")
    line.frame(2, "12:01:20")
    assert line.window("12:00:00").state is WindowState.OPEN
    line.frame(1, "12:00:40")
    assert line.window("12:00:00").state is WindowState.CLOSED


def test_a_late_frame_corrects_its_window() -> None:
    line = Timeline()
    line.frame(0, "12:00:10")
    line.frame(2, "12:00:50")
    line.mark(2, "12:03:00", logged="12:00:51")
    line.mark(2, "12:03:30", logged="12:03:30")
    before = line.window("12:00:00")
    assert (before.state, before.missing, before.inspected, before.accepted) == (WindowState.CLOSED, 1, 2, 3)
    line.frame(1, "12:00:30", logged="12:04:00", verdict=Verdict.FAIL)
    after = line.window("12:00:00")
    assert (after.state, after.missing, after.inspected, after.failed) == (WindowState.CLOSED, 0, 3, 1)
    assert after.revision > before.revision


def test_a_frame_delivered_twice_counts_once() -> None:
    line = Timeline()
    line.frame(0, "12:00:10")
    line.frame(0, "12:00:10", verdict=Verdict.FAIL)
    window = line.window("12:00:00")
    assert (window.inspected, window.passed, window.failed, window.late_or_repeat) == (1, 1, 0, 1)


def test_a_frame_beyond_the_horizon_is_counted_as_late_and_changes_no_figure() -> None:
    line = Timeline(Rules(horizon_minutes=5))
    line.frame(0, "12:00:10")
    line.frame(2, "12:00:20")
    line.mark(2, "12:03:00")
    line.mark(2, "12:20:00")
    final = line.window("12:00:00")
    assert (final.state, final.missing) == (WindowState.FINAL, 1)
    changed = line.frame(1, "12:00:15", logged="12:20:01")
    assert line.window("12:00:00") == final
    minutes = [window for window in changed if window.window == "1m"]
    assert [(window.start, window.late_or_repeat, window.inspected) for window in minutes] == [(at("12:20:00"), 1, 0)]


def test_minutes_of_a_standing_belt_are_windows_too() -> None:
    line = Timeline()
    line.frame(0, "12:00:10")
    for clock in ("12:00:11", "12:01:30", "12:02:30"):
        line.mark(0, clock)
    idle = line.window("12:01:00")
    assert (idle.inspected, idle.marks, idle.station_state) == (0, 1, MarkState.OPEN)
    assert idle.state is WindowState.CLOSED


def test_minutes_nobody_spoke_of_during_a_session_are_windows_without_marks() -> None:
    line = Timeline()
    line.mark(-1, "12:00:10")
    line.mark(-1, "12:03:10")
    assert line.starts() == ["12:00", "12:01", "12:02", "12:03"]
    assert [line.window(f"12:0{minute}:00").marks for minute in range(4)] == [1, 0, 0, 1]


def test_a_pause_between_sessions_needs_no_windows() -> None:
    line = Timeline()
    line.mark(-1, "12:00:10")
    line.mark(-1, "12:00:20", MarkState.CLOSED)
    line.mark(-1, "12:05:10", session="s2")
    assert line.starts() == ["12:00", "12:05"]


def test_a_lost_station_goes_on_having_windows_that_say_so() -> None:
    line = Timeline()
    line.frame(0, "12:00:10")
    line.mark(0, "12:00:11")
    line.mark(0, "12:02:30", MarkState.LOST, author="watchdog")
    line.mark(0, "12:02:40", MarkState.LOST, author="watchdog")
    assert [line.window(f"12:0{minute}:00").station_state for minute in (1, 2)] == [MarkState.LOST, MarkState.LOST]
    line.mark(0, "12:03:05")
    assert line.window("12:03:00").station_state is MarkState.OPEN


def test_the_last_window_closes_when_the_session_ends_and_everything_is_in() -> None:
    line = Timeline()
    line.frame(0, "12:00:10")
    line.mark(1, "12:00:20", MarkState.CLOSED)
    assert line.window("12:00:00").state is WindowState.OPEN
    line.frame(1, "12:00:15")
    assert line.window("12:00:00").state is WindowState.CLOSED


def test_a_new_session_in_the_same_minute_opens_the_window_again() -> None:
    line = Timeline()
    line.frame(0, "12:00:10")
    line.mark(0, "12:00:20", MarkState.CLOSED)
    line.mark(-1, "12:00:30", session="s2")
    assert line.window("12:00:00").state is WindowState.OPEN
    line.frame(0, "12:00:40", session="s2")
    line.mark(0, "12:01:00", session="s2")
    assert (line.window("12:00:00").state, line.window("12:00:00").inspected) == (WindowState.CLOSED, 2)


def test_a_session_nobody_closed_holds_nothing_back_once_another_began() -> None:
    line = Timeline()
    line.frame(0, "12:00:10")
    line.mark(0, "12:00:20")
    line.mark(-1, "12:00:40", session="s2")
    line.mark(-1, "12:01:00", session="s2")
    assert line.window("12:00:00").state is WindowState.CLOSED


def test_missing_frames_are_counted_where_they_would_have_been() -> None:
    line = Timeline()
    line.frame(0, "12:00:10")
    line.frame(1, "12:01:10")
    line.frame(4, "12:03:10")
    line.mark(5, "12:03:11")
    line.mark(5, "12:05:30")
    assert line.window("12:01:00").missing == 2
    assert line.window("12:03:00").missing == 1
    assert line.window("12:03:00").accepted == 2
    assert line.window("12:03:00").state is WindowState.CLOSED


def test_skipped_and_dead_frames_are_outcomes_but_no_inspections() -> None:
    line = Timeline()
    line.frame(0, "12:00:10", outcome=Outcome.SKIPPED, verdict=None)
    line.frame(1, "12:00:20", outcome=Outcome.DEAD, verdict=None)
    line.frame(2, "12:00:30")
    line.mark(2, "12:01:00")
    window = line.window("12:00:00")
    assert (window.accepted, window.inspected, window.skipped, window.dead) == (3, 1, 1, 1)
    assert (window.state, window.opportunities, window.first_pass) == (WindowState.CLOSED, 250, 1)


def test_only_the_first_visit_of_a_serial_is_a_first_pass() -> None:
    line = Timeline()
    line.frame(0, "12:00:10", serial="B1", verdict=Verdict.FAIL)
    line.frame(1, "12:00:20", serial="B2")
    line.frame(2, "12:01:10", serial="B1")
    assert (line.window("12:00:00").first_pass, line.window("12:00:00").first_pass_passed) == (2, 1)
    assert (line.window("12:01:00").inspected, line.window("12:01:00").first_pass) == (1, 0)


def test_an_earlier_visit_that_arrives_later_is_the_first_pass() -> None:
    line = Timeline()
    line.frame(0, "12:00:10")
    line.frame(2, "12:02:10", serial="B1")
    assert line.window("12:02:00").first_pass == 1
    line.frame(1, "12:01:10", serial="B1", verdict=Verdict.FAIL)
    assert line.window("12:02:00").first_pass == 0
    assert (line.window("12:01:00").first_pass, line.window("12:01:00").first_pass_passed) == (1, 0)


def test_latency_goes_from_received_to_verdict() -> None:
    line = Timeline()
    line.frame(0, "12:00:10", inspected_at=at("12:00:10") + timedelta(microseconds=1024))
    window = line.window("12:00:00")
    assert (window.latency_sum_us, window.latency_buckets) == (1024, {40: 1})
    assert latency_quantile_s(window, 1.0).value == pytest.approx(1024 * 2**0.25 / 1e6)


def test_stations_do_not_wait_for_each_other() -> None:
    line = Timeline()
    line.frame(0, "12:00:10")
    line.mark(5, "12:00:20")
    line.frame(0, "12:00:10", station="section", product="section")
    line.mark(0, "12:01:00", station="section", product="section")
    assert line.window("12:00:00").state is WindowState.OPEN
    assert line.window("12:00:00", "section", "section").state is WindowState.CLOSED


def test_an_old_session_s_repeat_does_not_come_back_to_life() -> None:
    line = Timeline(Rules(horizon_minutes=5))
    line.frame(0, "12:00:10")
    line.mark(0, "12:00:20", MarkState.CLOSED)
    line.mark(-1, "12:30:00", session="s2")
    line.mark(-1, "12:31:00", session="s2")
    line.frame(0, "12:00:10")
    line.mark(0, "12:00:20")
    station = next(iter(line.state.stations.values()))
    assert list(station.sessions) == ["s2"]
    assert line.window("12:31:00").late_or_repeat == 1


def test_the_state_forgets_what_is_final() -> None:
    line = Timeline(Rules(horizon_minutes=5))
    sizes = []
    for minute in range(50):
        for seq in range(6):
            line.frame(minute * 6 + seq, f"12:{minute:02}:{seq * 10}", serial=f"B{minute}-{seq}")
        line.mark(minute * 6 + 5, f"12:{minute:02}:59")
        sizes.append(len(save(line.state).head))
    assert max(sizes[10:]) < 1.1 * sizes[10]
    assert restore(save(line.state)).stations == line.state.stations


def test_a_serial_seen_again_after_the_horizon_is_a_first_pass_again() -> None:
    line = Timeline(Rules(horizon_minutes=5))
    for seq, clock in enumerate(("12:00:10", "12:05:50", "12:06:10", "12:20:00")):
        line.frame(seq, clock, serial="B1")
    starts = ("12:00:00", "12:05:00", "12:06:00", "12:20:00")
    assert [line.window(start).first_pass for start in starts] == [1, 0, 1, 1]


def test_frames_of_a_broken_off_session_that_are_still_out_hold_the_station_back() -> None:
    line = Timeline()
    line.frame(0, "12:00:10")
    line.mark(1, "12:00:20")
    line.mark(-1, "12:00:40", session="s2")
    line.frame(0, "12:00:50", session="s2")
    line.mark(0, "12:01:30", session="s2")
    assert line.window("12:00:00").state is WindowState.OPEN
    line.frame(1, "12:00:15", verdict=Verdict.FAIL)
    assert (line.window("12:00:00").state, line.window("12:00:00").failed) == (WindowState.CLOSED, 1)
