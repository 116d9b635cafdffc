from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from kpi_engine.ledger import Session, Told, declare_missing, hear, see, watermark
from taktwatch.records import MarkState

SECOND = 1_000_000


def told(seconds: float, logged: float | None = None, frozen: float = 0) -> Told:
    event_us = round(seconds * SECOND)
    return Told(event_us, "p", event_us if logged is None else round(logged * SECOND), round(frozen * SECOND))


def marked(session: Session, last_seq: int, seconds: float, state: MarkState = MarkState.OPEN) -> bool:
    return hear(session, "ingest", state, last_seq, told(seconds))


def test_an_outcome_seen_again_is_a_repeat() -> None:
    session = Session("p")
    assert see(session, 0, told(1)) == []
    assert see(session, 0, told(1)) is None
    assert session.repeats == 1


def test_the_watermark_follows_the_outcomes_and_the_marks_of_a_standing_belt() -> None:
    session = Session("p")
    marked(session, -1, 0)
    assert watermark(session) == 0
    see(session, 0, told(3))
    assert watermark(session) == 3 * SECOND
    marked(session, 0, 9)
    assert watermark(session) == 9 * SECOND


def test_an_accepted_frame_without_outcome_holds_the_watermark_at_the_one_before() -> None:
    session = Session("p")
    see(session, 0, told(1))
    marked(session, 3, 9)
    assert watermark(session) == 1 * SECOND
    see(session, 2, told(5))
    assert watermark(session) == 1 * SECOND
    see(session, 1, told(3))
    assert watermark(session) == 5 * SECOND
    see(session, 3, told(7))
    assert watermark(session) == 9 * SECOND


def test_before_the_first_outcome_nothing_is_known_but_what_a_mark_said_of_an_empty_session() -> None:
    session = Session("p")
    marked(session, 2, 5)
    assert watermark(session) is None
    empty = Session("p")
    marked(empty, -1, 4)
    assert watermark(empty) == 4 * SECOND
    marked(empty, 2, 6)
    assert watermark(empty) == 4 * SECOND


def test_a_frame_absent_too_long_is_missing_and_lets_the_watermark_go() -> None:
    session = Session("p")
    see(session, 0, told(1))
    see(session, 2, told(5))
    marked(session, 2, 6)
    assert declare_missing(session, 10 * SECOND, told(14.9)) == []
    moves = declare_missing(session, 10 * SECOND, told(15))
    assert [(move.place_us, move.frames) for move in moves] == [(1 * SECOND, 1)]
    assert (session.pending, session.lost, watermark(session)) == (0, 1, 6 * SECOND)


def test_a_missing_frame_that_comes_after_all_is_taken_back() -> None:
    session = Session("p")
    see(session, 0, told(1))
    see(session, 3, told(5))
    declare_missing(session, 10 * SECOND, told(15))
    moves = see(session, 1, told(2, logged=16))
    assert moves is not None
    assert [(move.place_us, move.frames) for move in moves] == [(1 * SECOND, -1), (1 * SECOND, -1), (2 * SECOND, 1)]
    assert session.lost == 1


def test_a_backlog_that_is_being_worked_through_is_not_missing() -> None:
    session = Session("p")
    marked(session, 99, 1)
    for seq in range(50):
        see(session, seq, told(seq / 100, logged=seq * 9))
        assert declare_missing(session, 10 * SECOND, told(0, logged=seq * 9 + 8)) == []
    assert sum(move.frames for move in declare_missing(session, 10 * SECOND, told(0, logged=49 * 9 + 10))) == 50


def test_silence_neither_ends_a_session_nor_opens_it_again() -> None:
    session = Session("p")
    marked(session, -1, 1)
    hear(session, "watchdog", MarkState.LOST, -1, told(20))
    assert not session.ended
    marked(session, -1, 21, MarkState.CLOSED)
    hear(session, "watchdog", MarkState.LOST, -1, told(22))
    assert session.ended
    marked(session, -1, 30)
    assert not session.ended


def test_a_mark_delivered_again_says_nothing_new() -> None:
    session = Session("p")
    assert marked(session, 3, 5)
    assert not marked(session, 3, 5)
    assert not marked(session, 2, 4)
    assert marked(session, 3, 5, MarkState.CLOSED)
    assert not marked(session, 3, 9, MarkState.CLOSED)


@given(st.permutations(range(30)), st.integers(-1, 40), st.integers(0, 30))
def test_gaps_are_what_a_set_of_numbers_would_say(order: list[int], last_seq: int, marked_after: int) -> None:
    session, seen = Session("p"), set()
    for step, seq in enumerate(order):
        if step == marked_after:
            marked(session, last_seq, 1000)
        assert (see(session, seq, told(seq)) is None) == (seq in seen)
        seen.add(seq)
        top = max([*seen, last_seq if step >= marked_after else -1])
        absent = set(range(top + 1)) - seen
        assert {seq for gap in session.gaps for seq in range(gap.first, gap.last + 1)} == absent
        assert session.pending == len(absent)
        assert all(below.last < above.first - 1 for below, above in pairwise(session.gaps))


@given(st.lists(st.integers(0, 25), max_size=40), st.lists(st.booleans(), min_size=40, max_size=40))
def test_where_missing_frames_are_counted_depends_on_the_outcomes_alone(seqs: list[int], declare: list[bool]) -> None:
    """Counts per place must be the same whether frames went missing early (and moved) or only at the very end."""

    def missing_by_place(early: list[bool]) -> dict[int, int]:
        session, counts = Session("p"), dict[int, int]()
        moves = []
        for step, seq in enumerate(seqs):
            moves += see(session, seq, told(seq, logged=step)) or []
            if early[step]:
                moves += declare_missing(session, 0, told(0, logged=step))
        hear(session, "ingest", MarkState.CLOSED, 30, told(99, logged=99))
        moves += declare_missing(session, 0, told(0, logged=99))
        for move in moves:
            counts[move.place_us] = counts.get(move.place_us, 0) + move.frames
        assert session.lost == sum(counts.values())
        return {place: count for place, count in counts.items() if count}

    assert missing_by_place(declare) == missing_by_place([False] * 40)
