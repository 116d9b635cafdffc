"""One record being folded, and where: it touches the shares it changes, so that `drain` finds them.

There is one `Step` per station, used again for each of its records: what all of them need is looked up once.
"""

from datetime import datetime

import msgspec

from kpi_engine.blocks import BoardPlace, Fresh
from kpi_engine.boards import Board, board_group
from kpi_engine.ledger import Session, Told
from kpi_engine.rollup import enroll
from kpi_engine.rules import Rules
from kpi_engine.serials import Due, due_again, expire
from kpi_engine.slim import Result
from kpi_engine.state import Change, Line, Memory, Station, line_bound
from kpi_engine.sums import MINUTE_US, Sums, share_name
from kpi_engine.totals import snapshot
from taktwatch.instants import EPOCH, instant, microseconds
from taktwatch.records import Names

__all__ = ["NEVER_US", "Lane", "Step", "step_at"]

NEVER_US = 1 << 62


class Lane(msgspec.Struct, gc=False):
    """What pictures of one session, product and lot have in common: `views` of them make a board.

    `boards`: those of the product and session, which `group` names, by visit.
    """

    session: Session
    kind: "Kind"
    share: str
    views: int
    names: Names
    group: str
    boards: dict[int, Board]


Kind = tuple[str, str, str | None]
"""Session, product and lot of a picture."""


