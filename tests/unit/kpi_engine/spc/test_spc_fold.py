"""Windows become points: merging, corrections, and what survives being cut anywhere."""

from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spc_line import CLOSED, FINAL, IDENTITY, OPEN, at, subgroups, window

from kpi_engine.spc.baseline import BaselineRefused
from kpi_engine.spc.fold import SpcState, fold_window, merged_windows, restore, save, subgroups_of
from kpi_engine.spc.merger import Merger
from kpi_engine.spc.phase1 import baseline
from kpi_engine.spc.plans import PLANS, SpcSettings, chart_of, update
from kpi_engine.spc.points import ControlPoint, Sample
from taktwatch.errors import BadRecord, UnknownSchema
from taktwatch.records import KpiWindow

CALM = [5, 9, 2, 4, 6, 3, 7, 5, 1, 8, 4, 6, 5, 2, 9, 5, 3, 6, 4, 7]
BASELINE = baseline(subgroups(CALM), IDENTITY)
SETTINGS = SpcSettings(limits=((IDENTITY, BASELINE),))
ALL = SpcSettings(limits=((IDENTITY, BASELINE),), plans=tuple(PLANS.values()))


def folded(
    windows: Iterable[KpiWindow], told: SpcSettings = SETTINGS, state: SpcState | None = None
) -> tuple[SpcState, list[ControlPoint]]:
    state, points = state or SpcState(), []
    for one in windows:
        state, found = fold_window(state, one, told)
        points += found
    return state, points


def newest(points: Iterable[ControlPoint]) -> dict[tuple[str, str, object], ControlPoint]:
    """Return what a reader keeps: the highest revision of every point; equal revisions must be equal points."""
    kept: dict[tuple[str, str, object], ControlPoint] = {}
    for point in points:
        name = (point.chart, point.panel, point.start)
        known = kept.get(name)
        assert known is None or known.revision != point.revision or known == point
        if known is None or known.revision < point.revision:
            kept[name] = point
    return kept


def test_windows_are_merged_until_five_hundred_boards_are_together() -> None:
    _, points = folded(window(minute, failed=1) for minute in range(12))
    assert [(point.start, point.end, point.amount, point.n) for point in points] == [
        (at(0), at(5), 5, 500),
        (at(5), at(10), 5, 500),
    ]


def test_a_point_says_what_it_is_and_against_which_baseline() -> None:
    _, (point,) = folded(window(minute, failed=2) for minute in range(5))
    assert (point.chart, point.metric, point.panel) == ("laney_ewma", "defect_rate", "")
    assert (point.line, point.station, point.product) == ("line-1", "top", "board")
    assert (point.baseline_id, point.revision) == (BASELINE.baseline_id, 4)
    assert point.centre == BASELINE.scale.centre
    assert point.value == pytest.approx(0.8 * BASELINE.scale.centre + 0.2 * 0.02)
    assert point.lower is not None
    assert point.upper is not None
    assert point.lower < point.value < point.upper


def test_a_process_that_gets_worse_signals_in_words() -> None:
    _, points = folded(window(minute, failed=1 if minute < 20 else 5) for minute in range(50))
    signals = [point.signals for point in points]
    assert signals[:4] == [(), (), (), ()]
    assert signals[-1] == ("1 point beyond the control limits",)


def test_a_minute_with_more_boards_than_needed_is_a_subgroup_of_its_own() -> None:
    _, points = folded([window(0, 9, 900), window(1, 4, 400), window(2, 4, 400)])
    assert [(point.start, point.n) for point in points] == [(at(0), 900), (at(1), 800)]


def test_a_slow_station_has_its_point_after_the_longest_age() -> None:
    told = SpcSettings(limits=SETTINGS.limits, merger=Merger(max_age_us=30 * 60_000_000))
    _, points = folded((window(minute, 0, 4) for minute in range(60)), told)
    assert [(point.start, point.end, point.n) for point in points] == [(at(0), at(30), 120), (at(30), at(60), 120)]


