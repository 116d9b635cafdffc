"""Pictures of one visit of a board, fused into one verdict: the worst decides.

A board is named by line, station, session and visit. It is *closed* when all its pictures have their outcome, or when
nothing more is expected of that time; a picture that comes after all corrects it. A fail stays a fail; where a picture
is not in, was skipped or is dead, the others' pass becomes a review: unknowns never pass. A panel that arrives in
overlapping pieces is a board of so many pictures (`kpi_engine.panels`).

Each picture is merged as it comes, in whatever order: what is kept of a board is what its pictures say together.
"""

from bisect import insort
from collections import Counter
from datetime import datetime

import msgspec

from kpi_engine.panels import Piece, complaints, panel_defects, pieces_in, reasons_once, spots_of
from kpi_engine.slim import Result
from kpi_engine.sums import INSPECTED, MINUTE_US, PASS
from taktwatch.instants import MICROSECOND, instant
from taktwatch.records import BoardVerdict, Names, Outcome, Verdict

__all__ = [
    "Board",
    "Counted",
    "Named",
    "Shot",
    "board_group",
    "counted",
    "decided",
    "minute_of",
    "put",
    "verdict_of",
    "verdict_of_one",
]


class Counted(msgspec.Struct, gc=False):
    """What the sums hold of a board: in which share of which minute, and as what; of a panel its defects by class."""

    minute: int
    share: str
    event_us: int
    verdict: Verdict
    opportunities: int
    latency_us: int
    serial: str | None
    defects: dict[str, int] = {}


class Shot(msgspec.Struct, array_like=True, order=True, gc=False):
    """A picture of a board: its event time (us since 1970) and number, and so its place among the others."""

    event_us: int
    seq: int


class Named(msgspec.Struct, array_like=True, gc=False):
    """What a board is called by one of its pictures, and by which."""

    event_us: int
    seq: int
    name: str


class Board(msgspec.Struct, array_like=True, gc=False):
    """One visit: `expected` pictures make it. `frames` are those with an outcome: event time and number, in that order.

    Of the inspected ones: how many, the worst verdict, the most opportunities, when the first was received and the last
    judged. `share` is that of the first frame, `decided_at` when the last outcome was reached. `serial` and `lot` are
    those of the first frame that has one. `said`: reasons by frame. `absent`: frames without a verdict, and why.
    `in_pieces`: its pictures are `pieces` of a panel. `minute`: where it is counted; None where it is not, yet.

    Hundreds of thousands of boards are remembered: neither they nor what they hold is searched for cycles, of which
    there are none.
    """

    product: str
    session: str
    visit: int
    expected: int
    received_at: datetime | None = None
    judged_at: datetime | None = None
    decided_at: datetime | None = None
    share: str = ""
    frames: list[Shot] = []
    inspected: int = 0
    verdict: Verdict | None = None
    opportunities: int = 0
    serial: Named | None = None
    lot: Named | None = None
    minute: int | None = None
    closed: bool = False
    said: tuple[tuple[int, int, tuple[str, ...]], ...] = ()
    absent: tuple[tuple[int, int, str], ...] = ()
    in_pieces: bool = False
    pieces: list[Piece] = []

    @property
    def complete(self) -> bool:
        """Whether all pictures have their outcome."""
        return (pieces_in(self.pieces) if self.in_pieces else len(self.frames)) >= self.expected

    @property
    def newest_us(self) -> int:
        """Event time of the last picture that is in."""
        return self.frames[-1].event_us


def board_group(product: str, session: str) -> str:
    """Name what boards of a product and session have in common: what shows another product is another board."""
    return f"{product}\x1f{session}"


def put(board: Board, result: Result, event_us: int, share: str) -> None:
    """Merge a picture with the others of its board."""
    place = Shot(event_us, result.seq)
    frames = board.frames
    if not frames or frames[-1] < place:
        frames.append(place)
    else:
        insort(frames, place)
    if frames[0] is place:
        board.share = share
    if board.decided_at is None or board.decided_at < result.inspected_at:
        board.decided_at = result.inspected_at
    if result.outcome is INSPECTED:
        judge(board, result)
    else:
        why = f"view missing: {result.view} was {result.outcome}"
        board.absent = tuple(sorted((*board.absent, (event_us, result.seq, why))))
    if result.serial is not None and (board.serial is None or is_before(place, board.serial)):
        board.serial = Named(event_us, result.seq, result.serial)
    if result.lot is not None and (board.lot is None or is_before(place, board.lot)):
        board.lot = Named(event_us, result.seq, result.lot)
    if result.reasons:
        board.said = tuple(sorted((*board.said, (event_us, result.seq, result.reasons))))
    if result.tile is not None:
        board.in_pieces = True
        spots = spots_of(result) if result.outcome is Outcome.INSPECTED else ()
        insort(board.pieces, Piece(event_us, result.seq, result.view, result.tile, spots))


