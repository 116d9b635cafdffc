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
from taktwatch.capability import Capability, Index, capability_of_points
from taktwatch.config import LineConfig
from taktwatch.records import ControlPoint
from taktwatch.store import SpcQuery

__all__ = [
    "CapabilityOut",
    "ControlChartOut",
    "ControlChartsOut",
    "ControlPointOut",
    "IndexOut",
    "charts_out",
    "router",
]

WEEK_MINUTES = 7 * 24 * 60
MINUTE = timedelta(minutes=1)
LEARNING = "run"
SECOND = frozenset({"deviation", "range"})
"""Panels of spreads: while limits are learnt there are none."""


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


class IndexOut(Answer):
    """A capability index with its 95 % interval."""

    value: float
    low: float
    high: float


class CapabilityOut(Answer):
    """How well the subgroups shown fit below the product's limit, each `limit` a share 0 to 1; n: values they hold.

    Cpk with sigma within subgroups (or of the moving range), Ppk with sigma over all. 1.33 is commonly asked for.
    """

    limit: float
    n: int
    mean: float
    cpk: IndexOut
    ppk: IndexOut


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
    capability: CapabilityOut | None = Field(description="of measured figures, where there is enough that varies")
    points: tuple[ControlPointOut, ...]


class ControlChartsOut(Answer):
    """Charts in the order of line.toml."""

    since: datetime
    until: datetime
    charts: tuple[ControlChartOut, ...]


Place = tuple[str, str, str]
"""Station, product, figure."""

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
    metric: Annotated[str | None, Query(description="one of spc.metrics; default: all of them")] = None,
    since: datetime | None = None,
    until: datetime | None = None,
    minutes: Annotated[int, Query(ge=1, le=60 * 24 * 366, description="how far back, without `since`")] = WEEK_MINUTES,
    limit: Annotated[int, Query(ge=1, le=2000, description="newest subgroups of each chart")] = 60,
) -> ControlChartsOut:
    """Give the control charts: values, centre, limits, and signals in words."""
    live = console.live
    until = until or line_clock(live.view, clock.now()) + MINUTE
    since = since or until - timedelta(minutes=minutes)
    query = SpcQuery(since, until, live.config.line, station, product, metric)
    found = await console.store.read_points(query) if since < until else []
    points = [point for point in found if point.metric in live.config.spc.metrics]
    return ControlChartsOut(
        since=since, until=until, charts=charts_out(points, live.config, station=station, product=product, limit=limit)
    )


def charts_out(
    points: Sequence[ControlPoint], config: LineConfig, *, station: str | None, product: str | None, limit: int
) -> tuple[ControlChartOut, ...]:
    """Put points, in order of time, on their charts; a station of line.toml without points has an empty one.

    Of measured figures means come before what they vary by.

    Points of phase I belong to every chart of their figure: they are what its limits come from.
    """
    learning: defaultdict[Place, list[ControlPoint]] = defaultdict(list)
    judged: defaultdict[Place, dict[tuple[str, str], list[ControlPoint]]] = defaultdict(dict)
    for one in config.stations:
        if station in (None, one.name) and product in (None, one.product):
            judged[one.name, one.product, config.spc.metrics[0]] = {}
    for point in points:
        place = (point.station, point.product, point.metric)
        own = judged[place]
        if point.chart == LEARNING:
            learning[place].append(point)
        else:
            own.setdefault((point.chart, point.panel), []).append(point)
    return tuple(
        chart_out(place, name, newest(learning[place] if name[1] not in SECOND else [], drawn, limit), config)
        for place, charts in judged.items()
        for name, drawn in sorted((charts or {(LEARNING, ""): []}).items(), key=lambda one: one[0][1] in SECOND)
    )


def newest(learning: list[ControlPoint], drawn: list[ControlPoint], limit: int) -> list[ControlPoint]:
    """Return the newest points in order of time."""
    return sorted(learning + drawn, key=lambda point: point.start)[-limit:]


def chart_out(
    place: Place, name: tuple[str, str], points: Sequence[ControlPoint], config: LineConfig
) -> ControlChartOut:
    """Return one chart."""
    newest = points[-1] if points else None
    return ControlChartOut(
        station=place[0],
        product=place[1],
        metric=place[2],
        chart=name[0],
        panel=name[1],
        limits=newest is not None and newest.chart != LEARNING,
        collected=newest.collected if newest else 0,
        wanted=(newest.wanted if newest else 0) or config.spc.phase1_subgroups,
        capability=None if name[1] in SECOND else capability_out(place, points, config),
        points=tuple(point_out(point) for point in points),
    )


def capability_out(place: Place, points: Sequence[ControlPoint], config: LineConfig) -> CapabilityOut | None:
    """Judge what was measured by the product's limit; None for other figures, and products line.toml knows no more."""
    product = config.products.get(place[1])
    limit = None if product is None else product.upper_limit(place[2])
    if limit is None:
        return None
    found: Capability | None = capability_of_points(points, limit, single=config.spc.sections == 1)
    if found is None:
        return None
    return CapabilityOut(limit=limit, n=found.n, mean=found.mean, cpk=index_out(found.cpk), ppk=index_out(found.ppk))


def index_out(index: Index) -> IndexOut:
    """Return an index with its interval."""
    return IndexOut(value=index.value, low=index.low, high=index.high)


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
