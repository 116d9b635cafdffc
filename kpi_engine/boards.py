"""Pictures of one visit of a board, fused into one verdict: the worst decides.

A board is named by line, station, session and visit. It is *closed* when all its pictures have their outcome, or when
nothing more is expected of that time; a picture that comes after all corrects it. A fail stays a fail; where a picture
is not in, was skipped or is dead, the others' pass becomes a review: unknowns never pass. A panel that arrives in
overlapping pieces is a board of so many pictures (`kpi_engine.panels`).
"""

from bisect import insort
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import msgspec

from kpi_engine.panels import Spot, complaints, panel_defects, pieces_in, reasons_once, spots_of
from kpi_engine.slim import Result
from kpi_engine.sums import MICROSECOND, MINUTE_US, instant
from taktwatch.records import BoardVerdict, Names, Outcome, Tile, Verdict

__all__ = ["Board", "Counted", "View", "Whole", "board_name", "counted", "fused", "put", "verdict_of", "verdict_of_one"]


class View(msgspec.Struct, array_like=True, order=True, gc=False):
    """What one picture says of its board. `verdict` is None for a picture that was not inspected."""

    event_us: int
    seq: int
    view: str
    outcome: Outcome
    verdict: Verdict | None
    received_at: datetime
    inspected_at: datetime
    opportunities: int
    share: str
    serial: str | None = None
    lot: str | None = None
    reasons: tuple[str, ...] = ()
    tile: Tile | None = None
    spots: tuple[Spot, ...] = ()


class Counted(msgspec.Struct, array_like=True, gc=False):
    """What the sums hold of a board: in which share of which minute, and as what; of a panel its defects by class."""

    minute: int
    share: str
    event_us: int
    verdict: Verdict
    opportunities: int
    latency_us: int
    product: str
    serial: str | None
    defects: dict[str, int] = {}


class Board(msgspec.Struct, array_like=True):
    """One visit: `expected` pictures make it, `views` are those with an outcome, in order of capture.

    `in_pieces`: its pictures are pieces of a panel.
    """

    product: str
    session: str
    visit: int
    expected: int
    views: list[View] = []
    in_pieces: bool = False
    closed: bool = False
    counted: Counted | None = None

    @property
    def complete(self) -> bool:
        """Whether all pictures have their outcome."""
        return (pieces_in(self.views) if self.in_pieces else len(self.views)) >= self.expected

    @property
    def newest_us(self) -> int:
        """Event time of the last picture that is in."""
        return self.views[-1].event_us


class Whole(msgspec.Struct, frozen=True, gc=False):
    """What the pictures of a board say together; `received_at` first, `judged_at` last of the inspected ones."""

    verdict: Verdict
    reasons: tuple[str, ...]
    inspected: int
    opportunities: int
    received_at: datetime | None
    judged_at: datetime | None
    decided_at: datetime
    serial: str | None
    lot: str | None


def board_name(product: str, session: str, visit: int) -> str:
    """Name a board within its station; what shows another product is another board.

    >>> board_name("board", "s1", 7)
    'board/s1/7'
    """
    return f"{product}/{session}/{visit}"


def put(board: Board, result: Result, event_us: int, share: str) -> None:
    """Lay a picture to the others of its board."""
    inspected = result.outcome is Outcome.INSPECTED
    view = View(
        event_us,
        result.seq,
        result.view,
        result.outcome,
        (result.verdict or Verdict.REVIEW) if inspected else None,
        result.received_at,
        result.inspected_at,
        result.opportunities,
        share,
        result.serial,
        result.lot,
        result.reasons,
    )
    if result.tile is not None:
        board.in_pieces = True
        view.tile = result.tile
        view.spots = spots_of(result) if inspected else ()
    views = board.views
    if not views or views[-1].event_us < event_us:
        views.append(view)
    else:
        insort(views, view, key=captured)


def captured(view: View) -> tuple[int, int]:
    """Order of the pictures of a board."""
    return view.event_us, view.seq


def fused(board: Board) -> Whole:
    """Return what all pictures say: fail before review before pass; what is not seen is reviewed."""
    views = board.views
    judged = [view for view in views if view.verdict is not None]
    verdict, reasons = worst(board, judged)
    return Whole(
        verdict,
        reasons,
        len(judged),
        max([view.opportunities for view in judged], default=0),
        min([view.received_at for view in judged], default=None),
        max([view.inspected_at for view in judged], default=None),
        max([view.inspected_at for view in views]),
        next((view.serial for view in views if view.serial is not None), None),
        next((view.lot for view in views if view.lot is not None), None),
    )


def worst(board: Board, judged: Sequence[View]) -> tuple[Verdict, tuple[str, ...]]:
    """Return the verdict of a board and its reasons, given which pictures were inspected."""
    views = board.views
    reasons = [reason for view in views for reason in view.reasons]
    absent: list[str] = []
    if len(judged) < len(views):
        absent += [f"view missing: {view.view} was {view.outcome}" for view in views if view.verdict is None]
    if board.in_pieces:
        reasons = reasons_once(views, reasons)
        absent += complaints(board.expected, views)
    elif len(views) < board.expected:
        absent.append(f"view missing: {len(views)} of {board.expected} pictures are in")
    verdict = Verdict.REVIEW if absent else Verdict.PASS
    for view in judged:
        if view.verdict is Verdict.FAIL:
            verdict = Verdict.FAIL
            break
        if view.verdict is Verdict.REVIEW:
            verdict = Verdict.REVIEW
    return verdict, (*reasons, *absent)


def counted(board: Board, whole: Whole, frozen_minute: int) -> Counted | None:
    """Return how a board is counted, where its first picture was taken; None where no picture was inspected.

    Minutes before `frozen_minute` are final, so it is never counted there.
    """
    if whole.received_at is None or whole.judged_at is None:
        return None
    first = board.views[0]
    latency_us = (whole.judged_at - whole.received_at) // MICROSECOND
    found = Counted(
        max(first.event_us // MINUTE_US, frozen_minute),
        first.share,
        first.event_us,
        whole.verdict,
        whole.opportunities,
        max(latency_us, 0),
        board.product,
        whole.serial,
    )
    if board.in_pieces:
        judged = [view for view in board.views if view.verdict is not None]
        found.defects = dict(Counter(defect.label for defect in panel_defects(judged)))
    return found


def verdict_of(board: Board, whole: Whole, names: Names, revision: int) -> BoardVerdict:
    """Return the verdict of a board as it travels."""
    views = board.views
    return BoardVerdict(
        board_id=names.board(board.visit),
        line=names.line,
        station=names.station,
        product=board.product,
        session=board.session,
        visit=board.visit,
        event_at=instant(views[0].event_us),
        decided_at=whole.decided_at,
        revision=revision,
        verdict=whole.verdict,
        expected=board.expected,
        inspected=whole.inspected,
        frames=tuple([names.frame(view.seq) for view in views]),
        reasons=whole.reasons,
        lot=whole.lot,
        serial=whole.serial,
        defects=panel_defects(views) if board.in_pieces else (),
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
