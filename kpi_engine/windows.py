"""Results and marks folded into event-time windows.

    state = empty(); fold(state, record, offset, logged_us, rules); windows = drain(state)

The first result of a frame in log order counts, later ones are repeats. A window is open until its station's watermark
passes its end, then closed; late frames still correct it for `horizon_minutes`; then it is published once more as final
and forgotten. Everything here is a function of the log alone: folding it again from any checkpoint ends in the same
windows with the same revisions.
"""

from kpi_engine.board_counts import count_one, fold_view, tell
from kpi_engine.boards import verdict_of_one
from kpi_engine.closing import advance
from kpi_engine.drain import drain, drain_verdicts
from kpi_engine.ledger import see
from kpi_engine.marks import fold_mark, recount_missing
from kpi_engine.rules import Rules
from kpi_engine.runs import end, recall_board, settle_all, start
from kpi_engine.saving import Image, KpiState, empty, restore, save
from kpi_engine.slim import Result
from kpi_engine.state import Station
from kpi_engine.step import Lane, Step, step_at
from kpi_engine.sums import INSPECTED, MINUTE_US, add_picture, share_name
from taktwatch.records import Outcome, StationMark

__all__ = [
    "Image",
    "KpiState",
    "Rules",
    "Station",
    "drain",
    "drain_verdicts",
    "empty",
    "fold",
    "fold_plainly",
    "restore",
    "save",
]


def fold(state: KpiState, record: Result | StationMark, offset: int, logged_us: int, rules: Rules) -> None:
    """Take one record of the results topic into the state; records come in log order, each once.

    `logged_us`: when the bus took the record, in microseconds since 1970. Where the library takes in what is ordinary,
    this is for the rest: a run of its station ends, and another may begin behind it.
    """
    step = state.steps.get((record.line, record.station))
    was_running = step is not None and step.run is not None
    if step is not None and was_running:
        end(step)
    fold_plainly(state, record, offset, logged_us, rules)
    if state.engine is not None:
        step = state.steps[record.line, record.station]
        kind = step.last if isinstance(record, StationMark) else (record.session, record.product, record.lot)
        if kind is not None and kind == step.last and (was_running or not isinstance(record, StationMark)):
            start(step, step.lanes.get(kind))
        step.last = kind


def fold_plainly(state: KpiState, record: Result | StationMark, offset: int, logged_us: int, rules: Rules) -> None:
    """Take one record into the state at once and in full, whatever it is; none of its station is in a run."""
    step = state.steps.get((record.line, record.station))
    if step is None or step.rules is not rules:
        settle_all(state.steps)
        step = step_at(state, state.steps, record.line, record.station, rules)
    step.offset, step.told.logged_us = offset, logged_us
    if isinstance(record, StationMark):
        fold_mark(step, record)
    else:
        fold_result(step, record)
    state.position = offset + 1


def fold_result(step: Step, result: Result) -> None:
    """Count a frame's first outcome in the window of its event time."""
    told = step.told
    event_at = result.event_at
    if step.begins <= event_at < step.ends:  # the minute of the record before it, as it mostly is
        event_us = step.begins_us + event_at.second * 1_000_000 + event_at.microsecond
    else:
        event_us = step.turn_to(event_at)
    told.event_us, minute = event_us, step.minute
    lane = step.lanes.get((result.session, result.product, result.lot)) or step.find_lane(result, minute)
    moves = None
    if lane is not None:
        told.product = lane.share
        moves = see(lane.session, result.seq, told)
    if lane is None or moves is None:
        count_late(step, share_name(result.product, result.lot), minute)
        return
    if moves:
        recount_missing(step, moves)
    if minute < step.frozen_minute:
        count_late(step, lane.share, minute)
    else:
        count_first(step, lane, result, minute)
    if result.outcome is INSPECTED:
        lane.session.inspected += 1
    elif result.outcome is Outcome.SKIPPED:
        lane.session.skipped += 1
    else:
        lane.session.dead += 1
    advance(step)


def count_first(step: Step, lane: Lane, result: Result, minute: int) -> None:
    """Count a frame that was not counted before, and its board."""
    recall_board(step, lane, result.visit)
    sums = step.touch(lane.share, minute)
    add_picture(sums, result)
    if lane.views > 1 or result.tile is not None or result.visit in lane.boards:
        fold_view(step, lane, result)
        return
    if result.outcome is INSPECTED:
        count_one(step, sums, result, lane.share)
    if step.rules.verdicts:
        tell(step, verdict_of_one(result, lane.names, step.offset))


def count_late(step: Step, product: str, minute: int) -> None:
    """Count a repeat where the frame belongs or, where that window is final, in the watermark's."""
    if minute < step.frozen_minute:
        minute = step.station.watermark_us // MINUTE_US
    step.touch(product, minute).late_or_repeat += 1
