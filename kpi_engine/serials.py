"""First pass or re-inspection: which visit of a serial is its first.

A visit is a re-inspection where the same serial of the product was seen at most one horizon before; the earliest by
event time is the first pass, in whatever order the results arrive.
"""

from bisect import insort
from typing import NamedTuple

import msgspec

__all__ = ["Due", "FirstPass", "Visit", "due_again", "expire", "visit"]

Due = dict[int, list[str]]
"""By minute since 1970: serials to look at once that minute is final."""


class Visit(msgspec.Struct, order=True, array_like=True, gc=False):
    """One inspection of a board with a serial: when, which visit, counted in which share of a minute, and as what."""

    event_us: int
    session: str
    number: int
    minute: int
    share: str
    passed: bool
    first: bool = False


class FirstPass(NamedTuple):
    """A visit that is now (`boards` 1) or no longer (`boards` -1) the first pass of its board."""

    minute: int
    share: str
    boards: int
    passed: bool


def visit(
    visits: list[Visit], new: Visit | None, horizon_minutes: int, frozen_minute: int, gone: Visit | None = None
) -> list[FirstPass]:
    """Put a visit to those of its serial, in place of `gone`, and return what changes.

    Windows before `frozen_minute` are final; `gone` must not lie there.

    >>> visits = []
    >>> visit(visits, Visit(60_000_000, "s", 4, 1, "p", passed=False), 60, 0)
    [FirstPass(minute=1, share='p', boards=1, passed=False)]
    >>> visit(visits, Visit(180_000_000, "s", 9, 3, "p", passed=True), 60, 0)
    []
    """
    changes = []
    if gone is not None:
        index = next(
            i for i, known in enumerate(visits) if (known.session, known.number) == (gone.session, gone.number)
        )
        if visits.pop(index).first:
            changes.append(FirstPass(gone.minute, gone.share, -1, gone.passed))
    if new is not None:
        insort(visits, new)
    leader: Visit | None = None
    for known in visits:
        first = leader is None or known.minute > leader.minute + horizon_minutes
        if first != known.first and known.minute >= frozen_minute:
            known.first = first
            changes.append(FirstPass(known.minute, known.share, 1 if first else -1, known.passed))
        if first:
            leader = known
    return changes


def expire(serials: dict[str, list[Visit]], due: Due, horizon_minutes: int, frozen_minute: int) -> None:
    """Forget visits in final windows, but for a first pass that visits still to come may be a re-inspection of.

    Only serials that are `due` are looked at: by the hour there are too many to look at all of them every minute.
    """
    for minute in sorted(minute for minute in due if minute < frozen_minute):
        for serial in due.pop(minute):
            visits = serials.get(serial)
            if visits is None or (visits and visits[0].minute >= frozen_minute):
                continue
            leaders = [known for known in visits if known.minute < frozen_minute and known.first]
            kept = [known for known in leaders[-1:] if known.minute + horizon_minutes >= frozen_minute]
            for leader in kept:
                due.setdefault(leader.minute + horizon_minutes, []).append(serial)
            kept += [known for known in visits if known.minute >= frozen_minute]
            if kept:
                serials[serial] = kept
            else:
                del serials[serial]


def due_again(serials: dict[str, list[Visit]]) -> Due:
    """Return when restored serials are due: as soon as a minute of their visits is final."""
    due: Due = {}
    for serial, visits in serials.items():
        for known in visits:
            due.setdefault(known.minute, []).append(serial)
    return due
