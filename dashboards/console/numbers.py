"""The routes that answer with figures: every number comes from the KPI store, read by `taktwatch.store.reading`."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query
from pydantic import AfterValidator

from dashboards.console.context import Context, Here
from dashboards.console.figures import drifts_out, kpis_out, lots_out, pareto_out, step_for, trend_out
from dashboards.console.schema import DriftsOut, ErrorOut, KpisOut, LotsOut, ParetosOut, TrendOut
from dashboards.console.view import line_clock
from taktwatch import clock
from taktwatch.kpis import METRICS
from taktwatch.records import KpiWindow
from taktwatch.store import KpiQuery
from taktwatch.store.reading import floor_time, read_parts

__all__ = ["router"]

MOST_WINDOWS = 20_000
MINUTE = timedelta(minutes=1)


def known(name: str) -> str:
    """Refuse a figure that there is none of."""
    if name not in METRICS:
        raise ValueError(f"no figure {name!r}; choose from {', '.join(sorted(METRICS))}")
    return name


Metric = Annotated[
    str,
    AfterValidator(known),
    Query(description="a name of docs/kpis.md", json_schema_extra={"enum": sorted(METRICS)}),
]

router = APIRouter(
    prefix="/v1/kpis",
    tags=["kpis"],
    responses={401: {"model": ErrorOut}, 422: {"model": ErrorOut}, 503: {"model": ErrorOut}},
)


@dataclass(frozen=True)
class Asked:
    """Which windows a question is about, and how coarse the answer may be; `step_s` None: as fine as fits."""

    query: KpiQuery
    step_s: int | None

    async def windows(self, console: Context) -> list[KpiWindow]:
        """Read them."""
        return await read_parts(console.store, self.query)

    def step(self, windows: list[KpiWindow]) -> int:
        """Return the step asked for, or one that suits the windows there are."""
        if self.step_s is not None:
            return self.step_s
        return step_for(self.query.until - min((part.start for part in windows), default=self.query.since))


async def asked(
    *,
    console: Here,
    since: datetime | None = None,
    until: datetime | None = None,
    minutes: Annotated[int, Query(ge=1, le=60 * 24 * 366, description="how far back, where `since` is not given")] = 60,
    station: str | None = None,
    product: str | None = None,
    window: Annotated[str, Query(pattern="^[a-z0-9]{1,16}$")] = "1m",
    step_s: Annotated[
        int | None,
        Query(ge=60, le=31 * 86400, description="add windows up to steps; default: as fine as what there is allows"),
    ] = None,
) -> Asked:
    """Make a query of a range in event time. Raises 422 in words for one that makes no sense."""
    live = console.live
    until = until or floor_time(line_clock(live.view, clock.now()), MINUTE) + MINUTE
    since = since or until - timedelta(minutes=minutes)
    if since.tzinfo is None or until.tzinfo is None:
        raise HTTPException(422, "since and until want a time zone, as in 2026-03-03T12:00:00Z")
    if since >= until:
        raise HTTPException(422, f"since ({since.isoformat()}) must be before until ({until.isoformat()})")
    if window == "1m" and (until - since) / MINUTE > MOST_WINDOWS:
        raise HTTPException(422, f"more than {MOST_WINDOWS} one-minute windows; ask for a shorter range")
    since = floor_time(since, timedelta(seconds=step_s or step_for(until - since)))
    query = KpiQuery(window=window, since=since, until=until, line=live.config.line, station=station, product=product)
    return Asked(query, step_s)


Question = Annotated[Asked, Depends(asked)]


@router.get("")
async def kpis(console: Here, question: Question) -> KpisOut:
    """Give KPI windows from the store, added up to steps, with every figure, its n and its interval.

    `until` defaults to the line's own clock. Ranges with more than 20,000 minutes are refused.
    """
    windows = await question.windows(console)
    query = question.query
    return kpis_out(windows, query.window, question.step(windows), query.since, query.until)


@router.get("/pareto")
async def pareto(console: Here, question: Question) -> ParetosOut:
    """Give the defect classes of a range, the most frequent first."""
    windows = await question.windows(console)
    return ParetosOut(since=question.query.since, until=question.query.until, classes=pareto_out(windows))


@router.get("/lots")
async def lots(
    *,
    console: Here,
    since: datetime | None = None,
    until: datetime | None = None,
    minutes: Annotated[int, Query(ge=1, le=60 * 24 * 366, description="how far back, without `since`")] = 10_080,
    station: str | None = None,
    product: str | None = None,
    lot: str | None = None,
) -> LotsOut:
    """Give one row for each lot of a range, with every figure; its windows, cut by the hour, are added up."""
    question = await asked(
        console=console,
        since=since,
        until=until,
        minutes=minutes,
        station=station,
        product=product,
        window="lot",
        step_s=3600,
    )
    query = replace(question.query, lot=lot)
    return lots_out(await read_parts(console.store, query), query.since, query.until)


@router.get("/drift")
async def drift(
    console: Here,
    question: Question,
    reference_hours: Annotated[int, Query(ge=1, le=24 * 366, description="how long before the range")] = 168,
) -> DriftsOut:
    """Give the score drift of each product at each station step by step, against the time right before the range.

    The reference is read as hours where the line keeps roll-ups of hours, else as minutes.
    """
    windows = await question.windows(console)
    query = question.query
    hourly = "1h" in console.live.config.kpi.roll_ups
    before = replace(
        query,
        window="1h" if hourly else "1m",
        since=query.since - timedelta(hours=reference_hours),
        until=floor_time(query.since, timedelta(hours=1)) if hourly else query.since,
    )
    reference = await read_parts(console.store, before)
    return drifts_out(windows, reference, question.step(windows), (before.since, query.since, query.until))


@router.get("/trend")
async def trend(console: Here, question: Question, metric: Metric = "defect_rate") -> TrendOut:
    """Give one figure step by step, each with its n and interval."""
    windows = await question.windows(console)
    query = question.query
    return trend_out(windows, metric, question.step(windows), query.since, query.until)
