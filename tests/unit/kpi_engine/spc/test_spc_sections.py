"""Charts of extent and depth, fed by windows: limits and points against pccpy, on the sections behind the windows."""

from dataclasses import replace
from functools import partial
from importlib import import_module
from types import ModuleType

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spc_line import FINAL, at, sections, window
from spc_line import folded as folded_by

from kpi_engine.spc.merger import Merger
from kpi_engine.spc_line import LineCharts, LineRules, restore, save
from taktwatch.capability import capability_of_points, capability_of_subgroups, capability_of_values, measured
from taktwatch.records import ControlPoint

RULES = LineRules(
    models={"board": "m-1"},
    configs={"board": "c-1"},
    wanted=20,
    metrics=("extent", "depth", "depth_um"),
    sections=Merger(min_n=6, least_n=2),
)
SINGLE = replace(RULES, sections=Merger(min_n=1, least_n=1))
folded = partial(folded_by, rules=RULES)


@pytest.fixture(scope="module")
def pccpy() -> ModuleType:
    return import_module("pccpy")


def drawn(seed: int, minutes: int, a_minute: int, shift_from: int = 10**6) -> list[list[int]]:
    """Return extents in basis points, minute by minute; from a minute on they are more."""
    rng = np.random.default_rng(seed)
    return [
        np.clip(np.round(rng.normal(220 if minute >= shift_from else 150, 30, a_minute)), 0, None).astype(int).tolist()
        for minute in range(minutes)
    ]


def of(points: list[ControlPoint], metric: str, panel: str) -> list[ControlPoint]:
    return [point for point in points if (point.metric, point.panel) == (metric, panel)]


def test_means_and_deviations_of_sections_have_the_limits_pccpy_has(pccpy: ModuleType) -> None:
    """Three sections a minute, two minutes a subgroup: limits from the first 20 subgroups, judged from there on."""
    minutes = drawn(4, 80, 3, shift_from=64)
    state, points = folded(sections(minute, extents) for minute, extents in enumerate(minutes))
    assert len(state.baselines) == 3
    table = np.array(minutes, float).reshape(40, 6) * 1e-4
    learnt = pccpy.xbar_s_chart(table[:20])
    centre, sigma = learnt.panels[0].center[0], learnt.panels[1].center[0] / pccpy_c4(6)
    theirs = pccpy.xbar_s_chart(table[20:], mu=centre, sigma=sigma)
    means, deviations = of(points, "extent", "mean"), of(points, "extent", "deviation")
    assert len(means) == len(deviations) == 20
    for panel, found in ((theirs.panels[0], means), (theirs.panels[1], deviations)):
        for name, wanted in (
            ("value", panel.values), ("centre", panel.center), ("lower", panel.lcl), ("upper", panel.ucl),
        ):  # fmt: skip
            np.testing.assert_allclose([getattr(point, name) for point in found], wanted, rtol=1e-9, atol=1e-12)
        signalled = [index for index, point in enumerate(found) if point.signals]
        assert signalled == panel.violations[1].tolist()
    assert [bool(point.signals) for point in means][-8:] == [True] * 8
    depths = of(points, "depth", "mean")
    assert [point.value for point in depths] == pytest.approx([10 * (point.value or 0) for point in means])
    in_um = of(points, "depth_um", "mean")
    assert [point.upper for point in in_um] == pytest.approx([1000 * (point.upper or 0) for point in means])


def pccpy_c4(n: int) -> float:
    """E[s] / sigma, by its definition."""
    special = import_module("scipy.special")
    return float(np.sqrt(2 / (n - 1)) * special.gamma(n / 2) / special.gamma((n - 1) / 2))


def test_one_section_a_minute_is_a_chart_of_single_values_and_moving_ranges(pccpy: ModuleType) -> None:
    minutes = drawn(5, 60, 1, shift_from=50)
    _, points = folded((sections(minute, extents) for minute, extents in enumerate(minutes)), rules=SINGLE)
    values = np.array(minutes, float).ravel() * 1e-4
    learnt = pccpy.imr_chart(values[:20])
    theirs = pccpy.imr_chart(
        values[20:], mu=learnt.panels[0].center[0], sigma=learnt.panels[1].center[1] / 1.1283791671
    )
    found = of(points, "extent", "value")
    panel = theirs.panels[0]
    for name, wanted in (
        ("value", panel.values), ("centre", panel.center), ("lower", panel.lcl), ("upper", panel.ucl),
    ):  # fmt: skip
        np.testing.assert_allclose([getattr(point, name) for point in found], wanted, rtol=1e-5, atol=1e-9)
    ranges = of(points, "extent", "range")
    np.testing.assert_allclose([point.value for point in ranges], theirs.panels[1].values[1:], atol=1e-12)
    np.testing.assert_allclose([point.upper for point in ranges], theirs.panels[1].ucl[1:], rtol=1e-5)
    assert found[-1].signals


