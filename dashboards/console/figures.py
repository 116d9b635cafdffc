"""Sums of KPI windows become rows to show, with the figures that `taktwatch.kpis` makes of them."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from dashboards.console.schema import (
    DriftOut,
    DriftsOut,
    KpiRow,
    KpisOut,
    LotsOut,
    ParetoOut,
    RateOut,
    RolledYieldOut,
    TrendOut,
    TrendPointOut,
)
from taktwatch.kpis import METRICS, Rate, metric
from taktwatch.records import KpiWindow
from taktwatch.store.reading import (
    Rolled,
    TrendPoint,
    drifts,
    lots,
    pareto_rows,
    roll_up,
    rolled_yields,
    total,
    totals,
    trend,
)

__all__ = ["drifts_out", "kpis_out", "lots_out", "pareto_out", "rate_out", "step_for", "trend_out"]

STEPS_S = (60, 300, 600, 1800, 3600, 14400, 86400)
MOST_POINTS = 24
"""Few enough that each point stands on many boards: a rate of thirty is mostly chance."""


def step_for(span: timedelta) -> int:
    """Return the finest step in seconds that shows a span in at most `MOST_POINTS` points.

    >>> step_for(timedelta(hours=1)), step_for(timedelta(hours=8)), step_for(timedelta(days=900))
    (300, 1800, 86400)
    """
    return next((step for step in STEPS_S if span / timedelta(seconds=step) <= MOST_POINTS), STEPS_S[-1])


def kpis_out(windows: Sequence[KpiWindow], window: str, step_s: int, since: datetime, until: datetime) -> KpisOut:
    """Show windows by step and station, by station, and all in all. Products of one station are taken together."""
    whole = total(windows)
    return KpisOut(
        window=window,
        step_s=step_s,
        since=since,
        until=until,
        rows=tuple(row_of(rolled) for rolled in roll_up(windows, timedelta(seconds=step_s))),
        stations=tuple(row_of(rolled) for rolled in totals(windows)),
        line=None if whole is None else row_of(whole),
        pareto=pareto_out(windows),
        rolled_throughput_yield=tuple(
            RolledYieldOut(product=found.product, stations=found.stations, figure=rate_out(found.rate))
            for found in rolled_yields(windows)
        ),
    )


def row_of(rolled: Rolled) -> KpiRow:
    """Return the row of a sum."""
    summed = rolled.window
    return KpiRow(
        step=rolled.step or summed.start,
        start=summed.start,
        end=summed.end,
        station=summed.station,
        product=summed.product,
        lot=summed.lot,
        state=str(summed.state),
        revision=summed.revision,
        windows=rolled.windows,
        accepted=summed.accepted,
        inspected=summed.inspected,
        passed=summed.passed,
        failed=summed.failed,
        review=summed.review,
        skipped=summed.skipped,
        dead=summed.dead,
        missing=summed.missing,
        late_or_repeat=summed.late_or_repeat,
        opportunities=summed.opportunities,
        defects=summed.defects,
        deepest_um=summed.deepest_um,
        surface_corrosion=summed.surface_corrosion,
        figures={name: rate_out(metric(summed, name)) for name in METRICS},
    )


def lots_out(windows: Sequence[KpiWindow], since: datetime, until: datetime) -> LotsOut:
    """Show one row a lot of each product at each station."""
    return LotsOut(since=since, until=until, rows=tuple(row_of(rolled) for rolled in lots(windows)))


def rate_out(rate: Rate) -> RateOut:
    """Return a figure with its n and interval."""
    return RateOut(value=rate.value, n=rate.n, low=rate.low, high=rate.high)


def pareto_out(windows: Sequence[KpiWindow]) -> tuple[ParetoOut, ...]:
    """Return the defect classes of all windows, the most frequent first."""
    return tuple(
        ParetoOut(
            label=row.label,
            count=row.count,
            share=row.share,
            cumulative=row.cumulative,
            per_board=rate_out(row.per_board),
        )
        for row in pareto_rows(windows)
    )


def drifts_out(
    windows: Sequence[KpiWindow], reference: Sequence[KpiWindow], step_s: int, span: tuple[datetime, datetime, datetime]
) -> DriftsOut:
    """Return score drift step by step; `span` is when the reference begins, and the range begins and ends."""
    reference_since, since, until = span
    return DriftsOut(
        step_s=step_s,
        since=since,
        until=until,
        reference_since=reference_since,
        series=tuple(
            DriftOut(
                station=found.station,
                product=found.product,
                reference=rate_out(found.reference),
                points=tuple(point_out(point) for point in found.points),
            )
            for found in drifts(windows, timedelta(seconds=step_s), reference)
        ),
    )


def point_out(point: TrendPoint) -> TrendPointOut:
    """Return a figure of one step."""
    return TrendPointOut(step=point.step, start=point.start, end=point.end, figure=rate_out(point.rate))


def trend_out(windows: Sequence[KpiWindow], name: str, step_s: int, since: datetime, until: datetime) -> TrendOut:
    """Return one figure step by step."""
    points = trend(windows, name, timedelta(seconds=step_s))
    return TrendOut(
        metric=name,
        step_s=step_s,
        since=since,
        until=until,
        points=tuple(point_out(point) for point in points),
    )
