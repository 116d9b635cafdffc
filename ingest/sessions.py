"""Sessions: runs of densely numbered frames at a station, and whether a restart goes on with one. Pure."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from ingest.cameras.shot import traits
from taktwatch.config import StationConfig

__all__ = ["HURRY", "Session", "choose_session", "is_exhausted", "settings_sha256"]

HURRY = timedelta(minutes=5)
"""An endless belt that stood still for longer begins a new session; one that stood shorter catches up."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A session as the spool keeps it.

    `next_seq` is the number the next accepted frame gets, so `next_seq` frames were accepted. The source's shot number
    is `first_shot` + seq. `last_at` is the time of the last accepted frame (before the first: the start), `last_name`
    its name in the source. `finished`: its source came to its end. `closed`: the closing mark is on the bus.
    """

    station: str
    session: str
    product: str
    settings_sha256: str
    start: datetime
    first_shot: int = 0
    next_seq: int = 0
    last_at: datetime
    last_name: str | None = None
    finished: bool = False
    closed: bool = False

    @property
    def next_shot(self) -> int:
        """The source's number of the next shot."""
        return self.first_shot + self.next_seq


def settings_sha256(station: StationConfig) -> str:
    """Hash what makes a run what it is: with other settings a station begins a new session."""
    return hashlib.sha256(station.model_dump_json(exclude={"paced"}).encode()).hexdigest()


def choose_session(station: StationConfig, earlier: Sequence[Session], now: datetime) -> Session:
    """Return the session to go on with: one of the station's `earlier` ones (oldest first) where it fits, or a new one.

    A session of the same settings is resumed until it is finished. A finished one whose start was set is returned as it
    is: nothing is left to send. Otherwise a new session begins; an endless simulated belt goes on with new boards.
    """
    settings = settings_sha256(station)
    kind = traits(station.source)
    same = next((session for session in reversed(earlier) if session.settings_sha256 == settings), None)
    if same is not None and station.start is not None:
        return same if same.finished else msgspec.structs.replace(same, closed=False)
    if same is not None and not same.closed and not (kind.endless and not kind.clocked and now - same.last_at > HURRY):
        return same
    start = begin_of(station, now)
    if station.start is None and earlier:
        start = max(start, earlier[-1].start + timedelta(seconds=1))
    return Session(
        station=station.name,
        session=f"{start:%Y%m%dT%H%M%SZ}-{settings[:8]}",
        product=station.product,
        settings_sha256=settings,
        start=start,
        first_shot=same.next_shot if same is not None and kind.endless else 0,
        last_at=start,
    )


def begin_of(station: StationConfig, now: datetime) -> datetime:
    """Return the time of the first board, UTC: as set (UTC where no zone is given), or now, floored to the second."""
    if station.start is None:
        return now.replace(microsecond=0)
    return station.start.replace(tzinfo=UTC) if station.start.tzinfo is None else station.start.astimezone(UTC)


def is_exhausted(station: StationConfig, session: Session) -> bool:
    """Say whether the session has all the boards it was to have."""
    boards = station.source.boards
    return session.finished or (boards is not None and session.next_shot >= boards)
