"""All of line.toml as one object."""

import hashlib
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, model_validator

from taktwatch.config.alerts import AlertsConfig
from taktwatch.config.base import Settings
from taktwatch.config.products import ProductConfig
from taktwatch.config.services import ConsoleConfig, DetectorConfig, IngestConfig, KafkaConfig, KpiConfig, ReviewsConfig
from taktwatch.config.shifts import ShiftConfig
from taktwatch.config.spc import SpcConfig
from taktwatch.config.stations import StationConfig
from taktwatch.errors import UnknownProduct

__all__ = ["LineConfig"]


class LineConfig(Settings):
    """Everything a line is told."""

    line: str = Field(default="line-1", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)
    data_dir: Path = Path("var")
    bus: str = Field(default="sqlite:///{data_dir}/bus", pattern=r"^(sqlite:///|kafka://)")
    kpis: str = Field(default="sqlite:///{data_dir}/kpis.sqlite", pattern=r"^(sqlite:///|influxdbs?://)")
    prefix: str = Field(default="taktwatch", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)
    metrics_port: int | None = Field(default=None, ge=0, le=65535)
    retention_days: float | None = Field(default=30.0, gt=0)
    commercial: bool = Field(
        default=False, description="models that learned from, or started from, what forbids commercial use are refused"
    )
    time_zone: str = Field(default="UTC", description="IANA name, as in Europe/Berlin: the zone shifts are written in")
    shifts: dict[str, ShiftConfig] = Field(default_factory=dict)
    stations: tuple[StationConfig, ...] = ()
    products: dict[str, ProductConfig] = Field(default_factory=dict)
    ingest: IngestConfig = Field(default_factory=IngestConfig)
    detector: DetectorConfig = Field(default_factory=DetectorConfig)
    kpi: KpiConfig = Field(default_factory=KpiConfig)
    spc: SpcConfig = Field(default_factory=SpcConfig)
    alerts: AlertsConfig = Field(default_factory=AlertsConfig)
    console: ConsoleConfig = Field(default_factory=ConsoleConfig)
    reviews: ReviewsConfig = Field(default_factory=ReviewsConfig)
    kafka: KafkaConfig = Field(default_factory=KafkaConfig)

    @model_validator(mode="after")
    def names_fit_together(self) -> "LineConfig":
        """Refuse a station twice, and a station whose product is not described."""
        names = [station.name for station in self.stations]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"station {twice[0]!r} is described twice")
        for station in self.stations:
            if station.product not in self.products:
                raise ValueError(
                    f"station {station.name!r} wants product {station.product!r}, which no [products] table describes"
                )
        return self

    @model_validator(mode="after")
    def shifts_fit_together(self) -> "LineConfig":
        """Refuse a time zone nobody knows, and shifts that overlap: a minute belongs to one shift."""
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"time_zone {self.time_zone!r} is no zone this machine knows; try Europe/Berlin") from None
        taken: dict[int, str] = {}
        for name, shift in self.shifts.items():
            for minute in shift.minutes_of_week():
                other = taken.setdefault(minute, name)
                if other != name:
                    raise ValueError(f"shifts {other!r} and {name!r} overlap")
        return self

    @property
    def bus_url(self) -> str:
        """The bus address with `{data_dir}` filled in."""
        return self.bus.replace("{data_dir}", str(self.data_dir))

    @property
    def kpis_url(self) -> str:
        """The store address with `{data_dir}` filled in."""
        return self.kpis.replace("{data_dir}", str(self.data_dir))

    @property
    def retention(self) -> timedelta | None:
        """How long records are kept."""
        return None if self.retention_days is None else timedelta(days=self.retention_days)

    def product(self, name: str) -> ProductConfig:
        """Return a product. Raises `UnknownProduct`."""
        try:
            return self.products[name]
        except KeyError:
            known = ", ".join(sorted(self.products)) or "none"
            raise UnknownProduct(f"unknown product {name!r}; line.toml describes: {known}") from None

    def product_sha256(self, name: str) -> str:
        """Hash of the settings a product is judged by, for the record of every result."""
        return hashlib.sha256(self.product(name).model_dump_json().encode()).hexdigest()
