"""KPI windows written and queried: one protocol, two backends (`sqlite`, `influx`), equal answers.

Everything that shows a number reads it here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from taktwatch.records import ControlPoint, KpiWindow, ReviewWindow

__all__ = ["KpiQuery", "KpiStore", "ReviewQuery", "SpcQuery", "StoreState"]


@dataclass(frozen=True)
class KpiQuery:
    """Which windows: of one kind, starting in [since, until); None in a field means all.

    All stations and products include the sums over them, which are named "*": hours, shifts and lots have such.
    """

    window: str
    since: datetime
    until: datetime
    line: str | None = None
    station: str | None = None
    product: str | None = None
    lot: str | None = None


@dataclass(frozen=True)
class StoreState:
    """What lies at a store's address.

    `exists`: `prepare` was called some time; `retention`: how long it keeps windows, None for ever; `clock`: the
    server's own time to the second, None for a file.
    """

    exists: bool
    retention: timedelta | None
    clock: datetime | None = None


@dataclass(frozen=True)
class SpcQuery:
    """Which points of control charts: of subgroups starting in [since, until); None in a field means all."""

    since: datetime
    until: datetime
    line: str | None = None
    station: str | None = None
    product: str | None = None
    metric: str | None = None


@dataclass(frozen=True)
class ReviewQuery:
    """Which minutes of reviews: starting in [since, until); None in a field means all."""

    since: datetime
    until: datetime
    line: str | None = None
    station: str | None = None
    product: str | None = None


class KpiStore(Protocol):
    """Where KPI windows rest. Every method raises `BackendUnavailable` when the backend does not answer."""

    async def prepare(self) -> None:
        """Create what is missing (tables, bucket); safe to repeat."""

    async def write(self, windows: Sequence[KpiWindow]) -> None:
        """Write windows, durable on return; writing the same again changes nothing.

        Of one window the newest written wins on InfluxDB, the highest (revision, state) on SQLite; callers write in log
        order of the kpis topic, so the two agree. Raises `BadRecord` naming the window that the backend refuses.
        """

    async def read(self, query: KpiQuery) -> list[KpiWindow]:
        """Return windows ordered by start, line, station, product, lot."""

    async def state(self) -> StoreState:
        """Say what is there, changing nothing. Raises `ConfigError` where we may not read and write."""

    async def write_points(self, points: Sequence[ControlPoint]) -> None:
        """Write points of control charts; as `write` in every respect."""

    async def read_points(self, query: SpcQuery) -> list[ControlPoint]:
        """Return points ordered by start, line, station, product, metric, chart, panel."""

    async def write_reviews(self, windows: Sequence[ReviewWindow]) -> None:
        """Write minutes of reviews; as `write` in every respect."""

    async def read_reviews(self, query: ReviewQuery) -> list[ReviewWindow]:
        """Return minutes of reviews ordered by start, line, station, product."""

    async def close(self) -> None:
        """Release connections and files."""
