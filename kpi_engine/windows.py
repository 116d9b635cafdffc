"""Results and marks folded into one-minute event-time windows.

    state = empty(); fold(state, record, offset, logged_us, rules); windows = drain(state)

The first result of a frame in log order counts, later ones are repeats. A window is open until its station's watermark
passes its end, then closed; late frames still correct it for `horizon_minutes`; then it is published once more as final
and forgotten. Everything here is a function of the log alone: folding it again from any checkpoint ends in the same
windows with the same revisions.
"""

from dataclasses import dataclass

import msgspec

from kpi_engine.ledger import Move, Session, Told, declare_missing, hear, see, watermark
from kpi_engine.serials import Due, Visit, due_again, expire, visit
from kpi_engine.slim import Result
from kpi_engine.sums import MINUTE_US, Sums, add, microseconds, published
from taktwatch.errors import BadRecord, UnknownSchema
from taktwatch.records import KpiWindow, MarkState, Outcome, StationMark, Verdict, WindowState

__all__ = ["KpiState", "Rules", "Station", "drain", "empty", "fold", "restore", "save"]


@dataclass(frozen=True)
class Rules:
    """How long a window takes corrections, and how long a frame may stay without outcome."""

    horizon_minutes: int = 60
    hold_us: int = 120_000_000


class Station(msgspec.Struct):
    """One station: its sessions, its live windows by product and minute since 1970, and serials seen lately.

    `watermark_us` never goes back; `rest`: every session ended and nothing is out, so all windows are complete.
    """

    line: str
    name: str
    sessions: dict[str, Session] = {}
    current: str = ""
    windows: dict[str, dict[int, Sums]] = {}
    serials: dict[str, list[Visit]] = {}
    watermark_us: int = -1
    rest: bool = False

    def frozen_minute(self, horizon_minutes: int) -> int:
        """Windows before this minute are final."""
        return self.watermark_us // MINUTE_US - horizon_minutes if self.watermark_us >= 0 else 0


Key = tuple[str, str, int]
"""Station key, product, minute."""


@dataclass
class KpiState:
    """Everything the fold knows. `position` is the next offset to fold; `changed` and `finals` wait for `drain`.

    `due`: by station, when to look at its serials; follows from `stations`.
    """

    position: int
    stations: dict[str, Station]
    changed: dict[Key, None]
    finals: list[KpiWindow]
    due: dict[str, Due]


class Saved(msgspec.Struct):
    """What a checkpoint holds. `version` changes with the meaning of the state."""

    version: int
    position: int
    stations: dict[str, Station]


class Versioned(msgspec.Struct):
    """The part of a checkpoint that every version has."""

    version: int


VERSION = 1


def empty() -> KpiState:
    """Return the state before the first record."""
    return KpiState(0, {}, {}, [], {})


def save(state: KpiState) -> bytes:
    """Return the state as bytes; only after `drain` and with its windows published, or they would be forgotten."""
    assert not state.changed, "drain before saving"  # noqa: S101 - a wrong order here loses windows
    assert not state.finals, "drain before saving"  # noqa: S101 - same
    return msgspec.msgpack.encode(Saved(VERSION, state.position, state.stations))


def restore(saved: bytes) -> KpiState:
    """Return the state that `save` wrote. Raises `BadRecord` for other bytes, `UnknownSchema` for another version's."""
    try:
        version = msgspec.msgpack.decode(saved, type=Versioned).version
        if version != VERSION:
            raise UnknownSchema(f"a KPI checkpoint of version {version}, this taktwatch reads {VERSION}")
        found = msgspec.msgpack.decode(saved, type=Saved)
    except msgspec.MsgspecError as error:
        raise BadRecord(f"a damaged KPI checkpoint: {error}") from error
    due = {key: due_again(station.serials) for key, station in found.stations.items()}
    return KpiState(found.position, found.stations, {}, [], due)


def fold(state: KpiState, record: Result | StationMark, offset: int, logged_us: int, rules: Rules) -> None:
    """Take one record of the results topic into the state; records come in log order, each once.

    `logged_us`: when the bus took the record, in microseconds since 1970.
    """
    key = f"{record.line}\x1f{record.station}"
    station = state.stations.get(key)
    if station is None:
        station = state.stations[key] = Station(record.line, record.station)
    step = Step(state, station, key, offset, logged_us, rules, station.frozen_minute(rules.horizon_minutes))
    if isinstance(record, StationMark):
        fold_mark(step, record)
    else:
        fold_result(step, record)
    state.position = offset + 1


