"""Results and marks folded into event-time windows.

    state = empty(); fold(state, record, offset, logged_us, rules); windows = drain(state)

The first result of a frame in log order counts, later ones are repeats. A window is open until its station's watermark
passes its end, then closed; late frames still correct it for `horizon_minutes`; then it is published once more as final
and forgotten. Everything here is a function of the log alone: folding it again from any checkpoint ends in the same
windows with the same revisions.
"""

from kpi_engine.board_counts import count_one, fold_view, is_of_panel, tell
from kpi_engine.boards import verdict_of_one
from kpi_engine.closing import advance
from kpi_engine.drain import drain, drain_verdicts
from kpi_engine.ledger import Session, see
from kpi_engine.marks import fold_mark, recount_missing
from kpi_engine.rules import Rules
from kpi_engine.slim import Result
from kpi_engine.state import KpiState, Line, Station, empty, restore, save
from kpi_engine.step import Step
from kpi_engine.sums import MINUTE_US, add_picture, microseconds, share_name
from taktwatch.records import Outcome, StationMark

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
        if step.rules.views.get(result.product, 1) > 1 or is_of_panel(station, result):
            fold_view(step, result, event_us)
        else:
            if inspected:
                count_one(step, sums, result, event_us, share)
            if step.rules.verdicts:
                tell(step, verdict_of_one(result, step.offset))
    if inspected:
        session.inspected += 1
    elif result.outcome is Outcome.SKIPPED:
        session.skipped += 1
    else:
        session.dead += 1
    advance(step)


def count_late(step: Step, product: str, minute: int) -> None:
    """Count a repeat where the frame belongs or, where that window is final, in the watermark's."""
    if minute < step.frozen_minute:
        minute = step.station.watermark_us // MINUTE_US
    step.touch(product, minute).late_or_repeat += 1