def test_a_minute_of_several_sections_is_one_value_where_single_values_are_charted() -> None:
    _, points = folded([sections(0, [100, 200]), sections(1, [300])], rules=SINGLE)
    found = of(points, "extent", "")
    assert [point.value for point in found] == pytest.approx([0.015, 0.03])
    assert [point.n for point in found] == [2, 1]


@pytest.mark.parametrize("rules", [RULES, SINGLE])
def test_capability_of_the_points_is_that_of_the_sections(rules: LineRules) -> None:
    single = rules is SINGLE
    minutes = drawn(6, 30, 1 if single else 6)
    _, points = folded((sections(m, extents) for m, extents in enumerate(minutes)), rules=rules)
    shares = [[extent * 1e-4 for extent in extents] for extents in minutes]
    wanted = (
        capability_of_values([share for [share] in shares], upper=0.02)
        if single
        else capability_of_subgroups([measured(group) for group in shares], upper=0.02)
    )
    found = capability_of_points([point for point in points if point.metric == "extent"], 0.02, single=single)
    assert found is not None
    assert found.n == wanted.n == sum(map(len, minutes))
    for index in ("cpk", "ppk"):
        ours, theirs = getattr(found, index), getattr(wanted, index)
        assert (ours.value, ours.low, ours.high) == pytest.approx((theirs.value, theirs.low, theirs.high), rel=1e-9)


def test_nothing_that_varies_has_no_capability() -> None:
    _, points = folded(sections(minute, [0] * 6) for minute in range(5))
    assert capability_of_points(points, 0.02, single=False) is None
    assert capability_of_points([], 0.02, single=True) is None


def test_boards_without_layers_have_no_chart_of_extent() -> None:
    state, points = folded(window(minute) for minute in range(10))
    assert points == []
    assert state == LineCharts()


def test_a_correction_puts_mean_and_deviation_right() -> None:
    minutes = drawn(7, 50, 6)
    windows = [sections(minute, extents) for minute, extents in enumerate(minutes)]
    corrected = sections(45, [*minutes[45], 900], revision=1000)
    state, _ = folded(windows)
    _, points = folded([corrected], state=state)
    right = measured([extent * 1e-4 for extent in [*minutes[45], 900]])
    first = of(points, "extent", "mean")[0]
    assert (first.start, first.n, first.revision) == (at(45), 7, 1000)
    assert first.value == pytest.approx(right.mean)
    assert of(points, "extent", "deviation")[0].value == pytest.approx(right.deviation)
    assert of(points, "extent", "deviation")[0].signals
    assert folded([corrected, windows[45]], state=state)[1] == points  # an older revision changes nothing


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 59), st.sampled_from([RULES, SINGLE]))
def test_a_checkpoint_anywhere_changes_nothing_of_measured_charts(seed: int, cut: int, rules: LineRules) -> None:
    windows = [sections(minute, extents) for minute, extents in enumerate(drawn(seed, 60, 3))]
    windows += [sections(minute, [0, 900, 50], revision=500 + minute, state=FINAL) for minute in range(40, 50)]
    state, before = folded(windows[:cut], rules=rules)
    again = restore(save(state))
    assert again == state
    assert before + folded(windows[cut:], rules=rules, state=again)[1] == folded(windows, rules=rules)[1]


def test_state_does_not_grow_with_the_history() -> None:
    windows = [sections(minute, extents) for minute, extents in enumerate(drawn(8, 600, 6))]
    sizes = []
    state = LineCharts()
    for first in range(0, 600, 200):
        final = [msgspec.structs.replace(one, state=FINAL) for one in windows[first : first + 200]]
        state, _ = folded(final, state=state)
        sizes.append(len(save(state)))
    assert max(sizes) < 1.1 * sizes[0]
