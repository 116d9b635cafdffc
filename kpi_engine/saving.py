"""The fold at work: all it remembers and where it is at each station; and how that is saved."""

import gc
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from kpi_engine.blocks import BLOCK_BYTES, Block, Fresh, Part, merge, parts_in, seal, waiting, waiting_in
from kpi_engine.boards import board_group
from kpi_engine.compiled import rows_of
from kpi_engine.state import Line, Memory, Station
from kpi_engine.step import Step
from taktwatch.errors import BadRecord, UnknownSchema
from taktwatch.native import Engine

__all__ = ["Image", "KpiState", "empty", "restore", "save"]


@dataclass
class KpiState(Memory):
    """All that the fold remembers, and where it is at each station, by line and name: that follows from `stations`."""

    steps: dict[tuple[str, str], Step] = field(default_factory=dict)


class Image(NamedTuple):
    """The state as bytes: what is different each time, and blocks, most of which are those of the image before."""

    head: bytes
    blocks: tuple[bytes, ...] = ()


class Saved(msgspec.Struct):
    """The head of a saved state. `version` changes with the meaning of the state.

    `stations` are without boards and serials: those that changed are in `parts` or, not closed yet, in `waiting`, all
    others in blocks, of which it has `newest`.
    """

    version: int
    position: int
    stations: dict[str, Station] = {}
    lines: dict[str, Line] = {}
    parts: msgspec.Raw = msgspec.Raw()
    waiting: msgspec.Raw = msgspec.Raw(b"\x80")
    newest: list[dict[str, int]] = []


class Versioned(msgspec.Struct):
    """What every version's checkpoint says of itself."""

    version: int


VERSION = 5


def empty() -> KpiState:
    """Return the state before the first record."""
    return KpiState(0, {}, {}, {}, {}, [], {})


def save(state: KpiState, block_bytes: int = BLOCK_BYTES) -> Image:
    """Return the state as bytes; only after both drains and with their yield published, or it would be forgotten.

    `block_bytes`: what changed becomes a block when it is so much.
    """
    undrained = (state.changed, state.rolled, state.finals, state.verdicts)
    assert not any(undrained), "drain before saving"  # noqa: S101 - a wrong order here loses windows
    rows = {
        key: found
        for key, station in state.stations.items()
        if (found := rows_of(state.engine, station.line, station.name)) is not None
    }
    parts, sealed = seal(state.stations, state.fresh, rows, state.blocks, block_bytes)
    if sealed and state.engine is not None:
        state.engine.seal()
    plain = {key: replace(station, boards={}, serials={}) for key, station in state.stations.items()}
    newest = [block.newest for block in state.blocks]
    saved = Saved(
        VERSION, state.position, plain, state.lines, msgspec.Raw(parts), msgspec.Raw(waiting(state.fresh, rows)), newest
    )
    return Image(msgspec.msgpack.encode(saved), tuple(block.body for block in state.blocks))


def restore(image: Image, engine: Engine | None = None) -> KpiState:
    """Return the state that `save` wrote; without its blocks, all but the boards and serials in them.

    `engine`: what takes in ordinary records from now on; it remembers what is in blocks.

    Raises `BadRecord` for other bytes, `UnknownSchema` for another version's.
    """
    collecting = gc.isenabled()
    gc.disable()  # hundreds of thousands of new objects, none of them garbage: searching them took three quarters of it
    try:
        version = msgspec.msgpack.decode(image.head, type=Versioned).version
        if version != VERSION:
            raise UnknownSchema(f"a KPI checkpoint of version {version}, this taktwatch reads {VERSION}")
        saved = msgspec.msgpack.decode(image.head, type=Saved)
        for body in image.blocks:
            if engine is None:
                merge(saved.stations, parts_in(body))
            elif not engine.load(body):
                raise BadRecord("a damaged KPI checkpoint: a block that cannot be read")
        parts, waiting_boards = parts_in(saved.parts), waiting_in(saved.waiting)
    except msgspec.MsgspecError as error:
        raise BadRecord(f"a damaged KPI checkpoint: {error}") from error
    finally:
        if collecting:
            gc.enable()
    state = KpiState(saved.position, saved.stations, saved.lines, {}, {}, [], {}, engine=engine)
    state.blocks = [Block(body, newest) for body, newest in zip(image.blocks, saved.newest, strict=False)]
    for key, boards in waiting_boards.items():
        part = parts.setdefault(key, Part())
        part.boards += boards
        places = {(board_group(board.product, board.session), board.visit): board for board in part.boards}
        state.fresh[key] = Fresh(places, dict.fromkeys(part.serials))
    merge(saved.stations, parts)
    return state
