"""Review figures against simulated truth: the sample is fair, and intervals hold what they promise."""

import random
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktwatch.kpis import proportion
from taktwatch.records import Review, Verdict, board_id, frame_id
from taktwatch.reviews import EXAMPLES, draw_at, escape_rate, false_call_rate, figures, newest, series

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)


def checked(number: int, *, rate: float, defective: bool) -> Review:
    """Return the review of a passed board that was drawn at some rate."""
    return msgspec.structs.replace(
        EXAMPLES[-1],
        frame_id=frame_id("line-1", "top", "s1", number),
        visit=number,
        human=Verdict.FAIL if defective else Verdict.PASS,
        weight=1 / rate,
    )


def test_boards_are_drawn_evenly_and_one_drawn_at_a_low_rate_is_drawn_at_every_higher_one() -> None:
    places = [draw_at(board_id("line-1", "top", "s1", seq)) for seq in range(20_000)]
    for rate in (0.01, 0.1, 0.5):
        assert sum(place < rate for place in places) == pytest.approx(20_000 * rate, abs=4 * (20_000 * rate) ** 0.5)
    assert min(places) >= 0
    assert max(places) < 1


def test_the_weighted_estimate_is_right_where_the_rate_changed_and_the_plain_share_is_not() -> None:
    """A bad shift checked closely, a good one hardly: 4 % and 0.5 % escapes, drawn at 20 % and 2 %."""
    rng = random.Random(5)
    estimates, plain, held, runs = [], [], 0, 150
    truth = (0.04 + 0.005) / 2
    for _ in range(runs):
        drawn = [
            checked(number, rate=rate, defective=rng.random() < escapes)
            for number, (rate, escapes) in enumerate([(0.2, 0.04), (0.02, 0.005)] * 20_000)
            if rng.random() < rate
        ]
        found = escape_rate(drawn)
        assert found.value is not None
        assert found.low is not None
        assert found.high is not None
        estimates.append(found.value)
        plain.append(sum(review.human is Verdict.FAIL for review in drawn) / len(drawn))
        held += found.low <= truth <= found.high
    assert sum(estimates) / runs == pytest.approx(truth, rel=0.05)
    assert sum(plain) / runs > 1.4 * truth
    assert held / runs >= 0.9


@given(st.lists(st.booleans(), min_size=1, max_size=300), st.sampled_from([1.0, 0.5, 0.02]))
def test_at_one_rate_the_estimate_is_the_plain_share_with_its_wilson_interval(found: list[bool], rate: float) -> None:
    reviews = [checked(number, rate=rate, defective=defective) for number, defective in enumerate(found)]
    plain, weighted = proportion(sum(found), len(found)), escape_rate(reviews)
    assert weighted.n == plain.n
    assert (weighted.value, weighted.low, weighted.high) == pytest.approx((plain.value, plain.low, plain.high))


def test_boards_opened_out_of_curiosity_say_nothing_about_the_rest() -> None:
    curious = [msgspec.structs.replace(checked(7, rate=1.0, defective=True), sampled=False, weight=1.0)]
    found = figures([*EXAMPLES[:5], *curious])
    assert (found.escape_rate.value, found.escape_rate.n, found.escapes_found) == (0.0, 1, 1)


def test_boards_the_machine_sent_to_review_are_in_no_rate() -> None:
    unsure = [msgspec.structs.replace(EXAMPLES[0], machine=Verdict.REVIEW, human=human) for human in Verdict]
    assert false_call_rate(unsure).n == 0
    assert figures(unsure).settled == 1


def test_a_board_of_three_pictures_counts_once_by_the_last_word_on_it() -> None:
    pictures = [
        msgspec.structs.replace(EXAMPLES[0], frame_id=frame_id("line-1", "top", "s1", seq), human=human)
        for seq, human in enumerate([Verdict.FAIL, Verdict.FAIL, Verdict.PASS])
    ]
    found = figures(pictures)
    assert (found.confirmed, found.overruled) == (0, 1)
    assert (found.false_call_rate.value, found.false_call_rate.n) == (1.0, 1)


def test_a_board_counts_once_in_the_step_of_the_last_word_on_it() -> None:
    later = msgspec.structs.replace(EXAMPLES[0], human=Verdict.PASS, reviewed_at=NOON + timedelta(hours=5))
    steps = series([*EXAMPLES, later], timedelta(hours=1))
    assert [one.step.hour for one in steps] == [12, 17]
    assert [one.figures.false_call_rate.n for one in steps] == [3, 1]
    assert len(newest([*EXAMPLES, later])) == len(EXAMPLES)


def test_nobody_looked_is_not_nothing_found() -> None:
    none = figures([])
    assert (none.false_call_rate.value, none.escape_rate.value, none.effective_n) == (None, None, 0.0)
    assert series([], timedelta(hours=1)) == []
