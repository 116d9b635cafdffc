"""Queues of stations: fair whatever one of them sends, bounded as their policies say, every skip with its reason."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from detector.serving.positions import Positions
from detector.serving.waiting import Policy, Waiting

PARTITION = ("frames", 0)


def test_a_flooding_station_delays_another_by_one_frame_at_most() -> None:
    waiting: Waiting[tuple[str, int]] = Waiting({})
    for number in range(500):
        waiting.put("flood", ("flood", number))
    for number in range(3):
        waiting.put("calm", ("calm", number))
    taken = [waiting.take() for _ in range(7)]
    assert taken == [("flood", 0), ("calm", 0), ("flood", 1), ("calm", 1), ("flood", 2), ("calm", 2), ("flood", 3)]


def test_a_queueing_station_keeps_every_frame_in_order() -> None:
    waiting: Waiting[int] = Waiting({"top": Policy("queue", max_waiting=2)})
    assert not any(waiting.put("top", number) for number in range(50))
    assert [waiting.take() for _ in range(51)] == [*range(50), None]


def test_a_sampled_station_keeps_an_even_sample_within_its_bound() -> None:
    waiting: Waiting[int] = Waiting({"top": Policy("sample", max_waiting=8)})
    skipped = [one for number in range(9) for one in waiting.put("top", number)]
    assert [number for number, _ in skipped] == [1, 3, 5, 7]
    assert {reason for _, reason in skipped} == {
        "overload: 9 frames of the station waited; its policy is to inspect a sample"
    }
    assert [waiting.take() for _ in range(5)] == [0, 2, 4, 6, 8]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=200),
    st.sampled_from(["queue", "sample", "refuse"]),
    st.integers(1, 6),
)
def test_every_frame_is_taken_or_skipped_once_and_no_station_waits_for_two_of_another(
    arrivals: list[tuple[str, bool]], overload: str, most: int
) -> None:
    policies = {"a": Policy(overload, most), "b": Policy("queue", most)}  # type: ignore[arg-type]  # drawn from its words
    waiting: Waiting[tuple[str, int]] = Waiting(policies)
    put, taken, skipped = [], [], []
    for number, (station, take) in enumerate(arrivals):
        put.append((station, number))
        skipped += [one for one, _ in waiting.put(station, (station, number))]
        assert overload == "queue" or waiting.of("a") <= most
        if take and (one := waiting.take()) is not None:
            taken.append(one)
    while (one := waiting.take()) is not None:
        taken.append(one)
    assert Counter(taken) + Counter(skipped) == Counter(put)
    assert not len(waiting)
    for station in "abc":
        mine = [number for name, number in taken if name == station]
        assert mine == sorted(mine)


def test_dropping_a_partition_leaves_the_turns_of_the_others() -> None:
    waiting: Waiting[int] = Waiting({})
    for number in range(4):
        waiting.put("ab"[number % 2], number)
    waiting.drop(lambda number: number % 2 == 0)
    assert [waiting.take() for _ in range(3)] == [1, 3, None]


@given(st.permutations(range(12)))
def test_a_commit_never_passes_a_record_that_is_not_settled(order: list[int]) -> None:
    positions = Positions()
    for offset in range(12):
        positions.take(PARTITION, offset)
    settled: set[int] = set()
    reached = 0
    for offset in order:
        positions.settle(PARTITION, offset)
        settled.add(offset)
        reached = positions.committable().get(PARTITION, reached)
        assert set(range(reached)) <= settled
        assert reached not in settled
    assert reached == 12


def test_a_partition_given_away_is_not_committed_by_what_comes_late() -> None:
    positions = Positions()
    positions.take(PARTITION, 3)
    positions.forget([PARTITION])
    positions.settle(PARTITION, 3)
    assert positions.committable() == {}
