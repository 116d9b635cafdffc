"""The integer sums of one window, and how one counted result changes them."""

from datetime import UTC, datetime, timedelta
from math import floor, log2

import msgspec

from kpi_engine.slim import Result
from taktwatch.records import KpiWindow, MarkState, Outcome, Verdict, WindowState

__all__ = ["MINUTE_US", "STRUCTURES", "Sums", "add", "instant", "latency_bucket", "microseconds", "published"]

MINUTE_US = 60_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

STRUCTURES = frozenset({"copper_layer"})
"""Classes that name what is looked at, not what is wrong with it: no defects."""


class Sums(msgspec.Struct, array_like=True):
    """One station's and product's minute, still changing. Fields as in `KpiWindow`; `closed` as last published."""

    revision: int = 0
    closed: bool = False
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


def microseconds(time: datetime) -> int:
    """Microseconds since 1970 of an aware time.

    >>> microseconds(datetime(1970, 1, 1, 0, 1, 0, 5, tzinfo=UTC))
    60000005
    """
    return round(time.timestamp() * 1_000_000)


def instant(us: int) -> datetime:
    """Return the time so many microseconds after 1970, UTC.

    >>> instant(60_000_005).isoformat()
    '1970-01-01T00:01:00.000005+00:00'
    """
    return EPOCH + timedelta(microseconds=us)


def latency_bucket(latency_us: int) -> int:
    """Key of the histogram bucket [2^(k/4), 2^((k+1)/4)) us; what is below 1 us goes to bucket 0.

    >>> latency_bucket(0), latency_bucket(1), latency_bucket(1023), latency_bucket(1024)
    (0, 0, 39, 40)
    """
    return floor(4 * log2(max(latency_us, 1)))


def add(sums: Sums, result: Result) -> None:
    """Count a result that was not counted before. First passes are counted apart: they depend on other visits."""
    if result.outcome is Outcome.SKIPPED:
        sums.skipped += 1
        return
    if result.outcome is Outcome.DEAD:
        sums.dead += 1
        return
    sums.inspected += 1
    if result.verdict is Verdict.PASS:
        sums.passed += 1
    elif result.verdict is Verdict.FAIL:
        sums.failed += 1
    else:
        sums.review += 1
    sums.opportunities += result.opportunities
    for detection in result.detections:
        if detection.label not in STRUCTURES:
            sums.defects[detection.label] = sums.defects.get(detection.label, 0) + 1
    um2_per_px = result.um_per_px * result.um_per_px
    for layer in result.layers:
        sums.layer_um2 += round(layer.layer_px * um2_per_px)
        sums.corroded_um2 += round(layer.corroded_px * um2_per_px)
        sums.deepest_um = max(sums.deepest_um, round(layer.deepest_um))
        sums.surface_corrosion += layer.surface
    latency_us = max(0, (result.inspected_at - result.received_at) // MICROSECOND)
    sums.latency_sum_us += latency_us
    bucket = latency_bucket(latency_us)
    sums.latency_buckets[bucket] = sums.latency_buckets.get(bucket, 0) + 1


def published(sums: Sums, minute: int, state: WindowState, *, line: str, station: str, product: str) -> KpiWindow:
    """Return the window as it travels; `minute` counts from 1970.

    `accepted` is what is accounted for: frames with an outcome and missing ones. It equals the frames ingest accepted
    in that minute as soon as the window is closed.
    """
    fields = msgspec.structs.asdict(sums)
    del fields["closed"]
    return KpiWindow(
        window="1m",
        start=instant(minute * MINUTE_US),
        end=instant((minute + 1) * MINUTE_US),
        line=line,
        station=station,
        product=product,
        state=state,
        accepted=sums.inspected + sums.skipped + sums.dead + sums.missing,
        **{**fields, "defects": dict(sums.defects), "latency_buckets": dict(sums.latency_buckets)},
    )