def test_however_old_a_subgroup_waits_for_its_least_n() -> None:
    told = SpcSettings(limits=SETTINGS.limits, merger=Merger(max_age_us=30 * 60_000_000))
    _, points = folded((window(minute, 0, 2) for minute in range(60)), told)
    assert [(point.end, point.n) for point in points] == [(at(50), 100)]


def test_idle_minutes_add_no_boards_but_age() -> None:
    told = SpcSettings(limits=SETTINGS.limits, merger=Merger(max_age_us=30 * 60_000_000))
    windows = [window(0, 0, 0), window(1, 2, 150), *(window(minute, 0, 0) for minute in range(2, 40))]
    _, points = folded(windows, told)
    assert [(point.start, point.end, point.n) for point in points] == [(at(1), at(31), 150)]


def test_open_windows_other_lengths_and_roll_ups_decide_nothing() -> None:
    state, points = folded(
        [
            window(0, 9, 900, state=OPEN),
            window(0, 9, 900, window="1h"),
            window(0, 9, 900, station="*"),
            window(0, 9, 900, product="*"),
        ]
    )
    assert (state, points) == (SpcState(), [])


def test_products_and_stations_have_charts_of_their_own() -> None:
    windows = [window(0, 9, 900), window(0, 9, 900, station="side"), window(0, 9, 900, product="other")]
    _, points = folded(windows)
    assert [(point.station, point.product, point.chart) for point in points] == [
        ("top", "board", "laney_ewma"),
        ("side", "board", "run"),
        ("top", "other", "run"),
    ]


def test_without_a_baseline_points_have_values_and_no_limits() -> None:
    _, (point,) = folded([window(0, 9, 900, product="other")])
    assert (point.chart, point.value, point.baseline_id) == ("run", 0.01, "")
    assert (point.centre, point.lower, point.upper, point.signals) == (None, None, None, ())


def test_points_without_limits_make_the_baseline_that_gives_them() -> None:
    windows = [window(minute, CALM[minute], 500) for minute in range(len(CALM))]
    _, points = folded(windows, SpcSettings())
    assert subgroups_of(points) == merged_windows(windows)
    found = baseline(subgroups_of(points), IDENTITY)
    assert found.scale == BASELINE.scale


def test_the_newest_revision_counts_when_a_baseline_is_chosen() -> None:
    windows = [window(0, 9, 500, revision=3), window(0, 5, 500, revision=8), window(1, 4, 500), window(2, 9, 9)]
    assert [group.amount for group in merged_windows(windows)] == [5, 4]


def test_every_chart_that_is_asked_for_gives_its_points() -> None:
    _, points = folded([window(0, 30, 900)], ALL)
    names = [(point.chart, point.panel) for point in points]
    assert names == [
        ("laney_ewma", ""),
        ("laney", ""),
        ("laney_cusum", "upper"),
        ("laney_cusum", "lower"),
        ("shewhart", ""),
        ("ewma", ""),
        ("cusum", "upper"),
        ("cusum", "lower"),
    ]
    by_name = dict(zip(names, points, strict=True))
    assert by_name[("shewhart", "")].sigma_z == 1.0
    assert by_name[("laney", "")].sigma_z == BASELINE.scale.sigma_z > 1


def test_defects_per_unit_are_charted_as_counts() -> None:
    identity = msgspec.structs.replace(IDENTITY, metric="dpu")
    of_counts = baseline(subgroups(CALM), identity, family="poisson")
    told = SpcSettings(limits=((identity, of_counts),), metrics=("dpu",))
    one = msgspec.structs.replace(window(0, 1, 500), defects={"open": 500, "short": 300})
    _, (point,) = folded([one], told)
    assert (point.amount, point.n, point.metric) == (800, 500, "dpu")


