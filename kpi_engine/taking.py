"""Ordinary records taken into a run, with little work; what is not ordinary is left to `windows.fold_plainly`. Pure.

Not ordinary are a repeat, an outcome that was missing or is no inspection, another minute, product or lot, a picture of
a board that was counted without it, a mark that says more than how far a session got, and whatever moves the watermark
over a minute or past a board's patience. Boards, serials and verdicts are told at once.
"""

from datetime import UTC

from kpi_engine.board_counts import count_one, count_visits, fold_view, tell
from kpi_engine.boards import Board, Named, Shot, verdict_of_one
from kpi_engine.runs import Picture, Run
from kpi_engine.serials import Visit
from kpi_engine.slim import Result
from kpi_engine.step import NEVER_US
from kpi_engine.sums import FAIL, INSPECTED, MINUTE_US, PASS, add_detections
from taktwatch.instants import MICROSECOND, instant, microseconds
from taktwatch.records import BoardVerdict, MarkState, StationMark, Verdict

__all__ = ["take", "take_mark"]


def take(run: Run, result: Result, offset: int, logged_us: int) -> bool:  # noqa: C901 - each call costs as much as a check
    """Take an ordinary result; False for another, of which nothing was done."""
    event_at = result.event_at
    if not (
        run.begins <= event_at < run.ends
        and result.outcome is INSPECTED
        and result.lot == run.lot
        and result.product == run.product
        and result.session == run.session_name
        and result.tile is None
        and not result.layers
        and logged_us >= run.since_us
    ):
        return False
    seq, known, bound_us = result.seq, run.known, run.bound_us
    if seq in known or (seq <= run.old_top and seq not in run.out):
        return False
    visit = result.visit
    pictures = run.boards.get(visit)
    if pictures is None and (board := run.lane.boards.get(visit)) is not None and board.closed:
        return False  # it corrects what was counted, perhaps in this run
    event_us = known[seq] = run.begins_us + event_at.second * 1_000_000 + event_at.microsecond
    low = run.low
    if seq == low:
        while low in known:
            low = run.after.get(low, low + 1)
        bound_us = bound_with(run, low, run.top, run.session.mark_us)
    if event_us + run.hold_us < bound_us or (bound_us > run.bound_us and not may_move(run, bound_us)):
        del known[seq]
        return False
    run.low, run.bound_us, run.last = low, bound_us, offset
    if seq > run.top:
        run.top = seq
    run.seqs.append(seq)
    run.stamps.append(logged_us)
    if result.detections:
        add_detections(run.sums, result)
    if pictures is None:
        begin(run, result, event_us, offset)
    else:
        pictures.append((event_us, seq, result))
        if len(pictures) == run.views:
            del run.boards[visit]
            complete(run, visit, pictures, offset)
    return True


def bound_with(run: Run, low: int, top: int, mark_us: int | None) -> int:
    """Return what the watermark would be with `low` the first number that is out; beyond the top: none is."""
    bound_us = run.known[low - 1]
    if low > top and mark_us is not None and mark_us > bound_us:
        bound_us = mark_us
    return bound_us if bound_us > run.bound_us else run.bound_us


def may_move(run: Run, bound_us: int) -> bool:
    """Whether the watermark may go so far: neither is a minute complete then, nor does a board run out of time."""
    step = run.step
    if bound_us >= step.next_us:
        return False
    if bound_us > run.patience_us:
        newest = [board.newest_us for board in step.waiting.values()]
        newest += [max(pictures)[0] for pictures in run.boards.values()]
        run.patience_us = min(newest, default=NEVER_US) + run.hold_us
    return bound_us <= run.patience_us


def take_mark(run: Run, mark: StationMark, offset: int, logged_us: int) -> bool:
    """Take an ordinary mark, which says how far an open session got; False for another, of which nothing was done."""
    step, session = run.step, run.session
    time_us = microseconds(mark.time)
    minute = time_us // MINUTE_US
    before_us = session.heard.get(mark.author)
    if not (
        mark.state is MarkState.OPEN
        and session.state is MarkState.OPEN
        and mark.session == run.session_name == step.station.current
        and session.mark_us is not None
        and before_us is not None
        and time_us > before_us
        and mark.last_seq >= session.marked
        and step.frozen_minute <= minute <= session.mark_us // MINUTE_US + 1
        and 0 <= logged_us - run.since_us < step.rules.hold_us
    ):
        return False
    mark_us, top, bound_us = max(session.mark_us, time_us), max(run.top, mark.last_seq), run.bound_us
    if run.low > top:
        bound_us = bound_with(run, run.low, top, mark_us)
        if bound_us > run.bound_us and not may_move(run, bound_us):
            return False
    run.bound_us = bound_us
    session.heard_us = logged_us
    session.heard[mark.author] = time_us
    session.mark_us, session.marked = mark_us, mark.last_seq
    if top > run.top:
        run.top = top
        run.marks.append((len(run.seqs), top, logged_us))
    step.offset = offset
    sums = step.touch(mark.product, minute)
    sums.marks += 1
    sums.station_state = mark.state
    return True


