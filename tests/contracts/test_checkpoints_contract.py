"""Checkpoints on both buses: small and large, cut off anywhere, written by two at once."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import pairwise

import pytest
from contracts.bus_backends import Backend
from contracts.bus_helpers import everything, opened, run

from taktwatch.bus import Bus, Outgoing
from taktwatch.checkpoints import (
    CHUNK_BYTES,
    Checkpoints,
    chunk_key,
    load_checkpoint,
    save_checkpoint,
    slot_key,
    split,
)
from taktwatch.errors import BadRecord, UnknownSchema
from taktwatch.records import Checkpoint
from taktwatch.topics import Topics
from taktwatch.wire import encode

GROUP = "kpi"


def state_of(number: int, size: int) -> bytes:
    """Return bytes that belong to a position and to no other."""
    return random.Random(number).randbytes(size)


LARGE = 2 * CHUNK_BYTES + 5
HALF = 2
"""How many of a large state's three chunks a crash lets through."""


class Room:
    """A bus with a checkpoints topic, and one partition whose checkpoints are looked at."""

    def __init__(self, backend: Backend, bus: Bus) -> None:
        self.bus = bus
        self.topics = Topics(backend.prefix)
        self.partition = (self.topics.results, 2)

    def member(self, name: str) -> Checkpoints:
        """Return a member of the group, as a new process would have it."""
        return Checkpoints(self.bus, self.topics, GROUP, name)

    async def restored(self) -> tuple[int, bytes] | None:
        """Return what somebody else restores."""
        found = await load_checkpoint(self.bus, self.topics, GROUP, self.partition)
        return None if found is None else (found.position, found.state)

    async def save(self, member: Checkpoints, position: int, size: int = LARGE) -> None:
        """Save a state that belongs to a position."""
        await member.save(self.partition, position, state_of(position, size))

    async def written(self) -> int:
        """Return how many records were written, those that are gone since included."""
        return (await self.bus.spans(self.topics.checkpoints))[0].next

    async def cut_off(self, member: str, slot: int, position: int, chunks: int, *, manifest: bool = False) -> None:
        """Write a part of a checkpoint, as a member killed in the middle of it does."""
        topic, number = self.partition
        state = state_of(position, LARGE)
        whole = Checkpoint(group=GROUP, topic=topic, partition=number, position=position, state=state)
        parts, named = split(whole, f"{member}.{slot}")
        records = [Outgoing(self.topics.checkpoints, chunk_key(named, c.index), *encode(c)) for c in parts[:chunks]]
        if manifest:
            records.append(Outgoing(self.topics.checkpoints, slot_key(GROUP, self.partition, slot), *encode(named)))
        await self.bus.publish(records)


@asynccontextmanager
async def room(backend: Backend) -> AsyncIterator[Room]:
    async with opened(backend, *Topics(backend.prefix).specs(timedelta(days=1))) as bus:
        yield Room(backend, bus)


def expected(position: int, size: int = LARGE) -> tuple[int, bytes]:
    return position, state_of(position, size)


def test_a_state_of_any_size_is_restored_as_it_was_saved(backend: Backend) -> None:
    async def main() -> None:
        async with room(backend) as there:
            assert await there.restored() is None
            member = there.member("a")
            assert await member.load(there.partition) is None
            for position, size in enumerate([0, 7, CHUNK_BYTES, CHUNK_BYTES + 1, LARGE, 20 * 2**20, 3]):
                await there.save(member, position, size)
                assert await there.restored() == expected(position, size)

    run(main())


def test_a_checkpoint_cut_off_in_its_chunks_is_ignored(backend: Backend) -> None:
    """Whichever slot is being written: what was saved before is still whole."""

    async def main() -> None:
        async with room(backend) as there:
            for life in range(4):
                member = there.member("a")
                await member.load(there.partition)
                await there.save(member, 10 * life)
                killed_in_slot = (life + 1) % 2
                await there.cut_off("a", killed_in_slot, 10 * life + 5, HALF)
                assert await there.restored() == expected(10 * life)

    run(main())


def test_an_incomplete_manifest_gives_way_to_the_complete_one_before_it(backend: Backend) -> None:
    async def main() -> None:
        async with room(backend) as there:
            member = there.member("a")
            await member.load(there.partition)
            await there.save(member, 1)
            await there.cut_off("b", 1, 2, HALF, manifest=True)
            assert await there.restored() == expected(1)
            await there.save(member, 3)
            assert await there.restored() == expected(3)

    run(main())


def test_an_owner_that_wakes_up_amid_its_save_breaks_no_checkpoint_of_its_successor(backend: Backend) -> None:
    """Stopped after two of three chunks; the successor saves in the same slots; then the old owner finishes."""

    async def main() -> None:
        async with room(backend) as there:
            old = there.member("old")
            await old.load(there.partition)
            await there.save(old, 1)
            await there.cut_off("old", 1, 2, HALF)
            successor = there.member("new")
            assert await successor.load(there.partition) is not None
            for position in (3, 4, 5):
                await there.save(successor, position)
            await there.cut_off("old", 1, 2, 3, manifest=True)  # an older position, at the highest offset: whole, too
            assert await there.restored() == expected(2)
            await there.save(successor, 6)
            assert await there.restored() == expected(6)

    run(main())


