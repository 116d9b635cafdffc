"""What a check says: one line for people, one object for machines."""

from datetime import timedelta
from enum import StrEnum

import msgspec

__all__ = ["Check", "State", "gib", "span"]


class State(StrEnum):
    """How a check went. Only `failed` keeps a line from running well."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Check(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing looked at, what was found, and what to do about it."""

    name: str
    state: State
    said: str
    remedy: str = ""


def span(time: timedelta | None) -> str:
    """Say how long records are kept.

    >>> span(timedelta(days=30)), span(timedelta(hours=6)), span(None)
    ('30 days', '6 hours', 'for ever')
    """
    if time is None:
        return "for ever"
    hours = time / timedelta(hours=1)
    return f"{hours / 24:g} days" if hours >= 24 else f"{hours:g} hours"  # noqa: PLR2004 - hours of a day


def gib(size: int) -> str:
    """Write a size.

    >>> gib(3 * 2**29)
    '1.5 GiB'
    """
    return f"{size / 2**30:.1f} GiB"
