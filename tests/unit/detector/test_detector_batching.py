"""When a batch goes: by deadline and by what company was measured to be worth, never by count."""

from detector.batching import Candidate, Choice, Costs, best_size, choose


def costs(**seconds: float) -> Costs:
    """Costs of a batch by its size: n1=0.1, n4=0.2."""
    known = Costs()
    for name, value in seconds.items():
        known.learn(int(name[1:]), value)
    return known


def ready(*due_s: float, group: str = "m") -> list[Candidate]:
    return [Candidate(group, due) for due in due_s]


PAYING = costs(n1=0.10, n2=0.11, n4=0.12, n8=0.14)
USELESS = costs(n1=0.10, n2=0.20, n4=0.40, n8=0.80)


def test_a_frame_alone_goes_at_once_where_nothing_comes() -> None:
    assert choose(ready(9.0), 0.0, lambda _: PAYING, most=8, coming=0) == Choice((0,))


def test_a_frame_waits_for_those_being_prepared_until_it_must_go() -> None:
    chosen = choose(ready(9.0), 0.0, lambda _: PAYING, most=8, coming=3)
    assert chosen == Choice(wait_until_s=9.0 - 0.11)
    assert choose(ready(9.0), 8.95, lambda _: PAYING, most=8, coming=3) == Choice((0,))


def test_nobody_waits_where_company_was_measured_to_be_worth_nothing() -> None:
    assert choose(ready(9.0), 0.0, lambda _: USELESS, most=8, coming=3) == Choice((0,))


def test_nobody_waits_for_what_was_never_measured() -> None:
    assert choose(ready(9.0), 0.0, lambda _: costs(n1=0.1), most=8, coming=3) == Choice((0,))


def test_frames_that_wait_go_together_where_it_pays_and_one_by_one_where_not() -> None:
    assert choose(ready(*[9.0] * 8), 0.0, lambda _: PAYING, most=8, coming=0).indices == tuple(range(8))
    assert choose(ready(*[9.0] * 8), 0.0, lambda _: USELESS, most=8, coming=0).indices == (0,)


def test_a_size_never_tried_is_tried_when_so_many_wait() -> None:
    assert best_size(4, 9.0, costs(n1=0.1), 8) == 4
    assert best_size(3, 9.0, costs(n1=0.1, n4=0.4), 8) == 2


def test_a_size_not_used_for_long_is_tried_again() -> None:
    known = costs(n1=0.1, n4=0.8)
    assert best_size(4, 9.0, costs(n1=0.1, n2=0.3, n4=0.8), 8) == 1
    for _ in range(600):
        known.learn(1, 0.1)
    assert best_size(4, 9.0, known, 8) == 4


def test_the_batch_is_no_larger_than_keeps_the_most_urgent_in_time() -> None:
    assert best_size(8, 0.125, PAYING, 8) == 4
    assert best_size(8, 0.105, PAYING, 8) == 1


def test_what_is_late_already_goes_in_the_cheapest_way() -> None:
    assert best_size(8, -3.0, PAYING, 8) == 8


def test_the_group_of_the_most_urgent_frame_goes_first_and_alone() -> None:
    candidates = [*ready(9.0, 9.0), Candidate("other", 5.0), *ready(2.0)]
    assert choose(candidates, 0.0, lambda _: PAYING, most=8, coming=0).indices == (3, 0, 1)


def test_nothing_ready_is_nothing_to_do() -> None:
    assert choose([], 0.0, lambda _: PAYING, most=8, coming=5) == Choice()
