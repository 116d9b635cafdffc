"""Weighted curves are the curves of pictures that lie there so many times."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.evaluate import Matched, average_precision, best_f, pooled
from detector.evaluation.curves import pool

Case = tuple[list[tuple[int, Matched]], list[int]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Matches of a few pictures, all scores different, and how often each picture is drawn."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    pictures = draw(st.integers(1, 6))
    scores = rng.permutation(500)[: 5 * pictures].reshape(pictures, 5) / 500
    parts = []
    for index in range(pictures):
        count = int(rng.integers(0, 6))
        own = np.sort(scores[index, :count])[::-1]
        hits = rng.random(count) < 0.6
        parts.append((index, Matched(own, hits, int(hits.sum() + rng.integers(0, 3)))))
    return parts, draw(st.lists(st.integers(0, 3), min_size=pictures, max_size=pictures))


@given(cases())
def test_a_picture_drawn_thrice_counts_thrice(case: Case) -> None:
    parts, times = case
    repeated = pooled([matched for (_, matched), count in zip(parts, times, strict=True) for _ in range(count)])
    weights = np.array(times, np.float64)
    one = pool(parts, len(parts))
    if repeated.truths:
        assert abs(one.ap(weights) - average_precision(repeated)) < 1e-9
        assert abs(one.best_f(weights) - best_f(repeated)[0]) < 1e-9
    else:
        assert np.isnan(one.ap(weights))
        assert np.isnan(one.best_f(weights))


@given(cases())
def test_no_threshold_beats_the_best(case: Case) -> None:
    parts, times = case
    one, weights = pool(parts, len(parts)), np.array(times, np.float64)
    best = one.best_f(weights)
    assert np.isnan(best) or all(one.f_at(float(at), weights) <= best + 1e-9 for at in (*one.scores, 0.0, 1.0))


def test_f_at_a_threshold_by_hand() -> None:
    one = pool([(0, Matched(np.array([0.9, 0.6, 0.4]), np.array([True, False, True]), 3))], 1)
    assert one.f_at(0.5, np.ones(1)) == 2 * 1 / (2 + 3)
    assert one.f_at(0.0, np.ones(1)) == 2 * 2 / (3 + 3)


def test_no_pictures_make_an_empty_pool() -> None:
    assert np.isnan(pool([], 3).ap(np.ones(3)))