def drain(state: KpiState) -> list[KpiWindow]:
    """Return every window that changed since the last call, final ones first, and forget that they changed."""
    windows = state.finals
    for key, product, minute in state.changed:
        station = state.stations[key]
        sums = station.windows[product][minute]
        kind = WindowState.CLOSED if sums.closed else WindowState.OPEN
        windows.append(published(sums, minute, kind, line=station.line, station=station.name, product=product))
    state.changed, state.finals = {}, []
    return windows


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

    def touch(self, product: str, minute: int) -> Sums:
        """Return the sums of a live window, created if need be, as changed by this record."""
        station = self.station
        windows = station.windows.get(product)
        if windows is None:
            windows = station.windows[product] = {}
        sums = windows.get(minute)
        if sums is None:
            sums = windows[minute] = Sums()
        sums.revision = self.offset
        sums.closed = self.complete(minute)
        self.state.changed[(self.key, product, minute)] = None
        return sums


def fold_result(step: Step, result: Result) -> None:
    """Count a frame's first outcome in the window of its event time."""
    station = step.station
    event_us = microseconds(result.event_at)
    minute = event_us // MINUTE_US
    session = station.sessions.get(result.session)
    if session is None and minute >= step.frozen_minute:
        session = station.sessions[result.session] = Session(result.product)
    moves = None if session is None else see(session, result.seq, step.told(event_us, result.product))
    if session is None or moves is None:
        count_late(step, result.product, minute)
        return
    recount_missing(step, moves)
    if minute < step.frozen_minute:
        count_late(step, result.product, minute)
    else:
        add(step.touch(result.product, minute), result)
        if result.outcome is Outcome.INSPECTED:
            count_first_pass(step, result, event_us, minute)
    if result.outcome is Outcome.INSPECTED:
        session.inspected += 1
    elif result.outcome is Outcome.SKIPPED:
        session.skipped += 1
    else:
        session.dead += 1
    advance(step)


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


def count_first_pass(step: Step, result: Result, event_us: int, minute: int) -> None:
    """Count a board's first visit; without a serial each visit is one."""
    passed = result.verdict is Verdict.PASS
    if result.serial is None:
        sums = step.touch(result.product, minute)
        sums.first_pass += 1
        sums.first_pass_passed += passed
        return
    serial = f"{result.product}\x1f{result.view}\x1f{result.serial}"
    visits = step.station.serials.setdefault(serial, [])
    step.state.due.setdefault(step.key, {}).setdefault(minute, []).append(serial)
    new = Visit(event_us, result.session, result.seq, minute, result.product, passed)
    for change in visit(visits, new, step.rules.horizon_minutes, step.frozen_minute):
        sums = step.touch(change.product, change.minute)
        sums.first_pass += change.boards
        sums.first_pass_passed += change.boards * change.passed


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
    changed = rest != station.rest
    station.watermark_us, station.rest = bound, rest
    if crossed or changed:
        close(step)
    if crossed:
        finish(step)


def close(step: Step) -> None:
    """Close windows whose every frame is in; where a session began after all had ended, open the last ones again."""
    for product, windows in step.station.windows.items():
        for minute, sums in windows.items():
            if sums.closed != step.complete(minute):
                step.touch(product, minute)


def finish(step: Step) -> None:
    """Publish windows that left the horizon once more as final, and forget them and what belongs to them.

    Sessions that lost frames stay: they are the evidence.
    """
    station = step.station
    frozen_minute = station.frozen_minute(step.rules.horizon_minutes)
    for product, windows in station.windows.items():
        for minute in sorted(minute for minute in windows if minute < frozen_minute):
            sums = windows.pop(minute)
            sums.revision = step.offset
            step.state.changed.pop((step.key, product, minute), None)
            final = published(sums, minute, WindowState.FINAL, line=station.line, station=station.name, product=product)
            step.state.finals.append(final)
    station.windows = {product: windows for product, windows in station.windows.items() if windows}
    expire(station.serials, step.state.due.setdefault(step.key, {}), step.rules.horizon_minutes, frozen_minute)
    station.sessions = {
        name: session
        for name, session in station.sessions.items()
        if not session.at_rest
        or session.lost
        or max(session.newest_us, session.mark_us or 0) >= frozen_minute * MINUTE_US
    }
