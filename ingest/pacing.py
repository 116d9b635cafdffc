"""The takt: when each board of a made-to-repeat source is stamped, and when it is due. Pure; seconds are floats."""

from dataclasses import dataclass
from datetime import datetime, timedelta

__all__ = ["Pace", "Takt"]


@dataclass(frozen=True)
class Takt:
    """The beat of a session: board `seq` is stamped start + seq x takt, so that a run repeats to the microsecond."""

    start: datetime
    boards_per_minute: float

    def stamp(self, seq: int) -> datetime:
        """Return the time of board `seq` (0, 1, 2 ...).

        >>> from datetime import UTC
        >>> Takt(datetime(2026, 3, 3, tzinfo=UTC), 45).stamp(2).isoformat()
        '2026-03-03T00:00:02.666667+00:00'
        """
        return self.start + timedelta(microseconds=round(seq * 60_000_000 / self.boards_per_minute))


@dataclass(frozen=True)
class Pace:
    """A takt in real time, since a process took the session on at board `seq`.

    `lead_s` is how far that board's due time lay ahead of the clock then; below zero the belt hurries until it has
    caught up.
    """

    takt: Takt
    seq: int
    lead_s: float = 0.0

    def due_s(self, seq: int) -> float:
        """Return when board `seq` is due, in seconds since the process took on."""
        return self.lead_s + (self.takt.stamp(seq) - self.takt.stamp(self.seq)).total_seconds()

    def reached(self, elapsed_s: float) -> datetime:
        """Return what the stamp clock shows after `elapsed_s`: it stands at a board's stamp when that board is due.

        >>> from datetime import UTC
        >>> Pace(Takt(datetime(2026, 3, 3, tzinfo=UTC), 60), seq=10).reached(0.5).isoformat()
        '2026-03-03T00:00:10.500000+00:00'
        """
        return self.takt.stamp(self.seq) + timedelta(seconds=elapsed_s - self.lead_s)
