"""Results and marks folded into event-time windows.

    state = empty(); fold(state, record, offset, logged_us, rules); windows = drain(state)

The first result of a frame in log order counts, later ones are repeats. A window is open until its station's watermark
passes its end, then closed; late frames still correct it for `horizon_minutes`; then it is published once more as final
and forgotten. Everything here is a function of the log alone: folding it again from any checkpoint ends in the same
windows with the same revisions.
"""

import msgspec

from kpi_engine.boards import Board, Counted, board_name, counted, put, verdict_of, verdict_of_one
from kpi_engine.ledger import Move, Session, Told, declare_missing, hear, see, watermark
from kpi_engine.rollup import Key, Rolled, close_rolled, enroll, roll, rolled_window
from kpi_engine.rules import Rules
from kpi_engine.serials import Visit, expire, visit
from kpi_engine.slim import Result
from kpi_engine.state import Change, KpiState, Line, Place, Station, empty, restore, save
from kpi_engine.sums import (
    MICROSECOND,
    MINUTE_US,
    Sums,
    add_board,
    add_picture,
    gathered,
    microseconds,
    published,
    share_name,
    share_parts,
    snapshot,
)
from taktwatch.kpis import ANY
from taktwatch.records import (
    BoardVerdict,
    KpiWindow,
    MarkState,
    Outcome,
    StationMark,
    Verdict,
    WindowState,
)

__all__ = ["KpiState", "Rules", "Station", "drain", "drain_verdicts", "empty", "fold", "restore", "save"]


def fold(state: KpiState, record: Result | StationMark, offset: int, logged_us: int, rules: Rules) -> None:
    """Take one record of the results topic into the state; records come in log order, each once.

    `logged_us`: when the bus took the record, in microseconds since 1970.
    """
    key = f"{record.line}\x1f{record.station}"
    station = state.stations.get(key)
    if station is None:
        station = state.stations[key] = Station(record.line, record.station)
        state.lines.setdefault(record.line, Line()).stations.append(key)
    step = Step(state, station, key, offset, logged_us, rules, station.frozen_minute(rules.horizon_minutes))
    if isinstance(record, StationMark):
        fold_mark(step, record)
    else:
        fold_result(step, record)
    state.position = offset + 1


def drain(state: KpiState) -> list[KpiWindow]:
    """Return every window that changed since the last call, final ones first, and forget that they changed."""
    roll_up(state)
    windows = state.finals
    minutes = {(key, share_parts(share)[0], minute): None for key, share, minute in state.changed}
    for key, product, minute in minutes:
        station = state.stations[key]
        windows.append(minute_window(station, product, minute, WindowState.OPEN))
    for holder, name in state.rolled:
        rollups, line, station_name = holder_of(state, holder)
        rolled = rollups[name]
        kind = WindowState.CLOSED if rolled.sums.closed else WindowState.OPEN
        windows.append(rolled_window(rolled, kind, line=line, station=station_name))
    state.changed, state.rolled, state.finals = {}, {}, []
    return windows


def drain_verdicts(state: KpiState) -> list[BoardVerdict]:
    """Return the newest verdict of every board that changed since the last call, in the order they were reached."""
    verdicts = list(state.verdicts.values())
    state.verdicts = {}
    return verdicts


def holder_of(state: KpiState, holder: str) -> tuple[dict[Key, Rolled], str, str]:
    """Return the roll-ups of a station (by its key) or of a line, with the names of line and station."""
    station = state.stations.get(holder)
    return (
        (state.lines[holder].rollups, holder, ANY) if station is None else (station.rollups, station.line, station.name)
    )


def minute_window(station: Station, product: str, minute: int, state: WindowState) -> KpiWindow:
    """Return the one-minute window of a product: the sum of its shares. `state` open means: open or closed."""
    shares = []
    for share, windows in station.windows.items():
        found = windows.get(minute)
        if found is not None:
            name, lot = share_parts(share)
            if name == product:
                shares.append((lot, found))
    sums = gathered(shares)
    if state is WindowState.OPEN and sums.closed:
        state = WindowState.CLOSED
    return published(
        sums,
        "1m",
        minute * MINUTE_US,
        (minute + 1) * MINUTE_US,
        state,
        line=station.line,
        station=station.name,
        product=product,
    )


def roll_up(state: KpiState) -> None:
    """Bring the roll-ups up to date with the shares that changed."""
    for place in state.changed:
        roll_share(state, place)


