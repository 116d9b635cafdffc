"""Pictures of one visit of a board, fused into one verdict: the worst decides.

A board is named by line, station, session and visit. It is *closed* when all its pictures have their outcome, or when
nothing more is expected of that time; a picture that comes after all corrects it. A fail stays a fail; where a picture
is not in, was skipped or is dead, the others' pass becomes a review: unknowns never pass. A panel that arrives in
overlapping pieces is a board of so many pictures (`kpi_engine.panels`).
"""

from bisect import insort
from collections import Counter
from collections.abc import Sequence

import msgspec

from kpi_engine.panels import Spot, complaints, panel_defects, pieces_in, reasons_once, spots_of
from kpi_engine.slim import Result
from kpi_engine.sums import MINUTE_US, instant, microseconds, share_name
from taktwatch.records import BoardVerdict, Outcome, Tile, Verdict, board_id, frame_id

__all__ = ["Board", "Counted", "View", "board_name", "counted", "put", "verdict_of", "verdict_of_one"]


class View(msgspec.Struct, array_like=True, order=True):
    """What one picture says of its board. `verdict` is None for a picture that was not inspected."""

    event_us: int
    seq: int
    view: str
    outcome: Outcome
    verdict: Verdict | None
    received_us: int
    inspected_us: int
    opportunities: int
    share: str
    serial: str | None = None
    lot: str | None = None
    reasons: tuple[str, ...] = ()
    tile: Tile | None = None
    spots: tuple[Spot, ...] = ()


class Counted(msgspec.Struct, array_like=True):
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


class Board(msgspec.Struct):
    """One visit: `expected` pictures make it, `views` are those with an outcome, in order of capture."""

    product: str
    session: str
    visit: int
    expected: int
    views: list[View] = []
    closed: bool = False
    counted: Counted | None = None

    @property
    def complete(self) -> bool:
        """Whether all pictures have their outcome."""
        return (pieces_in(self.views) if self.in_pieces else len(self.views)) >= self.expected

    @property
    def in_pieces(self) -> bool:
        """Whether its pictures are pieces of a panel."""
        return any(view.tile is not None for view in self.views)

    @property
    def newest_us(self) -> int:
        """Event time of the last picture that is in."""
        return self.views[-1].event_us


def board_name(product: str, session: str, visit: int) -> str:
    """Name a board within its station; what shows another product is another board.

    >>> board_name("board", "s1", 7)
    'board/s1/7'
    """
    return f"{product}/{session}/{visit}"


def put(board: Board, result: Result, event_us: int) -> None:
    """Lay a picture to the others of its board."""
    inspected = result.outcome is Outcome.INSPECTED
    view = View(
        event_us=event_us,
        seq=result.seq,
        view=result.view,
        outcome=result.outcome,
        verdict=(result.verdict or Verdict.REVIEW) if inspected else None,
        received_us=microseconds(result.received_at),
        inspected_us=microseconds(result.inspected_at),
        opportunities=result.opportunities,
        share=share_name(result.product, result.lot),
        serial=result.serial,
        lot=result.lot,
        reasons=result.reasons,
        tile=result.tile,
        spots=spots_of(result) if inspected else (),
    )
    insort(board.views, view, key=captured)


def captured(view: View) -> tuple[int, int]:
    """Order of the pictures of a board."""
    return view.event_us, view.seq


def judged(expected: int, views: Sequence[View]) -> tuple[Verdict, tuple[str, ...]]:
    """Return the verdict of a board and its reasons: fail before review before pass; what is not seen is reviewed."""
    reasons = [reason for view in views for reason in view.reasons]
    absent = [f"view missing: {view.view} was {view.outcome}" for view in views if view.verdict is None]
    if any(view.tile is not None for view in views):
        reasons = reasons_once(views, reasons)
        absent += complaints(expected, views)
    elif len(views) < expected:
        absent.append(f"view missing: {len(views)} of {expected} pictures are in")
    verdicts = {view.verdict for view in views}
    if Verdict.FAIL in verdicts:
        verdict = Verdict.FAIL
    elif absent or Verdict.REVIEW in verdicts:
        verdict = Verdict.REVIEW
    else:
        verdict = Verdict.PASS
    return verdict, (*reasons, *absent)


def counted(board: Board, frozen_minute: int) -> Counted | None:
    """Return how a board is counted, where its first picture was taken; None where no picture was inspected.

    Minutes before `frozen_minute` are final, so it is never counted there.
    """
    inspected = [view for view in board.views if view.verdict is not None]
    if not inspected:
        return None
    first = board.views[0]
    verdict, _ = judged(board.expected, board.views)
    return Counted(
        minute=max(first.event_us // MINUTE_US, frozen_minute),
        share=first.share,
        event_us=first.event_us,
        verdict=verdict,
        opportunities=max(view.opportunities for view in inspected),
        latency_us=max(0, max(view.inspected_us for view in inspected) - min(view.received_us for view in inspected)),
        product=board.product,
        serial=next((view.serial for view in board.views if view.serial is not None), None),
        defects=dict(Counter(defect.label for defect in panel_defects(inspected))) if board.in_pieces else {},
    )


def verdict_of(board: Board, line: str, station: str, revision: int) -> BoardVerdict:
    """Return the verdict of a board as it travels."""
    verdict, reasons = judged(board.expected, board.views)
    views = board.views
    return BoardVerdict(
        board_id=board_id(line, station, board.session, board.visit),
        line=line,
        station=station,
        product=board.product,
        session=board.session,
        visit=board.visit,
        event_at=instant(views[0].event_us),
        decided_at=instant(max(view.inspected_us for view in views)),
        revision=revision,
        verdict=verdict,
        expected=board.expected,
        inspected=sum(view.verdict is not None for view in views),
        frames=tuple(frame_id(line, station, board.session, view.seq) for view in views),
        reasons=reasons,
        lot=next((view.lot for view in views if view.lot is not None), None),
        serial=next((view.serial for view in views if view.serial is not None), None),
        defects=panel_defects(views) if board.in_pieces else (),
    )


def verdict_of_one(result: Result, revision: int) -> BoardVerdict:
    """Return the verdict of a board that one picture makes."""
    inspected = result.outcome is Outcome.INSPECTED
    absent = () if inspected else (f"view missing: {result.view} was {result.outcome}",)
    return BoardVerdict(
        board_id=board_id(result.line, result.station, result.session, result.visit),
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
        frames=(frame_id(result.line, result.station, result.session, result.seq),),
        reasons=(*result.reasons, *absent),
        lot=result.lot,
        serial=result.serial,
    )
