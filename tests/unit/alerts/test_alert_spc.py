"""Timelines of control charts: points above, what people are told below.

o      a point in control        x   a point beyond the limits        t   six points rising
?      limits still being learnt  0   a correction took the last board out
"""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from pydantic import ValidationError
from unit.alerts.test_alert_service import opened, running
from unit.alerts.timeline import START, window, words

from alerts.fold import State, fold, without_retired
from alerts.service import GROUP
from kpi_engine.spc.rules import Rule
from taktwatch.alertlog import read_transitions
from taktwatch.bus import Outgoing
from taktwatch.config import AlertRule, AlertsConfig, LineConfig, Signal, load_config
from taktwatch.records import AlertState, AlertTransition, ControlPoint
from taktwatch.topics import Topics, lag
from taktwatch.wire import encode

DRIFT = AlertRule(name="drift", kind="spc", keep_windows=2)
BEYOND, TREND = str(Rule.BEYOND_LIMITS), str(Rule.SIX_IN_TREND)
WORDS: dict[str, dict[str, Any]] = {
    "o": {},
    "x": {"value": 0.021, "signals": (BEYOND,)},
    "t": {"value": 0.013, "signals": (TREND,)},
    "?": {"chart": "run", "centre": None, "lower": None, "upper": None},
    "0": {"value": None, "centre": None, "lower": None, "upper": None, "n": 0, "amount": 0},
}


def point(word: str, at: int, **changes: Any) -> ControlPoint:
    full = ControlPoint(
        chart="laney_ewma",
        line="line-1",
        station="top",
        product="demo-board",
        metric="defect_rate",
        start=START + at * timedelta(minutes=15),
        end=START + (at + 1) * timedelta(minutes=15),
        amount=5,
        n=500,
        value=0.01,
        centre=0.01,
        lower=0.005,
        upper=0.015,
        revision=at,
    )
    return msgspec.structs.replace(full, **WORDS[word], **changes)


def line(*rules: AlertRule) -> LineConfig:
    return LineConfig(alerts=AlertsConfig(rules=rules))


def told_of(rule: AlertRule, points: list[ControlPoint]) -> list[AlertTransition | None]:
    """What was told after each point."""
    state: State = {}
    told: list[AlertTransition | None] = []
    for each in points:
        state, transitions = fold(line(rule), state, each)
        told.append(transitions[0] if transitions else None)
    return told


def play(rule: AlertRule, timeline: str) -> str:
    return words(told_of(rule, [point(word, at) for at, word in enumerate(timeline.split())]))


def test_a_signal_fires_and_resolves_after_quiet_subgroups() -> None:
    assert play(DRIFT, "o x x o o o") == "- firing - recovering resolved -"


def test_a_signal_while_recovering_fires_on() -> None:
    assert play(DRIFT, "x o x o o") == "firing recovering firing recovering resolved"


def test_several_subgroups_may_be_wanted_before_it_fires() -> None:
    patient = AlertRule(name="drift", kind="spc", for_windows=2)
    assert play(patient, "x o x x o") == "pending normal pending firing resolved"


def test_only_the_named_signals_count() -> None:
    trend = AlertRule(name="trend", kind="spc", signals=(Rule.SIX_IN_TREND.value,))
    assert play(trend, "x t o") == "- firing resolved"


def test_only_charts_of_the_named_figures_count() -> None:
    deep = AlertRule(name="deep", kind="spc", figures=("depth", "extent"))
    depth = {"metric": "depth", "chart": "xbar_s", "panel": "deviation"}
    told = told_of(deep, [point("x", 0), point("x", 1, **depth), point("o", 2, **depth)])
    assert words(told) == "- firing resolved"
    state, _ = fold(line(DRIFT), {}, point("x", 0))
    narrowed = DRIFT.model_copy(update={"figures": ("depth",)})
    kept, [closed] = without_retired(line(narrowed), state)  # the rule looks at other figures now
    assert kept == {}
    assert closed.state is AlertState.RESOLVED
    with pytest.raises(ValidationError, match="does not read figures"):
        AlertRule(name="rate", figures=("dpu",))