def is_before(place: Shot, named: Named) -> bool:
    """Whether a picture was taken before the one that named the board."""
    return (place.event_us, place.seq) < (named.event_us, named.seq)


def judge(board: Board, result: Result) -> None:
    """Merge what was seen in an inspected picture."""
    board.inspected += 1
    verdict = result.verdict or Verdict.REVIEW
    if board.verdict is None or (verdict is not PASS and board.verdict is not Verdict.FAIL):
        board.verdict = verdict
    board.opportunities = max(board.opportunities, result.opportunities)
    if board.received_at is None or result.received_at < board.received_at:
        board.received_at = result.received_at
    if board.judged_at is None or result.inspected_at > board.judged_at:
        board.judged_at = result.inspected_at


def decided(board: Board) -> Verdict:
    """Return what all pictures say: fail before review before pass; what is not seen is reviewed."""
    if board.verdict is None or (board.verdict is PASS and is_lacking(board)):
        return Verdict.REVIEW
    return board.verdict


def is_lacking(board: Board) -> bool:
    """Whether a picture is not in, or was not inspected; of a panel also, whether its pieces do not fit."""
    if board.in_pieces:
        return bool(board.absent or complaints(board.expected, board.pieces, strangers(board)))
    return bool(board.absent) or len(board.frames) < board.expected


def strangers(board: Board) -> int:
    """Return how many pictures of a panel do not say which part of it they show."""
    return len(board.frames) - len(board.pieces)


def reasons_of(board: Board) -> tuple[str, ...]:
    """Return why a board's verdict is not pass: what its pictures say, then what keeps them from being all."""
    reasons = [reason for _, _, reasons in board.said for reason in reasons]
    absent = [words for _, _, words in board.absent]
    if board.in_pieces:
        reasons = reasons_once(board.pieces, reasons)
        absent += complaints(board.expected, board.pieces, strangers(board))
    elif len(board.frames) < board.expected:
        absent.append(f"view missing: {len(board.frames)} of {board.expected} pictures are in")
    return (*reasons, *absent)


def counted(board: Board, minute: int) -> Counted | None:
    """Return how a board is counted, in that minute; None where no picture was inspected."""
    if board.received_at is None or board.judged_at is None:
        return None
    latency_us = (board.judged_at - board.received_at) // MICROSECOND
    found = Counted(
        minute,
        board.share,
        board.frames[0].event_us,
        decided(board),
        board.opportunities,
        max(latency_us, 0),
        None if board.serial is None else board.serial.name,
    )
    if board.in_pieces:
        found.defects = dict(Counter(defect.label for defect in panel_defects(board.pieces)))
    return found


def minute_of(board: Board, frozen_minute: int) -> int:
    """Return where a board is counted: where its first picture was taken, or in the first minute that is not final."""
    return max(board.frames[0].event_us // MINUTE_US, frozen_minute)


def verdict_of(board: Board, names: Names, revision: int) -> BoardVerdict:
    """Return the verdict of a board as it travels."""
    assert board.decided_at is not None  # noqa: S101 - a picture is in
    plain = board.inspected >= board.expected and not board.said and not board.absent and not board.in_pieces
    return BoardVerdict(
        board_id=names.board(board.visit),
        line=names.line,
        station=names.station,
        product=board.product,
        session=board.session,
        visit=board.visit,
        event_at=instant(board.frames[0].event_us),
        decided_at=board.decided_at,
        revision=revision,
        verdict=decided(board),
        expected=board.expected,
        inspected=board.inspected,
        frames=tuple([names.frame(shot.seq) for shot in board.frames]),
        reasons=() if plain else reasons_of(board),
        lot=None if board.lot is None else board.lot.name,
        serial=None if board.serial is None else board.serial.name,
        defects=panel_defects(board.pieces) if board.in_pieces else (),
    )


def verdict_of_one(result: Result, names: Names, revision: int) -> BoardVerdict:
    """Return the verdict of a board that one picture makes."""
    inspected = result.outcome is Outcome.INSPECTED
    absent = () if inspected else (f"view missing: {result.view} was {result.outcome}",)
    return BoardVerdict(
        board_id=names.board(result.visit),
        line=result.line,
        station=result.station,
        product=result.product,
        session=result.session,
        visit=result.visit,
        event_at=result.event_at,
        decided_at=result.inspected_at,
        revision=revision,
        verdict=(result.verdict or Verdict.REVIEW) if inspected else Verdict.REVIEW,
        expected=1,
        inspected=int(inspected),
        frames=(names.frame(result.seq),),
        reasons=(*result.reasons, *absent),
        lot=result.lot,
        serial=result.serial,
    )
