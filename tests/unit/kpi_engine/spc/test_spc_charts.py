"""Charts keep a fixed amount of state; it must say the same as the whole history, and survive being saved."""

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpi_engine.spc.measured import IMR, IMRState, XbarS, measured
from kpi_engine.spc.plans import Chart, ChartState, update
from kpi_engine.spc.points import Point, Sample
from kpi_engine.spc.rare import G, GState
from kpi_engine.spc.rules import NELSON, RunState
from kpi_engine.spc.scales import Binomial, Normal, Poisson, standardised
from kpi_engine.spc.shewhart import Shewhart
from kpi_engine.spc.weighted import Cusum, CusumState, Ewma, EwmaState
from taktwatch.errors import BadRecord

LANEY = Binomial(0.02, sigma_z=1.4)
RATES: list[Chart] = [
    Shewhart(Binomial(0.02), rules=NELSON),
    Shewhart(Poisson(0.02, 1.4), rules=NELSON),
    Ewma(LANEY),
    Ewma(LANEY, on_z=True),
    Cusum(LANEY),
]

counts = st.lists(
    st.tuples(st.integers(0, 60), st.integers(100, 2000)).map(lambda pair: Sample(*map(float, pair))), max_size=40
)


def run(chart: Any, state: Any, samples: Sequence[Any]) -> tuple[Any, list[Point]]:
    found = []
    for sample in samples:
        state, point = chart.update(state, sample)
        found.append(point)
    return state, found


@pytest.mark.parametrize("chart", RATES, ids=lambda chart: type(chart).__name__)
@given(samples=counts, place=st.integers(0, 40))
def test_a_rate_chart_saved_and_restored_anywhere_goes_on_the_same(
    chart: Chart, samples: list[Sample], place: int
) -> None:
    state, _ = run(chart, chart.start(), samples[:place])
    restored = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=ChartState)
    assert run(chart, restored, samples[place:]) == run(chart, state, samples[place:])


@given(st.lists(st.floats(-50, 50), max_size=30), st.integers(0, 30))
def test_individuals_saved_and_restored_anywhere_go_on_the_same(values: list[float], place: int) -> None:
    chart = IMR(Normal(0.0, 10.0), NELSON)
    state, _ = run(chart, chart.start(), values[:place])
    restored = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=IMRState)
    assert run(chart, restored, values[place:]) == run(chart, state, values[place:])


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(0, 30))
def test_a_g_chart_saved_and_restored_anywhere_goes_on_the_same(gaps: list[int], place: int) -> None:
    chart = G(0.1)
    state, _ = run(chart, chart.start(), gaps[:place])
    restored = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=GState)
    assert run(chart, restored, gaps[place:]) == run(chart, state, gaps[place:])


@given(counts)
def test_an_ewma_equals_the_weighted_sum_of_the_whole_history(samples: list[Sample]) -> None:
    _, found = run(Ewma(LANEY, 0.2, 3.0), EwmaState(), samples)
    for end, point in enumerate(found, start=1):
        weights = [0.2 * 0.8 ** (end - 1 - i) for i in range(end)]
        level = sum(w * sample.value for w, sample in zip(weights, samples[:end], strict=True))
        spread = sqrt(sum((w * LANEY.spread(s.n)) ** 2 for w, s in zip(weights, samples[:end], strict=True)))
        assert point.value == pytest.approx(level + 0.8**end * LANEY.centre, abs=1e-12)
        assert point.upper == pytest.approx(LANEY.centre + 3 * spread, abs=1e-12)


@given(counts)
def test_a_cusum_equals_the_largest_excess_of_the_whole_history(samples: list[Sample]) -> None:
    """The upper sum is the largest sum of (z - k) over the last so many points, or 0."""
    _, found = run(Cusum(LANEY), CusumState(), samples)
    z = [standardised(LANEY, sample) for sample in samples]
    for end, point in enumerate(found, start=1):
        high = max(0.0, *(sum(value - 0.5 for value in z[begin:end]) for begin in range(end)))
        low = max(0.0, *(sum(-value - 0.5 for value in z[begin:end]) for begin in range(end)))
        assert point.value == pytest.approx(high, abs=1e-9)
        assert point.second is not None
        assert point.second.value == pytest.approx(-low, abs=1e-9)


@given(st.lists(st.floats(-50, 50), max_size=30))
def test_a_moving_range_is_the_step_from_the_value_before(values: list[float]) -> None:
    _, found = run(IMR(Normal(0.0, 10.0)), IMRState(), values)
    ranges = [point.second.value for point in found if point.second is not None]
    assert ranges == [abs(after - before) for before, after in pairwise(values)]


def test_state_does_not_grow_with_the_history() -> None:
    for chart in RATES:
        sizes = []
        for length in (100, 10_000):
            state, _ = run(chart, chart.start(), [Sample(9.0, 500.0), Sample(12.0, 500.0)] * (length // 2))
            sizes.append(len(msgspec.msgpack.encode(state)))
        assert sizes[1] - sizes[0] <= 8, chart  # a counter's digits


def test_limits_stay_within_what_is_possible() -> None:
    _, (low,) = run(Shewhart(Binomial(0.01)), RunState(), [Sample(0, 20)])
    _, (high,) = run(Shewhart(Binomial(0.99)), RunState(), [Sample(20, 20)])
    assert (low.lower, high.upper) == (0.0, 1.0)
    assert low.signals == high.signals == ()


def test_a_chart_signals_as_long_as_the_process_is_off_and_stops_when_it_is_back() -> None:
    samples = [Sample(5, 500)] * 5 + [Sample(25, 500)] * 5 + [Sample(5, 500)] * 15
    _, found = run(Ewma(Binomial(0.01)), EwmaState(), samples)
    signals = [bool(point.signals) for point in found]
    assert not any(signals[:5])
    assert all(signals[6:10])
    assert not any(signals[-5:])


def test_the_state_of_another_chart_is_refused() -> None:
    with pytest.raises(BadRecord, match="a Cusum chart cannot go on from EwmaState"):
        update(Cusum(LANEY), EwmaState(), Sample(1, 500))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Binomial(0.0),
        lambda: Binomial(0.01, 0.0),
        lambda: Poisson(-1.0),
        lambda: Normal(1.0, 0.0),
        lambda: Sample(0, 0),
        lambda: Sample(1, float("nan")),
        lambda: Ewma(LANEY, weight=0.0),
        lambda: Cusum(LANEY, decision=0.0),
        lambda: G(1.0),
        lambda: G(0.1).update(GState(), -1),
    ],
)
def test_what_cannot_be_charted_is_refused_when_it_is_said(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        wrong()


def test_means_are_judged_by_their_own_n() -> None:
    chart = XbarS(Normal(10.0, 2.0))
    _, found = run(chart, chart.start(), [measured([12.0, 14.0]), measured([12.0, 14.0] * 10)])
    assert [point.signals for point in found] == [(), ("1 point beyond the control limits",)]
