"""Which frames go together: by deadline and by what company was measured to be worth, never by count."""

from detector.serving.batching import REMEASURE_AFTER, TRIED, Candidate, Costs, best_size, choose


def costs(**seconds: float) -> Costs:
    """Costs of a batch by its size: n1=0.1, n4=0.2."""
    known = Costs()
    for name, value in seconds.items():
        for _ in range(TRIED):
            known.learn(int(name[1:]), value)
    return known


def ready(*due_s: float, group: str = "m") -> list[Candidate]:
    return [Candidate(group, due) for due in due_s]


PAYING = costs(n1=0.10, n2=0.11, n4=0.12, n8=0.14)
USELESS = costs(n1=0.10, n2=0.20, n4=0.40, n8=0.80)


def test_a_frame_goes_at_once_even_where_company_would_make_it_cheaper() -> None:
    assert choose(ready(9.0), 0.0, lambda _: PAYING, most=8) == (0,)


def test_company_that_hardly_pays_is_kept_only_by_frames_that_are_late_already() -> None:
    hardly = costs(n1=0.10, n2=0.19, n4=0.38)
    assert choose(ready(9.0, 9.0), 0.0, lambda _: hardly, most=8) == (0,)
    assert choose(ready(9.0, 9.0), 8.95, lambda _: hardly, most=8) == (0, 1)


def test_sizes_are_measured_each_by_itself() -> None:
    in_lanes = costs(n1=0.10, n2=0.30, n4=0.30)  # a core each: two take as long as four
    assert best_size(3, 9.0, in_lanes, 8) == 1
    assert best_size(4, 9.0, in_lanes, 8) == 4


def test_frames_that_wait_go_together_where_it_pays_and_one_by_one_where_not() -> None:
    assert choose(ready(*[9.0] * 8), 0.0, lambda _: PAYING, most=8) == tuple(range(8))
    assert choose(ready(*[9.0] * 8), 0.0, lambda _: USELESS, most=8) == (0,)


def test_a_size_never_tried_is_tried_when_so_many_wait() -> None:
    assert best_size(4, 9.0, costs(n1=0.1), 8) == 4
    assert best_size(3, 9.0, costs(n1=0.1, n4=0.4), 8) == 2


def test_a_first_batch_that_starts_threads_does_not_condemn_its_size() -> None:
    known = costs(n1=0.1, n2=0.2)
    for seconds in (2.0, 0.2, 0.2):
        assert best_size(4, 9.0, known, 8) == 4
        known.learn(4, seconds)
    assert best_size(4, 9.0, known, 8) == 4
    assert known.each(4) == 0.05


def test_a_size_not_used_for_long_is_tried_again() -> None:
    known = costs(n1=0.1, n4=0.8)
    assert best_size(4, 9.0, costs(n1=0.1, n2=0.3, n4=0.8), 8) == 1
    for _ in range(REMEASURE_AFTER + 1):
        known.learn(1, 0.1)
    assert best_size(4, 9.0, known, 8) == 4


def test_the_batch_is_no_larger_than_keeps_the_most_urgent_in_time() -> None:
    assert best_size(8, 0.125, PAYING, 8) == 4
    assert best_size(8, 0.105, PAYING, 8) == 1


def test_what_is_late_already_goes_in_the_cheapest_way() -> None:
    assert best_size(8, -3.0, PAYING, 8) == 8


def test_the_group_of_the_most_urgent_frame_goes_first_and_alone() -> None:
    candidates = [*ready(9.0, 9.0), Candidate("other", 5.0), *ready(2.0, 9.5)]
    assert choose(candidates, 0.0, lambda _: PAYING, most=8) == (3, 0, 1, 4)


def test_nothing_ready_is_nothing_to_do() -> None:
    assert choose([], 0.0, lambda _: PAYING, most=8) == ()