def test_a_late_frame_corrects_its_point_and_those_after_it() -> None:
    windows = [window(minute, 1, 100) for minute in range(15)]
    state, points = folded(windows)
    corrected, again = folded([window(1, 3, 102, revision=40)], state=state)
    assert [(point.start, point.n, point.amount) for point in again] == [
        (at(0), 502, 7),
        (at(5), 500, 5),
        (at(10), 500, 5),
    ]
    assert again[0].revision == 40
    assert all(after.revision > before.revision for before, after in zip(points, again, strict=True))
    _, straight = folded([window(0, 1), window(1, 3, 102), *windows[2:]])
    assert [point.value for point in again] == [point.value for point in straight]
    assert corrected.stations.keys() == state.stations.keys()


def test_a_correction_reaches_as_far_as_the_chart_remembers() -> None:
    """The rules of a Shewhart chart look back a few points; an EWMA never quite forgets."""
    windows = [window(minute, CALM[minute], 500) for minute in range(20)]
    for plan, last in (("laney", 9), ("laney_ewma", 19)):
        told = SpcSettings(limits=SETTINGS.limits, plans=(PLANS[plan],))
        state, _ = folded(windows, told)
        _, again = folded([window(4, CALM[4] + 1, 500, revision=41)], told, state)
        assert (again[0].start, again[0].revision) == (at(4), 41)
        assert at(4) < again[-1].start <= at(last)
    assert again[-1].start == at(19)


def test_a_window_that_says_the_same_again_publishes_nothing() -> None:
    state, _ = folded([window(minute, 1, 500) for minute in range(5)])
    again, points = folded([window(2, 1, 500, revision=77), window(2, 1, 500, revision=77, state=FINAL)], state=state)
    assert points == []
    assert again.ignored == 0


def test_an_older_revision_that_comes_again_changes_nothing() -> None:
    state, _ = folded([window(0, 1, 500, revision=5), window(0, 2, 500, revision=9)])
    again, points = folded([window(0, 1, 500, revision=5)], state=state)
    assert (again, points) == (state, [])


def test_a_window_that_closes_late_joins_the_subgroup_of_its_time() -> None:
    windows = [window(minute, 1, 100) for minute in range(10) if minute != 3]
    state, _ = folded(windows)
    _, again = folded([window(3, 4, 100)], state=state)
    assert (again[0].start, again[0].end, again[0].n, again[0].amount) == (at(0), at(6), 600, 9)


def test_a_window_between_two_subgroups_belongs_to_the_later_one_whose_times_stay() -> None:
    state, points = folded([window(0, 1, 500), window(9, 1, 500)])
    _, again = folded([window(4, 2, 50)], state=state)
    assert [(point.start, point.end, point.n) for point in again] == [(at(9), at(10), 550)]
    assert points[1].start == at(9)


def test_a_subgroup_that_a_correction_empties_keeps_its_place_without_value() -> None:
    state, _ = folded([window(0, 1, 500), window(1, 1, 500)])
    _, again = folded([window(0, 0, 0, revision=9)], state=state)
    assert (again[0].start, again[0].n, again[0].value, again[0].signals) == (at(0), 0, None, ())
    _, straight = folded([window(1, 1, 500)])
    assert again[1].value == straight[0].value


def test_what_comes_for_a_settled_time_is_ignored_and_counted() -> None:
    state, _ = folded([window(minute, 1, 500) for minute in range(5)])
    state, points = folded(
        [window(minute, 1, 500, revision=90 + minute, state=FINAL) for minute in range(3)], state=state
    )
    assert (points, state.ignored) == ([], 0)
    after, points = folded([window(1, 9, 900, revision=120)], state=state)
    assert (points, after.ignored) == ([], 1)
    _, points = folded([window(3, 9, 900, revision=121)], state=after)
    assert points[0].start == at(3)


def test_a_final_window_still_corrects() -> None:
    state, _ = folded([window(minute, 1, 500) for minute in range(3)])
    _, points = folded([window(0, 8, 500, revision=99, state=FINAL)], state=state)
    assert [(point.start, point.amount) for point in points] == [(at(0), 8), (at(1), 1), (at(2), 1)]


