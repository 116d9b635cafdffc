"""Boards and serials in blocks: of what the engine remembers for an hour, only what changed is saved again. Pure.

What changed since the last block is part of every checkpoint. When it is much, it becomes a block: bytes that later
checkpoints name and do not contain. A board that changes once more is in a later block, too; the last one has it right.
A block is dropped when all that it holds has left the horizon.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from kpi_engine.boards import Board, board_group
from kpi_engine.compiled import Rows
from kpi_engine.serials import Visit
from kpi_engine.sums import MINUTE_US

__all__ = [
    "BLOCK_BYTES",
    "Block",
    "BoardPlace",
    "Fresh",
    "Part",
    "merge",
    "parts_in",
    "seal",
    "shed",
    "waiting",
    "waiting_in",
]

BLOCK_BYTES = 2**18
"""So much becomes a block."""

MOST_BYTES = 8 * 2**20
"""A block is never larger: the bus would not take it."""

BoardPlace = tuple[str, int]
"""Which board of a station: its product and session, and its visit."""


class Holder(Protocol):
    """A station, as far as its boards and serials go."""

    boards: dict[str, dict[int, Board]]
    serials: dict[str, list[Visit]]


@dataclass
class Fresh:
    """Boards and serials of a station that changed since they were last put into a block. Open boards always stay."""

    boards: dict[BoardPlace, Board] = field(default_factory=dict)
    serials: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True)
class Block:
    """Boards and serials as bytes; `newest`: the last minute since 1970 any of a station's was seen in, by its key."""

    body: bytes
    newest: dict[str, int]


class Part(msgspec.Struct):
    """Some of a station's boards and serials."""

    boards: list[Board] = []
    serials: dict[str, list[Visit]] = {}


class Mixed(msgspec.Struct):
    """A `Part` to be written, seen last in the minute `newest`; what the library remembers is in it as bytes."""

    boards: list[Board | msgspec.Raw]
    serials: dict[str, list[Visit] | msgspec.Raw]
    newest: int


def seal(
    stations: Mapping[str, Holder],
    fresh: Mapping[str, Fresh],
    rows: Mapping[str, Rows],
    blocks: list[Block],
    block_bytes: int,
) -> tuple[bytes, bool]:
    """Put closed boards and serials that changed into blocks, where they fill one; return the bytes of the rest.

    `rows`: what the library has to add. And whether there are blocks more.
    """
    found = {key: part_of(stations[key], changed, rows.get(key)) for key, changed in fresh.items()}
    parts = {key: part for key, part in found.items() if part.boards or part.serials}
    body = msgspec.msgpack.encode(parts)
    if len(body) < block_bytes:
        return body, False
    blocks += blocks_of(parts, body)
    for changed in fresh.values():
        changed.boards = {place: board for place, board in changed.boards.items() if not board.closed}
        changed.serials = {}
    return msgspec.msgpack.encode({}), True


def part_of(station: Holder, changed: Fresh, rows: Rows | None) -> Mixed:
    """Return what changed at a station and was not forgotten since, but for boards not closed yet."""
    boards = [board for board in changed.boards.values() if board.closed]
    serials = {name: station.serials[name] for name in changed.serials if name in station.serials}
    minutes = [board.newest_us // MINUTE_US for board in boards]
    minutes += [visits[-1].minute for visits in serials.values() if visits]
    mixed = Mixed([*boards], {**serials}, max(minutes, default=0))
    if rows is not None:
        mixed.boards += rows.boards
        mixed.serials |= rows.serials
        mixed.newest = max(mixed.newest, rows.newest)
    return mixed


def waiting(fresh: Mapping[str, Fresh], rows: Mapping[str, Rows]) -> bytes:
    """Return the boards that are not closed yet, by station, as bytes."""
    found: dict[str, list[Board | msgspec.Raw]] = {
        key: [board for board in changed.boards.values() if not board.closed] for key, changed in fresh.items()
    }
    for key, remembered in rows.items():
        found.setdefault(key, []).extend(remembered.waiting)
    return msgspec.msgpack.encode(found)


def blocks_of(parts: dict[str, Mixed], body: bytes) -> list[Block]:
    """Return blocks that the bus takes; `body`: the parts as bytes."""
    if len(body) > MOST_BYTES and sum([len(part.boards) + len(part.serials) for part in parts.values()]) > 1:
        return [block for half in halves(parts) for block in blocks_of(half, msgspec.msgpack.encode(half))]
    return [Block(body, {key: part.newest for key, part in parts.items()})]


def halves(parts: dict[str, Mixed]) -> tuple[dict[str, Mixed], dict[str, Mixed]]:
    """Split parts in two: every other board, every other serial of all stations."""
    boards = [(key, board) for key, part in parts.items() for board in part.boards]
    serials = [(key, name) for key, part in parts.items() for name in part.serials]
    split: list[dict[str, Mixed]] = []
    for first in (0, 1):
        half: dict[str, Mixed] = {}
        for key, board in boards[first::2]:
            half.setdefault(key, Mixed([], {}, parts[key].newest)).boards.append(board)
        for key, name in serials[1 - first :: 2]:
            half.setdefault(key, Mixed([], {}, parts[key].newest)).serials[name] = parts[key].serials[name]
        split.append(half)
    return split[0], split[1]


def parts_in(body: bytes) -> dict[str, Part]:
    """Return what a block holds. Raises `msgspec.MsgspecError` for other bytes."""
    return msgspec.msgpack.decode(body, type=dict[str, Part])


def waiting_in(body: bytes) -> dict[str, list[Board]]:
    """Return the boards that `waiting` wrote. Raises `msgspec.MsgspecError` for other bytes."""
    return msgspec.msgpack.decode(body, type=dict[str, list[Board]])


def merge(stations: Mapping[str, Holder], parts: Mapping[str, Part]) -> None:
    """Put boards and serials back where they came from, in place of older ones."""
    for key, part in parts.items():
        station = stations[key]
        for board in part.boards:
            station.boards.setdefault(board_group(board.product, board.session), {})[board.visit] = board
        station.serials.update(part.serials)


def shed(blocks: list[Block], key: str, before_minute: int) -> list[Block]:
    """Return the blocks that still hold something, once all of a station before a minute is forgotten."""
    for block in blocks:
        if block.newest.get(key, before_minute) < before_minute:
            del block.newest[key]
    return [block for block in blocks if block.newest]
