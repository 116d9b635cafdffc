"""line.toml and TAKTWATCH_* environment variables become one validated object.

Precedence: defaults < line.toml < environment. `TAKTWATCH_BUS` sets `bus`; two underscores go a table deeper
(`TAKTWATCH_CONSOLE__PORT` sets `console.port`). Secrets are read from the environment only, never from line.toml.
"""

import hashlib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from taktwatch.errors import ConfigError, UnknownProduct
from taktwatch.records import Severity

__all__ = [
    "AlertRule",
    "AlertsConfig",
    "AppriseChannel",
    "ClassConfig",
    "ConsoleConfig",
    "CostsConfig",
    "DetectorConfig",
    "EngineName",
    "FolderSource",
    "IngestConfig",
    "KafkaConfig",
    "KpiConfig",
    "LineConfig",
    "ProductConfig",
    "ReviewsConfig",
    "SectionConfig",
    "ShiftConfig",
    "SimulatorSource",
    "SourceConfig",
    "StationConfig",
    "VideoSource",
    "WebhookChannel",
    "load_config",
    "parse_config",
    "with_folder",
]

PREFIX = "TAKTWATCH_"
RESERVED = frozenset(
    {
        "TAKTWATCH_API_KEY",
        "TAKTWATCH_KAFKA_JARS",
        "TAKTWATCH_KAFKA_PASSWORD",
        "TAKTWATCH_KILL_BOARDS",
        "TAKTWATCH_REQUIRE",
    }
)
"""Environment variables that are ours but no settings of line.toml: secrets, and what tests are told."""


class Settings(BaseModel):
    """Base of every table: a setting that nothing reads is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SimulatorSource(Settings):
    """A simulated conveyor; `boards` None runs until stopped."""

    kind: Literal["simulator"]
    seed: int = 7
    layout_seed: int = 11
    boards: int | None = Field(default=None, ge=1)
    defect_probability: float = Field(default=0.12, ge=0, le=1)
    height_px: int = Field(default=640, ge=64, le=4096)
    width_px: int = Field(default=640, ge=64, le=4096)


class FolderSource(Settings):
    """Pictures of a folder in name order, once or watched for new ones.

    A picture `ID_test.*` finds its golden template `ID_temp.*` beside it; templates are not inspected themselves.
    `panels`: pictures are too large for the bus; each is cut into overlapping strips, which the takt counts one by one.
    """

    kind: Literal["folder"]
    path: Path
    watch: bool = False
    boards: int | None = Field(default=None, ge=1)
    panels: bool = False

    @model_validator(mode="after")
    def panels_are_not_counted_in_strips(self) -> "FolderSource":
        """Refuse a number of boards where frames are strips."""
        if self.panels and self.boards is not None:
            raise ValueError(
                "boards counts frames, and a panel is many; leave it out, or put fewer files in the folder"
            )
        return self


class VideoSource(Settings):
    """A video file, a device number, or a stream address, read by OpenCV. `live` sources are stamped by the clock."""

    kind: Literal["video"]
    target: str
    live: bool = False
    every_nth: int = Field(default=1, ge=1)
    boards: int | None = Field(default=None, ge=1)


SourceConfig = Annotated[SimulatorSource | FolderSource | VideoSource, Field(discriminator="kind")]


class StationConfig(Settings):
    """One camera over the belt. `boards_per_minute` is its takt; not `paced`, it sends as fast as it can.

    A frame's verdict is due `budget_s` after its frame reached the detector, one takt where nothing is said. Where
    `max_waiting` frames of the station wait for the detector, `overload` says what becomes of more.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)
    product: str
    source: SourceConfig
    boards_per_minute: float = Field(default=30.0, gt=0, le=6000)
    paced: bool = True
    start: datetime | None = None
    lot: str | None = None
    budget_s: float | None = Field(default=None, gt=0, description="from a frame's arrival to its verdict; a takt")
    overload: Literal["queue", "sample", "refuse"] = Field(
        default="queue", description="let frames wait, skip every second one on the record, or skip the newest"
    )
    max_waiting: int = Field(default=32, ge=1, le=100_000)
    um_per_px: float | None = Field(
        default=None, gt=0, description="of this camera, where its pixels are of another size than the product's"
    )

    @property
    def budget(self) -> float:
        """Seconds within which a verdict is due.

        >>> source = SimulatorSource(kind="simulator")
        >>> StationConfig(name="top", product="p", source=source, boards_per_minute=30).budget
        2.0
        """
        return self.budget_s or 60 / self.boards_per_minute