def roll_share(state: KpiState, place: Place) -> None:
    """Add to the roll-ups what one share changed by since it was last rolled up."""
    key, share, minute = place
    station = state.stations[key]
    sums = station.windows[share][minute]
    before, of_station, of_line = state.changed[place]
    for found in roll(station.rollups, of_station, sums, before):
        state.rolled[key, found] = None
    for found in roll(state.lines[station.line].rollups, of_line, sums, before):
        state.rolled[station.line, found] = None
    state.changed[place] = Change(snapshot(sums), of_station, of_line)


class Step(msgspec.Struct, gc=False):
    """One record being folded, and where."""

    state: KpiState
    station: Station
    key: str
    offset: int
    logged_us: int
    rules: Rules
    frozen_minute: int

    def complete(self, minute: int) -> bool:
        """Whether every frame of a minute is in."""
        return self.station.rest or (minute + 1) * MINUTE_US <= self.station.watermark_us

    def told(self, event_us: int, product: str) -> Told:
        """Return what the ledger wants to know of this record."""
        return Told(event_us, product, self.logged_us, self.frozen_minute * MINUTE_US)

    def touch(self, share: str, minute: int) -> Sums:
        """Return the sums of a live share, created if need be, as changed by this record."""
        place = (self.key, share, minute)
        known = place in self.state.changed
        sums = self.station.windows[share][minute] if known else self.begin(share, minute)
        sums.revision = self.offset
        sums.closed = self.complete(minute)
        return sums

    def begin(self, share: str, minute: int) -> Sums:
        """Return the sums of a share that begins to change, and remember them as they were."""
        station, state = self.station, self.state
        windows = station.windows.setdefault(share, {})
        before = snapshot(windows[minute]) if minute in windows else Sums()
        sums = windows.setdefault(minute, Sums())
        line = state.lines[station.line]
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
            bound=line_bound(state, line),
            offset=self.offset,
        )
        state.changed[self.key, share, minute] = Change(before, of_station, of_line)
        return sums


def fold_result(step: Step, result: Result) -> None:
    """Count a frame's first outcome in the window of its event time."""
    station = step.station
    event_us = microseconds(result.event_at)
    minute = event_us // MINUTE_US
    share = share_name(result.product, result.lot)
    session = station.sessions.get(result.session)
    if session is None and minute >= step.frozen_minute:
        session = station.sessions[result.session] = Session(share)
    moves = None if session is None else see(session, result.seq, step.told(event_us, share))
    if session is None or moves is None:
        count_late(step, share, minute)
        return
    if moves:
        recount_missing(step, moves)
    inspected = result.outcome is Outcome.INSPECTED
    if minute < step.frozen_minute:
        count_late(step, share, minute)
    else:
        sums = step.touch(share, minute)
        add_picture(sums, result)
        if step.rules.views.get(result.product, 1) > 1:
            fold_view(step, result, event_us)
        else:
            if inspected:
                count_one(step, sums, result, event_us, share)
            if step.rules.verdicts:
                verdict = verdict_of_one(result, step.offset)
                step.state.verdicts[verdict.board_id] = verdict
    if inspected:
        session.inspected += 1
    elif result.outcome is Outcome.SKIPPED:
        session.skipped += 1
    else:
        session.dead += 1
    advance(step)


