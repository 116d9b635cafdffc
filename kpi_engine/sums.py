"""The integer sums of one share of a minute, and how counted pictures and boards change them.

A *share* is what one product and lot had of a station's minute; its name is the product's, with the lot where there is
one. Everything that is published is a sum of shares (`totals.py`).
"""

from math import floor, log2
from typing import TypeVar

import msgspec

from kpi_engine.slim import Result
from taktwatch.records import STRUCTURES, MarkState, Outcome, Verdict

__all__ = [
    "FAIL",
    "INSPECTED",
    "MINUTE_US",
    "PASS",
    "Sums",
    "add_board",
    "add_counts",
    "add_defects",
    "add_detections",
    "add_picture",
    "latency_bucket",
    "share_name",
    "share_parts",
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


def add_counts(total: dict[Name, int], changed: dict[Name, int]) -> None:
    """Add counts, negative ones too; names whose count is none then are left out."""
    for name, change in changed.items():
        count = total.get(name, 0) + change
        if count:
            total[name] = count
        else:
            total.pop(name, None)
