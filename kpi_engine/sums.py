"""The integer sums of one share of a minute, how counted pictures and boards change them, and how sums are added up.

A *share* is what one product and lot had of a station's minute; its name is the product's, with the lot where there is
one. Everything that is published is a sum of shares.
"""

from collections.abc import Sequence
from math import floor, log2
from operator import attrgetter
from typing import NamedTuple, TypeVar

import msgspec

from kpi_engine.slim import Result
from taktwatch.instants import instant
from taktwatch.kpis import MEASURED
from taktwatch.records import STRUCTURES, KpiWindow, MarkState, Outcome, Verdict, WindowState

__all__ = [
    "ADDED",
    "FAIL",
    "INSPECTED",
    "MINUTE_US",
    "PASS",
    "Delta",
    "Sums",
    "add_board",
    "add_counts",
    "add_delta",
    "add_detections",
    "add_picture",
    "delta",
    "gathered",
    "latency_bucket",
    "published",
    "share_name",
    "share_parts",
    "snapshot",
]

INSPECTED, PASS, FAIL = Outcome.INSPECTED, Verdict.PASS, Verdict.FAIL
MINUTE_US = 60_000_000

DEEPEST_UM = 100_000.0
"""Deeper than any layer is thick; squares of it still add up in 64 bits."""

BETWEEN = "\x1f"
"""Stands between product and lot in the name of a share."""

Name = TypeVar("Name", str, int)


class Sums(msgspec.Struct, array_like=True):
    """Sums still changing. Fields as in `KpiWindow`; `frames`: inspected pictures; `closed` as last published."""

    revision: int = 0
    closed: bool = False
    frames: int = 0
    inspected: int = 0
    passed: int = 0
    failed: int = 0
    review: int = 0
    skipped: int = 0
    dead: int = 0
    missing: int = 0
    late_or_repeat: int = 0
    first_pass: int = 0
    first_pass_passed: int = 0
    opportunities: int = 0
    defects: dict[str, int] = {}
    layer_um2: int = 0
    corroded_um2: int = 0
    deepest_um: int = 0
    surface_corrosion: int = 0
    latency_sum_us: int = 0
    latency_buckets: dict[int, int] = {}
    marks: int = 0
    station_state: MarkState = MarkState.OPEN
    layer_length_um: int = 0
    corroded_length_um: int = 0
    scored: int = 0
    score_sum_bp: int = 0
    score_squares_bp2: int = 0
    measured: int = 0
    extent_sum_bp: int = 0
    extent_squares_bp2: int = 0
    depth_sum_bp: int = 0
    depth_squares_bp2: int = 0
    depth_sum_100nm: int = 0
    depth_squares_100nm2: int = 0


NOTHING = Sums()


def latency_bucket(latency_us: int) -> int:
    """Key of the histogram bucket [2^(k/4), 2^((k+1)/4)) us; what is below 1 us goes to bucket 0.

    >>> latency_bucket(0), latency_bucket(1), latency_bucket(1023), latency_bucket(1024)
    (0, 0, 39, 40)
    """
    return floor(4 * log2(max(latency_us, 1)))


def share_name(product: str, lot: str | None) -> str:
    """Name the share of a product and lot.

    >>> share_parts(share_name("board", None)), share_parts(share_name("board", "L7"))
    (('board', None), ('board', 'L7'))
    """
    return product if lot is None else f"{product}{BETWEEN}{lot}"


def share_parts(share: str) -> tuple[str, str | None]:
    """Return product and lot of a share."""
    product, between, lot = share.partition(BETWEEN)
    return product, lot if between else None