def test_nothing_fires_or_resolves_while_limits_are_learnt() -> None:
    assert play(DRIFT, "? ? ? o x ? ? o o") == "- - - - firing - - recovering resolved"


def test_a_correction_that_takes_a_signal_back_resolves_with_the_next_subgroup() -> None:
    healed = point("o", 1, revision=7)
    told = told_of(DRIFT, [point("o", 0), point("x", 1), healed, point("o", 2), point("o", 3)])
    assert words(told) == "- firing - resolved -"


def test_a_correction_that_brings_a_signal_calls_at_once() -> None:
    told = told_of(DRIFT, [point("o", 0), point("o", 1), point("x", 1, revision=9)])
    assert words(told) == "- - firing"


def test_a_subgroup_left_without_boards_decides_nothing() -> None:
    assert play(DRIFT, "x 0 0 o o") == "firing - - recovering resolved"


def test_charts_of_one_place_have_alerts_of_their_own() -> None:
    told = told_of(DRIFT, [point("x", 0), point("x", 0, chart="laney")])
    assert words(told) == "firing firing"
    assert len({transition.alert_id for transition in told if transition}) == 2


def test_the_words_carry_value_limits_and_signal() -> None:
    [transition] = told_of(DRIFT, [point("x", 0)])
    assert transition is not None
    assert transition.summary == (
        "defect rate drifts at line-1/top: 2.1 %, limits 0.5 % to 1.5 % (n = 500, laney_ewma): "
        "1 point beyond the control limits"
    )


def test_windows_and_points_do_not_disturb_each_other() -> None:
    threshold = AlertRule(name="rate", above=0.25, min_n=10)
    state: State = {}
    for record in (window("31", 0), point("x", 0)):
        state, transitions = fold(line(DRIFT, threshold), state, record)
        assert len(transitions) == 1
    assert {series.rule for series in state.values()} == {"drift", "rate"}


def test_the_signals_a_rule_may_name_are_those_of_the_charts() -> None:
    assert {str(rule) for rule in Rule} == set(get_args(Signal))


@pytest.mark.parametrize("wrong", [{"min_n": 5}, {"metric": "dpmo"}, {"signals": ("a typo",)}])
def test_settings_that_an_spc_rule_does_not_read_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AlertRule(name="drift", kind="spc", **wrong)
    with pytest.raises(ValidationError, match="signals"):
        AlertRule(name="rate", signals=(BEYOND,))


def test_the_shipped_line_watches_for_drifts_beside_its_threshold() -> None:
    config = load_config(Path(__file__).parents[3] / "line.toml", {})
    kinds = {rule.name: rule.kind for rule in config.alerts.rules}
    assert kinds["defect-rate-drifts"] == "spc"
    assert kinds["defect-rate"] == "threshold"


def test_the_service_reads_points_beside_windows_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    topics = Topics()

    async def main() -> None:
        async with opened(tmp_path) as bus:

            async def lives(points: list[ControlPoint]) -> None:
                outgoing = [Outgoing(topics.spc, b"line-1/top", *encode(each)) for each in points]
                await bus.publish(outgoing)
                async with running(line(DRIFT), bus):
                    while await lag(bus, GROUP, topics.spc):  # noqa: ASYNC110 - another task commits
                        await asyncio.sleep(0.02)

            await lives([point("o", 0), point("x", 1)])
            await lives([point("x", 2), point("o", 3)])
            await lives([point("o", 4)])
            transitions = await read_transitions(bus, topics)
            assert [each.state.value for each in transitions] == ["firing", "recovering", "resolved"]
            assert len({each.alert_id for each in transitions}) == 1

    asyncio.run(main())