def count_one(step: Step, sums: Sums, result: Result, event_us: int, share: str) -> None:
    """Count a board that one picture makes."""
    verdict = result.verdict or Verdict.REVIEW
    waited_us = (result.inspected_at - result.received_at) // MICROSECOND
    add_board(sums, verdict, result.opportunities, max(0, waited_us))
    passed = verdict is Verdict.PASS
    if result.serial is None:
        sums.first_pass += 1
        sums.first_pass_passed += passed
    else:
        seen = Visit(event_us, result.session, result.visit, event_us // MINUTE_US, share, passed)
        count_visits(step, result.product, result.serial, seen, None)


def fold_view(step: Step, result: Result, event_us: int) -> None:
    """Lay a picture to the others of its board; the last one closes it, and any later one corrects it."""
    station = step.station
    name = board_name(result.product, result.session, result.visit)
    board = station.boards.get(name)
    if board is None:
        expected = step.rules.views[result.product]
        board = station.boards[name] = Board(result.product, result.session, result.visit, expected)
    put(board, result, event_us)
    if board.closed or board.complete:
        station.waiting.pop(name, None)
        count_board(step, board)
    else:
        station.waiting[name] = board.newest_us


def count_board(step: Step, board: Board) -> None:
    """Count a closed board as it is now, in place of what was counted of it before."""
    board.closed = True
    if step.rules.verdicts:
        verdict = verdict_of(board, step.station.line, step.station.name, step.offset)
        step.state.verdicts[verdict.board_id] = verdict
    old, new = board.counted, counted(board, step.frozen_minute)
    if old == new or (old is not None and old.minute < step.frozen_minute):
        return
    board.counted = new
    for found, boards in ((old, -1), (new, 1)):
        if found is not None:
            sums = step.touch(found.share, found.minute)
            add_board(sums, found.verdict, found.opportunities, found.latency_us, boards)
            if found.serial is None:
                sums.first_pass += boards
                sums.first_pass_passed += boards * (found.verdict is Verdict.PASS)
    gone, come = visit_of(board, old), visit_of(board, new)
    if old is not None and old.serial is not None and (new is None or new.serial != old.serial):
        count_visits(step, board.product, old.serial, None, gone)
        gone = None
    if new is not None and new.serial is not None:
        count_visits(step, board.product, new.serial, come, gone)


def visit_of(board: Board, found: Counted | None) -> Visit | None:
    """Return a board with a serial as one visit of it."""
    if found is None or found.serial is None:
        return None
    passed = found.verdict is Verdict.PASS
    return Visit(found.event_us, board.session, board.visit, found.minute, found.share, passed)


def count_visits(step: Step, product: str, serial: str, come: Visit | None, gone: Visit | None) -> None:
    """Count a serial's first visit, whichever it is now that one came or went."""
    name = f"{product}\x1f{serial}"
    visits = step.station.serials.setdefault(name, [])
    if come is not None:
        step.state.due.setdefault(step.key, {}).setdefault(come.minute, []).append(name)
    for change in visit(visits, come, step.rules.horizon_minutes, step.frozen_minute, gone):
        sums = step.touch(change.share, change.minute)
        sums.first_pass += change.boards
        sums.first_pass_passed += change.boards * change.passed
    if not visits:
        del step.station.serials[name]


def fold_mark(step: Step, mark: StationMark) -> None:
    """Hear how far ingest is; minutes without any picture become windows, too long absent frames go missing."""
    station = step.station
    time_us = microseconds(mark.time)
    minute = time_us // MINUTE_US
    session = station.sessions.get(mark.session)
    if session is None:
        if minute < step.frozen_minute:
            return
        session = station.sessions[mark.session] = Session(mark.product)
    silent_from = None if session.ended or session.mark_us is None else session.mark_us // MINUTE_US
    told = step.told(time_us, mark.product)
    if hear(session, mark.author, mark.state, mark.last_seq, told):
        count_mark(step, mark, minute, minute if silent_from is None else silent_from + 1)
        if mark.state is MarkState.OPEN and mark.session != station.current:
            supersede(station, mark.session)
    for waiting in station.sessions.values():
        if waiting.pending:
            recount_missing(step, declare_missing(waiting, step.rules.hold_us, told))
    advance(step)


def count_mark(step: Step, mark: StationMark, minute: int, since: int) -> None:
    """Count a mark in its minute; minutes from `since` on that nothing was heard of become windows, too."""
    windows = step.station.windows.get(mark.product, {})
    for idle in range(max(since, step.frozen_minute, minute - step.rules.horizon_minutes), minute):
        if idle not in windows:
            step.touch(mark.product, idle).station_state = mark.state
    if minute >= step.frozen_minute:
        sums = step.touch(mark.product, minute)
        sums.marks += 1
        sums.station_state = mark.state


def supersede(station: Station, current: str) -> None:
    """A station has one session at a time: a new one ends the others, though nobody closed them."""
    station.current = current
    for name, session in station.sessions.items():
        if name != current:
            session.ended = True


def count_late(step: Step, product: str, minute: int) -> None:
    """Count a repeat where the frame belongs or, where that window is final, in the watermark's."""
    if minute < step.frozen_minute:
        minute = step.station.watermark_us // MINUTE_US
    step.touch(product, minute).late_or_repeat += 1


def recount_missing(step: Step, moves: list[Move]) -> None:
    """Apply what the ledger says of missing frames."""
    for move in moves:
        step.touch(move.product, move.place_us // MINUTE_US).missing += move.frames


def advance(step: Step) -> None:
    """Move the station's watermark: the least over sessions with something still to come; close what is complete."""
    station = step.station
    live, ended = [], [station.watermark_us]
    for session in station.sessions.values():
        bound = watermark(session)
        if not session.at_rest:
            live.append(station.watermark_us if bound is None else bound)
        elif bound is not None:
            ended.append(bound)
    rest = not live
    bound = max(station.watermark_us, max(ended) if rest else min(live))
    crossed = bound // MINUTE_US != station.watermark_us // MINUTE_US
    turned = rest != station.rest
    station.watermark_us, station.rest = bound, rest
    if station.waiting:
        close_boards(step)
    if crossed or turned:
        close(step)
    if crossed:
        finish(step)


def close_boards(step: Step) -> None:
    """Close boards that nothing more is expected of, though pictures are missing."""
    station = step.station
    for name, newest_us in list(station.waiting.items()):
        if station.rest or newest_us + step.rules.board_hold_us < station.watermark_us:
            del station.waiting[name]
            count_board(step, station.boards[name])


def close(step: Step) -> None:
    """Close windows whose every frame is in; where a session began after all had ended, open the last ones again."""
    station, state = step.station, step.state
    for share, windows in station.windows.items():
        for minute, sums in windows.items():
            if sums.closed != step.complete(minute):
                step.touch(share, minute)
    line = state.lines[station.line]
    for key in close_rolled(station.rollups, station.bound, step.offset):
        state.rolled[step.key, key] = None
    for key in close_rolled(line.rollups, line_bound(state, line), step.offset):
        state.rolled[station.line, key] = None


def line_bound(state: KpiState, line: Line) -> int | None:
    """Everything before this minute is in at every station; None where no station expects anything more."""
    bounds = [bound for key in line.stations if (bound := state.stations[key].bound) is not None]
    return min(bounds, default=None)


def finish(step: Step) -> None:
    """Publish windows that left the horizon once more as final, and forget them and what belongs to them.

    Sessions that lost frames stay: they are the evidence.
    """
    station = step.station
    frozen_minute = station.frozen_minute(step.rules.horizon_minutes)
    finish_rolled(step, frozen_minute)
    finish_minutes(step, frozen_minute)
    expire(station.serials, step.state.due.setdefault(step.key, {}), step.rules.horizon_minutes, frozen_minute)
    for name, board in list(station.boards.items()):
        if board.closed and board.newest_us // MINUTE_US + 1 < frozen_minute:
            del station.boards[name]
    kept = {}
    for name, session in station.sessions.items():
        newest_us = max(session.newest_us, session.mark_us or 0)
        if not session.at_rest or session.lost or newest_us >= frozen_minute * MINUTE_US:
            kept[name] = session
        else:
            past = station.past
            past.accepted += session.marked + 1
            past.inspected += session.inspected
            past.skipped += session.skipped
            past.dead += session.dead
    station.sessions = kept


def finish_minutes(step: Step, frozen_minute: int) -> None:
    """Publish the one-minute windows before a minute as final and forget their shares."""
    station, state = step.station, step.state
    left: dict[tuple[int, str], list[str]] = {}
    for share, windows in station.windows.items():
        for minute in windows:
            if minute < frozen_minute:
                left.setdefault((minute, share_parts(share)[0]), []).append(share)
    for (minute, product), shares in sorted(left.items()):
        for share in shares:
            place = (step.key, share, minute)
            if place in state.changed:
                roll_share(state, place)
                del state.changed[place]
            station.windows[share][minute].revision = step.offset
        state.finals.append(minute_window(station, product, minute, WindowState.FINAL))
        for share in shares:
            del station.windows[share][minute]
    if left:
        station.windows = {share: windows for share, windows in station.windows.items() if windows}


def finish_rolled(step: Step, frozen_minute: int) -> None:
    """Publish the roll-ups that end before a minute as final; those of the line before the line's.

    A line's horizon is that of its slowest station that expects something; one that hangs holds it back by one horizon.
    """
    station, state = step.station, step.state
    line = state.lines[station.line]
    frozen = {key: state.stations[key].frozen_minute(step.rules.horizon_minutes) for key in line.stations}
    slowest = min((minute for key, minute in frozen.items() if not state.stations[key].rest), default=0)
    line_frozen = max(line.frozen, slowest, max(frozen.values()) - step.rules.horizon_minutes)
    leaving = [
        (holder, rollups, key)
        for holder, rollups, minute in (
            (step.key, station.rollups, frozen_minute),
            (station.line, line.rollups, line_frozen),
        )
        for key, rolled in rollups.items()
        if rolled.end <= minute
    ]
    if leaving:
        roll_up(state)
    line.frozen = line_frozen
    for holder, rollups, key in leaving:
        rolled = rollups.pop(key)
        rolled.sums.revision = step.offset
        state.rolled.pop((holder, key), None)
        name = ANY if holder == station.line else station.name
        state.finals.append(rolled_window(rolled, WindowState.FINAL, line=station.line, station=name))
