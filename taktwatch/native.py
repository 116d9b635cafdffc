"""The compiled library (`native/`, Rust): whether it is here, and calls to it. What crosses is MessagePack.

It is built by `make setup` where there is a Rust compiler. Whoever uses it does without it elsewhere: what it computes,
Python computes too, and tests hold the two equal.
"""

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

__all__ = ["CORRUPT", "END", "FOREIGN", "OTHER", "Engine", "Entry", "NativeError", "available"]

LIBRARY = Path(__file__).with_name("libtaktwatch_native.so")
INTERFACE = 3

END: Final = 0
OTHER: Final = 1
CORRUPT: Final = 2
FOREIGN: Final = 3
"""What `Engine.next` found: the end, a record that is not ordinary, a wrong checksum, a batch for aiokafka to read."""

WRITE_DOWN, END_RUN, CLAIM_BOARD, CLAIM_SERIAL, FORGET, FRESH_ROWS, ALL_ROWS, SEAL, TAKEN, VERDICTS, COUNT = range(11)
BROKEN = -1


class NativeError(RuntimeError):
    """The compiled library failed inside: what it knows cannot be trusted any more."""


class Entry(msgspec.Struct, array_like=True, gc=False):
    """A record of a Kafka batch; `logged_ms`: when the bus took it, since 1970."""

    offset: int
    logged_ms: int
    key: bytes
    value: bytes
    headers: list[tuple[bytes, bytes]]


read_entry = msgspec.msgpack.Decoder(Entry).decode


def load() -> ctypes.CDLL | None:
    """Return the library; None where it was not built, or for another version of the code."""
    try:
        library = ctypes.CDLL(str(LIBRARY))
    except OSError:
        return None
    if library.taktwatch_interface() != INTERFACE:
        return None
    engine, size = ctypes.c_void_p, ctypes.c_size_t
    library.taktwatch_new.argtypes = [ctypes.c_char_p, size]
    library.taktwatch_new.restype = engine
    library.taktwatch_free.argtypes = [engine]
    library.taktwatch_free.restype = None
    library.taktwatch_out.argtypes = [engine, ctypes.POINTER(size)]
    library.taktwatch_out.restype = ctypes.c_void_p
    library.taktwatch_open.argtypes = [engine, ctypes.c_int64, size]
    library.taktwatch_open.restype = None
    library.taktwatch_next.argtypes = [engine, ctypes.c_char_p, size]
    library.taktwatch_load.argtypes = [engine, ctypes.c_char_p, size]
    library.taktwatch_begin.argtypes = [engine, ctypes.c_char_p, size]
    numbers = [ctypes.c_int64, ctypes.c_int64]
    library.taktwatch_do.argtypes = [engine, ctypes.c_int32, ctypes.c_char_p, size, size, size, *numbers]
    return library


LOADED = load()


def available() -> bool:
    """Whether the library is here."""
    return LOADED is not None


class Engine:
    """What the library holds for one partition of the results topic: runs of stations, their boards and serials.

    `headers`: those of the verdicts that it makes.
    """

    def __init__(self, headers: Mapping[str, bytes]) -> None:
        if LOADED is None:
            raise NativeError(f"{LIBRARY.name} was not built; `make setup` builds it where there is a Rust compiler")
        self._library = LOADED
        named = msgspec.msgpack.encode([(name.encode(), value) for name, value in headers.items()])
        self._engine = ctypes.c_void_p(LOADED.taktwatch_new(named, len(named)))
        self._length = ctypes.c_size_t()

    def __del__(self) -> None:
        """Free what the library holds."""
        if hasattr(self, "_engine"):
            self._library.taktwatch_free(self._engine)

    def open(self, wanted: int, start: int) -> None:
        """Begin with Kafka's batches from byte `start` on; records below `wanted` came along, do not count."""
        self._library.taktwatch_open(self._engine, wanted, start)

    def next(self, body: bytes, end: int) -> int:
        """Take in records of `body` before byte `end`, up to one that is not ordinary; `entry` has it then."""
        found: int = self._library.taktwatch_next(self._engine, body, end)
        if found == BROKEN:
            raise NativeError("the compiled fold failed on a record")
        return found

    def entry(self) -> Entry:
        """Return the record that `next` found."""
        return read_entry(self._out())

    def foreign_start(self) -> int:
        """Return where the batch begins that `next` cannot read."""
        start: int = msgspec.msgpack.decode(self._out())
        return start

    def load(self, block: bytes) -> bool:
        """Remember the boards and serials of a block, in place of older ones; False for other bytes."""
        return self._done(self._library.taktwatch_load(self._engine, block, len(block)))

    def count(self) -> tuple[int, int]:
        """Return how many boards and serials are remembered."""
        self._do(COUNT)
        boards, serials = msgspec.msgpack.decode(self._out())
        return boards, serials

    def begin(self, run: bytes) -> bool:
        """Let a station's run begin; False where it cannot."""
        return self._done(self._library.taktwatch_begin(self._engine, run, len(run)))

    def write_down(self, line: str, station: str) -> bytes | None:
        """Return what a run changed since the last time; it goes on."""
        return self._ask(WRITE_DOWN, line, station)

    def end(self, line: str, station: str) -> bytes | None:
        """End a run, return its boards that wait for pictures."""
        return self._ask(END_RUN, line, station)

    def claim_board(self, line: str, station: str, group: str, visit: int) -> bytes | None:
        """Return a board that is the caller's from now on; None where it is not here."""
        return self._ask(CLAIM_BOARD, line, station, group, visit)

    def claim_serial(self, line: str, station: str, name: str) -> bytes | None:
        """Return a serial's visits, which are the caller's from now on; None where they are not here."""
        return self._ask(CLAIM_SERIAL, line, station, name)

    def forget(self, line: str, station: str, frozen_minute: int, horizon_minutes: int) -> None:
        """Forget boards and serials that nothing can ask for once windows before a minute are final."""
        self._do(FORGET, line, station, "", frozen_minute, horizon_minutes)

    def rows(self, line: str, station: str, *, everything: bool = False) -> bytes | None:
        """Return the boards and serials that are in no block yet, or all."""
        return self._ask(ALL_ROWS if everything else FRESH_ROWS, line, station)

    def seal(self) -> None:
        """Note that everything is in a block now."""
        self._do(SEAL)

    def taken(self) -> bytes:
        """Return what was taken in since the last time."""
        self._do(TAKEN)
        return self._out()

    def verdicts(self) -> bytes:
        """Return the verdicts that were reached since the last time."""
        self._do(VERDICTS)
        return self._out()

    def _ask(self, verb: int, line: str, station: str, name: str = "", number: int = 0) -> bytes | None:
        return self._out() if self._do(verb, line, station, name, number) else None

    def _do(  # noqa: PLR0917 - the library's own
        self, verb: int, line: str = "", station: str = "", name: str = "", one: int = 0, other: int = 0
    ) -> bool:
        texts = [text.encode() for text in (line, station, name)]
        return self._done(self._library.taktwatch_do(self._engine, verb, b"".join(texts), *map(len, texts), one, other))

    def _done(self, found: int) -> bool:
        if found == BROKEN:
            raise NativeError("the compiled fold failed")
        return bool(found)

    def _out(self) -> bytes:
        start = self._library.taktwatch_out(self._engine, ctypes.byref(self._length))
        return ctypes.string_at(start, self._length.value)
