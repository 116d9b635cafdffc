"""What the fold remembers: of each station, of each line, and what is not published yet."""

from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from kpi_engine.blocks import Block, Fresh
from kpi_engine.boards import Board
from kpi_engine.ledger import Session
from kpi_engine.rollup import Key, Rolled
from kpi_engine.serials import Visit
from kpi_engine.sums import MINUTE_US, Sums
from taktwatch.native import Engine
from taktwatch.records import BoardVerdict, KpiWindow

__all__ = ["Change", "Line", "Memory", "Past", "Place", "Station", "line_bound"]


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
class Memory:
    """All that the fold remembers. `position` is the next offset to fold.

    What waits for `drain`: `changed` shares; `rolled`, the roll-ups that changed, by station key (or line) and key;
    `finals`. `verdicts` of boards, by board id, wait for `drain_verdicts`. `fresh`, by station key: boards and serials
    that changed since they were last put into one of the `blocks`. `engine`: what the compiled library knows, where it
    takes in ordinary records.
    """

    position: int
    stations: dict[str, Station]
    lines: dict[str, Line]
    changed: dict[Place, Change]
    rolled: dict[tuple[str, Key], None]
    finals: list[KpiWindow]
    verdicts: dict[str, BoardVerdict]
    fresh: dict[str, Fresh] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    engine: Engine | None = None


def line_bound(memory: Memory, line: Line) -> int | None:
    """Everything before this minute is in at every station; None where no station expects anything more."""
    bounds = [bound for key in line.stations if (bound := memory.stations[key].bound) is not None]
    return min(bounds, default=None)
