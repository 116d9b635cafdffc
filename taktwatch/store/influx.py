"""KPI windows in InfluxDB 2: written in synchronous batches of line protocol, read back by Flux."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError

from taktwatch.errors import BackendUnavailable, BadRecord, ConfigError
from taktwatch.records import KpiWindow
from taktwatch.store import KpiQuery, KpiStore
from taktwatch.store.influx_points import bare, flux_string, lines, window_in

__all__ = ["Account", "InfluxKpiStore", "account_from"]

TIMEOUT_MS = 10_000
WRITE_WINDOWS = 1000
SHORTEST_RETENTION = timedelta(hours=1)
"""InfluxDB answers 500 to less."""

UNAUTHORIZED, FORBIDDEN, NOT_FOUND, TOO_MANY, SERVER_ERROR = 401, 403, 404, 429, 500

T = TypeVar("T")


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
        # Any: the client is only half typed
        self._client: Any = InfluxDBClient(
            url, token=account.token, org=account.org, timeout=TIMEOUT_MS, enable_gzip=True
        )
        self._write_api: Any = self._client.write_api(write_options=SYNCHRONOUS)
        self._query_api = self._client.query_api()

    async def prepare(self) -> None:
        """Create the bucket where it is missing. Raises `ConfigError` where the token may not."""
        await self._in_thread(self._create_bucket)

    async def write(self, windows: Sequence[KpiWindow]) -> None:
        """See `KpiStore.write`; of one window the newest written wins."""
        for first in range(0, len(windows), WRITE_WINDOWS):
            batch = [line for window in windows[first : first + WRITE_WINDOWS] for line in lines(window)]
            await self._in_thread(self._write, batch)

    async def read(self, query: KpiQuery) -> list[KpiWindow]:
        """See `KpiStore.read`."""
        if query.since >= query.until:
            return []
        tables = await self._in_thread(self._query_api.query, flux(self.account.bucket, query))
        found = [window_in(record.values) for table in tables for record in table.records]
        return sorted(
            found, key=lambda window: (window.start, window.line, window.station, window.product, window.lot or "")
        )

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.to_thread(self._close)

    def _create_bucket(self) -> None:
        buckets = self._client.buckets_api()
        if buckets.find_bucket_by_name(self.account.bucket) is not None:
            return
        seconds = 0 if self.retention is None else int(max(self.retention, SHORTEST_RETENTION).total_seconds())
        rules = [{"type": "expire", "everySeconds": seconds}]
        buckets.create_bucket(bucket_name=self.account.bucket, org=self.account.org, retention_rules=rules)

    def _write(self, batch: list[str]) -> None:
        self._write_api.write(bucket=self.account.bucket, record=batch)

    def _close(self) -> None:
        self._write_api.close()
        self._client.close()

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
                return BackendUnavailable(said)
            case _:
                return BadRecord(said)


def flux(bucket: str, query: KpiQuery) -> str:
    """Return the Flux of a query: one row per window, fields as columns."""
    tags = {
        "window": query.window,
        "line": query.line,
        "station": query.station,
        "product": query.product,
        "lot": query.lot,
    }
    wanted = " and ".join(f"r.{name} == {flux_string(bare(text))}" for name, text in tags.items() if text is not None)
    return f"""
from(bucket: {flux_string(bucket)})
  |> range(start: {flux_time(query.since)}, stop: {flux_time(query.until)})
  |> filter(fn: (r) => r._measurement == "kpi" and {wanted})
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
"""


def flux_time(time: datetime) -> str:
    """Write a time of Flux.

    >>> flux_time(datetime(2026, 3, 3, 12, tzinfo=UTC))
    '2026-03-03T12:00:00.000000Z'
    """
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
