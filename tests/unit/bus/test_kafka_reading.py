"""A broker's answers put together from pieces: what asyncio's own stream gives, whatever the pieces."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from hypothesis import given
from hypothesis import strategies as st

from taktwatch.bus.kafka_reading import Pieces, PiecesProtocol


async def reader() -> asyncio.StreamReader:
    """Return a reader as aiokafka makes it, given to our protocol."""
    made = asyncio.StreamReader(limit=2**16)
    PiecesProtocol(asyncio.get_running_loop().create_future(), made, loop=asyncio.get_running_loop())
    return made


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8), st.lists(st.integers(0, 200), max_size=8))
def test_bytes_come_out_as_they_went_in(data: bytes, cuts: list[int], asked: list[int]) -> None:
    pieces = Pieces()
    for start, end in pairwise(sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})):
        pieces.extend(data[start:end])
    taken = b""
    for n in asked:
        taken += pieces.take(min(n, len(pieces)))
    assert taken + pieces.take(len(pieces)) == data
    assert not pieces


def test_a_reader_waits_until_all_is_here_and_keeps_the_rest() -> None:
    async def scene() -> None:
        stream = await reader()
        reading = asyncio.create_task(stream.readexactly(6))
        for piece in (b"ab", b"", b"cde", b"fgh"):
            stream.feed_data(piece)
            await asyncio.sleep(0)
        assert await reading == b"abcdef"
        assert await stream.readexactly(2) == b"gh"
        assert await stream.readexactly(0) == b""

    asyncio.run(scene())


def test_a_stream_that_ends_in_an_answer_says_what_came_of_it() -> None:
    async def scene() -> None:
        stream = await reader()
        stream.feed_data(b"abc")
        stream.feed_eof()
        assert not stream.at_eof()
        with pytest.raises(asyncio.IncompleteReadError) as raised:
            await stream.readexactly(4)
        assert raised.value.partial == b"abc"
        assert stream.at_eof()

    asyncio.run(scene())


def test_a_broken_connection_is_told_to_who_waits_and_who_asks_later() -> None:
    async def scene() -> None:
        stream = await reader()
        reading = asyncio.create_task(stream.readexactly(4))
        await asyncio.sleep(0)
        stream.set_exception(KafkaConnectionError("gone"))
        with pytest.raises(KafkaConnectionError):
            await reading
        with pytest.raises(KafkaConnectionError):
            await stream.readexactly(4)

    asyncio.run(scene())


class Socket:
    """A transport that is only stopped and let go on."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pause_reading(self) -> None:
        """Note it."""
        self.told.append("stop")

    def resume_reading(self) -> None:
        """Note it."""
        self.told.append("go on")


def test_who_sends_more_than_anybody_reads_is_stopped() -> None:
    async def scene() -> None:
        stream = await reader()
        socket: Any = Socket()
        stream.set_transport(socket)
        stream.feed_data(bytes(2**17 + 1))
        assert socket.told == ["stop"]
        reading = asyncio.create_task(stream.readexactly(2**17 + 2))
        await asyncio.sleep(0)
        assert socket.told == ["stop", "go on"]
        stream.feed_data(b"!")
        assert len(await reading) == 2**17 + 2

    asyncio.run(scene())
