"""Groups on the embedded bus: however members come, hang and go, each partition ends with one holder."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taktwatch.bus.sqlite_groups import Groups, Member, Standing, share
from taktwatch.errors import MemberReplaced

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
LEASE = timedelta(seconds=10)


@contextmanager
def opened(folder: Path) -> Iterator[Groups]:
    groups = Groups(folder)
    try:
        yield groups
    finally:
        groups.close()


def member(name: str, partitions: int = 4, topic: str = "t") -> Member:
    return Member("g", name, uuid.uuid4().hex, {topic: partitions})


def numbers(standing: Standing | None) -> list[int]:
    assert standing is not None
    return sorted(number for _, number in standing.held)


@given(
    members=st.dictionaries(
        st.text("abcdef", min_size=1, max_size=3),
        st.dictionaries(st.sampled_from("tuv"), st.just(5), min_size=1),
        min_size=1,
    )
)
def test_every_partition_goes_to_one_member_that_wants_it(members: dict[str, dict[str, int]]) -> None:
    held = share(members)
    handed_out = [partition for partitions in held.values() for partition in partitions]
    assert len(handed_out) == len(set(handed_out))
    assert set(handed_out) == {(topic, n) for topics in members.values() for topic in topics for n in range(5)}
    assert all(topic in members[name] for name, partitions in held.items() for topic, _ in partitions)


@given(count=st.integers(1, 9), partitions=st.integers(1, 20))
def test_members_of_one_topic_hold_about_as_many(count: int, partitions: int) -> None:
    sizes = [len(held) for held in share({str(n): {"t": partitions} for n in range(count)}).values()]
    assert max(sizes) - min(sizes) <= 1


def test_a_partition_moves_only_after_its_holder_gave_it_up(tmp_path: Path) -> None:
    with opened(tmp_path) as groups:
        a, b = member("a"), member("b")
        groups.register(a, NOON, LEASE)
        assert numbers(groups.take_part(a, NOON, LEASE)) == [0, 1, 2, 3]
        groups.register(b, NOON, LEASE)
        assert numbers(groups.take_part(b, NOON, LEASE)) == []
        standing = groups.take_part(a, NOON, LEASE)
        assert standing is not None
        groups.release(a, standing.surplus)
        assert numbers(groups.take_part(b, NOON, LEASE)) == [1, 3]
        assert numbers(groups.take_part(a, NOON, LEASE)) == [0, 2]


def test_who_is_silent_longer_than_the_lease_is_struck_off_and_must_register_anew(tmp_path: Path) -> None:
    with opened(tmp_path) as groups:
        a, b = member("a"), member("b")
        groups.register(a, NOON, LEASE)
        groups.take_part(a, NOON, LEASE)
        later = NOON + LEASE + timedelta(seconds=1)
        groups.register(b, later, LEASE)
        assert numbers(groups.take_part(b, later, LEASE)) == [0, 1, 2, 3]
        assert groups.take_part(a, later, LEASE) is None
        assert not groups.renew(a, later, LEASE)
        groups.commit(a, {("t", 0): 99})
        assert groups.committed("g", "t") == {}


def test_a_late_member_that_nobody_struck_off_keeps_what_it_holds(tmp_path: Path) -> None:
    with opened(tmp_path) as groups:
        a = member("a")
        groups.register(a, NOON, LEASE)
        groups.take_part(a, NOON, LEASE)
        assert numbers(groups.take_part(a, NOON + 5 * LEASE, LEASE)) == [0, 1, 2, 3]


def test_a_name_belongs_to_who_took_it_last(tmp_path: Path) -> None:
    with opened(tmp_path) as groups:
        old, new = member("a"), member("a")
        groups.register(old, NOON, LEASE)
        groups.take_part(old, NOON, LEASE)
        groups.register(new, NOON, LEASE)
        assert numbers(groups.take_part(new, NOON, LEASE)) == [0, 1, 2, 3]
        with pytest.raises(MemberReplaced, match="joined group 'g' as 'a'"):
            groups.take_part(old, NOON, LEASE)
        groups.leave(old)  # and leaving does not throw the new one out
        groups.commit(old, {("t", 0): 1})
        groups.commit(new, {("t", 1): 2})
        assert groups.committed("g", "t") == {1: 2}


class Crowd:
    """Members that come, poll, hang, leave and die; `poll` does what a consumer does."""

    def __init__(self, groups: Groups) -> None:
        self.groups, self.now, self.alive = groups, NOON, dict[str, Member]()

    def enter(self, name: str) -> None:
        self.alive[name] = member(name)
        self.groups.register(self.alive[name], self.now, LEASE)

    def poll(self, name: str) -> frozenset[tuple[str, int]]:
        if name not in self.alive:
            return frozenset()
        standing = self.groups.take_part(self.alive[name], self.now, LEASE)
        if standing is None:
            self.enter(name)
            return frozenset()
        if standing.surplus:
            self.groups.release(self.alive[name], standing.surplus)
        return standing.held - standing.surplus

    def leave(self, name: str) -> None:
        if name in self.alive:
            self.groups.leave(self.alive.pop(name))

    def die(self, name: str) -> None:
        self.alive.pop(name, None)

    def wait(self, _: str) -> None:
        self.now += LEASE / 2


steps = st.lists(
    st.tuples(st.sampled_from(["enter", "poll", "leave", "wait", "die"]), st.sampled_from(["a", "b", "c"])), max_size=40
)


@settings(max_examples=60, deadline=None)
@given(steps=steps)
def test_however_they_come_and_go_each_partition_ends_with_one_living_holder(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str]]
) -> None:
    with opened(tmp_path_factory.mktemp("groups")) as groups:
        crowd = Crowd(groups)
        for step, name in steps:
            getattr(crowd, step)(name)
        crowd.now += 2 * LEASE
        held: dict[str, frozenset[tuple[str, int]]] = {}
        for _ in range(4):
            held = {name: crowd.poll(name) for name in list(crowd.alive)}
        handed_out = [partition for partitions in held.values() for partition in partitions]
        assert sorted(handed_out) == ([("t", n) for n in range(4)] if crowd.alive else [])
