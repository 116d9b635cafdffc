"""Probability of detection: the curve of the likelihood, a bound that holds, and no curve where none is."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from detector.evaluation.pod import detectability

OFFSET, SLOPE = -16.0, 4.0  # a50 = exp(4) = 54.6 um
A90 = float(np.exp((np.log(9) - OFFSET) / SLOPE))


def inspected(seed: int, n: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """Defects of known size, found or not by the curve above."""
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.uniform(np.log(20), np.log(200), n))
    return sizes, rng.random(n) < expit(OFFSET + SLOPE * np.log(sizes))


@pytest.mark.parametrize("seed", range(5))
def test_the_curve_is_that_of_an_unpenalised_logistic_regression(seed: int) -> None:
    sizes, hits = inspected(seed)
    found = detectability(sizes, hits)
    oracle = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(np.log(sizes)[:, None], hits)
    assert found.slope == pytest.approx(oracle.coef_[0, 0], rel=1e-3)
    assert found.offset == pytest.approx(oracle.intercept_[0], rel=1e-3)
    assert found.a90_um == pytest.approx(np.exp((np.log(9) - found.offset) / found.slope))
    assert found.a50_um < found.a90_um < found.a90_95_um


def test_a90_95_lies_above_the_true_a90_nineteen_times_in_twenty() -> None:
    runs = [detectability(*inspected(seed)) for seed in range(300)]
    bounds = [np.inf if run.a90_95_um is None else run.a90_95_um for run in runs]
    assert 0.91 <= np.mean([bound >= A90 for bound in bounds]) <= 0.99
    assert 0.4 < np.mean([run.a90_um >= A90 for run in runs]) < 0.6


def test_a_bound_is_where_the_likelihood_has_dropped_enough() -> None:
    sizes, hits = inspected(1)
    few, many = detectability(sizes, hits), detectability(np.tile(sizes, 9), np.tile(hits, 9))
    assert many.a90_um == pytest.approx(few.a90_um, rel=1e-4)
    narrow, wide = np.log(many.a90_95_um / many.a90_um), np.log(few.a90_95_um / few.a90_um)
    assert narrow == pytest.approx(wide / 3, rel=0.25)


def test_sizes_that_separate_hits_from_misses_give_no_curve() -> None:
    sizes = np.arange(10.0, 30.0)
    found = detectability(sizes, sizes >= 20)
    assert found.a90_um is None
    assert "step" in found.why_not


def test_everything_found_gives_no_curve_but_a_count() -> None:
    found = detectability(np.arange(10.0, 110.0), np.ones(100, bool))
    assert found.a90_um is None
    assert "misses" in found.why_not
    assert sum(band.found.n for band in found.bands) == 100
    assert all(band.found.low < 0.9 for band in found.bands)


def test_an_a90_far_beyond_the_sizes_seen_is_not_made_up() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.uniform(50, 100, 200)
    found = detectability(sizes, rng.random(200) < 0.5)
    assert found.a90_um is None
    assert found.why_not


def test_nothing_to_find_says_so() -> None:
    found = detectability(np.zeros(0), np.zeros(0, bool))
    assert (found.n, found.found, found.bands) == (0, 0, ())
