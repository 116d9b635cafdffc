"""The calendar of shifts: which shift a minute belongs to, in the line's own time zone.

Shifts are written in local time, windows are UTC: a night shift over a change to daylight saving has one hour less,
over the change back one more.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from taktwatch.config import ShiftConfig

__all__ = ["Calendar", "ShiftTime"]

DAY_MINUTES = 1440


class ShiftTime(NamedTuple):
    """One shift of one day: minutes since 1970 (UTC), the end exclusive."""

    name: str
    start: int
    end: int


class Calendar:
    """The shifts of a line, none of which overlap."""

    def __init__(self, zone: str = "UTC", shifts: Mapping[str, ShiftConfig] | None = None) -> None:
        self.zone = ZoneInfo(zone)
        self.shifts = dict(shifts or {})
        self.on = lru_cache(maxsize=64)(self._on)

    def at(self, minute: int) -> ShiftTime | None:
        """Return the shift that a minute since 1970 lies in, or None between shifts."""
        if not self.shifts:
            return None
        day = minute // DAY_MINUTES
        for near in (day, day - 1, day + 1):  # a local day begins up to 14 hours off the UTC one; nights reach over
            for shift in self.on(near):
                if shift.start <= minute < shift.end:
                    return shift
        return None

    def _on(self, day: int) -> tuple[ShiftTime, ...]:
        """Return the shifts that begin on a local day, counted from 1970-01-01."""
        date = datetime.fromtimestamp(day * DAY_MINUTES * 60, tz=UTC).date()
        found = []
        for name, shift in self.shifts.items():
            if date.weekday() in shift.days:
                last = date if shift.start < shift.end else date + timedelta(days=1)
                start = datetime.combine(date, shift.start, self.zone)
                end = datetime.combine(last, shift.end, self.zone)
                found.append(ShiftTime(name, int(start.timestamp()) // 60, int(end.timestamp()) // 60))
        return tuple(found)
