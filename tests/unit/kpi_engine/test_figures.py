"""Figures against numbers computed elsewhere."""

import random
from statistics import NormalDist, mean, stdev

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktwatch.kpis import (
    EXAMPLE,
    completeness,
    dead_rate,
    dpmo,
    dpu,
    mean_score,
    merge,
    poisson_interval,
    rolled_throughput_yield,
    score_drift,
)
from taktwatch.records import KpiWindow


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [
        (1, 0.025317807984289876, 5.571643390938899),
        (5, 1.6234863901184207, 11.66833207932267),
        (50, 37.110963737461866, 65.91876666433681),
        (100, 81.36399125092314, 121.62679379242638),
    ],
)
def test_the_poisson_interval_is_the_chi_square_one(count: int, low: float, high: float) -> None:
    """Half the quantiles of chi-square with 2 n and 2 n + 2 degrees of freedom, as SciPy has them."""
    assert poisson_interval(count) == pytest.approx((low, high), rel=1e-12)


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [(101, 82.26615879303894, 122.72415570583051), (500, 457.1285768996295, 545.8092685651714)],
)
def test_large_counts_are_close_to_it(count: int, low: float, high: float) -> None:
    assert poisson_interval(count) == pytest.approx((low, high), rel=1e-4)


def test_frames_and_boards_are_not_mixed_up() -> None:
    """Ten boards of three pictures, one of which is dead and one missing."""
    window = msgspec.structs.replace(EXAMPLE, accepted=30, inspected=10, dead=1, missing=1)
    assert (dead_rate(window).value, dead_rate(window).n) == (1 / 29, 29)
    assert (completeness(window).value, completeness(window).n) == (29 / 30, 30)
    assert (dpu(window).value, dpmo(window).n) == (0.5, 10)


def test_a_station_nobody_passed_yet_leaves_the_rolled_yield_open() -> None:
    empty = msgspec.structs.replace(EXAMPLE, first_pass=0, first_pass_passed=0)
    assert rolled_throughput_yield([EXAMPLE, empty]).value is None


def test_of_one_station_the_rolled_yield_is_its_first_pass_yield() -> None:
    rate = rolled_throughput_yield([EXAMPLE])
    assert (rate.value, rate.n) == (0.8, 20)
    assert (rate.low, rate.high) == pytest.approx((0.5840, 0.9193), abs=1e-4)


def test_a_perfect_line_has_an_interval_too() -> None:
    perfect = msgspec.structs.replace(EXAMPLE, first_pass_passed=20)
    rate = rolled_throughput_yield([perfect] * 3)
    assert rate.value == rate.high == 1.0
    assert rate.low is not None
    assert 0.4 < rate.low < 0.6


def scored(scores: list[float]) -> KpiWindow:
    """Return a window whose detections have these scores."""
    bp = [round(score * 10_000) for score in scores]
    squares = sum(score * score for score in bp)
    return msgspec.structs.replace(EXAMPLE, scored=len(bp), score_sum_bp=sum(bp), score_squares_bp2=squares)


@given(st.lists(st.integers(0, 10_000).map(lambda bp: bp / 10_000), min_size=2, max_size=50))
def test_the_mean_score_and_its_interval_are_those_of_the_single_scores(scores: list[float]) -> None:
    rate = mean_score(scored(scores))
    spread = NormalDist().inv_cdf(0.975) * stdev(scores) / len(scores) ** 0.5
    assert rate.n == len(scores)
    assert rate.value == pytest.approx(mean(scores))
    assert rate.low == pytest.approx(max(0.0, mean(scores) - spread), abs=1e-7)
    assert rate.high == pytest.approx(min(1.0, mean(scores) + spread), abs=1e-7)


def test_windows_added_up_have_the_mean_of_all_their_scores() -> None:
    few, many = [0.5, 0.6], [0.9] * 18
    merged = merge([scored(few), scored(many)])
    assert merged is not None
    assert mean_score(merged) == mean_score(scored([*few, *many]))
    assert mean_score(merged).value == pytest.approx(0.865)


def test_the_interval_of_score_drift_holds_the_true_drift_19_times_in_20() -> None:
    """A lamp grows old: scores of 0.90 on average become scores of 0.86."""
    rng = random.Random(7)

    def hour(centre: float, count: int) -> KpiWindow:
        return scored([min(1.0, max(0.0, rng.gauss(centre, 0.04))) for _ in range(count)])

    found = [score_drift(hour(0.86, 60), hour(0.90, 400)) for _ in range(400)]
    held = [rate.low <= -0.04 <= rate.high for rate in found if rate.low is not None and rate.high is not None]
    assert len(held) == 400
    assert 0.92 <= mean(held) <= 0.98
    assert all(rate.high < 0 for rate in found if rate.high is not None)


def test_one_score_is_a_drift_without_interval_and_none_is_no_drift() -> None:
    assert (score_drift(scored([0.7]), scored([0.9, 0.9])).value, score_drift(scored([0.7]), scored([0.9])).low) == (
        pytest.approx(-0.2),
        None,
    )
    assert score_drift(scored([]), scored([0.9])).value is None
    assert score_drift(scored([0.9]), scored([])).n == 1