def test_keys_are_used_again_however_often_is_saved(backend: Backend) -> None:
    """Compaction keeps the topic short; nothing is left behind for a cleaner that would have to list it."""

    async def main() -> None:
        async with room(backend) as there:
            for _ in range(2):
                member = there.member("a")
                await member.load(there.partition)
                for position in range(6):
                    await there.save(member, position)
            keys = {message.key for message in await everything(there.bus, there.topics.checkpoints)}
            assert len(keys) == 2 * (3 + 1)

    run(main())


def test_a_block_is_written_once_and_restored_with_every_checkpoint_that_names_it(backend: Backend) -> None:
    async def main() -> None:
        async with room(backend) as there:
            member, blocks = there.member("a"), [state_of(9, 70), state_of(8, CHUNK_BYTES + 1)]
            await member.load(there.partition)
            written = []
            for position in range(1, 6):
                blocks.append(state_of(position, 50))
                await member.save(there.partition, position, state_of(position, LARGE), blocks)
                del blocks[0]
                written.append(await there.written())
            assert [after - before for before, after in pairwise(written)] == [1 + 3 + 1] * 4  # block, chunks, manifest
            other = there.member("a")
            found = await other.load(there.partition)
            assert found is not None
            assert (found.position, found.state) == expected(5)
            assert other.blocks(there.partition) == tuple(state_of(position, 50) for position in (3, 4, 5))
            await other.save(there.partition, 6, b"x", other.blocks(there.partition))
            assert await there.written() == written[-1] + 1
            keys = {message.key for message in await everything(there.bus, there.topics.checkpoints)}
            assert sum(b"/block/" in key for key in keys) <= 5

    run(main())


def test_a_successor_depends_on_no_block_that_the_owner_before_it_may_write_over(backend: Backend) -> None:
    async def main() -> None:
        async with room(backend) as there:
            old, successor = there.member("old"), there.member("new")
            await old.load(there.partition)
            await old.save(there.partition, 1, b"x", [b"one"])
            await successor.load(there.partition)
            await successor.save(there.partition, 2, b"y", successor.blocks(there.partition))
            await old.save(there.partition, 1, b"x", [b"other"])  # it wakes up twice,
            await old.save(there.partition, 1, b"x", [b"yet another"])  # and nothing of its first save is left
            await successor.save(there.partition, 3, b"z", successor.blocks(there.partition))
            third = there.member("third")
            found = await third.load(there.partition)
            assert found is not None
            assert (found.position, third.blocks(there.partition)) == (3, (b"one",))

    run(main())


def test_a_checkpoint_cut_off_in_its_blocks_is_ignored(backend: Backend) -> None:
    """Whatever a save writes before its manifest, the blocks of the checkpoint before it are still there."""

    async def main() -> None:
        async with room(backend) as there:
            member = there.member("a")
            await member.load(there.partition)
            await member.save(there.partition, 1, b"x", [b"one", b"two"])
            before, written = await everything(there.bus, there.topics.checkpoints), await there.written()
            await member.save(there.partition, 2, b"y", [b"three", b"four"])
            after = await everything(there.bus, there.topics.checkpoints)
            later = {message.key for message in after if message.offset >= written}
            assert len(later) == 3
            assert not later & {message.key for message in before}

    run(main())


def test_where_no_checkpoint_is_complete_nobody_begins_anew(backend: Backend) -> None:
    async def main() -> None:
        async with room(backend) as there:
            await there.cut_off("a", 0, 1, HALF, manifest=True)
            with pytest.raises(BadRecord, match="no complete checkpoint of kpi"):
                await there.restored()

    run(main())


def test_a_checkpoint_of_a_newer_schema_is_refused(backend: Backend) -> None:
    async def main() -> None:
        async with room(backend) as there:
            member = there.member("a")
            await member.load(there.partition)
            await there.save(member, 1)
            record = Outgoing(
                there.topics.checkpoints,
                slot_key(GROUP, there.partition, 1),
                b"?",
                {"taktwatch_schema": b"2.0", "ce_type": b"taktwatch.checkpoint"},
            )
            await there.bus.publish([record])
            with pytest.raises(UnknownSchema, match=r"2\.0"):
                await there.restored()

    run(main())


def test_a_record_saved_by_the_plain_function_is_found_among_slots(backend: Backend) -> None:
    async def main() -> None:
        async with room(backend) as there:
            member = there.member("a")
            await member.load(there.partition)
            await there.save(member, 1)
            await there.save(member, 2)
            topic, number = there.partition
            plain = Checkpoint(group=GROUP, topic=topic, partition=number, position=3, state=b"x")
            await save_checkpoint(there.bus, there.topics, plain)
            assert await there.restored() == (3, b"x")

    run(main())