class ClassConfig(Settings):
    """Thresholds of one defect class: lower scores (of the network) and smaller areas are not reported.

    Without a `score` stands the one that costs least by the model's calibration, and 0.5 where there is none.
    """

    score: float | None = Field(default=None, gt=0, lt=1)
    min_area_px: int = Field(default=4, ge=1)


class CostsConfig(Settings):
    """What one board costs that is judged wrong, in any one currency; calibrated thresholds make the least of both."""

    escape: float = Field(default=20.0, gt=0)
    false_call: float = Field(default=1.0, gt=0)


class SectionConfig(Settings):
    """Limits of a layer section, shares 0 to 1."""

    max_corroded_area_share: float = Field(default=0.02, ge=0, le=1)
    max_depth_share: float = Field(default=0.3, ge=0, le=1)
    allow_surface: bool = False
    min_residual_um: float = Field(default=0, ge=0, description="copper left at the thinnest place; 0: any")


def encloses_something(corners: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    """Refuse a polygon without area; its corners may go round either way.

    >>> encloses_something(((0, 0), (4, 0), (2, 0)))
    Traceback (most recent call last):
    ValueError: the corners (0, 0), (4, 0), (2, 0) enclose nothing; list them in turn around the region
    """
    ends = (*corners[1:], corners[0])
    twice = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(corners, ends, strict=True))
    if abs(twice) < 1:
        listed = ", ".join(f"({x:g}, {y:g})" for x, y in corners)
        raise ValueError(f"the corners {listed} enclose nothing; list them in turn around the region")
    return corners


Coordinate = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]
Polygon = Annotated[
    tuple[tuple[Coordinate, Coordinate], ...], Field(min_length=3, max_length=256), AfterValidator(encloses_something)
]
"""Corners (x, y) in px, in turn around a region."""


class ProductConfig(Settings):
    """What is inspected and how it is judged."""

    view: Literal["board", "section"] = "board"
    model: str
    um_per_px: float = Field(gt=0)
    box_margin_um: float = Field(default=0.0, ge=0)
    opportunities: int = Field(default=1, ge=1)
    views: int = Field(default=1, ge=1, le=1000, description="how many pictures of one visit make a board")
    template: Path | None = None
    folder: Path | None = Field(default=None, description="as `taktwatch product new` wrote it; brings the template")
    card_sha256: str = Field(default="", description="of the folder's product.json; another one is refused")
    classes: dict[str, ClassConfig] = Field(default_factory=dict)
    review_below: float = Field(
        default=0.0, ge=0, lt=1, description="a defect scored below this sends the board to review"
    )
    min_registration: float = Field(
        default=0.8, ge=-1, le=1, description="a worse template correlation means review; -1: none does"
    )
    domain: str = Field(
        default="", description="kind of pictures the model's scores are calibrated for; default: the product's name"
    )
    expected_defect_rate: float = Field(default=0.05, gt=0, lt=1, description="share of boards with a defect")
    costs: CostsConfig = Field(default_factory=CostsConfig)
    unsure_px: float = Field(default=0.5, ge=0, le=10, description="how far the edge of a mask may be off")
    min_shown_px: int = Field(
        default=10, ge=0, description="a finding where fewer px differ from the template is dust or an edge"
    )
    roi: Polygon | None = Field(default=None, description="corners in template px; only what lies inside is inspected")
    ignore: tuple[Polygon, ...] = Field(default=(), description="corners in template px; what lies inside is left out")
    section: SectionConfig = Field(default_factory=SectionConfig)
    screen: Literal["auto", "off"] = Field(
        default="auto",
        description="auto: the network looks only where the picture differs from its template, if that was measured "
        "to miss no more than screen_max_miss",
    )
    screen_max_miss: float = Field(
        default=0.01, gt=0, lt=1, description="share of defects that the screen may miss: the upper 95 % bound"
    )

    def upper_limit(self, metric: str) -> float | None:
        """Return what a figure measured in sections may be at most, a share 0 to 1; None for other figures.

        >>> section = ProductConfig(view="section", model="m", um_per_px=1.5)
        >>> section.upper_limit("extent"), section.upper_limit("depth"), section.upper_limit("dpu")
        (0.02, 0.3, None)
        """
        if self.view != "section":
            return None
        return {"extent": self.section.max_corroded_area_share, "depth": self.section.max_depth_share}.get(metric)

    @model_validator(mode="after")
    def one_template(self) -> "ProductConfig":
        """Refuse a template beside the folder's own."""
        if self.folder is not None and self.template is not None and self.template.parent != self.folder:
            raise ValueError("folder brings its own template; give one of both")
        if self.card_sha256 and self.folder is None:
            raise ValueError("card_sha256 names the product.json of a folder, and there is no folder")
        return self


