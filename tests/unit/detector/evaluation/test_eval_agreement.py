"""Kappas against AIAG's attribute study and Fleiss' worked example, and intervals that hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from detector.evaluation.agreement import Rating, attribute_agreement, cohen_kappa, fleiss_kappa
from taktwatch.errors import BadInput

AIAG_PAIRS = {  # AIAG, MSA, 4th edition, attribute study: cross tables of 150 decisions, and their kappas
    "A and B": ([[44, 6], [3, 97]], 0.86),
    "B and C": ([[42, 5], [9, 94]], 0.79),
    "A and C": ([[43, 7], [8, 92]], 0.78),
    "A and reference": ([[45, 5], [3, 97]], 0.88),
    "B and reference": ([[45, 2], [3, 100]], 0.92),
    "C and reference": ([[42, 9], [6, 93]], 0.77),
}
FLEISS = np.array(  # ten subjects, fourteen raters, five categories: the example reproduced in textbooks, kappa 0.210
    [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ],
    np.float64,
)


def ratings(**words: str) -> list[Rating]:
    """One trial each; words by appraiser, a letter a part; `reference` is the truth."""
    truth = words.pop("reference", "")
    return [
        Rating(part=str(part), appraiser=name, trial="1", rating=word, reference=truth[part] if truth else "")
        for name, text in words.items()
        for part, word in enumerate(text)
    ]


@pytest.mark.parametrize("pair", AIAG_PAIRS)
def test_kappas_of_the_aiag_study(pair: str) -> None:
    table, kappa = AIAG_PAIRS[pair]
    assert round(cohen_kappa(np.array(table, np.float64)), 2) == kappa


def test_fleiss_kappa_of_the_worked_example() -> None:
    assert round(fleiss_kappa(FLEISS), 3) == 0.210


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=40))
def test_cohens_kappa_equals_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    one, other = zip(*pairs, strict=True)
    if len(set(one) | set(other)) < 2:
        return
    table = np.zeros((3, 3))
    for a, b in pairs:
        table[a, b] += 1
    assert cohen_kappa(table) == pytest.approx(cohen_kappa_score(one, other))


def test_a_study_names_everybody_and_the_reference() -> None:
    study = attribute_agreement(
        ratings(anna="ggggbbbbgg", ben="gggbbbbbgg", model="ggggbbbbgb", reference="ggggbbbbgg")
    )
    pairs = {(one.first, one.second): one for one in study.between}
    assert set(pairs) == {("anna", "ben"), ("anna", "model"), ("ben", "model")}
    assert pairs["anna", "ben"].equal == 0.9
    assert [one.second for one in study.against_reference] == ["reference"] * 3
    assert study.against_reference[0].kappa.value == 1.0
    assert (study.everybody.events, study.everybody.n) == (8, 10)
    assert study.right is not None
    assert study.right.events == 8


def test_blind_second_readings_are_compared_with_the_first() -> None:
    first = ratings(anna="ggbbggbbgg")
    second = [Rating(part=one.part, appraiser="anna", trial="2", rating=one.rating) for one in first]
    second[0] = Rating(part="0", appraiser="anna", trial="2", rating="b")
    (own,) = attribute_agreement(first + second).within
    assert (own.parts.events, own.parts.n) == (9, 10)
    assert own.kappa is not None
    assert own.kappa.value == pytest.approx(0.8)


def test_perfect_agreement_of_twenty_parts_is_not_certain() -> None:
    study = attribute_agreement(ratings(anna="gb" * 10, model="gb" * 10))
    kappa = study.between[0].kappa
    assert kappa.value == 1.0
    assert kappa.high == 1.0
    assert kappa.low is not None
    assert kappa.low < 0.75


def test_a_kappas_interval_holds_the_truth() -> None:
    rng, held, runs = np.random.default_rng(8), 0, 60
    # Each says the truth (half good) with chance 0.9: equal 0.82, by chance 0.5.
    truth = (0.82 - 0.5) / 0.5
    for seed in range(runs):
        parts = rng.random(50) < 0.5
        said = [np.where(rng.random(50) < 0.9, parts, ~parts) for _ in range(2)]
        words = ["".join("g" if good else "b" for good in one) for one in said]
        kappa = attribute_agreement(ratings(anna=words[0], model=words[1]), seed=seed).between[0].kappa
        held += (kappa.low or 0) <= truth <= (kappa.high or 0)
    assert held / runs >= 0.88


def test_what_is_missing_or_given_twice_is_named() -> None:
    full = ratings(anna="gb", ben="gb")
    with pytest.raises(BadInput, match=r"part '1' was not read by 'ben'"):
        attribute_agreement(full[:-1])
    with pytest.raises(BadInput, match="given twice"):
        attribute_agreement([*full, full[0]])
    told = [Rating(part="1", appraiser=name, trial="1", rating="g", reference=name) for name in ("anna", "ben")]
    with pytest.raises(BadInput, match="two references"):
        attribute_agreement(told)
    with pytest.raises(BadInput, match="no ratings"):
        attribute_agreement([])
