"""Charts of a whole line: limits learnt, kept with the state, and dropped when something else runs."""

import random
from dataclasses import replace
from functools import partial

import msgspec
import pytest
from pydantic import ValidationError
from spc_line import folded as folded_by
from spc_line import window

from kpi_engine.spc.merger import Merger
from kpi_engine.spc.plans import PLANS
from kpi_engine.spc.rules import LIMITS_ONLY, NELSON
from kpi_engine.spc_line import LineRules, adopt, restore, save, still_valid
from kpi_engine.spc_rules import rules_of
from taktwatch.config import LineConfig, SpcConfig
from taktwatch.errors import BadRecord, UnknownSchema
from taktwatch.records import KpiWindow

RULES = LineRules(models={"board": "m-1"}, configs={"board": "c-1"}, wanted=20, merger=Merger(min_n=100, least_n=50))
folded = partial(folded_by, rules=RULES)


def breathing(minutes: range) -> list[KpiWindow]:
    dice = random.Random(minutes.start)
    return [window(minute, failed=sum(dice.random() < 0.05 for _ in range(100))) for minute in minutes]


def test_a_checkpoint_anywhere_changes_nothing() -> None:
    windows = breathing(range(40))
    for cut in (1, 19, 20, 21, 39):
        state, before = folded(windows[:cut])
        again = restore(save(state))
        assert again == state
        assert before + folded(windows[cut:], state=again)[1] == folded(windows)[1]


def test_another_model_learns_anew_and_from_its_own_subgroups_alone() -> None:
    state, _ = folded(breathing(range(25)))
    swapped = replace(RULES, models={"board": "m-2"})
    state, [error] = still_valid(state, swapped)
    assert "model_id is 'm-1', running is 'm-2'" in str(error)
    state, points = folded(breathing(range(30, 60)), state=state, rules=swapped)
    assert [point.collected for point in points[:20]] == list(range(1, 21))
    [held] = state.baselines.values()
    assert held.identity.model_id == "m-2"


def test_half_collected_subgroups_of_another_model_are_left_out() -> None:
    state, _ = folded(breathing(range(12)))
    _, points = folded(breathing(range(20, 22)), state=state, rules=replace(RULES, models={"board": "m-2"}))
    assert [point.collected for point in points] == [1, 2]


def test_limits_that_still_hold_are_kept() -> None:
    state, _ = folded(breathing(range(25)))
    assert still_valid(state, RULES) == (state, [])


def test_a_process_that_gives_no_limits_is_judged_by_its_latest_subgroups() -> None:
    silent = [window(minute, failed=0) for minute in range(30)]
    state, points = folded(silent + breathing(range(30, 60)))
    [held] = state.baselines.values()
    assert held.scale.centre > 0
    assert max(point.collected for point in points) > 20
    still, _ = folded([window(minute, failed=0) for minute in range(200)])
    assert [len(collected) for collected in still.collected.values()] == [80]


def test_adopting_limits_ends_collecting() -> None:
    state, _ = folded(breathing(range(25)))
    [chosen] = state.baselines.values()
    young, _ = folded(breathing(range(5)))
    taken = adopt(young, chosen)
    assert taken.collected == {}
    _, points = folded(breathing(range(10, 12)), state=taken)
    assert {point.baseline_id for point in points} == {chosen.baseline_id}


def test_each_figure_of_a_line_has_charts_and_limits_of_its_own() -> None:
    rules = replace(RULES, metrics=("defect_rate", "first_pass_yield", "dpu"))
    dice = random.Random(1)
    windows = [
        msgspec.structs.replace(one, first_pass=one.inspected, first_pass_passed=one.passed, defects={"open": found})
        for one in breathing(range(40))
        if (found := one.failed + dice.randrange(3)) >= 0
    ]
    state, points = folded(windows, rules=rules)
    assert sorted(state.baselines) == [
        "line-1/top/board/defect_rate",
        "line-1/top/board/dpu",
        "line-1/top/board/first_pass_yield",
    ]
    assert {known.identity.metric for known in state.baselines.values()} == set(rules.metrics)
    alone, own = folded(windows)
    assert [point for point in points if point.metric == "defect_rate"] == own
    assert alone.baselines.items() <= state.baselines.items()
    again = restore(save(state))
    assert folded(breathing(range(50, 60)), state=again, rules=rules) == folded(
        breathing(range(50, 60)), state=state, rules=rules
    )


def test_a_checkpoint_that_knew_one_figure_goes_on_with_its_limits() -> None:
    state, _ = folded(breathing(range(25)))
    [known] = state.baselines.values()
    older = msgspec.structs.replace(state, version=1, baselines={"line-1/top/board": known})
    assert restore(save(older)) == state


def test_a_damaged_or_newer_checkpoint_is_refused() -> None:
    with pytest.raises(BadRecord, match="damaged"):
        restore(b"\xc1")
    with pytest.raises(UnknownSchema, match="99"):
        restore(msgspec.msgpack.encode({"version": 99}))


def test_line_toml_chooses_charts_sizes_and_rules() -> None:
    config = LineConfig(spc=SpcConfig(min_n=50, least_n=20, charts=("laney", "laney_ewma"), rules="nelson"))
    rules = rules_of(config)
    assert [plan.name for plan in rules.plans] == ["laney", "laney_ewma"]
    assert [plan.rules for plan in rules.plans] == [NELSON, LIMITS_ONLY]
    assert (rules.merger.min_n, rules.merger.least_n) == (50, 20)
    assert rules_of(LineConfig()).plans == (PLANS["laney_ewma"],)
    with pytest.raises(ValidationError, match="least_n"):
        SpcConfig(min_n=10, least_n=20)


def test_line_toml_names_figures_and_the_older_key_means_a_list_of_one() -> None:
    assert SpcConfig.model_validate({"metric": "dpu"}) == SpcConfig(metrics=("dpu",))
    assert SpcConfig().metrics == ("defect_rate",)
    with pytest.raises(ValidationError, match="leave metric out"):
        SpcConfig.model_validate({"metric": "dpu", "metrics": ["extent"]})
    with pytest.raises(ValidationError, match="named twice"):
        SpcConfig(metrics=("dpu", "dpu"))
    rules = rules_of(LineConfig(spc=SpcConfig(metrics=("dpu", "depth"), sections=8, rules="nelson")))
    assert rules.metrics == ("dpu", "depth")
    depth = rules.figure("depth")
    assert (depth.merger.min_n, depth.merger.least_n, depth.plans[0].rules) == (8, 2, NELSON)
    single = rules_of(LineConfig(spc=SpcConfig(sections=1))).figure("depth")
    assert (single.merger.min_n, single.merger.least_n, single.plans[0].name) == (1, 1, "imr")
