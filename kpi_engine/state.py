"""Everything the fold knows, and how it is saved."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from kpi_engine.boards import Board
from kpi_engine.ledger import Session
from kpi_engine.rollup import Key, Rolled
from kpi_engine.serials import Visit
from kpi_engine.sums import MINUTE_US, Sums
from taktwatch.errors import BadRecord, UnknownSchema
from taktwatch.records import BoardVerdict, KpiWindow

if TYPE_CHECKING:
    from kpi_engine.step import Step

__all__ = ["Change", "KpiState", "Line", "Past", "Place", "Station", "empty", "line_bound", "restore", "save"]


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
    `steps`: where the fold is at each station, by line and name; follows from `stations`.
    """

    position: int
    stations: dict[str, Station]
    lines: dict[str, Line]
    changed: dict[Place, Change]
    rolled: dict[tuple[str, Key], None]
    finals: list[KpiWindow]
    verdicts: dict[str, BoardVerdict]
    steps: dict[tuple[str, str], "Step"] = field(default_factory=dict)


class Saved(msgspec.Struct):
    """What a checkpoint holds. `version` changes with the meaning of the state."""

    version: int
    position: int
    stations: dict[str, Station] = {}
    lines: dict[str, Line] = {}


class Versioned(msgspec.Struct):
    """What every version's checkpoint says of itself."""

    version: int


VERSION = 4


def empty() -> KpiState:
    """Return the state before the first record."""
    return KpiState(0, {}, {}, {}, {}, [], {})


def line_bound(state: KpiState, line: Line) -> int | None:
    """Everything before this minute is in at every station; None where no station expects anything more."""
    bounds = [bound for key in line.stations if (bound := state.stations[key].bound) is not None]
    return min(bounds, default=None)


def save(state: KpiState) -> bytes:
    """Return the state as bytes; only after both drains and with their yield published, or it would be forgotten."""
    waiting = (state.changed, state.rolled, state.finals, state.verdicts)
    assert not any(waiting), "drain before saving"  # noqa: S101 - a wrong order here loses windows
    return msgspec.msgpack.encode(Saved(VERSION, state.position, state.stations, state.lines))


def restore(saved: bytes) -> KpiState:
    """Return the state that `save` wrote. Raises `BadRecord` for other bytes, `UnknownSchema` for another version's."""
    try:
        version = msgspec.msgpack.decode(saved, type=Versioned).version
        if version != VERSION:
            raise UnknownSchema(f"a KPI checkpoint of version {version}, this taktwatch reads {VERSION}")
        found = msgspec.msgpack.decode(saved, type=Saved)
    except msgspec.MsgspecError as error:
        raise BadRecord(f"a damaged KPI checkpoint: {error}") from error
    return KpiState(found.position, found.stations, found.lines, {}, {}, [], {})
