"""What marks say: minutes without any picture become windows, frames absent for too long go missing."""

from collections.abc import Sequence

from kpi_engine.closing import advance
from kpi_engine.ledger import Move, Session, declare_missing, hear
from kpi_engine.state import Station
from kpi_engine.step import Step
from kpi_engine.sums import MINUTE_US
from taktwatch.instants import microseconds
from taktwatch.records import MarkState, StationMark

__all__ = ["fold_mark", "recount_missing"]


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
    told = step.told
    told.event_us, told.product = time_us, mark.product
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


def recount_missing(step: Step, moves: Sequence[Move]) -> None:
    """Apply what the ledger says of missing frames."""
    for move in moves:
        step.touch(move.product, move.place_us // MINUTE_US).missing += move.frames
