"""Baselines: what they rest on, what was removed, and what they refuse."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spc_line import IDENTITY, at, subgroups

from kpi_engine.spc.baseline import BaselineRefused, load, require, save
from kpi_engine.spc.phase1 import baseline, estimate
from kpi_engine.spc.plans import PLANS, chart_of, update
from kpi_engine.spc.points import Sample, Subgroup
from kpi_engine.spc.scales import Binomial, Normal

CALM = [5, 9, 2, 4, 6, 3, 7, 5, 1, 8, 4, 6, 5, 2, 9, 5, 3, 6, 4, 7, 5, 4, 6, 3, 8]


def test_a_calm_time_makes_a_baseline_that_says_what_it_rests_on() -> None:
    found = baseline(subgroups(CALM), IDENTITY)
    assert isinstance(found.scale, Binomial)
    assert found.scale.centre == pytest.approx(sum(CALM) / (500 * len(CALM)))
    assert (found.n, len(found.subgroups), len(found.rounds)) == (500 * len(CALM), len(CALM), 1)
    assert found.lower < found.scale.centre < found.upper
    assert (found.version, found.replaces, len(found.baseline_id)) == (1, "", 64)
    assert (found.since, found.until) == (subgroups(CALM)[0].start, subgroups(CALM)[-1].end)


def test_a_subgroup_far_off_is_removed_recorded_and_no_part_of_the_estimate() -> None:
    spoiled = [*CALM[:10], 120, *CALM[10:]]
    found = baseline(subgroups(spoiled), IDENTITY)
    assert [group.amount for group in found.rounds[0].removed] == [120]
    assert found.rounds[-1].removed == ()
    assert 120 not in [group.amount for group in found.subgroups]
    assert found.scale.centre == pytest.approx(sum(CALM) / (500 * len(CALM)))


def test_a_moving_range_does_not_reach_across_a_removed_subgroup() -> None:
    values = subgroups([5, 9, 200, 2, 4])
    scale = estimate(values, [0, 1, 3, 4], "binomial")
    plain = Binomial(20 / 2000)
    steps = [abs(9 - 5), abs(4 - 2)]
    assert scale.sigma_z == pytest.approx(np.mean(steps) / 500 / plain.spread(500) / (2 / np.sqrt(np.pi)))


def test_chosen_windows_may_come_in_any_order_and_empty_ones_are_left_out() -> None:
    empty = Subgroup(at(5000), at(5001), 0, 0)
    forward = baseline([*subgroups(CALM), empty], IDENTITY)
    assert baseline([empty, *reversed(subgroups(CALM))], IDENTITY).scale == forward.scale


def test_the_next_baseline_is_the_next_version_and_names_the_one_it_replaces() -> None:
    first = baseline(subgroups(CALM), IDENTITY)
    second = baseline(subgroups(CALM), IDENTITY, previous=first)
    assert (second.version, second.replaces) == (2, first.baseline_id)
    assert second.baseline_id != first.baseline_id


def test_a_baseline_saved_and_loaded_is_the_same() -> None:
    found = baseline(subgroups(CALM), IDENTITY)
    assert load(save(found)) == found


@given(st.lists(st.integers(1, 40), min_size=20, max_size=40, unique=False))
def test_the_id_depends_on_the_content_alone(failed: list[int]) -> None:
    try:
        found = baseline(subgroups(failed), IDENTITY)
    except BaselineRefused:
        return
    again = baseline(
        [msgspec.structs.replace(group, amount=float(group.amount)) for group in subgroups(failed)], IDENTITY
    )
    assert again.baseline_id == found.baseline_id == load(save(found)).baseline_id


def test_an_altered_baseline_is_refused() -> None:
    saved = save(baseline(subgroups(CALM), IDENTITY))
    altered = saved.replace(b'"line-1"', b'"line-2"')
    assert altered != saved
    with pytest.raises(BaselineRefused, match="was altered"):
        load(altered)


@pytest.mark.parametrize("damaged", [b"", b"{}", b"no json", b'{"identity": 3}'])
def test_a_damaged_baseline_is_refused(damaged: bytes) -> None:
    with pytest.raises(BaselineRefused, match="a damaged baseline"):
        load(damaged)


def test_a_baseline_of_a_newer_format_is_refused() -> None:
    saved = save(msgspec.structs.replace(baseline(subgroups(CALM), IDENTITY), format=2))
    with pytest.raises(BaselineRefused, match="format 2"):
        load(saved)


@pytest.mark.parametrize("name", ["line", "station", "product", "metric", "model_id", "config_sha256"])
def test_a_baseline_of_something_else_is_refused_by_name(name: str) -> None:
    found = baseline(subgroups(CALM), IDENTITY)
    require(found, IDENTITY)
    with pytest.raises(BaselineRefused, match=f"{name} is .*, running is 'other'"):
        require(found, msgspec.structs.replace(IDENTITY, **{name: "other"}))


@pytest.mark.parametrize(
    ("failed", "message"),
    [
        ([], "0 of 0 chosen subgroups"),
        (CALM[:19], "19 of 19 chosen subgroups are within the limits"),
        ([0] * 30, "give no limits"),
        ([500] * 30, "give no limits"),
        ([5] * 30, "give no limits"),
    ],
)
def test_windows_that_make_no_baseline_are_refused(failed: list[int], message: str) -> None:
    with pytest.raises(BaselineRefused, match=message):
        baseline(subgroups(failed), IDENTITY)


def test_a_process_that_needs_a_quarter_of_its_windows_removed_is_refused() -> None:
    restless = [5, 6] * 20 + [120] * 15
    with pytest.raises(BaselineRefused, match="choose a time when the process was in control"):
        baseline(subgroups(restless), IDENTITY, width=1.5)


def test_overlapping_windows_are_refused() -> None:
    with pytest.raises(BaselineRefused, match="overlap"):
        baseline([*subgroups(CALM), subgroups(CALM)[3]], IDENTITY)


def test_single_measured_values_make_a_baseline_too() -> None:
    depths = [Subgroup(at(i), at(i + 1), 10.0 + (i * 7 % 5), 1) for i in range(30)]
    found = baseline(depths, IDENTITY, family="normal")
    assert isinstance(found.scale, Normal)
    assert found.scale.centre == pytest.approx(12.0)
    thirds = [msgspec.structs.replace(group, amount=3 * group.amount, n=3) for group in depths]
    assert baseline(thirds, IDENTITY, family="normal").scale == found.scale  # each subgroup's mean is one value


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    path = Path(__file__).parents[4] / "benchmarks" / "spc_arl.py"
    spec = importlib.util.spec_from_file_location("spc_arl", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["spc_arl"] = module
    spec.loader.exec_module(module)
    return module


def test_the_simulation_estimates_what_phase_one_does(simulation: Any) -> None:
    line = simulation.Line()
    rates = line.rates(np.random.default_rng(4), (30, 60), 0.01)
    rates[:, 20] = 0.08
    limits = simulation.phase1(rates, 500, 4.5)
    removed = 0
    for row, centre, sigma_z in zip(rates, limits.centre, limits.sigma_z, strict=True):
        found = baseline(subgroups([round(rate * 500) for rate in row.tolist()]), IDENTITY)
        removed += len(found.rounds) - 1
        assert (found.scale.centre, found.scale.sigma_z) == pytest.approx((centre, sigma_z))
    assert removed >= 30


@pytest.mark.parametrize("plan", ["laney_ewma", "laney", "laney_cusum", "shewhart"])
def test_the_simulated_charts_signal_where_the_charts_do(simulation: Any, plan: str) -> None:
    line, runs, longest = simulation.Line(), 40, 400
    rates = line.rates(np.random.default_rng(9), (runs, longest), 0.012)
    told = {
        "laney_ewma": simulation.DEFAULT,
        "laney": simulation.Chart("laney"),
        "laney_cusum": simulation.Chart("cusum", 5.0, reference=0.5),
        "shewhart": simulation.Chart("p", overdispersed=False),
    }[plan]
    chart = chart_of(PLANS[plan], Binomial(0.01, 1.73))
    first = []
    for row in rates.tolist():
        state, length = chart.start(), longest
        for step, rate in enumerate(row, start=1):
            state, point = update(chart, state, Sample(round(rate * 500), 500))
            if point.signals or (point.second is not None and point.second.signals):
                length = step
                break
        first.append(length)
    limits = simulation.known(line, runs)
    # One run at a time: `sample` is asked for the rates of the runs that still go on.
    simulated = []
    for row in rates:
        one = simulation.Limits(limits.centre[:1], limits.sigma_z[:1])
        rest = iter(row)
        simulated += simulation.run_lengths(
            lambda _, rest=rest: np.array([next(rest)]), 500, one, told, longest
        ).tolist()
    assert simulated == first
    assert min(first) < longest
