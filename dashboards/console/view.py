"""The live view: what the page shows of the newest records, bounded, folded record by record.

It holds no figure of its own: rates and counts come from the KPI store. What is here answers "what is happening now":
the last boards, the state of every camera, the open alerts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import chain, pairwise
from statistics import median
from types import MappingProxyType
from typing import TypeVar

from taktwatch.alertlog import fold_alert
from taktwatch.records import (
    AlertTransition,
    BoardVerdict,
    InspectionResult,
    MarkState,
    Notification,
    Outcome,
    Place,
    Record,
    Review,
    StationMark,
    Verdict,
    board_id,
)
from taktwatch.reviews import board_of, is_drawn

__all__ = [
    "Board",
    "Heard",
    "LiveView",
    "StationState",
    "StationView",
    "board_named",
    "board_verdict",
    "empty_view",
    "find_board",
    "fold",
    "is_alone",
    "line_clock",
    "station_state",
    "takt_s",
    "to_check",
    "verdict_name",
    "waiting",
]

KEEP_BOARDS = 300
KEEP_TRANSITIONS = 200
KEEP_NOTIFICATIONS = 200
KEEP_SAMPLE = 200
KEEP_REVIEWS = 2000
KEEP_VERDICTS = 1000
TAKT_BOARDS = 20
STALL_TAKTS = 5
REAL_TIME = timedelta(minutes=2)
"""A line whose newest event time is closer to the clock than this is shown by the clock."""

Kept = TypeVar("Kept")


class StationState(StrEnum):
    """What a person must know of a station at one glance."""

    EXPECTED = "expected"
    """Described in line.toml, never heard of."""
    RUNNING = "running"
    STALLED = "stalled"
    """The camera sends, but its frames get no verdict."""
    CLOSED = "closed"
    """Ended on purpose."""
    LOST = "lost"
    """Vanished: a mark says so."""
    SILENT = "silent"
    """Nothing was heard for too long, not even a mark."""


@dataclass(frozen=True)
class Heard:
    """A record, where it lies, and when the bus took it."""

    record: Record
    place: Place
    logged_at: datetime


@dataclass(frozen=True)
class Board:
    """The result of a frame, and where that result itself lies in the log."""

    result: InspectionResult
    place: Place
    logged_at: datetime


@dataclass(frozen=True)
class StationView:
    """One station: its newest boards (newest first, at most `KEEP_BOARDS`), its last mark, and when it was heard of.

    `session_at` is when the first mark of the present session was logged.
    """

    station: str
    product: str
    boards: tuple[Board, ...] = ()
    mark: StationMark | None = None
    mark_logged_at: datetime | None = None
    session_at: datetime | None = None

    @property
    def heard_at(self) -> datetime | None:
        """When the camera last gave a sign of life: by its marks; where it never sent one, by its results."""
        if self.mark_logged_at is not None:
            return self.mark_logged_at
        return self.boards[0].logged_at if self.boards else None


@dataclass(frozen=True)
class LiveView:
    """One line as it is now. `open` are the alerts not over by id, `history` the newest transitions, newest first.

    `views`: how many pictures make a board, of products where it is more than one. `verdicts` are those of the newest
    boards of several pictures, `reviews` the last word on each of the boards reviewed last, both by board id, the
    newest at the end. `sample` are the newest passed boards drawn for checking at `sample_rate`, newest first, each
    by a picture of it.
    """

    line: str
    stations: Mapping[str, StationView]
    open: Mapping[str, AlertTransition] = field(default_factory=dict)
    history: tuple[AlertTransition, ...] = ()
    notifications: tuple[Notification, ...] = ()
    sample_rate: float = 0.0
    sample: tuple[Board, ...] = ()
    reviews: Mapping[str, Review] = field(default_factory=dict)
    views: Mapping[str, int] = field(default_factory=dict)
    verdicts: Mapping[str, BoardVerdict] = field(default_factory=dict)


def empty_view(
    line: str, stations: Mapping[str, str], sample_rate: float = 0.0, views: Mapping[str, int] = MappingProxyType({})
) -> LiveView:
    """Return the view of a line of which nothing was heard yet; `stations` maps names to products.

    >>> empty_view("line-1", {"top": "demo-board"}).stations["top"].boards
    ()
    """
    silent = {name: StationView(station=name, product=product) for name, product in stations.items()}
    return LiveView(line=line, stations=MappingProxyType(silent), sample_rate=sample_rate, views=views)


def fold(view: LiveView, heard: Heard) -> LiveView:  # noqa: PLR0911 - one case a kind of record
    """Return the view after one more record; records of other lines and of other kinds change nothing."""
    match heard.record:
        case InspectionResult(line=view.line) as result:
            station = station_of(view, result.station, result.product)
            board = Board(result=result, place=heard.place, logged_at=heard.logged_at)
            return with_sample(with_station(view, fold_result(station, board)), board)
        case BoardVerdict(line=view.line) as verdict if verdict.expected > 1:
            return with_verdict(view, verdict)
        case StationMark(line=view.line) as mark:
            return with_station(view, fold_mark(station_of(view, mark.station, mark.product), mark, heard))
        case AlertTransition() as transition if transition.labels.get("line", view.line) == view.line:
            return replace(
                view,
                open=fold_alert(view.open, transition),
                history=(transition, *view.history)[:KEEP_TRANSITIONS],
            )
        case Review(line=view.line) as review:
            return replace(view, reviews=with_newest(view.reviews, board_of(review), review, KEEP_REVIEWS))
        case Notification() as notification:
            return replace(view, notifications=(notification, *view.notifications)[:KEEP_NOTIFICATIONS])
        case _:
            return view


def station_of(view: LiveView, station: str, product: str) -> StationView:
    """Return what is known of a station; of a new one, nothing."""
    return view.stations.get(station) or StationView(station=station, product=product)


def with_station(view: LiveView, station: StationView) -> LiveView:
    """Return the view with one station exchanged; the same view where nothing changed."""
    if view.stations.get(station.station) is station:
        return view
    return replace(view, stations=MappingProxyType({**view.stations, station.station: station}))


def with_newest(kept: Mapping[str, Kept], name: str, newest: Kept, most: int) -> Mapping[str, Kept]:
    """Return what is kept by name with one more at the end, at most so many."""
    others = {other: value for other, value in kept.items() if other != name}
    return MappingProxyType(dict([*others.items(), (name, newest)][-most:]))


def board_named(result: InspectionResult) -> str:
    """Return the id of the board that a picture shows."""
    return board_id(result.line, result.station, result.session, result.visit)


def is_alone(view: LiveView, result: InspectionResult) -> bool:
    """Say whether a picture makes a board by itself."""
    return result.tile is None and view.views.get(result.product, 1) == 1


def board_verdict(view: LiveView, result: InspectionResult) -> Verdict | None:
    """Return the verdict of the board that a picture shows; None where it has none, or none is known (yet)."""
    known = view.verdicts.get(board_named(result))
    if known is not None:
        return known.verdict
    return result.verdict if is_alone(view, result) else None


def with_verdict(view: LiveView, verdict: BoardVerdict) -> LiveView:
    """Return the view with the verdict of a board of several pictures; of one board the highest revision counts."""
    known = view.verdicts.get(verdict.board_id)
    if known is not None and known.revision > verdict.revision:
        return view
    kept = replace(view, verdicts=with_newest(view.verdicts, verdict.board_id, verdict, KEEP_VERDICTS))
    if verdict.verdict is not Verdict.PASS:  # corrected by a picture that came late: no longer one that passed
        return replace(kept, sample=tuple(one for one in kept.sample if board_named(one.result) != verdict.board_id))
    boards = kept.stations[verdict.station].boards if verdict.station in kept.stations else ()
    seen = next((board for board in boards if board.result.frame_id in verdict.frames), None)
    return kept if seen is None else with_sample(kept, seen)


def with_sample(view: LiveView, board: Board) -> LiveView:
    """Return the view with a board that was drawn for checking; the first result of its first picture shows it."""
    name = board_named(board.result)
    drawn = is_drawn(name, board_verdict(view, board.result), view.sample_rate)
    if not drawn or any(board_named(one.result) == name for one in view.sample):
        return view
    return replace(view, sample=(board, *view.sample)[:KEEP_SAMPLE])


def to_check(view: LiveView) -> list[Board]:
    """Return the drawn boards that nobody has reviewed yet, newest first."""
    return [board for board in view.sample if board_named(board.result) not in view.reviews]


def fold_result(station: StationView, board: Board) -> StationView:
    """Put a result in front; the first result of a frame counts, a repeat changes nothing."""
    if any(known.result.frame_id == board.result.frame_id for known in station.boards):
        return station
    return replace(station, product=board.result.product, boards=(board, *station.boards)[:KEEP_BOARDS])


def fold_mark(station: StationView, mark: StationMark, heard: Heard) -> StationView:
    """Take a mark; the end of an earlier session says nothing while another session is open."""
    current = station.mark
    if (
        mark.state is not MarkState.OPEN
        and current is not None
        and current.state is MarkState.OPEN
        and current.session != mark.session
    ):
        return station
    same = current is not None and current.session == mark.session
    session_at = station.session_at if same else heard.logged_at
    return replace(station, product=mark.product, mark=mark, mark_logged_at=heard.logged_at, session_at=session_at)


def find_board(view: LiveView, frame_id: str) -> Board | None:
    """Return the board of a frame, or None where the view does not hold it."""
    boards = chain(view.sample, *(station.boards for station in view.stations.values()))
    return next((board for board in boards if board.result.frame_id == frame_id), None)


def takt_s(station: StationView) -> float | None:
    """Return the beat of the station: the median time between its newest boards in seconds; None below two boards."""
    times = sorted(board.result.event_at for board in station.boards[:TAKT_BOARDS])
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    return median(gaps) if gaps else None


def waiting(station: StationView) -> int:
    """Return how many accepted frames have no result yet, as far as the view knows, 0 or more."""
    if station.mark is None:
        return 0
    done = [board.result.seq for board in station.boards if board.result.session == station.mark.session]
    return max(0, station.mark.last_seq - max(done, default=-1))


def station_state(station: StationView, now: datetime, silent_after: timedelta) -> StationState:
    """Judge a station at wall time `now`. No data is a state of its own: it never looks like running."""
    heard_at = station.heard_at
    if heard_at is None:
        return StationState.EXPECTED
    match station.mark:
        case StationMark(state=MarkState.CLOSED):
            return StationState.CLOSED
        case StationMark(state=MarkState.LOST):
            return StationState.LOST
    if now - heard_at > silent_after:
        return StationState.SILENT
    patience = max(silent_after, timedelta(seconds=STALL_TAKTS * (takt_s(station) or 0.0)))
    progress = [board.logged_at for board in station.boards[:1]] + [
        at for at in (station.session_at,) if at is not None
    ]
    if waiting(station) and now - max(progress) > patience:
        return StationState.STALLED
    return StationState.RUNNING


def line_clock(view: LiveView, now: datetime) -> datetime:
    """Return the line's own time: the newest event time, moved on by what passed since it was logged.

    Frames read from files carry the time their takt gives them; their charts end there, not at the wall clock. A line
    that runs in real time is shown by the clock.
    """
    newest = [station.boards[0] for station in view.stations.values() if station.boards]
    clocks = [board.result.event_at + max(now - board.logged_at, timedelta()) for board in newest]
    clock = max(clocks, default=now)
    return now if abs(clock - now) <= REAL_TIME else clock


def verdict_name(result: InspectionResult) -> str:
    """Return the verdict, or the outcome of a frame that has none: pass, fail, review, skipped, dead.

    A frame that was inspected and has no verdict is shown for review: unknowns never pass.
    """
    if result.outcome is Outcome.INSPECTED:
        return str(result.verdict or Verdict.REVIEW)
    return str(result.outcome)
