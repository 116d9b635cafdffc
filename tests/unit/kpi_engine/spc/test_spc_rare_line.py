"""The g chart, fed by windows: good boards between failed ones, against pccpy and what it is known to get wrong."""

import random
from functools import partial
from importlib import import_module

import numpy as np
import pytest
from spc_line import at, window
from spc_line import folded as folded_by

from kpi_engine.spc.plans import SpcSettings
from kpi_engine.spc.scales import Geometric
from kpi_engine.spc_line import LineRules
from taktwatch.records import KpiWindow

RULES = LineRules(models={}, configs={}, wanted=30, metrics=("boards_between_fails",))
folded = partial(folded_by, rules=RULES)


def rare(seed: int, minutes: int, share: float, a_minute: int = 20) -> tuple[list[KpiWindow], list[int]]:
    """Return minutes in which boards fail now and then, and the good boards between them, as the belt saw them."""
    dice = random.Random(seed)
    windows, gaps, good = [], list[int](), 0
    for minute in range(minutes):
        failed = 0
        for _ in range(a_minute):
            if dice.random() < share:
                failed += 1
                gaps.append(good)
                good = 0
            else:
                good += 1
        windows.append(window(minute, failed, a_minute))
    return windows, gaps


def test_a_point_is_the_good_boards_since_the_window_of_the_failed_one_before() -> None:
    _, points = folded([window(0, 0, 20), window(1, 1, 20), window(2, 0, 0), window(3, 0, 20), window(4, 1, 20)])
    assert [(point.start, point.end, point.amount, point.n, point.value) for point in points] == [
        (at(0), at(2), 1, 40, 39.0),
        (at(3), at(5), 1, 40, 39.0),
    ]


def test_boards_one_by_one_give_the_very_gaps_and_the_limits_pccpy_has() -> None:
    windows, gaps = rare(3, 6000, 0.02, a_minute=1)
    state, points = folded(windows)
    assert [point.value for point in points] == gaps[: len(points)]
    judged = [point for point in points if point.chart == "g"]
    theirs = import_module("pccpy").g_chart(
        np.array([point.value for point in judged], int), p=30 / (30 + sum(gaps[:30])), benneyan=True
    )
    [known] = state.baselines.values()
    assert isinstance(known.scale, Geometric)
    for name, wanted in (("centre", theirs.panels[0].center), ("upper", theirs.panels[0].ucl)):
        np.testing.assert_allclose([getattr(point, name) for point in judged], wanted, rtol=1e-9)


def test_gaps_between_windows_are_right_to_within_a_window_at_either_end_and_without_bias() -> None:
    windows, gaps = rare(5, 30_000, 0.001)
    _, points = folded(windows)
    single = [point for point in points if point.amount == 1]
    assert len(single) > 0.95 * len(points)
    found = [point.value or 0.0 for point in points for _ in range(point.amount)]
    assert np.mean(found) == pytest.approx(np.mean(gaps), rel=0.01)
    assert sum(point.n for point in points) - len(gaps) == pytest.approx(sum(gaps), abs=20)


def test_events_that_become_rarer_signal_with_the_next_one() -> None:
    often, _ = rare(7, 2500, 0.02)
    state, points = folded(often)
    assert any(point.chart == "g" for point in points)
    before = folded([*(window(3000 + minute, 0, 20) for minute in range(100))], state=state)
    assert before[1] == []
    _, [point] = folded([window(3200, 1, 20)], state=before[0])
    assert point.signals == ("1 point beyond the control limits",)
    assert point.value is not None
    assert point.upper is not None
    assert point.value > point.upper


def test_a_failed_board_that_a_correction_takes_away_leaves_a_point_without_value() -> None:
    state, _ = folded([window(0, 0, 20), window(1, 1, 20)])
    _, [point] = folded([window(1, 0, 20, revision=50)], state=state)
    assert (point.amount, point.n, point.value, point.revision) == (0, 40, None, 50)


def test_a_belt_where_nothing_fails_keeps_one_sum() -> None:
    state, points = folded([window(minute, 0, 20) for minute in range(50)])
    assert points == []
    [charts] = state.charts.stations.values()
    assert charts.merger.filling is not None
    assert charts.merger.filling.n == 1000
    assert SpcSettings(metrics=RULES.metrics).figures[0].merger.events == 1