def test_only_the_last_subgroups_are_held() -> None:
    told = SpcSettings(limits=SETTINGS.limits, merger=Merger(keep=3))
    state, _ = folded((window(minute, 1, 500) for minute in range(10)), told)
    after, points = folded([window(6, 9, 500, revision=50)], told, state)
    assert (points, after.ignored) == ([], 1)
    _, points = folded([window(7, 9, 500, revision=51)], told, after)
    assert [point.start for point in points] == [at(7), at(8), at(9)]


def test_state_is_bounded_by_what_may_still_change() -> None:
    def size(minutes: int) -> int:
        """Fold a slow station whose windows become final an hour later."""
        state = SpcState()
        for minute in range(minutes):
            state, _ = fold_window(state, window(minute, 1, 60), SETTINGS)
            if minute >= 60:
                final = window(minute - 60, 1, 60, revision=minute + 100_000, state=FINAL)
                state, _ = fold_window(state, final, SETTINGS)
        return len(save(state))

    assert abs(size(2_000) - size(400)) < 200


def test_a_slow_stations_settled_windows_are_held_as_sums_alone() -> None:
    state = SpcState()
    for minute in range(450):
        state, _ = fold_window(state, window(minute, 0, 1), SETTINGS)
        if minute >= 60:
            final = window(minute - 60, 0, 1, revision=minute + 1000, state=FINAL)
            state, _ = fold_window(state, final, SETTINGS)
    (charts,) = state.stations.values()
    assert charts.merger.filling is not None
    assert (charts.merger.filling.n, len(charts.merger.filling.parts)) == (450, 60)


def test_a_new_baseline_starts_the_charts_anew_and_what_fills_goes_on() -> None:
    second = baseline(subgroups([count + 2 for count in CALM]), IDENTITY, previous=BASELINE)
    state, _ = folded(window(minute, 3, 100) for minute in range(13))
    told = SpcSettings(limits=((IDENTITY, second),))
    state, points = folded((window(minute, 3, 100) for minute in range(13, 15)), told, state)
    assert [(point.start, point.n, point.baseline_id) for point in points] == [(at(10), 500, second.baseline_id)]
    assert points[0].value == pytest.approx(0.8 * second.scale.centre + 0.2 * 0.03)
    _, points = folded([window(2, 9, 100, revision=60)], told, state)
    assert points == []


def test_a_baseline_of_another_model_is_refused_before_anything_is_charted() -> None:
    running = msgspec.structs.replace(IDENTITY, model_id="template-4")
    with pytest.raises(BaselineRefused, match="model_id is 'template-3', running is 'template-4'"):
        SpcSettings(limits=((running, BASELINE),))


def test_a_figure_that_is_no_count_is_refused() -> None:
    with pytest.raises(ValueError, match="charts can be kept of defect_rate"):
        SpcSettings(metrics=("latency_p95_s",))


@pytest.mark.parametrize("damaged", [b"", b"x", msgspec.msgpack.encode({"version": 1, "stations": 3})])
def test_a_damaged_checkpoint_is_refused(damaged: bytes) -> None:
    with pytest.raises(BadRecord, match="damaged"):
        restore(damaged)


def test_a_checkpoint_of_another_version_is_refused() -> None:
    with pytest.raises(UnknownSchema, match="version 2"):
        restore(msgspec.msgpack.encode({"version": 2, "stations": "otherwise"}))


def test_a_point_travels_as_a_record() -> None:
    _, (point, *_) = folded([window(0, 30, 900)], ALL)
    assert msgspec.json.decode(msgspec.json.encode(point), type=ControlPoint) == point


MINUTES = st.integers(0, 14)
COUNTS = st.tuples(st.integers(0, 9), st.integers(0, 300)).map(lambda pair: (min(pair), pair[1]))


