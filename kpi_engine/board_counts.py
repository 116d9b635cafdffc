"""Boards in the sums: one picture or several make one, a late picture corrects it, a serial's first visit counts."""

from typing import TypeVar

from msgspec.structs import replace

from kpi_engine.blocks import BoardPlace
from kpi_engine.boards import Board, Counted, counted, minute_of, put, verdict_of
from kpi_engine.runs import recall_serial
from kpi_engine.serials import Visit, visit
from kpi_engine.slim import Result
from kpi_engine.step import Lane, Step
from kpi_engine.sums import MINUTE_US, Sums, add_board, add_defects
from taktwatch.instants import MICROSECOND
from taktwatch.records import BoardVerdict, Verdict

__all__ = ["close_boards", "count_one", "fold_view", "tell"]

Name = TypeVar("Name", str, BoardPlace)


def count_one(step: Step, sums: Sums, result: Result, share: str) -> None:
    """Count a board that one picture makes."""
    verdict = result.verdict or Verdict.REVIEW
    waited_us = (result.inspected_at - result.received_at) // MICROSECOND
    add_board(sums, verdict, result.opportunities, max(0, waited_us))
    passed = verdict is Verdict.PASS
    if result.serial is None:
        sums.first_pass += 1
        sums.first_pass_passed += passed
    else:
        event_us = step.told.event_us
        seen = Visit(event_us, result.session, result.visit, event_us // MINUTE_US, share, passed)
        count_visits(step, result.product, result.serial, seen, None)


def fold_view(step: Step, lane: Lane, result: Result) -> None:
    """Lay a picture to the others of its board; the last one closes it, and any later one corrects it."""
    event_us = step.told.event_us
    place = (lane.group, result.visit)
    board = lane.boards.get(result.visit)
    before = None
    if board is None:
        pieces = 1 if result.tile is None else result.tile.of
        board = Board(result.product, result.session, result.visit, pieces * lane.views)
        step.station.boards[lane.group] = lane.boards
        lane.boards[result.visit] = step.waiting[place] = board
        step.note_board(place, board)
        step.patience_us = min(step.patience_us, event_us + step.rules.board_hold_us)
    elif board.minute is not None:
        before = counted(board, board.minute)
    put(board, result, event_us, lane.share)
    if board.closed:
        count_board(step, place, board, before)
    elif board.complete:
        del step.waiting[place]
        count_board(step, place, board, None)


def count_board(step: Step, place: BoardPlace, board: Board, before: Counted | None) -> None:
    """Count a closed board as it is now, in place of what was counted of it before."""
    board.closed = True
    step.note_board(place, board)
    note(step.old_boards, board.newest_us // MINUTE_US, place)
    recount(step, board, before)
    if step.rules.verdicts:
        tell(step, verdict_of(board, step.names(board.session), step.offset))


def recount(step: Step, board: Board, old: Counted | None) -> None:
    """Put what the sums hold of a board in order: what was counted goes, what it is now comes."""
    new = counted(board, minute_of(board, step.frozen_minute))
    if old == new or (old is not None and old.minute < step.frozen_minute):
        return
    board.minute = None if new is None else new.minute
    for found, boards in ((old, -1), (new, 1)):
        if found is not None:
            sums = step.touch(found.share, found.minute)
            add_board(sums, found.verdict, found.opportunities, found.latency_us, boards)
            if found.defects:
                add_defects(sums, found.defects, boards)
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
    recall_serial(step, name)
    step.note_serial(name)
    if come is not None:
        note(step.due, come.minute, name)
        if name not in step.station.serials:  # as it mostly is
            come.first = True
            step.station.serials[name] = [come]
            sums = step.touch(come.share, come.minute)
            sums.first_pass += 1
            sums.first_pass_passed += come.passed
            return
    visits = step.station.serials.setdefault(name, [])
    for change in visit(visits, come, step.rules.horizon_minutes, step.frozen_minute, gone):
        sums = step.touch(change.share, change.minute)
        sums.first_pass += change.boards
        sums.first_pass_passed += change.boards * change.passed


def tell(step: Step, verdict: BoardVerdict) -> None:
    """Let a verdict be published, with whether its serial was seen before, as far as is known now."""
    if verdict.serial is not None:
        name = f"{verdict.product}\x1f{verdict.serial}"
        recall_serial(step, name)
        visits = step.station.serials.get(name, ())
        if len(visits) > 1:  # the only visit there is is the first
            place = (verdict.session, verdict.visit)
            if any((known.session, known.number) == place and not known.first for known in visits):
                verdict = replace(verdict, reinspection=True)
    step.state.verdicts[verdict.board_id] = verdict


def note(due: dict[int, list[Name]], minute: int, name: Name) -> None:
    """Note that something is to be looked at once a minute is final."""
    names = due.get(minute)
    if names is None:
        due[minute] = [name]
    else:
        names.append(name)


def close_boards(step: Step) -> None:
    """Close boards that nothing more is expected of, though pictures are missing."""
    station, hold_us = step.station, step.rules.board_hold_us
    for place, board in sorted(step.waiting.items()):  # in whatever order they began to wait
        if station.rest or board.newest_us + hold_us < station.watermark_us:
            del step.waiting[place]
            count_board(step, place, board, None)
    step.be_patient()
