from random import Random

from hypothesis import given
from hypothesis import strategies as st

from kpi_engine.serials import Due, Visit, due_again, expire, visit

MINUTE = 60_000_000


def a_visit(minute: int, seq: int = 0, *, passed: bool = True) -> Visit:
    return Visit(minute * MINUTE, "s1", seq, minute, "board", passed)


@given(st.lists(st.integers(0, 200), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_decide_what_a_first_pass_is(minutes: list[int], random: Random) -> None:
    def firsts(order: list[tuple[int, int]]) -> dict[int, int]:
        visits: list[Visit] = []
        counts: dict[int, int] = {}
        for seq, minute in order:
            for change in visit(visits, a_visit(minute, seq), 60, 0):
                counts[change.minute] = counts.get(change.minute, 0) + change.boards
        return {minute: count for minute, count in counts.items() if count}

    numbered = list(enumerate(sorted(minutes)))
    shuffled = list(numbered)
    random.shuffle(shuffled)
    assert firsts(shuffled) == firsts(numbered)


def test_a_board_that_visits_all_the_time_is_not_remembered_for_ever() -> None:
    serials: dict[str, list[Visit]] = {"reference": []}
    due: Due = {}
    firsts = []
    for minute in range(0, 1000, 10):
        firsts += visit(serials["reference"], a_visit(minute), 60, max(0, minute - 60))
        due.setdefault(minute, []).append("reference")
        expire(serials, due, 60, max(0, minute - 60))
        assert len(serials["reference"]) <= 8
    assert [change.minute for change in firsts] == list(range(0, 1000, 70))


def test_serials_nobody_can_meet_again_are_forgotten() -> None:
    serials: dict[str, list[Visit]] = {"B1": [], "B2": []}
    visit(serials["B1"], a_visit(0), 60, 0)
    visit(serials["B2"], a_visit(50), 60, 0)
    expire(serials, due_again(serials), 60, 61)
    assert list(serials) == ["B2"]


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 300)), max_size=30), st.data())
def test_looking_at_due_serials_alone_forgets_what_looking_at_all_forgets(
    seen: list[tuple[str, int]], data: st.DataObject
) -> None:
    """With the index kept all along, or made anew after a restart."""
    serials: dict[str, list[Visit]] = {}
    everyone: dict[str, list[Visit]] = {}
    due: Due = {}
    frozen = 0
    for seq, (serial, minute) in enumerate(seen):
        if minute >= frozen:
            for known in (serials, everyone):
                visit(known.setdefault(serial, []), a_visit(minute, seq), 60, frozen)
            due.setdefault(minute, []).append(serial)
        frozen = max(frozen, data.draw(st.integers(0, 300)))
        if data.draw(st.booleans()):
            due = due_again(serials)
        expire(serials, due, 60, frozen)
        expire(everyone, {-1: list(everyone)}, 60, frozen)
        assert serials == everyone