@st.composite
def logs(draw: st.DrawFn) -> list[KpiWindow]:
    """Return windows as they lie in the log: revisions ascend, corrections and repeats anywhere, some windows final."""
    told = draw(st.lists(st.tuples(MINUTES, COUNTS, st.sampled_from([CLOSED, CLOSED, CLOSED, OPEN])), max_size=40))
    log: list[KpiWindow] = []
    for revision, (minute, (failed, inspected), state) in enumerate(told):
        log.append(window(minute, failed, inspected, revision=revision, state=state))
    finals = [window(minute, 1, 100, revision=100 + minute, state=FINAL) for minute in range(draw(st.integers(0, 8)))]
    place = draw(st.integers(0, len(log)))
    log = [*log[:place], *finals, *log[place:]]
    for source in draw(st.lists(st.integers(0, max(0, len(log) - 1)), max_size=5)):
        if log:
            log.insert(draw(st.integers(source, len(log))), log[source])
    return log


HELD = SpcSettings(
    limits=SETTINGS.limits,
    plans=(PLANS["laney_ewma"], PLANS["laney_cusum"], PLANS["laney"]),
    merger=Merger(min_n=300, least_n=100, max_age_us=6 * 60_000_000, keep=4),
)


@given(logs(), st.integers(0, 60))
def test_a_checkpoint_anywhere_changes_nothing(log: list[KpiWindow], place: int) -> None:
    whole = folded(log, HELD)
    state, before = folded(log[:place], HELD)
    after_state, after = folded(log[place:], HELD, restore(save(state)))
    assert (after_state, before + after) == whole


@given(logs(), st.integers(0, 60), st.integers(0, 60))
def test_a_fold_repeated_after_a_crash_publishes_the_same_points_again(
    log: list[KpiWindow], saved: int, crashed: int
) -> None:
    """From a checkpoint, the part up to the crash is folded twice: readers must not see it."""
    saved, crashed = sorted((saved, crashed))
    checkpoint, published = folded(log[:saved], HELD)
    _, lost = folded(log[saved:crashed], HELD, checkpoint)
    _, rest = folded(log[saved:], HELD, checkpoint)
    assert newest(published + lost + rest) == newest(folded(log, HELD)[1])


@given(logs())
def test_a_fold_never_changes_the_state_it_was_given(log: list[KpiWindow]) -> None:
    state = SpcState()
    for one in log:
        before = save(state)
        after, _ = fold_window(state, one, HELD)
        assert save(state) == before
        state = after


@settings(max_examples=200)
@given(logs())
def test_what_readers_keep_equals_the_charts_over_the_corrected_subgroups(log: list[KpiWindow]) -> None:
    """The newest revisions, in time order, are one walk of every chart over the subgroups as they are now."""
    told = SpcSettings(limits=HELD.limits, plans=HELD.plans, merger=msgspec.structs.replace(HELD.merger, keep=1000))
    kept = newest(folded(log, told)[1])
    for plan in told.plans:
        chart = chart_of(plan, BASELINE.scale)
        state = chart.start()
        points = [point for (name, panel, _), point in kept.items() if name == plan.name and panel != "lower"]
        for point in sorted(points, key=lambda point: point.start):
            if point.n == 0:
                assert point.value is None
                continue
            state, expected = update(chart, state, Sample(point.amount, point.n))
            assert (point.value, point.lower, point.upper, point.signals) == (
                expected.value,
                expected.lower,
                expected.upper,
                expected.signals,
            )


@given(logs())
def test_no_board_is_counted_twice_or_lost(log: list[KpiWindow]) -> None:
    """Without finals, points and the filling subgroup hold the newest revision of every window, each once."""
    windows = [one for one in log if one.state is not FINAL]
    told = SpcSettings(limits=HELD.limits, merger=msgspec.structs.replace(HELD.merger, keep=1000))
    state, points = folded(windows, told)
    latest: dict[object, KpiWindow] = {}
    for one in windows:
        known = latest.get(one.start)
        if one.state is CLOSED and (known is None or known.revision < one.revision):
            latest[one.start] = one
    charted = newest(points).values()
    filling = [charts.merger.filling for charts in state.stations.values() if charts.merger.filling]
    assert sum(point.n for point in charted) + sum(held.n for held in filling) == sum(
        one.inspected for one in latest.values()
    )
    assert sum(point.amount for point in charted) + sum(held.amount for held in filling) == sum(
        one.failed for one in latest.values()
    )
