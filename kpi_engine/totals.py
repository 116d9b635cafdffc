"""How sums of shares are added up, and published: what a share changed by is added to all that it is part of. Pure."""

from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

import msgspec

from kpi_engine.sums import Name, Sums, add_counts
from taktwatch.instants import instant
from taktwatch.kpis import MEASURED, SUMMED
from taktwatch.records import KpiWindow, WindowState

__all__ = ["ADDED", "Delta", "add_delta", "delta", "gathered", "published", "snapshot"]

NOTHING = Sums()

ADDED = ("frames", *(name for name in SUMMED if name not in {"accepted", "measured", *MEASURED}))
"""The fields that add up, beside what was measured: of boards seen from above nothing is."""
what_adds_up = attrgetter(*ADDED)


PUBLISHED = tuple(name for name in ADDED if name != "frames")
PUBLISHED_MEASURED = (*PUBLISHED, "measured", *MEASURED)


def snapshot(sums: Sums) -> Sums:
    """Return the sums as they are now, to see later what changed."""
    return msgspec.structs.replace(sums, defects=dict(sums.defects), latency_buckets=dict(sums.latency_buckets))


class Delta(NamedTuple):
    """What the sums of a share changed by: counts by field, defects and latencies by name; newest revision, deepest."""

    counts: list[tuple[str, int]]
    defects: dict[str, int]
    latency_buckets: dict[int, int]
    revision: int
    deepest_um: int


def delta(now: Sums, before: Sums) -> Delta:
    """Return what a share changed by since `before`. The deepest corrosion only ever grows."""
    pairs = zip(ADDED, what_adds_up(now), what_adds_up(before), strict=True)
    counts = [(name, one - other) for name, one, other in pairs if one != other]
    if now.measured != before.measured:
        counts += [(name, getattr(now, name) - getattr(before, name)) for name in ("measured", *MEASURED)]
    return Delta(
        counts,
        differences(now.defects, before.defects),
        differences(now.latency_buckets, before.latency_buckets),
        now.revision,
        now.deepest_um,
    )


def add_delta(total: Sums, changed: Delta) -> None:
    """Add what a share changed by to a sum it belongs to."""
    for name, count in changed.counts:
        setattr(total, name, getattr(total, name) + count)
    add_counts(total.defects, changed.defects)
    add_counts(total.latency_buckets, changed.latency_buckets)
    total.deepest_um = max(total.deepest_um, changed.deepest_um)
    total.revision = max(total.revision, changed.revision)


def differences(now: dict[Name, int], before: dict[Name, int]) -> dict[Name, int]:
    """Return what counts changed by.

    >>> differences({"open": 3, "short": 1}, {"open": 3, "spur": 2})
    {'short': 1, 'spur': -2}
    """
    if now == before:
        return {}
    found = {name: count - before.get(name, 0) for name, count in now.items() if count != before.get(name, 0)}
    return found | {name: -count for name, count in before.items() if name not in now}


def gathered(shares: Sequence[tuple[str | None, Sums]]) -> Sums:
    """Return the sum of a product's shares (lot, sums) of a minute; marks, and the station's state, have no lot."""
    if len(shares) == 1:
        return shares[0][1]
    total = Sums(closed=all(sums.closed for _, sums in shares))
    for lot, sums in shares:
        add_delta(total, delta(sums, NOTHING))
        if lot is None:
            total.station_state = sums.station_state
    return total


def published(
    sums: Sums,
    window: str,
    start_us: int,
    end_us: int,
    state: WindowState,
    *,
    line: str,
    station: str,
    product: str,
    lot: str | None = None,
    shift: str | None = None,
) -> KpiWindow:
    """Return the window as it travels.

    `accepted` is what is accounted for: frames with an outcome and missing ones. It equals the frames ingest accepted
    in that time as soon as the window is closed.
    """
    return KpiWindow(
        window=window,
        start=instant(start_us),
        end=instant(end_us),
        line=line,
        station=station,
        product=product,
        lot=lot,
        shift=shift,
        revision=sums.revision,
        state=state,
        accepted=sums.frames + sums.skipped + sums.dead + sums.missing,
        defects=dict(sums.defects),
        deepest_um=sums.deepest_um,
        latency_buckets=dict(sums.latency_buckets),
        station_state=sums.station_state,
        **{name: getattr(sums, name) for name in (PUBLISHED_MEASURED if sums.measured else PUBLISHED)},
    )
