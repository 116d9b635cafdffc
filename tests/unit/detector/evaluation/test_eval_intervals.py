"""Intervals hold the truth as often as they say, also for small sets where everything went well."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from detector.evaluate import Matched
from detector.evaluation.curves import Pool, pool
from detector.intervals import (
    bootstrap,
    clopper_pearson,
    effective_trials,
    percentile_interval,
    rate,
    share_interval,
    tail,
)

PICTURES = 50


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_exact_bounds_are_those_of_the_binomial_test(case: tuple[int, int]) -> None:
    events, n = case
    exact = stats.binomtest(events, n).proportion_ci(0.95, method="exact")
    assert clopper_pearson(events, n) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_no_escape_in_598_boards_shows_half_a_percent() -> None:
    assert rate(0, 598).upper <= 0.005 < rate(0, 597).upper


def test_a_rate_without_boards_is_not_known() -> None:
    nothing = rate(0, 0)
    assert nothing.value is None
    assert (nothing.low, nothing.high, nothing.upper) == (0.0, 1.0, 1.0)


def test_exact_bounds_of_fifty_boards_hold_the_truth() -> None:
    rng = np.random.default_rng(3)
    for truth in (0.002, 0.02, 0.1, 0.5):
        held = [low <= truth <= high for low, high in (clopper_pearson(e, 50) for e in rng.binomial(50, truth, 2000))]
        assert np.mean(held) >= 0.95
        above = [truth <= rate(int(events), 50).upper for events in rng.binomial(50, truth, 500)]
        assert np.mean(above) >= 0.93  # 0.95 less three standard errors of 500 trials


def test_whole_boards_are_drawn_and_the_seed_decides() -> None:
    units = np.array([0, 0, 1, 2, 2, 2])
    drawn = bootstrap(lambda weights: weights, units, seed=5, draws=50)
    assert np.array_equal(drawn, bootstrap(lambda weights: weights, units, seed=5, draws=50))
    assert not np.array_equal(drawn, bootstrap(lambda weights: weights, units, seed=6, draws=50))
    assert np.array_equal(drawn[:, 0], drawn[:, 1])
    assert np.array_equal(drawn[:, 3], drawn[:, 5])
    assert np.array_equal(drawn[:, 0] + drawn[:, 2] + drawn[:, 3], np.full(50, 3.0))


def test_few_boards_get_wider_tails_and_four_get_no_interval() -> None:
    assert tail(8) < tail(20) < tail(200) < 0.025
    assert percentile_interval(np.linspace(0, 1, 100), 4) is None
    assert percentile_interval(np.linspace(0, 1, 100), 5) is not None


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60))
def test_defects_of_one_picture_never_count_as_more_than_they_are(counts: list[int]) -> None:
    trials = effective_trials(np.array(counts, np.float64))
    assert trials <= sum(counts)
    assert trials >= min(sum(counts), sum(count > 0 for count in counts)) * 0.2 or max(counts) > 40


def test_a_perfect_small_set_does_not_claim_to_be_perfect() -> None:
    low, high = share_interval(1.0, np.ones(200), PICTURES, effective_trials(np.full(PICTURES, 6.0))) or (1, 1)
    assert high == 1.0
    assert low < 0.985


def simulated(rng: np.random.Generator, pictures: int, skill: float, alike: float) -> Pool:
    """Detections whose chance differs from picture to picture: some pictures are hard."""
    parts = []
    for index in range(pictures):
        truths = int(rng.poisson(6))
        ease = rng.beta(skill * alike, (1 - skill) * alike)
        right = rng.normal(3, 1.2, int(rng.binomial(truths, ease)))
        wrong = rng.normal(-0.5, 1.2, int(rng.poisson(0.5)))
        scores = np.concatenate([right, wrong])
        hits = np.arange(scores.size) < right.size
        order = np.argsort(-scores)
        parts.append((index, Matched(scores[order], hits[order], truths)))
    return pool(parts, pictures)


@pytest.mark.parametrize(("skill", "alike"), [(0.85, 8), (0.97, 8), (0.99, 8), (0.999, 4)])
def test_intervals_of_fifty_pictures_hold_the_average_precision(skill: float, alike: float) -> None:
    truth = simulated(np.random.default_rng(1), 10_000, skill, alike).ap(np.ones(10_000))
    rng, held, runs = np.random.default_rng(2), 0, 60
    for seed in range(runs):
        small = simulated(rng, PICTURES, skill, alike)
        value = small.ap(np.ones(PICTURES))
        drawn = bootstrap(
            lambda weights, one=small: np.array([one.ap(weights)]), np.arange(PICTURES), seed=seed, draws=200
        )[:, 0]
        low, high = share_interval(value, drawn, PICTURES, effective_trials(small.truths)) or (1.0, 0.0)
        held += low <= truth <= high
    assert held / runs >= 0.88  # 0.95 less two and a half standard errors of 60 runs