class Step(msgspec.Struct):
    """One record being folded, and where.

    `steps`: those of all stations, by line and name, this one among them. `next_us`: when the station's watermark
    gets there, a minute is complete. `groups`: boards by product and session; `waiting`: those not closed yet;
    `patience_us`: before that none of them runs out of time. `minute` is that of the last picture, from `begins` to
    `ends`. `hot` are the sums touched last, of `hot_share` in `hot_minute`. By minute: `due`, serials to look at
    once it is final; `old_boards`, closed boards whose newest picture was taken then. `last`: what the last picture
    was of. `run`: what those are of that the library takes in, which has the session's gaps from `run_gaps` on;
    `news_boards`, `news_serials`: what changed here since it was told.
    """

    state: Memory
    steps: dict[tuple[str, str], "Step"]
    station: Station
    line: Line
    key: str
    rules: Rules
    told: Told
    fresh: Fresh
    offset: int = 0
    frozen_minute: int = 0
    next_us: int = 0
    patience_us: int = NEVER_US
    minute: int = 0
    begins: datetime = EPOCH
    ends: datetime = EPOCH
    begins_us: int = 0
    hot: Sums | None = None
    hot_share: str = ""
    hot_minute: int = 0
    lanes: dict[Kind, Lane] = {}
    named: dict[str, Names] = {}
    due: Due = {}
    groups: dict[str, dict[int, Board]] = {}
    waiting: dict[BoardPlace, Board] = {}
    old_boards: dict[int, list[BoardPlace]] = {}
    last: Kind | None = None
    run: Lane | None = None
    run_gaps: int = 0
    news_boards: dict[BoardPlace, Board] = {}
    news_serials: dict[str, None] = {}

    def look_up(self) -> None:
        """Look up anew what follows from the station: its watermark moved on, or sessions were forgotten."""
        station = self.station
        self.frozen_minute = station.frozen_minute(self.rules.horizon_minutes)
        self.told.frozen_us = self.frozen_minute * MINUTE_US
        self.next_us = (station.watermark_us // MINUTE_US + 1) * MINUTE_US
        self.be_patient()
        self.hot = None
        self.lanes.clear()
        self.named.clear()
        self.groups.clear()

    def be_patient(self) -> None:
        """Find out when the next waiting board runs out of time."""
        oldest_us = min([board.newest_us for board in self.waiting.values()], default=NEVER_US)
        self.patience_us = oldest_us + self.rules.board_hold_us

    def turn_to(self, time: datetime) -> int:
        """Return a time in microseconds since 1970; its minute is the present one from now on."""
        time_us = microseconds(time)
        self.minute = time_us // MINUTE_US
        self.begins_us = self.minute * MINUTE_US
        self.begins, self.ends = instant(self.begins_us), instant(self.begins_us + MINUTE_US)
        return time_us

    def note_board(self, place: BoardPlace, board: Board) -> None:
        """Note that a board changed: for the next checkpoint, and for the library."""
        self.fresh.boards[place] = board
        if self.state.engine is not None:
            self.news_boards[place] = board

    def note_serial(self, name: str) -> None:
        """Note that a serial's visits changed: likewise."""
        self.fresh.serials[name] = None
        if self.state.engine is not None:
            self.news_serials[name] = None

    def find_lane(self, result: Result, minute: int) -> Lane | None:
        """Return what pictures like this one have in common; None for an unknown session of final windows."""
        station, product, lot = self.station, result.product, result.lot
        share = share_name(product, lot)
        session = station.sessions.get(result.session)
        if session is None:
            if minute < self.frozen_minute:
                return None
            session = station.sessions[result.session] = Session(share)
        group = board_group(product, result.session)
        boards = self.groups.setdefault(group, station.boards.get(group, {}))
        views = self.rules.views.get(product, 1)
        kind = (result.session, product, lot)
        lane = self.lanes[kind] = Lane(session, kind, share, views, self.names(result.session), group, boards)
        return lane

    def names(self, session: str) -> Names:
        """Return the ids of a session's frames and boards."""
        names = self.named.get(session)
        if names is None:
            names = self.named[session] = Names(self.station.line, self.station.name, session)
        return names

    def complete(self, minute: int) -> bool:
        """Whether every frame of a minute is in."""
        return self.station.rest or (minute + 1) * MINUTE_US <= self.station.watermark_us

    def touch(self, share: str, minute: int) -> Sums:
        """Return the sums of a live share, created if need be, as changed by this record."""
        sums = self.hot
        if sums is None or minute != self.hot_minute or share != self.hot_share:
            known = (self.key, share, minute) in self.state.changed
            sums = self.station.windows[share][minute] if known else self.begin(share, minute)
            self.hot, self.hot_share, self.hot_minute = sums, share, minute
        sums.revision = self.offset
        sums.closed = self.station.rest or (minute + 1) * MINUTE_US <= self.station.watermark_us
        return sums

    def begin(self, share: str, minute: int) -> Sums:
        """Return the sums of a share that begins to change, and remember them as they were."""
        station, line = self.station, self.line
        windows = station.windows.setdefault(share, {})
        before = snapshot(windows[minute]) if minute in windows else Sums()
        sums = windows.setdefault(minute, Sums())
        of_station = enroll(
            station.rollups,
            share,
            minute,
            self.rules,
            frozen=self.frozen_minute,
            bound=station.bound,
            offset=self.offset,
        )
        of_line = enroll(
            line.rollups,
            share,
            minute,
            self.rules,
            frozen=line.frozen,
            bound=line_bound(self.state, line),
            offset=self.offset,
        )
        self.state.changed[self.key, share, minute] = Change(before, of_station, of_line)
        return sums


def forget_again(step: Step) -> None:
    """Forget what a restored state's blocks hold from before the horizon; note the rest by minute."""
    station, horizon_minutes = step.station, step.rules.horizon_minutes
    frozen_minute = station.frozen_minute(horizon_minutes)
    step.due = due_again(station.serials)
    expire(station.serials, step.due, horizon_minutes, frozen_minute)
    for group, boards in station.boards.items():
        for visit, board in list(boards.items()):
            minute = board.newest_us // MINUTE_US
            if not board.closed:
                step.waiting[group, visit] = board
            elif minute + 1 < frozen_minute:
                del boards[visit]
                continue
            else:
                step.old_boards.setdefault(minute, []).append((group, visit))
            if step.state.engine is not None:
                step.news_boards[group, visit] = board
    if step.state.engine is not None:
        step.state.engine.forget(station.line, station.name, frozen_minute, horizon_minutes)
        step.news_serials = dict.fromkeys(station.serials)
    station.boards = {group: boards for group, boards in station.boards.items() if boards}


def step_at(state: Memory, steps: dict[tuple[str, str], Step], line: str, name: str, rules: Rules) -> Step:
    """Return the step of a station, from now on one of `steps`; what is folded first makes it."""
    key = f"{line}\x1f{name}"
    station = state.stations.get(key)
    if station is None:
        station = state.stations[key] = Station(line, name)
        state.lines.setdefault(line, Line()).stations.append(key)
    fresh = state.fresh.setdefault(key, Fresh())
    step = Step(state, steps, station, state.lines[line], key, rules, Told(0, "", 0, 0), fresh)
    forget_again(step)
    step.look_up()
    steps[line, name] = step
    return step
