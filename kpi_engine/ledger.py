"""Which frames of a session have their outcome, which are still out, and up to when everything is in.

Ingest numbers accepted frames densely (0, 1, 2 ...) and its marks tell how far it got, so a session is known by its
*gaps* alone: every number up to `top` that lies in no gap has its outcome. Memory grows with gaps, not with frames.

Times are microseconds since 1970 (UTC). Event time is when a picture was taken, log time when the bus took the record
that told of it. Patience (`max_hold_s`) is measured in log time only, so folding the same log again decides alike.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from taktwatch.records import MarkState

__all__ = ["Gap", "Move", "Session", "Told", "declare_missing", "hear", "see", "watermark"]


FEW = 8
"""So many gaps are looked through one by one; more are searched."""


class Told(msgspec.Struct, gc=False):
    """When and of what a record tells: its event time and product, and its log time.

    Windows before `frozen_us` are final: no count moves out of them or into them.
    """

    event_us: int
    product: str
    logged_us: int
    frozen_us: int


class Move(NamedTuple):
    """Frames that became missing (positive number) or no longer are (negative), and where they are counted."""

    place_us: int
    product: str
    frames: int


class Gap(msgspec.Struct, array_like=True, gc=False):
    """Consecutive numbers `first` to `last` without outcome.

    `since_us`: log time since when nothing moved here. `place_us`, `product`: where these frames are counted if they
    go missing: beside the outcome below the gap or, before a session's first outcome, the one above it. `floor_us`: no
    frame in the gap is older than this; None before a session's first outcome.
    """

    first: int
    last: int
    since_us: int
    place_us: int
    product: str
    floor_us: int | None
    missing: bool = False

    @property
    def size(self) -> int:
        """How many frames are in the gap."""
        return self.last - self.first + 1


class Session(msgspec.Struct):
    """What is known of one session of a station.

    `top`: the highest number known to exist. `newest`: the highest number with an outcome, `newest_us` and `product`
    its event time and product. `marked`: the highest number ingest said it accepted. `heard`: time of the last mark by
    author; `heard_us`: log time of the last mark, repeated ones included. `head`: no gap before this index is pending.
    `ended`: closed by a mark, or followed by another session.
    """

    product: str
    top: int = -1
    newest: int = -1
    newest_us: int = 0
    marked: int = -1
    mark_us: int | None = None
    state: MarkState = MarkState.OPEN
    heard: dict[str, int] = {}
    heard_us: int = 0
    gaps: list[Gap] = []
    head: int = 0
    pending: int = 0
    lost: int = 0
    ended: bool = False
    watermark_us: int | None = None
    inspected: int = 0
    skipped: int = 0
    dead: int = 0
    repeats: int = 0

    @property
    def accepted(self) -> int:
        """Frames known to be accepted: by ingest's marks, or by an outcome that ran ahead of them."""
        return self.top + 1

    @property
    def at_rest(self) -> bool:
        """Nothing more is expected: the session ended and no frame is out."""
        return self.ended and self.pending == 0


def see(session: Session, seq: int, told: Told) -> Sequence[Move] | None:
    """Note an outcome. Returns None for a repeat, else how counts of missing frames move (mostly not at all)."""
    moves: Sequence[Move] = ()
    top = session.top
    if seq > top:
        if session.newest == top >= 0:  # the number below has its outcome, as it mostly does
            if seq > top + 1:
                session.gaps.append(
                    Gap(top + 1, seq - 1, told.logged_us, session.newest_us, session.product, session.newest_us)
                )
                session.pending += seq - 1 - top
            session.top = seq
        else:
            moves = run_ahead(session, seq, told)
    else:
        index = find(session.gaps, seq)
        if index is None:
            session.repeats += 1
            return None
        gap = session.gaps[index]
        if gap.first == gap.last and not gap.missing and gap.floor_us is not None:
            session.pending -= 1
            del session.gaps[index]
            session.head = min(session.head, index)
            if index < len(session.gaps) and session.gaps[index].first == seq + 1:
                moves = []
                place_following(session.gaps, index, seq, told, moves)
        else:
            moves = fill(session, index, seq, told)
    if seq > session.newest:
        session.newest, session.newest_us, session.product = seq, told.event_us, told.product
    return moves


def run_ahead(session: Session, seq: int, told: Told) -> list[Move]:
    """Raise the top to an outcome beyond it; what lies between is pending, with a whole patience from now."""
    moves: list[Move] = []
    if session.gaps and session.gaps[-1].last == session.top:
        session.gaps[-1].since_us = told.logged_us
    if session.newest < 0:  # the first outcome places all below it
        for gap in session.gaps:
            place(gap, told, moves)
    extend(session, seq - 1, told)
    session.top = seq
    return moves


def extend(session: Session, last: int, told: Told) -> None:
    """Make all numbers from the top to `last` pending.

    A gap that has no outcome below is placed beside what told of it: the outcome or mark above.
    """
    first = session.top + 1
    if last < first:
        return
    session.top = last
    session.pending += last - first + 1
    below = session.gaps[-1] if session.gaps and session.gaps[-1].last == first - 1 else None
    if below is not None and not below.missing:
        below.last = last
        return
    place_us, product, floor_us = told.event_us, told.product, None
    if below is not None:
        place_us, product, floor_us = below.place_us, below.product, below.floor_us
    elif session.newest >= 0:
        place_us, product, floor_us = session.newest_us, session.product, session.newest_us
    session.gaps.append(Gap(first, last, told.logged_us, place_us, product, floor_us))


