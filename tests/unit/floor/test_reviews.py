"""Review figures against simulated truth: the sample is fair, intervals hold what they promise, last words count."""

import random
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktwatch.errors import BadRecord
from taktwatch.kpis import proportion
from taktwatch.records import Review, Verdict, board_id, frame_id
from taktwatch.review_figures import figures, series
from taktwatch.reviews import EXAMPLES, SUMS, ReviewMinutes, board_of, draw_at, minutes_of, review_in
from taktwatch.wire import encode

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
        found = figures(minutes_of(drawn)).escape_rate
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
    plain, weighted = proportion(sum(found), len(found)), figures(minutes_of(reviews)).escape_rate
    assert weighted.n == plain.n
    assert (weighted.value, weighted.low, weighted.high) == pytest.approx((plain.value, plain.low, plain.high))


def test_boards_opened_out_of_curiosity_say_nothing_about_the_rest() -> None:
    curious = [msgspec.structs.replace(checked(7, rate=1.0, defective=True), sampled=False, weight=1.0)]
    found = figures(minutes_of([*EXAMPLES[:5], *curious]))
    assert (found.escape_rate.value, found.escape_rate.n, found.escapes_found) == (0.0, 1, 1)


def test_boards_the_machine_sent_to_review_are_in_no_rate() -> None:
    unsure = [msgspec.structs.replace(EXAMPLES[0], machine=Verdict.REVIEW, human=human) for human in Verdict]
    found = figures(minutes_of(unsure))
    assert (found.false_call_rate.n, found.escape_rate.n, found.settled) == (0, 0, 1)


def test_a_board_of_three_pictures_counts_once_by_the_last_word_on_it() -> None:
    pictures = [
        msgspec.structs.replace(EXAMPLES[0], frame_id=frame_id("line-1", "top", "s1", seq), human=human)
        for seq, human in enumerate([Verdict.FAIL, Verdict.FAIL, Verdict.PASS])
    ]
    found = figures(minutes_of(pictures))
    assert (found.confirmed, found.overruled) == (0, 1)
    assert (found.false_call_rate.value, found.false_call_rate.n) == (1.0, 1)


def test_a_board_counts_once_in_the_step_of_the_last_word_on_it() -> None:
    later = msgspec.structs.replace(EXAMPLES[0], human=Verdict.PASS, reviewed_at=NOON + timedelta(hours=5))
    minutes = minutes_of([*EXAMPLES, later])
    steps = series(minutes, timedelta(hours=1))
    assert [one.step.hour for one in steps] == [12, 17]
    assert [one.figures.false_call_rate.n for one in steps] == [3, 1]
    whole = figures(minutes)
    assert whole.confirmed + whole.overruled == len(EXAMPLES)


def test_a_step_that_later_words_emptied_is_absent_and_its_minute_is_all_zeros() -> None:
    later = msgspec.structs.replace(EXAMPLES[0], reviewed_at=NOON + timedelta(hours=5))
    emptied, moved = minutes_of([EXAMPLES[0], later])
    assert [getattr(emptied, name) for name in SUMS] == [0] * len(SUMS)
    assert (emptied.revision, moved.revision) == (1, 1)
    assert [one.step.hour for one in series([emptied, moved], timedelta(hours=1))] == [17]


def test_nobody_looked_is_not_nothing_found() -> None:
    none = figures([])
    assert (none.false_call_rate.value, none.escape_rate.value, none.effective_n) == (None, None, 0.0)
    assert series([], timedelta(hours=1)) == []


WORDS = st.lists(
    st.tuples(st.integers(0, 8), st.sampled_from(list(Verdict)), st.sampled_from([Verdict.PASS, Verdict.FAIL]),
              st.sampled_from([0.03, 0.5, 1.0]), st.integers(0, 300)),
    max_size=40,
)  # fmt: skip


def said(words: list[tuple[int, Verdict, Verdict, float, int]]) -> list[Review]:
    """Return words on a few boards, some of them drawn, at any minute."""
    return [
        msgspec.structs.replace(
            EXAMPLES[0],
            visit=board,
            station="top" if board % 2 else "section",
            machine=machine,
            human=human,
            sampled=machine is Verdict.PASS and board % 3 > 0,
            weight=1 / rate,
            reviewed_at=NOON + timedelta(minutes=minute),
        )
        for board, machine, human, rate, minute in words
    ]


@given(WORDS, st.sampled_from([1, 7, 60, 1440]))
def test_minutes_hold_the_last_word_on_each_board_and_no_other(
    words: list[tuple[int, Verdict, Verdict, float, int]], step: int
) -> None:
    """What was taken back leaves nothing: as if the last words alone had been said."""
    reviews = said(words)
    last = list({board_of(review): review for review in reviews}.values())
    minutes = minutes_of(reviews)
    assert figures(minutes) == figures(minutes_of(last))
    assert series(minutes, timedelta(minutes=step)) == series(minutes_of(last), timedelta(minutes=step))
    whole = figures(minutes)
    assert whole.confirmed + whole.overruled + whole.settled == len(last)


@given(WORDS)
def test_what_each_word_changes_written_over_what_was_there_is_what_all_words_make(
    words: list[tuple[int, Verdict, Verdict, float, int]],
) -> None:
    folded, stored = ReviewMinutes(), {}
    for offset, review in enumerate(said(words)):
        stored |= {(one.start, one.station): one for one in folded.take(review, offset)}
    assert sorted(stored.values(), key=lambda one: (one.start, one.station)) == minutes_of(said(words))


def test_a_word_on_a_board_that_was_forgotten_takes_nothing_back() -> None:
    folded = ReviewMinutes()
    folded.take(EXAMPLES[0], 0)
    folded.forget(NOON + timedelta(hours=1))
    later = msgspec.structs.replace(EXAMPLES[0], reviewed_at=NOON + timedelta(hours=5))
    [minute] = folded.take(later, 1)
    assert (minute.start, minute.confirmed) == (NOON + timedelta(hours=5), 1)
    assert list(folded.minutes.values()) == [minute]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weight": 0.0}, "weight"),
        ({"weight": -50.0}, "weight"),
        ({"weight": 1e300}, "weight"),
        ({"reviewed_at": datetime(2026, 3, 3)}, "zone"),  # noqa: DTZ001 - what is to be refused
        ({"reviewed_at": datetime(1066, 10, 14, tzinfo=UTC)}, "1990"),
    ],
)
def test_a_review_that_cannot_be_counted_is_refused_by_name(change: dict[str, object], words: str) -> None:
    with pytest.raises(BadRecord, match=words):
        review_in(*encode(msgspec.structs.replace(EXAMPLES[4], **change)))
