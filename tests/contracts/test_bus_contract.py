"""What every bus promises of publishing and reading, on every backend: one suite, real servers."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from contracts.bus_backends import Backend
from contracts.bus_helpers import PATIENCE, everything, numbered, opened, poll_count, run, values

from taktwatch.bus import MAX_RECORD_BYTES, Message, Outgoing, TopicSpec
from taktwatch.bus.outgoing import partition_of
from taktwatch.clock import now
from taktwatch.errors import RecordNotFound, RecordTooLarge
from taktwatch.records import Place


def test_what_was_published_comes_back(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("frames")
        async with opened(backend, spec) as bus:
            before = now()
            headers = {"ce_id": b"\x00\xff", "content-type": b"image/png"}
            places = await bus.publish([Outgoing(spec.name, b"a\x00key", bytes(range(256)), headers)])
            (message,) = await everything(bus, spec.name)
            assert message.place == places[0] == Place(topic=spec.name, partition=0, offset=0)
            assert (message.key, message.value) == (b"a\x00key", bytes(range(256)))
            assert message.headers == headers
            assert before - timedelta(milliseconds=1) <= message.timestamp <= now() + timedelta(milliseconds=1)

    run(main())


def test_an_empty_value_and_no_headers_come_back(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t")
        async with opened(backend, spec) as bus:
            await bus.publish([Outgoing(spec.name, b"", b"")])
            (message,) = await everything(bus, spec.name)
            assert (message.key, message.value, message.headers) == (b"", b"", {})

    run(main())


def test_records_of_one_key_keep_their_order(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t", 4)
        async with opened(backend, spec) as bus:
            keys = [b"a", b"b", b"c", b"d", b"e"]
            for number in range(20):
                await bus.publish([Outgoing(spec.name, key, str(number).encode()) for key in keys])
            by_key: dict[bytes, list[int]] = {key: [] for key in keys}
            for message in await everything(bus, spec.name):
                by_key[message.key].append(int(message.value))
                assert message.partition == partition_of(message.key, 4)
            assert by_key == {key: list(range(20)) for key in keys}

    run(main())


def test_offsets_are_dense_from_zero_in_every_partition(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t", 3)
        async with opened(backend, spec) as bus:
            batch = [Outgoing(spec.name, str(n).encode(), b"x") for n in range(40)]
            places = await bus.publish(batch[:15]) + await bus.publish(batch[15:])
            offsets: dict[int, list[int]] = {}
            for place in places:
                offsets.setdefault(place.partition, []).append(place.offset)
            assert offsets == {number: list(range(len(found))) for number, found in offsets.items()}
            assert {number: span.next for number, span in (await bus.spans(spec.name)).items()} == {
                number: len(offsets.get(number, [])) for number in range(3)
            }

    run(main())


def test_calls_at_the_same_time_all_arrive(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t", 2)
        async with opened(backend, spec) as bus:
            calls = [bus.publish([Outgoing(spec.name, str(n % 7).encode(), str(n).encode())]) for n in range(200)]
            await asyncio.gather(*calls)
            assert sorted(values(await everything(bus, spec.name))) == list(range(200))

    run(main())


def test_a_batch_may_go_to_several_topics(backend: Backend) -> None:
    async def main() -> None:
        one, two = backend.spec("one"), backend.spec("two")
        async with opened(backend, one, two) as bus:
            places = await bus.publish([Outgoing(two.name, b"k", b"1"), Outgoing(one.name, b"k", b"2")])
            assert [place.topic for place in places] == [two.name, one.name]
            assert values(await everything(bus, one.name)) == [2]
            assert values(await everything(bus, two.name)) == [1]

    run(main())


def test_ensuring_a_topic_again_keeps_its_partitions_and_records(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t", 2)
        async with opened(backend, spec) as bus:
            await bus.publish(numbered(spec.name, range(3)))
            await bus.ensure([TopicSpec(spec.name, 5, timedelta(days=1))])
            assert sorted(await bus.spans(spec.name)) == [0, 1]
            assert values(await everything(bus, spec.name)) == [0, 1, 2]

    run(main())


def test_an_unknown_topic_is_named(backend: Backend) -> None:
    async def main() -> None:
        async with opened(backend) as bus:
            missing = backend.name("missing")
            for call in (bus.spans(missing), bus.publish([Outgoing(missing, b"", b"")]), bus.last(missing, b"")):
                with pytest.raises(RecordNotFound, match=missing):
                    await call
            with pytest.raises(RecordNotFound, match=missing):
                async with bus.consumer("g", [missing], member="m"):
                    pass

    run(main())


def test_a_picture_of_twelve_megabytes_travels(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("frames", 2)
        picture = os.urandom(12 * 2**20)
        async with opened(backend, spec) as bus:
            (place,) = await bus.publish([Outgoing(spec.name, b"k", picture, {"sha256": b"x"})])
            assert (await bus.fetch(place)).value == picture
            async with bus.consumer(backend.name("g"), [spec.name], member="m") as consumer:
                (message,) = await poll_count(consumer, 1)
            assert hashlib.sha256(message.value).digest() == hashlib.sha256(picture).digest()

    run(main())


def test_the_largest_record_travels_and_a_larger_one_is_refused_by_name_and_size(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("frames")
        async with opened(backend, spec) as bus:
            largest = Outgoing(spec.name, b"k", bytes(MAX_RECORD_BYTES - 3), {"h": b"1"})
            await bus.publish([largest])
            with pytest.raises(RecordTooLarge, match=f"16,777,217 bytes for {spec.name}"):
                await bus.publish([Outgoing(spec.name, b"k", bytes(MAX_RECORD_BYTES))])
            await bus.publish(numbered(spec.name, range(7, 8)))
            found = await everything(bus, spec.name)
            assert [len(message.value) for message in found] == [MAX_RECORD_BYTES - 3, 1]

    run(main())


def test_a_range_is_read_by_offsets_without_a_group(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t", 2)
        async with opened(backend, spec) as bus:
            number = partition_of(b"k", 2)
            await bus.publish(numbered(spec.name, range(10)))
            await bus.publish([Outgoing(spec.name, b"other" if number != partition_of(b"other", 2) else b"o", b"99")])
            assert values(await everything(bus, spec.name, start={number: 3}, end={number: 7})) == [3, 4, 5, 6]
            assert values(await everything(bus, spec.name, start={number: 8})) == [8, 9]
            assert values(await everything(bus, spec.name, start={number: 10})) == []
            assert values(await everything(bus, spec.name, start={number: 5}, end={number: 999})) == [5, 6, 7, 8, 9]

    run(main())


def test_a_range_is_read_by_log_time_without_a_group(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t", 2)
        async with opened(backend, spec) as bus:
            marks = []
            for part in (range(5), range(5, 10), range(10, 15)):
                await bus.publish(numbered(spec.name, part))
                await asyncio.sleep(0.02)
                marks.append(now())
                await asyncio.sleep(0.02)
            assert values(await everything(bus, spec.name, start=marks[0], end=marks[1])) == list(range(5, 10))
            assert values(await everything(bus, spec.name, end=marks[0])) == list(range(5))
            assert values(await everything(bus, spec.name, start=marks[1])) == list(range(10, 15))
            assert values(await everything(bus, spec.name, start=marks[2])) == []

    run(main())


def test_reading_ends_where_the_topic_ended_when_it_began(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t")
        async with opened(backend, spec) as bus:
            await bus.publish(numbered(spec.name, range(1200)))
            found: list[Message] = []
            async for batch in bus.read(spec.name):
                found += batch
                await bus.publish(numbered(spec.name, range(5000, 5001)))
            assert values(found) == list(range(1200))

    run(main())


def test_an_empty_topic_reads_as_nothing(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t", 3)
        async with opened(backend, spec) as bus:
            assert await everything(bus, spec.name) == []
            assert await everything(bus, spec.name, start=now()) == []

    run(main())


def test_one_record_is_fetched_by_its_place(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t", 2)
        async with opened(backend, spec) as bus:
            places = await bus.publish([Outgoing(spec.name, str(n).encode(), str(n).encode()) for n in range(10)])
            for number in (7, 0, 9):
                assert int((await bus.fetch(places[number])).value) == number
            with pytest.raises(RecordNotFound, match="no record 99"):
                await bus.fetch(Place(topic=spec.name, partition=0, offset=99))
            with pytest.raises(RecordNotFound):
                await bus.fetch(Place(topic=spec.name, partition=5, offset=0))

    run(main())


def test_a_record_that_retention_removed_is_not_found(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t")
        async with opened(backend, spec) as bus:
            (place,) = await bus.publish([Outgoing(spec.name, b"k", bytes(100_000))])
            await backend.remove_all(bus, spec.name)
            with pytest.raises(RecordNotFound):
                await bus.fetch(place)
            assert (await bus.spans(spec.name))[0].first == 1
            (later,) = await bus.publish(numbered(spec.name, range(1)))
            assert later.offset == 1  # offsets are never used again

    run(main())


def test_the_newest_record_of_a_key_is_found(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("checkpoints", compacted=True)
        async with opened(backend, spec) as bus, opened(backend) as other:
            assert await bus.last(spec.name, b"a") is None
            await bus.publish(numbered(spec.name, range(5), b"a") + numbered(spec.name, range(50, 53), b"b"))
            for reader in (bus, other):
                newest = await reader.last(spec.name, b"a")
                assert newest is not None
                assert int(newest.value) == 4
                assert await reader.last(spec.name, b"c") is None
            await other.publish(numbered(spec.name, range(5, 6), b"a"))
            newest, unchanged = await bus.last(spec.name, b"a"), await bus.last(spec.name, b"b")
            assert newest is not None
            assert unchanged is not None
            assert (int(newest.value), int(unchanged.value)) == (5, 52)

    run(main())


def test_a_follower_sees_new_records_and_idle_moments(backend: Backend) -> None:
    async def main() -> None:
        spec = backend.spec("t", 2)
        async with opened(backend, spec) as bus, opened(backend) as other:
            await bus.publish(numbered(spec.name, range(3)))
            number = partition_of(b"k", 2)
            from_now, from_one = bus.follow(spec.name), bus.follow(spec.name, start={number: 1})
            async with asyncio.timeout(PATIENCE.total_seconds()):
                assert await anext(from_now) == []
                await other.publish(numbered(spec.name, range(3, 5)))
                assert await taken(from_now, 2) == [3, 4]
                assert await taken(from_one, 4) == [1, 2, 3, 4]
            await from_now.aclose()  # type: ignore[attr-defined] # both backends return generators
            await from_one.aclose()  # type: ignore[attr-defined]

    run(main())


async def taken(batches: AsyncIterator[list[Message]], count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        found += values(await anext(batches))
    return found
