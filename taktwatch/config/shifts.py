"""Shifts of a week."""

from collections.abc import Iterator
from datetime import time
from typing import Literal

from pydantic import model_validator

from taktwatch.config.base import Settings

__all__ = ["ShiftConfig"]

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class ShiftConfig(Settings):
    """A shift in local time, on the weekdays it begins on; one that ends before it starts reaches into the next day."""

    start: time
    end: time
    weekdays: tuple[Weekday, ...] = WEEKDAYS

    @model_validator(mode="after")
    def whole_minutes(self) -> "ShiftConfig":
        """Refuse shifts without length, with seconds, or with a zone of their own."""
        if self.start == self.end:
            raise ValueError("a shift starts and ends at different times")
        if any(at.second or at.microsecond or at.tzinfo for at in (self.start, self.end)):
            raise ValueError("shifts start and end at whole minutes of the line's time_zone, as in 06:00")
        return self

    @property
    def days(self) -> frozenset[int]:
        """The weekdays as numbers, Monday 0."""
        return frozenset(WEEKDAYS.index(day) for day in self.weekdays)

    def minutes_of_week(self) -> Iterator[int]:
        """Yield the minutes of a week, from Monday's midnight, that the shift covers."""
        start, end = (at.hour * 60 + at.minute for at in (self.start, self.end))
        for day in self.days:
            for minute in range(start, end if start < end else end + 1440):
                yield (day * 1440 + minute) % (7 * 1440)