def begin(run: Run, result: Result, event_us: int, offset: int) -> None:
    """Take the first picture of a board in this run."""
    step, lane, visit = run.step, run.lane, result.visit
    if visit in lane.boards:
        step.offset, step.told.event_us = offset, event_us
        fold_view(step, lane, result)
    elif lane.views > 1:
        run.boards[visit] = [(event_us, result.seq, result)]
        if event_us + run.hold_us < run.patience_us:
            run.patience_us = event_us + run.hold_us
    else:
        step.offset, step.told.event_us = offset, event_us
        count_one(step, run.sums, result, lane.share)
        if step.rules.verdicts:
            tell(step, verdict_of_one(result, lane.names, offset))


def complete(run: Run, visit: int, pictures: list[Picture], offset: int) -> None:  # noqa: C901 - one pass over them
    """Count a board all of whose pictures came in this run, and tell its verdict."""
    step, lane, verdict = run.step, run.lane, PASS
    names, views = lane.names, lane.views
    pictures.sort()
    event_us, first, result = pictures[0]
    event_at, received_at, judged_at = result.event_at, result.received_at, result.inspected_at
    opportunities = 0
    serial: Named | None = None
    said: tuple[tuple[int, int, tuple[str, ...]], ...] = ()
    reasons: tuple[str, ...] = ()
    for taken_us, seq, picture in pictures:
        if picture.received_at < received_at:
            received_at = picture.received_at
        if picture.inspected_at > judged_at:
            judged_at = picture.inspected_at
        if picture.verdict is not PASS and verdict is not FAIL:
            verdict = picture.verdict or Verdict.REVIEW
        if picture.opportunities > opportunities:
            opportunities = picture.opportunities
        if serial is None and picture.serial is not None:
            serial = Named(taken_us, seq, picture.serial)
        if picture.reasons:
            said = (*said, (taken_us, seq, picture.reasons))
            reasons += picture.reasons
    lane.boards[visit] = board = Board(
        run.product,
        run.session_name,
        visit,
        views,
        received_at,
        judged_at,
        judged_at,
        run.share,
        [Shot(taken_us, seq) for taken_us, seq, _ in pictures],
        views,
        verdict,
        opportunities,
        serial,
        None if run.lot is None else Named(event_us, first, run.lot),
        run.minute,
        True,
        said,
    )
    place = (lane.group, visit)
    step.fresh.boards[place] = board
    run.old.append(place)
    run.latencies_us.append(max(0, (judged_at - received_at) // MICROSECOND))
    run.opportunities += opportunities
    if verdict is FAIL:
        run.failed += 1
    elif verdict is not PASS:
        run.review += 1
    serial_name = None if serial is None else serial.name
    again = pass_first(run, serial_name, event_us, visit, verdict is PASS, offset)
    if not step.rules.verdicts:
        return
    told = BoardVerdict(
        names.board(visit),
        names.line,
        names.station,
        run.product,
        run.session_name,
        visit,
        event_at if event_at.tzinfo is UTC else instant(event_us),
        judged_at,
        offset,
        verdict,
        views,
        views,
        names.frames([seq for _, seq, _ in pictures]),
        reasons,
        run.lot,
        serial_name,
    )
    if again:
        tell(step, told)
    else:
        step.state.verdicts[told.board_id] = told


def pass_first(run: Run, serial: str | None, event_us: int, visit: int, passed: bool, offset: int) -> bool:  # noqa: FBT001, PLR0917 - see above
    """Count a board as its first pass, if it is; return whether its serial was there before."""
    step = run.step
    if serial is not None:
        name = f"{run.product}\x1f{serial}"
        seen = Visit(event_us, run.session_name, visit, run.minute, run.share, passed)
        if name in step.station.serials:
            step.offset = offset
            count_visits(step, run.product, serial, seen, None)
            return True
        seen.first = True
        step.station.serials[name] = [seen]
        step.fresh.serials[name] = None
        run.due.append(name)
    run.first_passes += 1
    run.passed += passed
    return False
