"""Two models on the same pictures."""

import msgspec
import pytest
from eval_scenes import LABELS, scene

from detector.evaluation.compare import compare
from detector.evaluation.figures import Scored, score
from detector.evaluation.outcomes import Outcome
from taktwatch.errors import BadInput


def scored(skill: float, seeds: range = range(60)) -> tuple[list[Outcome], Scored]:
    outcomes = [scene(seed, skill=skill) for seed in seeds]
    return outcomes, score(outcomes, LABELS, f_threshold=None)


def test_a_model_does_not_differ_from_itself() -> None:
    outcomes, one = scored(0.8)
    same = compare(("a", outcomes, one), ("a", outcomes, one))
    assert (same.ap.value, same.ap.pictures.low, same.ap.pictures.high) == (0, 0, 0)
    assert (same.verdicts.only_first_right, same.verdicts.only_second_right, same.verdicts.p) == (0, 0, 1)


def test_a_better_model_is_better_beyond_chance_and_the_sign_turns() -> None:
    good, blind = scored(0.95), scored(0.2)
    one = compare(("good", *good), ("blind", *blind))
    other = compare(("blind", *blind), ("good", *good))
    assert one.ap.pictures.low is not None
    assert one.ap.pictures.low > 0
    assert one.ap.value == pytest.approx(-(other.ap.value or 0))
    assert one.ap.boards.units == 7
    assert one.verdicts.only_first_right == other.verdicts.only_second_right


def test_pairing_tells_apart_what_two_separate_intervals_cannot() -> None:
    outcomes, one = scored(0.8)
    # The other model gives one hit less in a few pictures, and is equal everywhere else.
    worse = [
        msgspec.structs.replace(each, found=each.found[1:]) if index % 6 == 0 else each
        for index, each in enumerate(outcomes)
    ]
    other = score(worse, LABELS, f_threshold=None)
    difference = compare(("a", outcomes, one), ("b", worse, other)).ap.pictures
    alone = one.figures.headline.ap.pictures
    assert (difference.high or 0) - (difference.low or 0) < ((alone.high or 0) - (alone.low or 0)) / 2


def test_other_pictures_cannot_be_compared() -> None:
    with pytest.raises(BadInput, match="different pictures"):
        compare(("a", *scored(0.8)), ("b", *scored(0.8, range(60, 120))))
