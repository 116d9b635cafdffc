"""KPI windows in InfluxDB 2: written in synchronous batches of line protocol, read back by Flux."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import msgspec
import structlog
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException
from influxdb_client.service.write_service import WriteService
from urllib3.exceptions import HTTPError

from taktwatch.errors import BackendUnavailable, BadRecord, ConfigError
from taktwatch.instants import EPOCH, MICROSECOND
from taktwatch.records import ControlPoint, KpiWindow, ReviewWindow
from taktwatch.store import KpiQuery, KpiStore, ReviewQuery, SpcQuery, StoreState
from taktwatch.store.influx_points import bare, flux_string, lines, untag, window_in
from taktwatch.store.influx_reviews import minute_in, review_line
from taktwatch.store.influx_spc import point_in, spc_line

__all__ = ["Account", "InfluxKpiStore", "account_from"]

TIMEOUT_MS = 10_000
WRITE_WINDOWS = 1000
SHORTEST_RETENTION = timedelta(hours=1)
"""InfluxDB answers 500 to less."""

UNAUTHORIZED, FORBIDDEN, NOT_FOUND, TOO_MANY, SERVER_ERROR = 401, 403, 404, 429, 500

T = TypeVar("T")

Query = KpiQuery | SpcQuery | ReviewQuery

log = structlog.get_logger()


@dataclass(frozen=True)
class Account:
    """Where in an InfluxDB windows go, and the token that may write there."""

    org: str
    bucket: str
    token: str

    def __repr__(self) -> str:
        """Leave the token out of logs."""
        return f"Account(org={self.org!r}, bucket={self.bucket!r})"


def account_from(environ: Mapping[str, str]) -> Account:
    """Read the account from INFLUX_ORG, INFLUX_BUCKET and INFLUX_TOKEN. Raises `ConfigError` naming what is missing."""
    missing = [name for name in ("INFLUX_ORG", "INFLUX_BUCKET", "INFLUX_TOKEN") if not environ.get(name)]
    if missing:
        raise ConfigError(f"kpis: InfluxDB wants {', '.join(missing)} in the environment")
    return Account(environ["INFLUX_ORG"], environ["INFLUX_BUCKET"], environ["INFLUX_TOKEN"])


class InfluxKpiStore(KpiStore):
    """Windows in a bucket. `prepare` creates the bucket, with `retention`, where it is missing and the token may."""

    def __init__(self, url: str, account: Account, *, retention: timedelta | None = None) -> None:
        self.url = url
        self.account = account
        self.retention = retention
        # Any: the client is only half typed. Not in gzip: packing took half of what a write costs the KPI engine.
        self._client: Any = InfluxDBClient(url, token=account.token, org=account.org, timeout=TIMEOUT_MS)
        self._write_api: Any = self._client.write_api(write_options=SYNCHRONOUS)
        self._query_api = self._client.query_api()
        self._classes: dict[str, set[str]] = {}
        """By product: classes that some window of it has a point of."""

    async def prepare(self) -> None:
        """Create the bucket where it is missing. Raises `ConfigError` where the token may not."""
        await self._in_thread(self._create_bucket)

    async def write(self, windows: Sequence[KpiWindow]) -> None:
        """See `KpiStore.write`; of one window the newest written wins."""
        for first in range(0, len(windows), WRITE_WINDOWS):
            await self._in_thread(self._write_windows, windows[first : first + WRITE_WINDOWS])

    async def read(self, query: KpiQuery) -> list[KpiWindow]:
        """See `KpiStore.read`."""
        if query.since >= query.until:
            return []
        found = whole(await self._rows("kpi", query, ("window", "line", "station", "product", "lot")), window_in)
        return sorted(
            found, key=lambda window: (window.start, window.line, window.station, window.product, window.lot or "")
        )

    async def state(self) -> StoreState:
        """See `KpiStore.state`; an empty write and a query of nothing show what the token may."""
        found = await self._in_thread(self._bucket)
        if found is None:
            return StoreState(exists=False, retention=self.retention)
        clock = await self._in_thread(self._write_nothing)
        await self.read(KpiQuery("1m", EPOCH, EPOCH + MICROSECOND))
        seconds = next((rule.every_seconds for rule in found.retention_rules if rule.type == "expire"), 0)
        return StoreState(exists=True, retention=timedelta(seconds=seconds) if seconds else None, clock=clock)

    async def write_points(self, points: Sequence[ControlPoint]) -> None:
        """See `KpiStore.write_points`."""
        for first in range(0, len(points), WRITE_WINDOWS):
            await self._in_thread(self._write, [spc_line(point) for point in points[first : first + WRITE_WINDOWS]])

    async def read_points(self, query: SpcQuery) -> list[ControlPoint]:
        """See `KpiStore.read_points`."""
        if query.since >= query.until:
            return []
        rows = await self._rows("spc", query, ("line", "station", "product", "metric"))
        return sorted((point_in(row) for row in rows), key=place_of)

    async def write_reviews(self, windows: Sequence[ReviewWindow]) -> None:
        """See `KpiStore.write_reviews`."""
        for first in range(0, len(windows), WRITE_WINDOWS):
            await self._in_thread(self._write, [review_line(one) for one in windows[first : first + WRITE_WINDOWS]])

    async def read_reviews(self, query: ReviewQuery) -> list[ReviewWindow]:
        """See `KpiStore.read_reviews`."""
        if query.since >= query.until:
            return []
        found = whole(await self._rows("review", query, ("line", "station", "product")), minute_in)
        return sorted(found, key=lambda window: (window.start, window.line, window.station, window.product))

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.to_thread(self._close)

    def _bucket(self) -> Any:
        return self._client.buckets_api().find_bucket_by_name(self.account.bucket)

    def _write_nothing(self) -> datetime:
        """Write a comment: it leaves nothing behind and is refused as a point would be. Return the server's time."""
        service: Any = WriteService(self._client.api_client)  # type: ignore[no-untyped-call]  # the client is half typed
        _, _, headers = service.post_write_with_http_info(
            org=self.account.org, bucket=self.account.bucket, body="#", _return_http_data_only=False
        )
        return parsedate_to_datetime(headers["Date"])

    def _create_bucket(self) -> None:
        if self._bucket() is not None:
            return
        buckets = self._client.buckets_api()
        seconds = 0 if self.retention is None else int(max(self.retention, SHORTEST_RETENTION).total_seconds())
        rules = [{"type": "expire", "everySeconds": seconds}]
        try:
            buckets.create_bucket(bucket_name=self.account.bucket, org=self.account.org, retention_rules=rules)
        except ApiException:
            if self._bucket() is None:  # else somebody, another sink perhaps, was faster
                raise

    def _write_windows(self, windows: Sequence[KpiWindow]) -> None:
        batch: list[str] = []
        for window in windows:
            known = self._known(window.product)
            batch += lines(window, known)
            known |= window.defects.keys()
        self._write(batch)

    def _known(self, product: str) -> set[str]:
        """Return the classes that windows of a product may have points of, whoever wrote them."""
        known = self._classes.get(product)
        if known is None:
            tables = self._query_api.query(class_flux(self.account.bucket, product))
            known = {untag(record.values["_value"]) for table in tables for record in table.records}
            self._classes[product] = known
        return known

    def _write(self, batch: list[str]) -> None:
        self._write_api.write(bucket=self.account.bucket, record=batch)

    def _close(self) -> None:
        self._write_api.close()
        self._client.close()

    async def _rows(self, measurement: str, query: Query, tags: Sequence[str]) -> list[Mapping[str, Any]]:
        """Return the points of a query, one row each, fields as columns."""
        tables = await self._in_thread(self._query_api.query, flux(self.account.bucket, measurement, query, tags))
        return [record.values for table in tables for record in table.records]

    async def _in_thread(self, call: Callable[..., T], *args: object) -> T:
        try:
            return await asyncio.to_thread(call, *args)
        except ApiException as error:
            raise self._explained(error) from error
        except (HTTPError, OSError) as error:
            raise BackendUnavailable(f"InfluxDB at {self.url} does not answer; is it running? ({error})") from error

    def _explained(self, error: ApiException) -> Exception:
        """Return our error for an answer of InfluxDB."""
        said = f"InfluxDB at {self.url} answered {error.status}: {str(error.body or error.reason)[:300]}"
        match error.status:
            case status if status in {UNAUTHORIZED, FORBIDDEN}:
                return ConfigError(f"{said}; does INFLUX_TOKEN may write to bucket {self.account.bucket!r}?")
            case status if status == NOT_FOUND:
                return ConfigError(
                    f"{said}; check INFLUX_ORG ({self.account.org!r}) and INFLUX_BUCKET ({self.account.bucket!r})"
                )
            case status if status is None or status == TOO_MANY or status >= SERVER_ERROR:
                return BackendUnavailable(said, retry_after_s=retry_after_s(error.headers or {}))
            case _:
                return BadRecord(said)


