"""Longer windows as sums of minutes: an hour, a shift, an hour's part of a lot; of a station or the whole line.

    keys = enroll(...)    when a share of a minute begins to change: the roll-ups it is part of exist from now on
    roll(...)             when windows are published: add what the share changed by since the last time

Nothing here is counted per record. A roll-up is closed when every station it speaks of has everything in up to its end,
and final when it leaves the horizon. What a share adds is the difference of two states of its sums, so that it does not
matter how often, or when, the minutes are rolled up.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from kpi_engine.rules import Rules
from kpi_engine.sums import MINUTE_US, Sums, share_parts
from kpi_engine.totals import Delta, add_delta, published
from taktwatch.kpis import ANY
from taktwatch.records import KpiWindow, WindowState

__all__ = ["Key", "Rolled", "Span", "close_rolled", "enroll", "roll", "rolled_window", "spans"]

HOUR = 60
Key = tuple[str, int, str, str]
"""Kind of window, its first minute, product, and lot ("" without one)."""


class Span(NamedTuple):
    """A window that a share of a minute is part of: minutes since 1970, the end exclusive."""

    kind: str
    start: int
    end: int
    lot: str | None
    shift: str | None


class Rolled(msgspec.Struct, array_like=True):
    """A roll-up still changing; `sums.closed` as last published."""

    kind: str
    start: int
    end: int
    product: str
    lot: str | None
    shift: str | None
    sums: Sums


def spans(minute: int, lot: str | None, rules: Rules) -> list[Span]:
    """Return the windows that a minute is part of. A lot has no length of its own: its windows are cut by the hour.

    >>> [span.kind for span in spans(61, None, Rules())], spans(61, "L7", Rules())[-1]
    (['1h'], Span(kind='lot', start=60, end=120, lot='L7', shift=None))
    """
    hour = minute // HOUR * HOUR
    found = []
    if "1h" in rules.kinds:
        found.append(Span("1h", hour, hour + HOUR, None, None))
    if "shift" in rules.kinds and (shift := rules.calendar.at(minute)) is not None:
        found.append(Span("shift", shift.start, shift.end, None, shift.name))
    if "lot" in rules.kinds and lot is not None:
        found.append(Span("lot", hour, hour + HOUR, lot, None))
    return found


def keys(span: Span, product: str) -> tuple[Key, Key]:
    """Return the keys of a span's roll-ups: of the product, and of all products."""
    return (span.kind, span.start, product, span.lot or ""), (span.kind, span.start, ANY, span.lot or "")


def enroll(
    rollups: dict[Key, Rolled], share: str, minute: int, rules: Rules, *, frozen: int, bound: int | None, offset: int
) -> list[Key]:
    """Let the roll-ups exist that a share is part of, but for final ones, and return their keys.

    `frozen`: windows before this minute are final. `bound`: everything before this minute is in, None where nothing
    more is expected.
    """
    product, lot = share_parts(share)
    found = []
    for span in spans(minute, lot, rules):
        if span.end <= frozen:
            continue
        for key in keys(span, product):
            found.append(key)
            if key not in rollups:
                sums = Sums(revision=offset, closed=bound is None or span.end <= bound)
                rollups[key] = Rolled(span.kind, span.start, span.end, key[2], span.lot, span.shift, sums)
    return found


def roll(rollups: dict[Key, Rolled], parts_of: Sequence[Key], changed: Delta) -> list[Key]:
    """Add what a share changed by to the roll-ups it is part of; return which changed. Final ones are gone already."""
    found = [key for key in parts_of if key in rollups]
    for key in found:
        add_delta(rollups[key].sums, changed)
    return found


def close_rolled(rollups: dict[Key, Rolled], bound: int | None, offset: int) -> list[Key]:
    """Close roll-ups whose every minute is in, open others again; return which changed. `bound` as in `enroll`."""
    changed = []
    for key, rolled in rollups.items():
        closed = bound is None or rolled.end <= bound
        if rolled.sums.closed != closed:
            rolled.sums.closed = closed
            rolled.sums.revision = offset
            changed.append(key)
    return changed


def rolled_window(rolled: Rolled, state: WindowState, *, line: str, station: str) -> KpiWindow:
    """Return a roll-up as it travels."""
    return published(
        rolled.sums,
        rolled.kind,
        rolled.start * MINUTE_US,
        rolled.end * MINUTE_US,
        state,
        line=line,
        station=station,
        product=rolled.product,
        lot=rolled.lot,
        shift=rolled.shift,
    )
