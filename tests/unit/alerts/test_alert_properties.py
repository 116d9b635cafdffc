"""Whatever the order, duplication or crash: the same windows give the same alerts."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from unit.alerts.timeline import fold_windows, window

from alerts.lifecycle import ALARMED, OPEN_STATES, Series, phase_of
from taktwatch.config import AlertRule
from taktwatch.records import AlertState, AlertTransition, KpiWindow

RULES = st.builds(
    lambda kind, gap, for_windows, keep_windows: AlertRule(
        name="r",
        kind=kind,
        above=0.25,
        recover_below=0.25 - gap,
        for_windows=for_windows,
        keep_windows=keep_windows,
        silent_windows=for_windows,
        min_n=10,
    ),
    st.sampled_from(["threshold", "threshold", "no_data"]),
    st.sampled_from([0.0, 0.1]),
    st.integers(1, 3),
    st.integers(1, 3),
)
WORDS = st.sampled_from(["3", "20", "31", "90/5", ".", "lost", "closed"])


STEPS = st.lists(st.tuples(WORDS, st.none() | st.integers(0, 5)), min_size=1, max_size=20)
"""A word for the next minute, or a correction of the minute so many before the newest."""


def log_of(steps: list[tuple[str, int | None]]) -> list[KpiWindow]:
    """Minutes in order with corrections of earlier ones between them; revisions grow as in the log."""
    log: list[KpiWindow] = []
    newest = -1
    for word, back in steps:
        if back is None or newest < 0:
            newest += 1
        log.append(window(word, newest if back is None else max(0, newest - back), revision=len(log)))
    return log


LOGS = STEPS.map(log_of)


def said(rule: AlertRule, log: list[KpiWindow], series: Series | None = None) -> tuple[Series, list[AlertTransition]]:
    after, told = fold_windows(rule, log, series)
    assert after is not None
    return after, [transition for transition in told if transition]


@given(RULES, LOGS)
def test_the_same_windows_give_the_same_transitions(rule: AlertRule, log: list[KpiWindow]) -> None:
    assert said(rule, log) == said(rule, log)


@given(RULES, LOGS, st.data())
def test_duplicates_change_nothing(rule: AlertRule, log: list[KpiWindow], data: st.DataObject) -> None:
    doubled: list[KpiWindow] = []
    for each in log:
        doubled.append(each)
        doubled.extend(data.draw(st.lists(st.sampled_from(doubled), max_size=2)))
    assert said(rule, doubled) == said(rule, log)


@given(RULES, LOGS)
def test_a_second_pass_over_the_log_tells_nothing(rule: AlertRule, log: list[KpiWindow]) -> None:
    series, _ = said(rule, log)
    assert said(rule, log, series) == (series, [])


@given(RULES, LOGS, st.randoms())
def test_shuffled_revisions_converge(rule: AlertRule, log: list[KpiWindow], random: Random) -> None:
    in_order, _ = said(rule, log)
    shuffled = list(log)
    random.shuffle(shuffled)
    out_of_order, _ = said(rule, shuffled)
    assert out_of_order.kept == in_order.kept
    assert phase_of(rule, out_of_order) == phase_of(rule, in_order)
    for word, end in (("3", {AlertState.NORMAL}), ("31" if rule.kind == "threshold" else ".", ALARMED)):
        more = [window(word, 90 + minute) for minute in range(3)]
        assert said(rule, more, in_order)[0].told.state in end
        assert said(rule, more, out_of_order)[0].told.state in end


@given(RULES, LOGS)
def test_who_fires_now_was_told(rule: AlertRule, log: list[KpiWindow]) -> None:
    series, _ = said(rule, log)
    if phase_of(rule, series).state in ALARMED:
        assert series.told.state in OPEN_STATES


@given(RULES, LOGS, st.integers(0, 20))
def test_a_crash_anywhere_repeats_the_same_transitions(rule: AlertRule, log: list[KpiWindow], cut: int) -> None:
    whole, transitions = said(rule, log)
    before, first = said(rule, log[: max(1, cut)])
    after, rest = said(rule, log[max(1, cut) :], before) if log[max(1, cut) :] else (before, [])
    assert first + rest == transitions
    assert after == whole


@given(RULES, LOGS)
def test_each_alert_goes_from_state_to_state_without_a_gap(rule: AlertRule, log: list[KpiWindow]) -> None:
    _, transitions = said(rule, log)
    over = {AlertState.NORMAL, AlertState.RESOLVED}
    last = AlertState.NORMAL
    for transition in transitions:
        assert transition.previous is (AlertState.NORMAL if last in over else last)
        assert transition.state is not transition.previous
        last = transition.state