class IngestConfig(Settings):
    """Limits at the door, and the spool."""

    max_picture_bytes: int = Field(default=12 * 2**20, ge=1024, le=15 * 2**20)
    max_picture_px: int = Field(default=64_000_000, ge=4096)
    max_side_px: int = Field(default=20_000, ge=64)
    max_panel_px: int = Field(default=400_000_000, ge=4096, description="pictures that are read by rows, in strips")
    panel_overlap_px: int = Field(
        default=96, ge=0, le=1024, description="what strips of a panel share; more than a board may be shifted by"
    )
    spool_max_bytes: int = Field(default=2 * 2**30, ge=2**20)
    max_clock_skew_s: float = Field(default=60.0, gt=0)
    mark_interval_s: float = Field(default=1.0, gt=0)


EngineName = Literal[
    "torch",
    "torch-fp16",
    "openvino",
    "openvino-bf16",
    "openvino-int8",
    "onnx",
    "onnx-tensorrt",
    "onnx-tensorrt-fp16",
]


class DetectorConfig(Settings):
    """The engine and how pictures are gathered for it."""

    models_dir: Path = Path("models")
    engine: Literal["auto", EngineName] = Field(
        default="auto", description="auto: the fastest that `taktwatch models verify` has proven here, else torch"
    )
    engines_dir: Path = Field(
        default=Path("~/.cache/taktwatch/engines"), description="exports of models and their proofs; may be deleted"
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    max_batch: int = Field(default=4, ge=1, le=64)
    threads: int = Field(default=0, ge=0, description="0: as many as there are cores")
    stage_threads: int = Field(default=0, ge=0, description="for decoding, registering and judging; 0: one a core")
    look_ahead: int = Field(default=1024, ge=1, description="frames read ahead, so that no station waits for another")
    probation_frames: int = Field(
        default=200, ge=1, description="a model swapped in is given up if it errs within its first so many frames"
    )
    tile_px: int = Field(
        default=1024, ge=64, le=4096, description="pictures of more than four tiles of this side are cut into such"
    )
    tile_overlap_px: int = Field(default=64, ge=0, le=1024, description="what neighbouring tiles share, at least")

    @model_validator(mode="after")
    def tiles_are_more_than_overlap(self) -> "DetectorConfig":
        """Refuse tiles that would share all they have."""
        if 2 * self.tile_overlap_px > self.tile_px:
            raise ValueError(
                f"tile_overlap_px ({self.tile_overlap_px}) must not exceed half of tile_px ({self.tile_px})"
            )
        return self


class KpiConfig(Settings):
    """Windows and corrections."""

    horizon_minutes: int = Field(
        default=60, ge=1, description="how long after its end a window still takes late frames"
    )
    max_hold_s: float = Field(default=120.0, gt=0, description="a frame without outcome for so long counts as missing")
    board_hold_s: float = Field(
        default=5.0, ge=0, le=60, description="a board with views still out is closed so long after its newest one"
    )
    boards: bool = Field(default=True, description="publish the verdict of every board")
    roll_ups: tuple[Literal["1h", "shift", "lot"], ...] = Field(
        default=("1h", "shift", "lot"), description="windows made of one-minute windows"
    )
    silent_after_s: float = Field(
        default=10.0, gt=0, description="no word from ingest for so long: the station is lost"
    )
    checkpoint_interval_s: float = Field(default=1.0, gt=0)
    retention_days: float = Field(default=730.0, gt=0, description="how long the store keeps windows")


Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class ShiftConfig(Settings):
    """A shift in local time, on the weekdays it begins on; one that ends before it starts reaches into the next day."""

    start: time
    end: time
    weekdays: tuple[Weekday, ...] = WEEKDAYS

    @model_validator(mode="after")
    def whole_minutes(self) -> "ShiftConfig":
        """Refuse shifts without length, with seconds, or with a zone of their own."""
        if self.start == self.end:
            raise ValueError("a shift starts and ends at different times")
        if any(at.second or at.microsecond or at.tzinfo for at in (self.start, self.end)):
            raise ValueError("shifts start and end at whole minutes of the line's time_zone, as in 06:00")
        return self

    @property
    def days(self) -> frozenset[int]:
        """The weekdays as numbers, Monday 0."""
        return frozenset(WEEKDAYS.index(day) for day in self.weekdays)

    def minutes_of_week(self) -> Iterator[int]:
        """Yield the minutes of a week, from Monday's midnight, that the shift covers."""
        start, end = (at.hour * 60 + at.minute for at in (self.start, self.end))
        for day in self.days:
            for minute in range(start, end if start < end else end + 1440):
                yield (day * 1440 + minute) % (7 * 1440)


ChartName = Literal["laney_ewma", "laney", "laney_cusum", "shewhart", "ewma", "cusum"]
Signal = Literal[
    "1 point beyond the control limits",
    "2 of 3 points beyond 2 sigma on the same side",
    "4 of 5 points beyond 1 sigma on the same side",
    "8 points in a row on one side of the centre line",
    "9 points in a row on one side of the centre line",
    "6 points in a row all rising or all falling",
    "14 points in a row alternating up and down",
    "15 points in a row within 1 sigma of the centre line",
    "8 points in a row beyond 1 sigma, on either side",
    "more events without a good unit between them than chance allows",
]
"""The rules of control charts, in the words their signals are told with."""


ChartedFigure = Literal[
    "defect_rate",
    "review_rate",
    "dead_rate",
    "first_pass_yield",
    "dpu",
    "boards_between_fails",
    "extent",
    "depth",
    "depth_um",
]
"""What control charts are kept of: rates, good boards between failed ones, and what is measured in sections."""


class SpcConfig(Settings):
    """Control charts: windows are merged until `min_n` boards are together, or `least_n` after `max_age_hours`.

    Where nobody chose a baseline, limits are learnt from the first `phase1_subgroups`. `metric = "dpu"` means
    `metrics = ["dpu"]`.
    """

    metrics: tuple[ChartedFigure, ...] = Field(default=("defect_rate",), min_length=1)
    min_n: int = Field(default=500, ge=1)
    least_n: int = Field(default=100, ge=1)
    max_age_hours: float = Field(default=8.0, gt=0)
    sections: int = Field(
        default=25, ge=1, description="sections a subgroup of extent and depth; 1: single values with moving range"
    )
    phase1_subgroups: int = Field(default=25, ge=20, le=1000)
    charts: tuple[ChartName, ...] = Field(default=("laney_ewma",), min_length=1)
    rules: Literal["limits", "western_electric", "nelson"] = Field(
        default="limits",
        description="what laney, shewhart, xbar_s and imr charts signal; the others judge their limits alone",
    )

    @model_validator(mode="before")
    @classmethod
    def one_metric_is_a_list_of_one(cls, given: Any) -> Any:
        """Take the older key for what it means; refuse both at once."""
        if not isinstance(given, dict) or "metric" not in given:
            return given
        if "metrics" in given:
            raise ValueError("metric and metrics are both given; name all figures in metrics and leave metric out")
        return {**{key: value for key, value in given.items() if key != "metric"}, "metrics": [given["metric"]]}

    @model_validator(mode="after")
    def figures_are_named_once(self) -> "SpcConfig":
        """Refuse a figure twice."""
        if twice := sorted({name for name in self.metrics if self.metrics.count(name) > 1}):
            raise ValueError(f"{twice[0]} is named twice in metrics")
        return self

    @model_validator(mode="after")
    def sizes_fit_together(self) -> "SpcConfig":
        """Refuse a least size above the wanted one."""
        if self.least_n > self.min_n:
            raise ValueError(f"least_n ({self.least_n}) must not exceed min_n ({self.min_n})")
        return self


class AlertRule(Settings):
    """When to tell somebody. `metric` is a name in `taktwatch.kpis`; windows with n below `min_n` decide nothing."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    kind: Literal["threshold", "no_data", "spc"] = "threshold"
    metric: Literal["defect_rate", "review_rate", "dpmo", "dead_rate", "corroded_share", "missing", "latency_p95_s"] = (
        "defect_rate"
    )
    above: float = 0.0
    recover_below: float | None = Field(
        default=None, description="hysteresis: firing ends only below this; default `above`"
    )
    for_windows: int = Field(default=1, ge=1, description="pending until so many windows in a row are above")
    keep_windows: int = Field(default=1, ge=1, description="recovering until so many windows in a row are below")
    min_n: int = Field(default=20, ge=0)
    silent_windows: int = Field(default=2, ge=1, description="no_data: windows in a row without any picture")
    signals: tuple[Signal, ...] = Field(default=(), description="spc: only these signals of control charts; none: any")
    figures: tuple[ChartedFigure, ...] = Field(default=(), description="spc: only charts of these figures; none: any")
    severity: Severity = Severity.WARNING
    station: str | None = None

    @model_validator(mode="after")
    def hysteresis_is_below(self) -> "AlertRule":
        """Refuse a recovery threshold above the firing one."""
        if self.recover_below is not None and self.recover_below > self.above:
            raise ValueError(f"recover_below ({self.recover_below}) must not exceed above ({self.above})")
        return self

    @model_validator(mode="after")
    def settings_are_of_its_kind(self) -> "AlertRule":
        """Refuse settings that this kind of rule does not read."""
        unread = (
            {"metric", "above", "recover_below", "min_n", "silent_windows"}
            if self.kind == "spc"
            else {"signals", "figures"}
        )
        if given := sorted(unread & self.model_fields_set):
            raise ValueError(f"a rule of kind {self.kind!r} does not read {', '.join(given)}; leave it out")
        return self


class WebhookChannel(Settings):
    """JSON by HTTP POST, with the idempotency key in a header. The address may carry ${ENVIRONMENT} variables."""

    kind: Literal["webhook"]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)
    url: str


class AppriseChannel(Settings):
    """A mail, chat or other service, written as an apprise address; secrets as ${ENVIRONMENT} variables."""

    kind: Literal["apprise"]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)
    url: str


class AlertsConfig(Settings):
    """Rules and whom to tell."""

    rules: tuple[AlertRule, ...] = ()
    channels: tuple[Annotated[WebhookChannel | AppriseChannel, Field(discriminator="kind")], ...] = ()

    @model_validator(mode="after")
    def names_are_given_once(self) -> "AlertsConfig":
        """Refuse two rules or two channels of one name: alerts and deliveries are told apart by it."""
        for what, entries in (("rule", self.rules), ("channel", self.channels)):
            names = [entry.name for entry in entries]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"alert {what} {twice[0]!r} is described twice")
        return self


class ConsoleConfig(Settings):
    """The web page and its API. Any host but loopback wants TAKTWATCH_API_KEY in the environment."""

    host: str = "127.0.0.1"
    port: int = Field(default=8321, ge=0, le=65535)


class ReviewsConfig(Settings):
    """How many passed boards a person is asked to check."""

    sample_rate: float = Field(
        default=0.02, ge=0, le=1, description="share of passed boards drawn at random for checking; 0: none"
    )


class KafkaConfig(Settings):
    """Connection settings beside the address; the password comes from TAKTWATCH_KAFKA_PASSWORD."""

    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    replication: int = Field(default=1, ge=1)


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


def load_config(path: Path | None, environ: Mapping[str, str] = os.environ, **overrides: Any) -> LineConfig:
    """Read line.toml (none: the defaults), lay environment and overrides over it, and validate.

    Relative paths in the file are relative to it. Raises `ConfigError` in one line that names file and setting.
    """
    if path is None:
        return parse_config({}, "the defaults", environ, **overrides)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; give another with --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    return rooted(parse_config(tables, str(path), environ, **overrides), path.resolve().parent)


def parse_config(tables: Mapping[str, Any], source: str, environ: Mapping[str, str], **overrides: Any) -> LineConfig:
    """Validate tables as read from TOML. Raises `ConfigError` naming `source` and the setting."""
    merged = json.loads(json.dumps(tables, default=str))
    for name, text in environ.items():
        if name.startswith(PREFIX) and name not in RESERVED:
            put(merged, name.removeprefix(PREFIX).lower().split("__"), text, name)
    for name, value in overrides.items():
        if value is not None:
            merged[name] = value
    try:
        return LineConfig.model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigError(f"{source}: {where}: {first['msg']} (got {str(first['input'])[:80]!r})") from error


def put(tables: dict[str, Any], keys: list[str], text: str, name: str) -> None:
    """Set one value by its path of keys."""
    *parents, last = keys
    for key in parents:
        tables = tables.setdefault(key, {})
        if not isinstance(tables, dict):
            raise ConfigError(f"environment variable {name} goes into {key!r}, which is no table")
    tables[last] = text


def rooted(config: LineConfig, root: Path) -> LineConfig:
    """Make the file's relative paths absolute."""
    products = {name: rooted_product(name, product, root) for name, product in config.products.items()}
    stations = tuple(
        station.model_copy(update={"source": station.source.model_copy(update={"path": root / station.source.path})})
        if isinstance(station.source, FolderSource)
        else station
        for station in config.stations
    )
    own = config.detector
    engines_dir = root / own.engines_dir.expanduser()
    detector = own.model_copy(update={"models_dir": root / own.models_dir, "engines_dir": engines_dir})
    return config.model_copy(
        update={"data_dir": root / config.data_dir, "products": products, "stations": stations, "detector": detector}
    )


def rooted_product(name: str, product: ProductConfig, root: Path) -> ProductConfig:
    """Make a product's paths absolute; its folder's card is hashed, so that settings name all they depend on."""
    if product.folder is not None:
        return with_folder(name, product, root / product.folder)
    return product.model_copy(update={"template": root / product.template}) if product.template else product


def with_folder(name: str, product: ProductConfig, folder: Path) -> ProductConfig:
    """Return a product with its folder. Raises `ConfigError` where it has no card, or another than line.toml names."""
    path = folder / "product.json"
    try:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(
            f"products.{name}.folder: {path} cannot be read: {error.strerror}; "
            f"build it with `taktwatch product new {name}`"
        ) from error
    if product.card_sha256 not in {"", sha256}:
        raise ConfigError(
            f"products.{name}.card_sha256 is {product.card_sha256[:12]}, {path} is {sha256[:12]}: another version"
        )
    template = folder / "template.png"
    found = {"folder": folder, "card_sha256": sha256, "template": template if template.exists() else None}
    return product.model_copy(update=found)
