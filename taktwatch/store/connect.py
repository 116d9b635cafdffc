"""From an address to a store: the one place that knows every backend."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from taktwatch.errors import ConfigError
from taktwatch.store import KpiStore

__all__ = ["open_store"]


def open_store(url: str, environ: Mapping[str, str], *, retention: timedelta | None = None) -> KpiStore:
    """Return the store at an address; it connects at first use.

    `sqlite:///FILE` (a fourth slash makes the path absolute) or `influxdb://HOST:PORT` (`influxdbs://` by TLS), which
    takes INFLUX_ORG, INFLUX_BUCKET and INFLUX_TOKEN from `environ`. `retention`: how long windows are kept; None for
    ever. Raises `ConfigError` for any other address and for missing variables.
    """
    # Backends are imported where they are chosen: the embedded store needs no InfluxDB client.
    match url.partition("://"):
        case ("sqlite", _, path) if path.removeprefix("/"):
            from taktwatch.store.sqlite import SqliteKpiStore  # noqa: PLC0415

            return SqliteKpiStore(Path(path.removeprefix("/")), retention=retention)
        case ("influxdb" | "influxdbs" as scheme, _, address) if address:
            from taktwatch.store.influx import InfluxKpiStore, account_from  # noqa: PLC0415

            http = "https" if scheme == "influxdbs" else "http"
            return InfluxKpiStore(f"{http}://{address}", account_from(environ), retention=retention)
        case _:
            raise ConfigError(f"kpis: {url!r} is neither sqlite:///FILE nor influxdb://HOST:PORT")
