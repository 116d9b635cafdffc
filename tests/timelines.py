"""Results and marks written as timelines: `line.frame(3, "12:00:07")`, `line.mark(3, "12:00:08")`."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec

from kpi_engine.windows import KpiState, Rules, drain, empty, fold
from taktwatch.instants import microseconds
from taktwatch.records import (
    InspectionResult,
    KpiWindow,
    MarkState,
    Outcome,
    StationMark,
    Verdict,
    WindowState,
    frame_id,
)

DAY = datetime(2026, 3, 3, tzinfo=UTC)


def at(clock: str) -> datetime:
    """Return a time of the day all timelines play on, e.g. `12:00:07.5`."""
    hours, minutes, seconds = clock.split(":")
    return DAY + timedelta(hours=int(hours), minutes=int(minutes), seconds=float(seconds))


def result(seq: int, clock: str, **changes: object) -> InspectionResult:
    """Return a passed board of station `top`, session `s1`."""
    event_at = at(clock)
    passed = InspectionResult(
        frame_id="",
        line="line-1",
        station="top",
        product="board",
        view="board",
        session="s1",
        seq=seq,
        visit=seq,
        event_at=event_at,
        taken_at=event_at,
        received_at=event_at,
        inspected_at=event_at + timedelta(milliseconds=100),
        outcome=Outcome.INSPECTED,
        sha256="0" * 64,
        um_per_px=10.0,
        verdict=Verdict.PASS,
        opportunities=250,
    )
    made = msgspec.structs.replace(passed, **changes)
    return msgspec.structs.replace(made, frame_id=frame_id(made.line, made.station, made.session, made.seq))


def mark(last_seq: int, clock: str, state: MarkState = MarkState.OPEN, **changes: object) -> StationMark:
    """Return what ingest says of station `top`, session `s1`."""
    said = StationMark(
        line="line-1", station="top", session="s1", product="board", last_seq=last_seq, time=at(clock), state=state
    )
    return msgspec.structs.replace(said, **changes)


@dataclass
class Timeline:
    """A log being folded; the bus takes a record when it happens, unless `logged` says otherwise."""

    rules: Rules = field(default_factory=Rules)
    state: KpiState = field(default_factory=empty)
    published: list[KpiWindow] = field(default_factory=list)

    def take(self, record: InspectionResult | StationMark, logged: str | None = None) -> list[KpiWindow]:
        """Fold one record and return the windows it changed."""
        happened = record.event_at if isinstance(record, InspectionResult) else record.time
        logged_at = happened if logged is None else at(logged)
        fold(self.state, record, self.state.position, microseconds(logged_at), self.rules)
        changed = drain(self.state)
        self.published += changed
        return changed

    def frame(self, seq: int, clock: str, logged: str | None = None, **changes: object) -> list[KpiWindow]:
        """Fold an inspected board."""
        return self.take(result(seq, clock, **changes), logged)

    def mark(
        self, last_seq: int, clock: str, state: MarkState = MarkState.OPEN, logged: str | None = None, **changes: object
    ) -> list[KpiWindow]:
        """Fold a mark."""
        return self.take(mark(last_seq, clock, state, **changes), logged)

    def window(self, clock: str, product: str = "board", station: str = "top") -> KpiWindow:
        """Return the newest published window that starts at a time."""
        found = [
            window
            for window in self.published
            if (window.window, window.start, window.product, window.station) == ("1m", at(clock), product, station)
        ]
        return max(found, key=newest)

    def rolled(
        self, kind: str, clock: str, product: str = "*", station: str = "*", lot: str | None = None
    ) -> KpiWindow:
        """Return the newest published roll-up that starts at a time; without names, the whole line's."""
        found = [
            window
            for window in self.published
            if (window.window, window.start, window.product, window.station, window.lot)
            == (kind, at(clock), product, station, lot)
        ]
        return max(found, key=newest)

    def starts(self) -> list[str]:
        """Return when the published windows start, HH:MM."""
        return sorted({f"{window.start:%H:%M}" for window in self.published if window.window == "1m"})


def newest(window: KpiWindow) -> tuple[int, int]:
    """Order of revisions of one window."""
    return window.revision, list(WindowState).index(window.state)
