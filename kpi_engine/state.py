"""Everything the fold knows, and how it is saved."""

import gc
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec.structs import replace

from kpi_engine.blocks import BLOCK_BYTES, Block, Fresh, Part, merge, parts_in, seal, waiting, waiting_in
from kpi_engine.boards import Board, board_group
from kpi_engine.compiled import rows_of
from kpi_engine.ledger import Session
from kpi_engine.rollup import Key, Rolled
from kpi_engine.serials import Visit
from kpi_engine.sums import MINUTE_US, Sums
from taktwatch.errors import BadRecord, UnknownSchema
from taktwatch.native import Engine
from taktwatch.records import BoardVerdict, KpiWindow

if TYPE_CHECKING:
    from kpi_engine.step import Step

__all__ = ["Change", "Image", "KpiState", "Line", "Past", "Place", "Station", "empty", "line_bound", "restore", "save"]


class Past(msgspec.Struct, array_like=True):
    """Frames of sessions that ended with everything in and were forgotten."""

    accepted: int = 0
    inspected: int = 0
    skipped: int = 0
    dead: int = 0


class Station(msgspec.Struct):
    """One station: its sessions, the sums of live minutes by share and minute since 1970, serials seen lately.

    `boards`: those that several pictures make, by product and session, and visit. `rollups`: longer windows of this
    station. `watermark_us` never goes back; `rest`: every session ended and nothing is out, so all windows are
    complete. `past`: what forgotten sessions brought.
    """

    line: str
    name: str
    sessions: dict[str, Session] = {}
    current: str = ""
    windows: dict[str, dict[int, Sums]] = {}
    serials: dict[str, list[Visit]] = {}
    boards: dict[str, dict[int, Board]] = {}
    rollups: dict[Key, Rolled] = {}
    watermark_us: int = -1
    rest: bool = False
    past: Past = msgspec.field(default_factory=Past)

    def frozen_minute(self, horizon_minutes: int) -> int:
        """Windows before this minute are final."""
        return self.watermark_us // MINUTE_US - horizon_minutes if self.watermark_us >= 0 else 0

    @property
    def bound(self) -> int | None:
        """Everything before this minute is in; None where nothing more is expected at all."""
        return None if self.rest else self.watermark_us // MINUTE_US


class Line(msgspec.Struct):
    """One line: the keys of its stations, its roll-ups, and the minute before which they are final."""

    stations: list[str] = []
    rollups: dict[Key, Rolled] = {}
    frozen: int = 0


Place = tuple[str, str, int]
"""Key of the station, share, minute."""


class Change(NamedTuple):
    """A share's sums as they were when last rolled up, and the roll-ups of its station and line it is part of."""

    before: Sums
    of_station: list[Key]
    of_line: list[Key]


@dataclass
class KpiState:
    """Everything the fold knows. `position` is the next offset to fold.

    What waits for `drain`: `changed` shares; `rolled`, the roll-ups that changed, by station key (or line) and key;
    `finals`. `verdicts` of boards, by board id, wait for `drain_verdicts`.
    `steps`: where the fold is at each station, by line and name; follows from `stations`. `fresh`, by station
    key: boards and serials that changed since they were last put into one of the `blocks`. `engine`: what the compiled
    library knows, where it takes in ordinary records.
    """

    position: int
    stations: dict[str, Station]
    lines: dict[str, Line]
    changed: dict[Place, Change]
    rolled: dict[tuple[str, Key], None]
    finals: list[KpiWindow]
    verdicts: dict[str, BoardVerdict]
    steps: dict[tuple[str, str], "Step"] = field(default_factory=dict)
    fresh: dict[str, Fresh] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    engine: Engine | None = None


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


def line_bound(state: KpiState, line: Line) -> int | None:
    """Everything before this minute is in at every station; None where no station expects anything more."""
    bounds = [bound for key in line.stations if (bound := state.stations[key].bound) is not None]
    return min(bounds, default=None)


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
