"""What comes from a broker, put together once: aiokafka's reader copies every byte four times before anybody sees it.

asyncio's stream appends what it receives to one buffer, which it moves when it grows, copies an answer out of it, and
moves the rest to the front. Here pieces are kept as they were received, and joined when an answer is whole.
"""

import asyncio
from collections import deque
from typing import Any

from aiokafka.conn import AIOKafkaProtocol

__all__ = ["Pieces", "PiecesProtocol"]


class Pieces:
    """Bytes in the order they came; as much of a `bytearray` as asyncio's stream asks of its buffer."""

    def __init__(self) -> None:
        self._pieces: deque[memoryview] = deque()
        self._length = 0

    def __len__(self) -> int:
        """Return how many bytes are here."""
        return self._length

    def extend(self, piece: bytes) -> None:
        """Add what came, as it is."""
        self._pieces.append(memoryview(piece))
        self._length += len(piece)

    def take(self, n: int) -> bytes:
        """Return the first `n` bytes of those that are here, and have them no more.

        >>> pieces = Pieces()
        >>> pieces.extend(b"abc"), pieces.extend(b"def")
        (None, None)
        >>> pieces.take(4), len(pieces), pieces.take(2)
        (b'abcd', 2, b'ef')
        """
        taken, missing = [], n
        while missing:
            piece = self._pieces.popleft()
            if len(piece) > missing:
                self._pieces.appendleft(piece[missing:])
                piece = piece[:missing]
            taken.append(piece)
            missing -= len(piece)
        self._length -= n
        return b"".join(taken)


class PiecesReader(asyncio.StreamReader):
    """A stream over `Pieces`: of its ways to read, the one that aiokafka uses."""

    _buffer: Pieces
    _eof: bool
    _wait_for_data: Any

    async def readexactly(self, n: int) -> bytes:
        """Return `n` bytes. Raises `IncompleteReadError` where the stream ends before."""
        if failure := self.exception():
            raise failure
        while len(self._buffer) < n:
            if self._eof:
                raise asyncio.IncompleteReadError(self._buffer.take(len(self._buffer)), n)
            await self._wait_for_data("readexactly")
        return self._buffer.take(n)


class PiecesProtocol(AIOKafkaProtocol):
    """aiokafka's connection, reading so. It makes its reader itself, without a way to give it another."""

    def __init__(self, closed: asyncio.Future[None], reader: Any, *, loop: asyncio.AbstractEventLoop) -> None:
        reader.__class__ = PiecesReader
        reader._buffer = Pieces()  # noqa: SLF001 - as above
        super().__init__(closed, reader, loop=loop)  # type: ignore[no-untyped-call]
