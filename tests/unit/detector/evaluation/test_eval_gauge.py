"""Gauge R&R against textbooks: AIAG, Measurement Systems Analysis (4th edition), and Montgomery."""

import numpy as np
import pytest
from scipy import stats

from detector.evaluation.gauge import Gauge, Measurement, gauge_study
from taktwatch.errors import BadInput

AIAG = """
0.29 -0.56 1.34 0.47 -0.80 0.02 0.59 -0.31 2.26 -1.36
0.41 -0.68 1.17 0.50 -0.92 -0.11 0.75 -0.20 1.99 -1.25
0.64 -0.58 1.27 0.64 -0.84 -0.21 0.66 -0.17 2.01 -1.31
0.08 -0.47 1.19 0.01 -0.56 -0.20 0.47 -0.63 1.80 -1.68
0.25 -1.22 0.94 1.03 -1.20 0.22 0.55 0.08 2.12 -1.62
0.07 -0.68 1.34 0.20 -1.28 0.06 0.83 -0.34 2.19 -1.50
0.04 -1.38 0.88 0.14 -1.46 -0.29 0.02 -0.46 1.77 -1.49
-0.11 -1.13 1.09 0.20 -1.07 -0.67 0.01 -0.56 1.45 -1.77
-0.15 -0.96 0.67 0.11 -1.45 -0.49 0.21 -0.49 1.87 -2.16
"""
"""AIAG, MSA, 4th edition, the gauge study of chapter III: three appraisers, three trials a row each, ten parts."""

MONTGOMERY = """
37 38 37 41 41 40 41 42 41
42 41 43 42 42 42 43 42 43
30 31 31 31 31 31 29 30 28
42 43 42 43 43 43 42 42 42
28 30 29 29 30 29 31 29 29
42 42 43 45 45 45 44 46 45
25 26 27 28 28 30 29 27 27
40 40 40 43 42 42 43 43 41
25 25 25 27 29 28 26 26 26
35 34 34 35 35 34 35 34 35
"""
"""Montgomery, Introduction to Statistical Quality Control, thermal impedance: a part a row."""


def aiag() -> list[Measurement]:
    return [
        Measurement(part=str(part), appraiser="ABC"[row // 3], trial=str(row % 3), value=float(word))
        for row, line in enumerate(AIAG.split("\n")[1:-1])
        for part, word in enumerate(line.split())
    ]


def montgomery() -> list[Measurement]:
    return [
        Measurement(part=str(part), appraiser=str(column // 3), trial=str(column % 3), value=float(word))
        for part, line in enumerate(MONTGOMERY.split("\n")[1:-1])
        for column, word in enumerate(line.split())
    ]


def sigma(study: Gauge, name: str) -> float:
    value = study.component(name).sigma.value
    assert value is not None
    return value


def test_the_aiag_study_gives_the_manuals_figures() -> None:
    study = gauge_study(aiag(), confidence=0.90)
    assert study.pooled
    assert [(row.df, round(row.ss, 4)) for row in study.anova] == [(9, 88.3619), (2, 3.1673), (78, 3.1179)]
    expected = {"repeatability": 0.199933, "appraiser": 0.226838, "gauge": 0.302373, "part": 1.042327, "total": 1.085}
    for name, value in expected.items():
        assert sigma(study, name) == pytest.approx(value, abs=5e-4)
    shares = {"repeatability": 18.4, "appraiser": 20.9, "gauge": 27.9, "part": 96.0}
    for name, percent in shares.items():
        assert 100 * (study.component(name).study_share.value or 0) == pytest.approx(percent, abs=0.06)
    assert study.ndc == 4


def test_the_aiag_intervals_are_near_the_manuals() -> None:
    study = gauge_study(aiag(), confidence=0.90)
    appraiser, gauge = study.component("appraiser").sigma, study.component("gauge").sigma
    assert (appraiser.low, appraiser.high) == pytest.approx((0.127, 1.001), rel=0.05)  # 90 % limits of the manual
    assert (gauge.low, gauge.high) == pytest.approx((0.237, 1.033), rel=0.05)


def test_montgomerys_study_keeps_its_interaction() -> None:
    study = gauge_study(montgomery(), tolerance=60 - 18)
    assert not study.pooled
    table = {row.source: row for row in study.anova}
    assert table["part"].ss == pytest.approx(3935.96, abs=0.01)
    assert table["appraiser"].ss == pytest.approx(39.27, abs=0.01)
    assert table["interaction"].ss == pytest.approx(48.51, abs=0.01)
    assert table["repeatability"].ss == pytest.approx(30.67, abs=0.01)
    assert table["part"].f == pytest.approx(162.27, abs=0.01)
    assert table["appraiser"].f == pytest.approx(7.28, abs=0.01)
    assert table["interaction"].f == pytest.approx(5.27, abs=0.01)
    variances = {"part": 48.29, "appraiser": 0.565, "interaction": 0.728, "repeatability": 0.511, "gauge": 1.804}
    for name, value in variances.items():
        assert sigma(study, name) ** 2 == pytest.approx(value, abs=5e-3)
    share = study.component("gauge").tolerance_share
    assert share is not None
    assert share.value == pytest.approx(6 * 1.80370**0.5 / 42, abs=1e-4)


def test_the_interval_of_repeatability_is_the_exact_one() -> None:
    study = gauge_study(montgomery())
    error = study.anova[-1]
    exact = [np.sqrt(error.ss / stats.chi2.ppf(at, error.df)) for at in (0.975, 0.025)]
    found = study.component("repeatability").sigma
    assert (found.low, found.high) == pytest.approx(exact, rel=0.01)


def test_intervals_of_gauge_and_parts_hold_the_truth() -> None:
    rng, held, runs = np.random.default_rng(4), np.zeros(2), 150
    for seed in range(runs):
        part, appraiser = rng.normal(0, 3.0, 10), rng.normal(0, 0.7, 3)
        both, error = rng.normal(0, 0.6, (10, 3)), rng.normal(0, 1.0, (10, 3, 3))
        cube = part[:, None, None] + appraiser[None, :, None] + both[:, :, None] + error
        study = gauge_study(
            [
                Measurement(part=str(p), appraiser=str(a), trial=str(t), value=float(cube[p, a, t]))
                for p, a, t in np.ndindex(cube.shape)
            ],
            seed=seed,
        )
        for index, (name, truth) in enumerate((("gauge", (0.49 + 0.36 + 1.0) ** 0.5), ("part", 3.0))):
            one = study.component(name).sigma
            held[index] += (one.low or 0) <= truth <= (one.high or 0)
    assert (held / runs >= 0.90).all()


def test_a_tolerance_is_wider_than_nothing() -> None:
    with pytest.raises(BadInput, match="tolerance of 0"):
        gauge_study(aiag(), tolerance=0)


def test_a_missing_cell_is_named() -> None:
    with pytest.raises(BadInput, match=r"part '9' was not measured by 'C' in trial '2'"):
        gauge_study(aiag()[:-1])


def test_one_trial_is_no_gauge_study() -> None:
    with pytest.raises(BadInput, match="at least two trials, this one 1"):
        gauge_study([one for one in aiag() if one.trial == "0"])


def test_a_gauge_without_any_error_does_not_divide_by_nothing() -> None:
    exact = [Measurement(part=p, appraiser=a, trial=t, value=float(p)) for p in "123" for a in "AB" for t in "12"]
    study = gauge_study(exact)
    assert sigma(study, "gauge") == 0
    assert study.component("part").study_share.value == 1
