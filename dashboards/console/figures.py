"""KPI windows become rows to show: added up to steps of time, with the figures that `taktwatch.kpis` makes of them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from dashboards.console.schema import KpiRow, KpisOut, RateOut
from taktwatch.kpis import METRICS, merge, metric
from taktwatch.records import KpiWindow

__all__ = ["floor_time", "kpis_out", "step_for"]

STEPS_S = (60, 300, 600, 1800, 3600, 14400, 86400)
MOST_POINTS = 24
"""Few enough that each point stands on many boards: a rate of thirty is mostly chance."""


def step_for(span: timedelta) -> int:
    """Return the finest step in seconds that shows a span in at most `MOST_POINTS` points.

    >>> step_for(timedelta(hours=1)), step_for(timedelta(hours=8)), step_for(timedelta(days=900))
    (300, 1800, 86400)
    """
    return next((step for step in STEPS_S if span / timedelta(seconds=step) <= MOST_POINTS), STEPS_S[-1])


def floor_time(time: datetime, step_s: int) -> datetime:
    """Return the start of the step that a time lies in; steps are counted from 1970 in UTC.

    >>> floor_time(datetime(2026, 3, 3, 12, 7, 9, tzinfo=UTC), 300).isoformat()
    '2026-03-03T12:05:00+00:00'
    """
    return datetime.fromtimestamp(time.timestamp() // step_s * step_s, tz=UTC)


def kpis_out(windows: Sequence[KpiWindow], window: str, step_s: int, since: datetime, until: datetime) -> KpisOut:
    """Add windows up by step and station, by station, and all in all. Products of one station are taken together."""
    steps: defaultdict[tuple[datetime, str], list[KpiWindow]] = defaultdict(list)
    stations: defaultdict[str, list[KpiWindow]] = defaultdict(list)
    for part in windows:
        steps[floor_time(part.start, step_s), part.station].append(part)
        stations[part.station].append(part)
    return KpisOut(
        window=window,
        step_s=step_s,
        since=since,
        until=until,
        rows=tuple(row for (step, _), parts in sorted(steps.items()) for row in rows_of(parts, step)),
        stations=tuple(row for _, parts in sorted(stations.items()) for row in rows_of(parts)),
        line=next(iter(rows_of(windows)), None),
    )


def rows_of(parts: Iterable[KpiWindow], step: datetime | None = None) -> list[KpiRow]:
    """Return the one row of these windows, or none where there are none."""
    parts = list(parts)
    total = merge(parts)
    if total is None:
        return []
    row = KpiRow(
        step=step or total.start,
        start=total.start,
        end=total.end,
        station=total.station,
        product=total.product,
        state=str(total.state),
        revision=total.revision,
        windows=len(parts),
        accepted=total.accepted,
        inspected=total.inspected,
        passed=total.passed,
        failed=total.failed,
        review=total.review,
        skipped=total.skipped,
        dead=total.dead,
        missing=total.missing,
        late_or_repeat=total.late_or_repeat,
        opportunities=total.opportunities,
        defects=total.defects,
        deepest_um=total.deepest_um,
        surface_corrosion=total.surface_corrosion,
        figures={name: RateOut.model_validate(metric(total, name), from_attributes=True) for name in METRICS},
    )
    return [row]
