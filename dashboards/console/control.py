"""The route that answers with control charts: points, limits and signals as the store holds them."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from dashboards.console.context import Here
from dashboards.console.schema import Answer, ErrorOut
from dashboards.console.view import line_clock
from taktwatch import clock
from taktwatch.config import LineConfig
from taktwatch.records import ControlPoint
from taktwatch.store import SpcQuery

__all__ = ["ControlChartOut", "ControlChartsOut", "ControlPointOut", "charts_out", "router"]

WEEK_MINUTES = 7 * 24 * 60
MINUTE = timedelta(minutes=1)
LEARNING = "run"


class ControlPointOut(Answer):
    """A subgroup as it is drawn: `phase` 1 while limits are being learnt, 2 where it is judged by some."""

    start: datetime
    end: datetime
    phase: int
    amount: int
    n: int
    value: float | None
    centre: float | None
    lower: float | None
    upper: float | None
    signals: tuple[str, ...]
    baseline_id: str
    revision: int


class ControlChartOut(Answer):
    """One chart of one figure of one product at a station; `collected` of `wanted` subgroups while it has no limits."""

    station: str
    product: str
    metric: str
    chart: str
    panel: str
    limits: bool = Field(description="whether the newest point is judged by limits")
    collected: int
    wanted: int
    points: tuple[ControlPointOut, ...]


class ControlChartsOut(Answer):
    """Charts in the order of line.toml."""

    since: datetime
    until: datetime
    charts: tuple[ControlChartOut, ...]


router = APIRouter(
    prefix="/v1",
    tags=["kpis"],
    responses={401: {"model": ErrorOut}, 422: {"model": ErrorOut}, 503: {"model": ErrorOut}},
)


@router.get("/control-chart")
async def control_chart(
    *,
    console: Here,
    station: str | None = None,
    product: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    minutes: Annotated[int, Query(ge=1, le=60 * 24 * 366, description="how far back, without `since`")] = WEEK_MINUTES,
    limit: Annotated[int, Query(ge=1, le=2000, description="newest subgroups of each chart")] = 60,
) -> ControlChartsOut:
    """Give the control charts: values, centre, limits, and signals in words."""
    live = console.live
    until = until or line_clock(live.view, clock.now()) + MINUTE
    since = since or until - timedelta(minutes=minutes)
    query = SpcQuery(since, until, live.config.line, station, product, live.config.spc.metric)
    points = await console.store.read_points(query) if since < until else []
    return ControlChartsOut(
        since=since, until=until, charts=charts_out(points, live.config, station=station, product=product, limit=limit)
    )


def charts_out(
    points: Sequence[ControlPoint], config: LineConfig, *, station: str | None, product: str | None, limit: int
) -> tuple[ControlChartOut, ...]:
    """Put points, in order of time, on their charts; a station of line.toml without points has an empty one.

    Points of phase I belong to every chart of their place: they are what its limits come from.
    """
    learning: defaultdict[tuple[str, str], list[ControlPoint]] = defaultdict(list)
    judged: defaultdict[tuple[str, str], dict[tuple[str, str], list[ControlPoint]]] = defaultdict(dict)
    for one in config.stations:
        if station in (None, one.name) and product in (None, one.product):
            judged[one.name, one.product] = {}
    for point in points:
        place = (point.station, point.product)
        own = judged[place]
        if point.chart == LEARNING:
            learning[place].append(point)
        else:
            own.setdefault((point.chart, point.panel), []).append(point)
    return tuple(
        chart_out(place, name, sorted(learning[place] + drawn, key=lambda point: point.start)[-limit:], config)
        for place, charts in judged.items()
        for name, drawn in (charts or {(LEARNING, ""): []}).items()
    )


def chart_out(
    place: tuple[str, str], name: tuple[str, str], points: Sequence[ControlPoint], config: LineConfig
) -> ControlChartOut:
    """Return one chart."""
    newest = points[-1] if points else None
    return ControlChartOut(
        station=place[0],
        product=place[1],
        metric=config.spc.metric,
        chart=name[0],
        panel=name[1],
        limits=newest is not None and newest.chart != LEARNING,
        collected=newest.collected if newest else 0,
        wanted=(newest.wanted if newest else 0) or config.spc.phase1_subgroups,
        points=tuple(point_out(point) for point in points),
    )


def point_out(point: ControlPoint) -> ControlPointOut:
    """Return a point as it is answered."""
    return ControlPointOut(
        start=point.start,
        end=point.end,
        phase=1 if point.chart == LEARNING else 2,
        amount=point.amount,
        n=point.n,
        value=point.value,
        centre=point.centre,
        lower=point.lower,
        upper=point.upper,
        signals=point.signals,
        baseline_id=point.baseline_id,
        revision=point.revision,
    )
