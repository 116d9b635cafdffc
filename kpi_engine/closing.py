"""The watermark moves: what is complete is closed, and what leaves the horizon is published as final and forgotten."""

from kpi_engine.blocks import shed
from kpi_engine.board_counts import close_boards
from kpi_engine.drain import minute_window, roll_share, roll_up
from kpi_engine.ledger import watermark
from kpi_engine.rollup import close_rolled, rolled_window
from kpi_engine.runs import settle_all
from kpi_engine.serials import expire
from kpi_engine.state import line_bound
from kpi_engine.step import Step
from kpi_engine.sums import MINUTE_US, share_parts
from taktwatch.kpis import ANY
from taktwatch.records import WindowState

__all__ = ["advance"]


def advance(step: Step) -> None:
    """Move the station's watermark: the least over sessions with something still to come; close what is complete."""
    station = step.station
    if len(station.sessions) == 1 and not station.rest:
        (session,) = station.sessions.values()
        if not session.ended:  # as it mostly is: one session, and minutes are long
            bound = watermark(session)
            if bound is None or bound < step.next_us:
                if bound is not None and bound > station.watermark_us:
                    station.watermark_us = bound
                if station.watermark_us > step.patience_us:
                    close_boards(step)
                return
    move(step)


def move(step: Step) -> None:
    """Move the watermark over any number of sessions, and do what follows."""
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
    if crossed or turned:
        settle_all(step.steps)  # what the other stations took in belongs to what is closed or final now
    station.watermark_us, station.rest = bound, rest
    if step.waiting:
        close_boards(step)
    if crossed or turned:
        close(step)
    if crossed:
        finish(step)
        step.look_up()


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


def finish(step: Step) -> None:
    """Publish windows that left the horizon once more as final, and forget them and what belongs to them.

    Sessions that lost frames stay: they are the evidence.
    """
    station = step.station
    frozen_minute = station.frozen_minute(step.rules.horizon_minutes)
    finish_rolled(step, frozen_minute)
    finish_minutes(step, frozen_minute)
    state = step.state
    state.blocks = shed(state.blocks, step.key, frozen_minute - max(1, step.rules.horizon_minutes))
    if state.engine is not None:
        state.engine.forget(station.line, station.name, frozen_minute, step.rules.horizon_minutes)
    expire(station.serials, step.due, step.rules.horizon_minutes, frozen_minute)
    for minute in [minute for minute in step.old_boards if minute + 1 < frozen_minute]:
        for group, visit in step.old_boards.pop(minute):
            board = station.boards.get(group, {}).get(visit)
            if board is not None and board.newest_us // MINUTE_US <= minute:
                del station.boards[group][visit]
                step.fresh.boards.pop((group, visit), None)
    station.boards = {group: boards for group, boards in station.boards.items() if boards}
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
