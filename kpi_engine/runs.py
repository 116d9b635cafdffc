"""Runs: a station's ordinary records, taken in by the compiled library. Here they begin, are written down, end. Pure.

Most results say: the same session, product and lot as the one before, inspected, a number that was out. Of these the
library (`native/`) keeps the ledger, the boards and the sums, until something else comes to the station, or until the
state is to be read: by then it is the very state that `windows.fold_plainly` makes of the same records.
"""

from collections.abc import Mapping
from operator import attrgetter

from kpi_engine.boards import Board
from kpi_engine.compiled import (
    Begin,
    Change,
    Known,
    packed,
    read_board,
    read_boards,
    read_visits,
    read_written,
)
from kpi_engine.ledger import Session
from kpi_engine.serials import Visit
from kpi_engine.step import NEVER_US, Lane, Step
from kpi_engine.sums import MINUTE_US, add_counts
from kpi_engine.totals import ADDED
from taktwatch.records import STRUCTURES, MarkState

__all__ = ["end", "recall_board", "recall_serial", "settle", "settle_all", "start"]

MOST_OUT = 64
"""A session with more gaps than that is no ordinary one."""

SET = tuple(name for name in Known.__struct_fields__ if name not in {"heard", "gaps", "head"})
COUNTED = tuple(name for name in ADDED if name in Change.__struct_fields__)
"""The fields that a run sets in its session, and those that it adds to sums."""
what_is_set, what_is_counted = attrgetter(*SET), attrgetter(*COUNTED)


def start(step: Step, lane: Lane | None) -> None:
    """Let a run begin with what comes after a record that was folded plainly, if all is ordinary."""
    station, engine = step.station, step.state.engine
    if lane is None or engine is None or len(station.sessions) != 1 or station.rest:
        return
    session = lane.session
    first = max(0, session.head - 1)  # the gap before it tells where a new one is counted
    if (
        session.ended
        or session.state is not MarkState.OPEN
        or session.newest < 0
        or session.watermark_us is None
        or session.watermark_us != station.watermark_us
        or len(session.gaps) - first > MOST_OUT
    ):
        return
    name, product, lot = lane.kind
    adopted = [board for (group, _), board in step.waiting.items() if group == lane.group]
    places = {(lane.group, board.visit) for board in adopted}
    others = [board.newest_us for place, board in step.waiting.items() if place not in places]
    begun = engine.begin(
        packed(
            Begin(
                station.line,
                station.name,
                held_boards(step),
                held_serials(step),
                name,
                product,
                lot,
                lane.share,
                lane.group,
                lane.views,
                step.rules.verdicts,
                list(STRUCTURES),
                step.rules.hold_us,
                step.rules.board_hold_us,
                step.next_us,
                step.frozen_minute,
                step.rules.horizon_minutes,
                station.current == name,
                min(others, default=NEVER_US) + step.rules.board_hold_us,
                known(session, first, station.watermark_us),
                [packed(board) for board in adopted],
            )
        )
    )
    step.news_boards.clear()
    step.news_serials.clear()
    if not begun:
        return
    for board in adopted:
        del lane.boards[board.visit], step.waiting[lane.group, board.visit], step.fresh.boards[lane.group, board.visit]
    step.run, step.run_gaps = lane, first


def known(session: Session, first: int, watermark_us: int) -> Known:
    """Return what the library has to know of a session: of its gaps those from `first` on."""
    return Known(
        session.product,
        session.top,
        session.newest,
        session.newest_us,
        session.marked,
        session.mark_us,
        session.heard,
        session.heard_us,
        session.gaps[first:],
        session.head - first,
        session.pending,
        watermark_us,
        session.inspected,
    )


def held_boards(step: Step) -> list[tuple[str, int, int]]:
    """Return the boards that Python made or changed since the last run began."""
    return [
        (group, visit, board.newest_us // MINUTE_US)
        for (group, visit), board in step.news_boards.items()
        if board.frames
    ]


def held_serials(step: Step) -> list[tuple[str, int]]:
    """Return the serials that Python made or changed since the last run began."""
    serials = step.station.serials
    return [(name, serials[name][-1].minute) for name in step.news_serials if serials.get(name)]


def settle(step: Step) -> None:
    """Write down what a run took in; it goes on."""
    station, engine, lane = step.station, step.state.engine, step.run
    assert engine is not None and lane is not None  # noqa: S101, PT018 - nothing runs without
    written = read_written(engine.write_down(station.line, station.name) or b"")
    session = lane.session
    for name, value in zip(SET, what_is_set(written), strict=True):
        setattr(session, name, value)
    session.heard.update(written.heard)
    session.gaps[step.run_gaps :] = written.gaps
    session.head = step.run_gaps + written.head
    station.watermark_us = written.watermark_us
    for change in written.changes:
        add(step, change)


def add(step: Step, change: Change) -> None:
    """Add to the sums what a run changed."""
    step.offset = change.first
    sums = step.touch(change.share, change.minute)
    sums.revision = change.last
    for name, value in zip(COUNTED, what_is_counted(change), strict=True):
        if value:
            setattr(sums, name, getattr(sums, name) + value)
    if change.marks:
        sums.station_state = MarkState.OPEN
    add_counts(sums.latency_buckets, change.latency_buckets)
    add_counts(sums.defects, change.defects)


def settle_all(steps: Mapping[tuple[str, str], Step]) -> None:
    """Write the runs of all stations down: what they took in is needed."""
    for step in steps.values():
        if step.run is not None:
            settle(step)


def end(step: Step) -> None:
    """End a run: its boards that are not complete wait here for the rest of their pictures."""
    settle(step)
    station, engine, lane = step.station, step.state.engine, step.run
    assert engine is not None and lane is not None  # noqa: S101, PT018 - as above
    step.run = None
    for board in read_boards(engine.end(station.line, station.name) or b"\x90"):
        place = (lane.group, board.visit)
        station.boards[lane.group] = lane.boards
        lane.boards[board.visit] = step.waiting[place] = board
        step.note_board(place, board)
    step.be_patient()


def recall_board(step: Step, lane: Lane, visit: int) -> None:
    """Have a board here that the library remembers: a record wants it that is not ordinary."""
    if step.state.engine is None or visit in lane.boards:
        return
    found = step.state.engine.claim_board(step.station.line, step.station.name, lane.group, visit)
    if found is not None:
        take_back(step, lane.group, lane.boards, read_board(found))


def take_back(step: Step, group: str, boards: dict[int, Board], board: Board) -> None:
    """Hold a closed board here from now on."""
    step.station.boards[group] = boards
    boards[board.visit] = board
    step.note_board((group, board.visit), board)
    step.old_boards.setdefault(board.newest_us // MINUTE_US, []).append((group, board.visit))


def recall_serial(step: Step, name: str) -> None:
    """Have a serial's visits here that the library remembers."""
    if step.state.engine is None or name in step.station.serials:
        return
    found = step.state.engine.claim_serial(step.station.line, step.station.name, name)
    if found is not None:
        take_back_serial(step, name, read_visits(found))


def take_back_serial(step: Step, name: str, visits: list[Visit]) -> None:
    """Hold a serial's visits here from now on."""
    step.station.serials[name] = visits
    step.note_serial(name)
    for visit in visits:
        step.due.setdefault(visit.minute, []).append(name)