def whole(rows: Iterable[Mapping[str, Any]], read: Callable[[Mapping[str, Any]], T]) -> list[T]:
    """Return the windows that `read` makes of complete points; others are logged and left out, so that they hide none.

    A point lacks fields where somebody else wrote it, and where InfluxDB refused a field because another type of it was
    known, and kept the others.
    """
    found, refused = [], []
    for row in rows:
        try:
            found.append(read(row))
        except (KeyError, TypeError, ValueError, msgspec.MsgspecError) as error:
            refused.append(f"{row.get('line')}/{row.get('station')} at {row.get('_time')}: {error!r}")
    if refused:
        log.warning("incomplete points left out", points=len(refused), first=refused[0])
    return found


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Return how long a server asks to be left alone; 0 where it does not say, or says a date.

    >>> retry_after_s({"Retry-After": "30"}), retry_after_s({})
    (30.0, 0.0)
    """
    told = headers.get("Retry-After", "")
    return float(told) if told.isdecimal() else 0.0


def flux(bucket: str, measurement: str, query: Query, tags: Sequence[str]) -> str:
    """Return the Flux of a query by the fields of it that `tags` names: one row per point, fields as columns."""
    asked = {name: text for name in tags if (text := getattr(query, name)) is not None}
    wanted = [f"r.{name} == {flux_string(bare(text))}" for name, text in {"_measurement": measurement, **asked}.items()]
    return f"""
from(bucket: {flux_string(bucket)})
  |> range(start: {flux_time(query.since)}, stop: {flux_time(query.until)})
  |> filter(fn: (r) => {" and ".join(wanted)})
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
"""


def class_flux(bucket: str, product: str) -> str:
    """Return the Flux of the classes that points of a product have; of the index alone, whatever the fields hold."""
    return f"""
import "influxdata/influxdb/schema"
schema.tagValues(
  bucket: {flux_string(bucket)},
  tag: "class",
  predicate: (r) => r._measurement == "kpi_class" and r.product == {flux_string(bare(product))},
  start: {flux_time(EPOCH)},
)
"""


def place_of(point: ControlPoint) -> tuple[object, ...]:
    """Order of points."""
    return point.start, point.line, point.station, point.product, point.metric, point.chart, point.panel


def flux_time(time: datetime) -> str:
    """Write a time of Flux.

    >>> flux_time(datetime(2026, 3, 3, 12, tzinfo=UTC))
    '2026-03-03T12:00:00.000000Z'
    """
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