def add_picture(sums: Sums, result: Result) -> None:
    """Count a picture that was not counted before: its outcome, and what is seen in it.

    What is seen in a piece of a panel its neighbours may show, too: that is counted with the board.
    """
    if result.outcome is not INSPECTED:
        if result.outcome is Outcome.SKIPPED:
            sums.skipped += 1
        else:
            sums.dead += 1
        return
    sums.frames += 1
    add_detections(sums, result)
    if result.layers:
        um2_per_px = result.um_per_px * result.um_per_px
        for layer in result.layers:
            sums.layer_um2 += round(layer.layer_px * um2_per_px)
            sums.corroded_um2 += round(layer.corroded_px * um2_per_px)
            sums.layer_length_um += round(layer.length_px * result.um_per_px)
            sums.corroded_length_um += round(layer.corroded_length_px * result.um_per_px)
            sums.deepest_um = max(sums.deepest_um, round(layer.deepest_um))
            sums.surface_corrosion += layer.surface
        add_measured(sums, result)


def add_detections(sums: Sums, result: Result) -> None:
    """Count what was found in a picture, and how sure the model was."""
    alone = result.tile is None
    for detection in result.detections:
        label = detection.label
        if label not in STRUCTURES:
            score_bp = round(detection.score * 10_000)
            sums.scored += 1
            sums.score_sum_bp += score_bp
            sums.score_squares_bp2 += score_bp * score_bp
            if alone:
                sums.defects[label] = sums.defects.get(label, 0) + 1


def add_measured(sums: Sums, result: Result) -> None:
    """Add how far corrosion reaches in a picture: its worst layer's area share and depth share, as the judge sees them.

    And its deepest corrosion. A share above 1, a depth above 10 cm (a layer that was measured wrongly) count as that.
    """
    extent_bp = round(10_000 * min(1.0, max(layer.corroded_area_share for layer in result.layers)))
    depth_bp = round(10_000 * min(1.0, max(layer.depth_share for layer in result.layers)))
    sums.measured += 1
    sums.extent_sum_bp += extent_bp
    sums.extent_squares_bp2 += extent_bp * extent_bp
    sums.depth_sum_bp += depth_bp
    sums.depth_squares_bp2 += depth_bp * depth_bp
    depth_100nm = round(10 * min(DEEPEST_UM, max(layer.deepest_um for layer in result.layers)))
    sums.depth_sum_100nm += depth_100nm
    sums.depth_squares_100nm2 += depth_100nm * depth_100nm


def add_board(sums: Sums, verdict: Verdict | None, opportunities: int, latency_us: int, boards: int = 1) -> None:
    """Count a board (`boards` 1) or take one back (-1). First passes are counted apart: they depend on other visits."""
    sums.inspected += boards
    if verdict is PASS:
        sums.passed += boards
    elif verdict is Verdict.FAIL:
        sums.failed += boards
    else:
        sums.review += boards
    sums.opportunities += boards * opportunities
    sums.latency_sum_us += boards * latency_us
    bucket = latency_bucket(latency_us)
    left = sums.latency_buckets.get(bucket, 0) + boards
    if left:
        sums.latency_buckets[bucket] = left
    else:
        del sums.latency_buckets[bucket]


def add_defects(sums: Sums, defects: dict[str, int], boards: int = 1) -> None:
    """Count a panel's defects by class (`boards` 1) or take them back (-1)."""
    add_counts(sums.defects, {name: boards * count for name, count in defects.items()})


ADDED = (
    "frames",
    "inspected",
    "passed",
    "failed",
    "review",
    "skipped",
    "dead",
    "missing",
    "late_or_repeat",
    "first_pass",
    "first_pass_passed",
    "opportunities",
    "layer_um2",
    "corroded_um2",
    "surface_corrosion",
    "latency_sum_us",
    "marks",
    "layer_length_um",
    "corroded_length_um",
    "scored",
    "score_sum_bp",
    "score_squares_bp2",
)
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


def add_counts(total: dict[Name, int], changed: dict[Name, int]) -> None:
    """Add counts, negative ones too; names whose count is none then are left out."""
    for name, change in changed.items():
        count = total.get(name, 0) + change
        if count:
            total[name] = count
        else:
            total.pop(name, None)


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