def find(gaps: list[Gap], seq: int) -> int | None:
    """Return the index of the gap that holds a number, or None."""
    index = len(gaps) - 1
    if index > FEW:
        index = bisect_right(gaps, seq, key=first_of) - 1
    while index >= 0 and gaps[index].first > seq:
        index -= 1
    return index if index >= 0 and seq <= gaps[index].last else None


def first_of(gap: Gap) -> int:
    """Order of gaps."""
    return gap.first


def fill(session: Session, index: int, seq: int, told: Told) -> list[Move]:
    """Take one number out of a gap; what remains left and right of it keeps its kind and is placed anew."""
    gap = session.gaps[index]
    following = index
    moves: list[Move] = []
    if gap.missing:
        session.lost -= 1
        if gap.place_us >= told.frozen_us:
            moves.append(Move(gap.place_us, gap.product, -1))
    else:
        session.pending -= 1
        if gap.first > session.newest:  # the line works its way through a backlog: patience starts again
            gap.since_us = told.logged_us
    if gap.first == seq == gap.last:
        del session.gaps[index]
    elif gap.first == seq:
        gap.first = seq + 1
    elif gap.last == seq:
        gap.last = seq - 1
        following = index + 1
    else:
        session.gaps.insert(index + 1, msgspec.structs.replace(gap, first=seq + 1))
        gap.last = seq - 1
        following = index + 1
    session.head = min(session.head, index)
    if gap.floor_us is None:
        place_leading(session.gaps, seq, told, moves)
    place_following(session.gaps, following, seq, told, moves)
    return moves


def place_leading(gaps: list[Gap], seq: int, told: Told, moves: list[Move]) -> None:
    """Place gaps that have no outcome below beside this one, which is now the nearest above."""
    for gap in gaps:
        if gap.first > seq or gap.floor_us is not None:
            return
        place(gap, told, moves)


def place_following(gaps: list[Gap], index: int, seq: int, told: Told, moves: list[Move]) -> None:
    """Place gaps that lie directly above this outcome beside it; none of their frames is older."""
    following = seq + 1
    while index < len(gaps) and gaps[index].first == following:
        place(gaps[index], told, moves)
        gaps[index].floor_us = told.event_us
        following = gaps[index].last + 1
        index += 1


def place(gap: Gap, told: Told, moves: list[Move]) -> None:
    """Place a gap beside an outcome; frames already counted as missing move with it, unless windows are final."""
    if told.event_us < told.frozen_us or (gap.missing and gap.place_us < told.frozen_us):
        return
    if gap.missing and (gap.place_us, gap.product) != (told.event_us, told.product):
        moves.append(Move(gap.place_us, gap.product, -gap.size))
        moves.append(Move(told.event_us, told.product, gap.size))
    gap.place_us, gap.product = told.event_us, told.product


def hear(session: Session, author: str, state: MarkState, last_seq: int, told: Told) -> bool:
    """Note a mark. Returns False for one that says nothing new (delivered again, or overtaken)."""
    time_us = told.event_us
    session.heard_us = told.logged_us
    before = session.heard.get(author)
    known = last_seq <= session.marked and state is session.state
    if known and state is MarkState.CLOSED:
        return False
    if before is not None and (time_us < before or (time_us == before and known)):
        return False
    session.heard[author] = time_us
    session.mark_us = time_us if session.mark_us is None else max(session.mark_us, time_us)
    session.state = state
    if state is not MarkState.LOST:  # silence neither ends a session nor opens it again
        session.ended = state is MarkState.CLOSED
    session.marked = max(session.marked, last_seq)
    extend(session, last_seq, told)
    return True


def declare_missing(session: Session, hold_us: int, told: Told) -> list[Move]:
    """Count as missing what was waited for longer than `hold_us`; it no longer holds the watermark back.

    A frame waits from the moment a later one had its outcome or, behind all outcomes, from the last outcome of its
    session: a backlog that is being worked through is no loss.
    """
    moves = []
    for gap in session.gaps[session.head :] if session.pending else ():
        if not gap.missing and told.logged_us - gap.since_us >= hold_us:
            gap.missing = True
            gap.place_us = max(gap.place_us, told.frozen_us)
            session.pending -= gap.size
            session.lost += gap.size
            moves.append(Move(gap.place_us, gap.product, gap.size))
    return moves


def watermark(session: Session) -> int | None:
    """Return the event time up to which every frame of the session has its outcome or is missing; it never goes back.

    None as long as nothing is known of the session's first frames.
    """
    gaps = session.gaps
    while session.head < len(gaps) and gaps[session.head].missing:
        session.head += 1
    if session.head < len(gaps):
        bound = gaps[session.head].floor_us
    elif session.newest >= 0:
        bound = session.newest_us if session.mark_us is None else max(session.mark_us, session.newest_us)
    else:
        bound = session.mark_us
    if bound is not None and (session.watermark_us is None or bound > session.watermark_us):
        session.watermark_us = bound
    return session.watermark_us
