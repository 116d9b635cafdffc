"""Station marks: up to `time`, nothing after `last_seq` was accepted. Pure; what they may say is decided here alone."""

from datetime import datetime

from ingest.pacing import Pace, Takt
from ingest.sessions import Session
from taktwatch.records import MarkState, StationMark

__all__ = ["clocked_time", "mark_of", "stamped_time"]


def stamped_time(session: Session, takt: Takt, pace: Pace | None, elapsed_s: float) -> datetime:
    """Return how far a stamped session has come: the last board's stamp, or the stamp clock on a paced belt.

    Never beyond the stamp of the board to come, which is known.

    >>> from datetime import UTC
    >>> start = datetime(2026, 3, 3, tzinfo=UTC)
    >>> takt = Takt(start, 60)
    >>> session = Session(
    ...     station="top", session="s", product="p", settings_sha256="", start=start, next_seq=3, last_at=start)
    >>> [stamped_time(session, takt, Pace(takt, 0), elapsed).second for elapsed in (0.0, 2.5, 9.0)]
    [2, 2, 3]
    """
    last = takt.stamp(max(0, session.next_seq - 1))
    if pace is None:
        return last
    return min(takt.stamp(session.next_seq), max(last, pace.reached(elapsed_s)))


def clocked_time(session: Session, bound: datetime) -> datetime:
    """Return how far a session stamped by a clock has come.

    `bound` must have been asked of the horizon before the session's numbers were read: whatever was not accepted at
    that moment is stamped no earlier.
    """
    return max(bound, session.last_at)


def mark_of(line: str, session: Session, time: datetime, state: MarkState) -> StationMark:
    """Return the mark of a session as it stands."""
    return StationMark(
        line=line,
        station=session.station,
        session=session.session,
        product=session.product,
        last_seq=session.next_seq - 1,
        time=time,
        state=state,
    )
