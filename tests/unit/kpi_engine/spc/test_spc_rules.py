"""Each rule by a drawn sequence, and all of them against a look at the whole history."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpi_engine.spc.rules import NELSON, WESTERN_ELECTRIC, Rule, RunState, watch

SAW = [0.5, -0.5] * 7


@pytest.mark.parametrize(
    ("rule", "quiet", "last"),
    [
        (Rule.TWO_OF_THREE, [2.1, 0.0], 2.1),
        (Rule.TWO_OF_THREE, [-2.1], -2.1),
        (Rule.FOUR_OF_FIVE, [1.1, 1.1, 0.0, 1.1], 1.1),
        (Rule.EIGHT_ON_ONE_SIDE, [0.1] * 7, 0.1),
        (Rule.NINE_ON_ONE_SIDE, [-0.1] * 8, -0.1),
        (Rule.SIX_IN_TREND, [-2, -1, 0, 1, 2], 3),
        (Rule.SIX_IN_TREND, [2, 1, 0, -1, -2], -3),
        (Rule.FOURTEEN_ALTERNATING, SAW[:13], SAW[13]),
        (Rule.FIFTEEN_NEAR_CENTRE, [0.5, -0.5] * 7, 0.5),
        (Rule.EIGHT_FAR_FROM_CENTRE, [1.5, -1.5, -1.5, 1.5, 1.5, -1.5, 1.5], -1.5),
    ],
)
def test_a_pattern_signals_at_the_point_that_completes_it(rule: Rule, quiet: list[float], last: float) -> None:
    state, before = run(quiet)
    assert all(rule not in found for found in before)
    assert rule in watch(state, last, beyond=False)[1]


def test_two_points_beyond_two_sigma_on_different_sides_are_no_pattern() -> None:
    _, found = run([2.5, -2.5, 2.4])
    assert Rule.TWO_OF_THREE not in found[1]
    assert Rule.TWO_OF_THREE in found[2]


def test_a_point_back_in_the_middle_does_not_signal_though_two_of_three_are_beyond() -> None:
    _, found = run([2.5, 2.5, 0.0])
    assert [Rule.TWO_OF_THREE in rules for rules in found] == [False, True, False]


def test_a_point_on_the_centre_line_ends_a_run_on_one_side() -> None:
    _, found = run([0.1] * 7 + [0.0] + [0.1] * 7)
    assert not any(Rule.EIGHT_ON_ONE_SIDE in rules for rules in found)


def test_equal_neighbours_end_a_trend_and_an_alternation() -> None:
    _, found = run([1.0, 2.0, 3.0, 4.0, 4.0, 5.0, 6.0, 7.0, 8.0])
    assert not any(Rule.SIX_IN_TREND in rules for rules in found)
    _, found = run([*SAW[:8], SAW[7], *SAW[:8]])
    assert not any(Rule.FOURTEEN_ALTERNATING in rules for rules in found)


def test_a_pattern_that_lasts_signals_at_every_further_point() -> None:
    _, found = run([0.5] * 12)
    assert [Rule.NINE_ON_ONE_SIDE in rules for rules in found] == [False] * 8 + [True] * 4


def test_the_sets_have_four_and_eight_rules_in_words() -> None:
    assert [str(rule) for rule in WESTERN_ELECTRIC][-1] == "8 points in a row on one side of the centre line"
    assert len(set(NELSON)) == 8


zs = st.lists(st.one_of(st.integers(-7, 7).map(lambda half: half / 2), st.floats(-4, 4, width=16)), max_size=60)


@given(zs)
def test_rules_in_fixed_state_equal_a_look_at_the_whole_history(history: list[float]) -> None:
    _, found = run(history)
    for end in range(1, len(history) + 1):
        assert found[end - 1] == looked_up(history[:end]), history[:end]


@given(zs, st.integers(0, 60))
def test_a_state_saved_and_restored_anywhere_goes_on_the_same(history: list[float], place: int) -> None:
    state, _ = run(history[:place])
    restored = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=RunState)
    assert restored == state
    assert run(history[place:], restored) == run(history[place:], state)


def run(history: list[float], state: RunState | None = None) -> tuple[RunState, list[frozenset[Rule]]]:
    state, found = state or RunState(), []
    for z in history:
        state, rules = watch(state, z, beyond=abs(z) > 3)
        found.append(rules)
    return state, found


def looked_up(history: list[float]) -> set[Rule]:
    """Return the rules the newest point completes, read off the definition."""
    steps = [after - before for before, after in pairwise(history)]
    last = history[-1]

    def row(length: int) -> list[float]:
        return history[-length:] if len(history) >= length else []

    def same_side(least: int, of: int, zone: float) -> bool:
        near = history[-of:]
        above, below = sum(z > zone for z in near), sum(z < -zone for z in near)
        return (last > zone and above >= least) or (last < -zone and below >= least)

    def one_side(length: int) -> bool:
        points = row(length)
        return bool(points) and (all(z > 0 for z in points) or all(z < 0 for z in points))

    judged = {
        Rule.BEYOND_LIMITS: abs(last) > 3,
        Rule.TWO_OF_THREE: same_side(2, 3, 2),
        Rule.FOUR_OF_FIVE: same_side(4, 5, 1),
        Rule.EIGHT_ON_ONE_SIDE: one_side(8),
        Rule.NINE_ON_ONE_SIDE: one_side(9),
        Rule.SIX_IN_TREND: len(steps) >= 5
        and (all(step > 0 for step in steps[-5:]) or all(step < 0 for step in steps[-5:])),
        Rule.FOURTEEN_ALTERNATING: len(steps) >= 13
        and all(before * after < 0 for before, after in pairwise(steps[-13:])),
        Rule.FIFTEEN_NEAR_CENTRE: bool(row(15)) and all(abs(z) < 1 for z in row(15)),
        Rule.EIGHT_FAR_FROM_CENTRE: bool(row(8)) and all(abs(z) > 1 for z in row(8)),
    }
    return {rule for rule, holds in judged.items() if holds}
