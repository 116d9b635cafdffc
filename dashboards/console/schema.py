"""What the HTTP API answers: the shapes behind the OpenAPI description. Times are UTC; names carry the unit."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "AlertOut",
    "AlertsOut",
    "BoardOut",
    "DetectionDetail",
    "DetectionOut",
    "DriftOut",
    "DriftsOut",
    "ErrorOut",
    "KpiRow",
    "KpisOut",
    "LayerOut",
    "LineOut",
    "LotsOut",
    "MarkOut",
    "ModelOut",
    "NoticeOut",
    "OutlineOut",
    "OutlinesOut",
    "ParetoOut",
    "ParetosOut",
    "PlaceOut",
    "RateOut",
    "ReadyOut",
    "RegistrationOut",
    "ResultDetail",
    "ResultsOut",
    "ReviewFiguresOut",
    "ReviewOut",
    "ReviewSaid",
    "ReviewSeriesOut",
    "ReviewStepOut",
    "ReviewsOut",
    "RolledYieldOut",
    "SampleOut",
    "SnapshotOut",
    "StationOut",
    "StationsOut",
    "TrendOut",
    "TrendPointOut",
]


class Answer(BaseModel):
    """Base of every answer."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, serialize_by_alias=True)


class ErrorOut(Answer):
    """Why a request got no answer, and what to do."""

    error: str
    detail: str


class DetectionOut(Answer):
    """One thing found. `structure` marks what belongs there (a copper layer): drawn, but no defect."""

    label: str = Field(alias="class")
    score: float = Field(ge=0, le=1)
    box_px: tuple[float, float, float, float] = Field(description="x0, y0, x1, y1; ends exclusive")
    area_px: int
    area_um2: int
    structure: bool


class RleOut(Answer):
    """A mask in COCO's compressed run-length encoding; `size` is (height, width)."""

    size: tuple[int, int]
    counts: str


class DetectionDetail(DetectionOut):
    """A detection with its mask."""

    mask: RleOut


class PlaceOut(Answer):
    """Where a record lies in the log."""

    topic: str
    partition: int
    offset: int


class ModelOut(Answer):
    """What decided: the model by hash, and the engine it ran on."""

    name: str
    model_id: str
    weights_sha256: str
    engine: str
    precision: str
    device: str


class RegistrationOut(Answer):
    """How the template was laid onto the frame: a 2x3 affine map, and the correlation reached, -1 to 1."""

    matrix: tuple[float, float, float, float, float, float]
    quality: float


class LayerOut(Answer):
    """Corrosion of one copper layer; shares are 0 to 1."""

    layer: str
    corroded_area_share: float
    corroded_length_share: float
    thickness_um: float
    deepest_um: float
    residual_um: float
    sites: int
    surface: bool


class BoardOut(Answer):
    """One frame's outcome in short. `verdict` is pass, fail or review; or skipped or dead, where there is none."""

    frame_id: str
    station: str
    product: str
    view: str
    lot: str | None
    serial: str | None
    session: str
    seq: int
    visit: int
    event_at: datetime
    taken_at: datetime
    inspected_at: datetime
    verdict: str
    reasons: tuple[str, ...]
    doubts: tuple[str, ...] = Field(description="what a person has to settle, by name; told in reasons")
    detections: tuple[DetectionOut, ...]
    latency_ms: float = Field(description="from the picture taken in to the verdict")
    has_picture: bool


class ResultDetail(BoardOut):
    """Everything recorded about one frame.

    `board_verdict` is what all pictures of its board say together; None where there is none, or while some are out.
    """

    line: str
    board_id: str
    board_verdict: str | None
    received_at: datetime
    outcome: str
    sha256: str = Field(description="of the picture as captured")
    um_per_px: float
    detections: tuple[DetectionDetail, ...]
    layers: tuple[LayerOut, ...]
    opportunities: int
    model: ModelOut | None
    config_sha256: str
    template_sha256: str | None
    registration: RegistrationOut | None
    timings_us: dict[str, int]
    frame_place: PlaceOut | None
    result_place: PlaceOut
    logged_at: datetime


class ResultsOut(Answer):
    """Results, newest first."""

    results: tuple[BoardOut, ...]


class OutlineOut(Answer):
    """The edges of one detection: closed polygons of (x, y) in frame px, and the same as the `d` of an SVG path."""

    label: str = Field(alias="class")
    score: float
    structure: bool
    polygons: tuple[tuple[tuple[float, float], ...], ...]
    path: str


class OutlinesOut(Answer):
    """All outlines of one frame; width and height are the frame's, 0 where nothing was found."""

    frame_id: str
    width: int
    height: int
    outlines: tuple[OutlineOut, ...]


class MarkOut(Answer):
    """The last word from the camera: up to `time`, nothing after `last_seq` was accepted."""

    session: str
    last_seq: int
    time: datetime
    state: str
    author: str


class StationOut(Answer):
    """One station now. `state` is expected, running, stalled, closed, lost or silent."""

    station: str
    product: str
    state: str
    heard_at: datetime | None = Field(description="last sign of life of the camera, by the log's clock")
    verdict_at: datetime | None = Field(description="when the last result was logged")
    takt_s: float | None
    waiting: int = Field(description="accepted frames without a result yet")
    mark: MarkOut | None
    last: BoardOut | None


class StationsOut(Answer):
    """All stations, in the order of line.toml."""

    stations: tuple[StationOut, ...]


class RateOut(Answer):
    """A figure, how many it stands on, and its 95 % interval. None: not known (n is 0), or no interval is defined."""

    value: float | None
    n: int
    low: float | None
    high: float | None


class KpiRow(Answer):
    """Sums of KPI windows of one station and product over [start, end), and the figures made of them.

    `step` is the start of the step they were added up to; of a sum over the whole range, its own start.
    """

    step: datetime
    start: datetime
    end: datetime
    station: str
    product: str
    lot: str | None
    state: str
    revision: int
    windows: int = Field(description="how many windows were added up")
    accepted: int
    inspected: int
    passed: int
    failed: int
    review: int
    skipped: int
    dead: int
    missing: int
    late_or_repeat: int
    opportunities: int
    defects: dict[str, int]
    deepest_um: int
    surface_corrosion: int
    figures: dict[str, RateOut]


class ParetoOut(Answer):
    """One defect class: shares are of all defects in the range, `cumulative` with all more frequent classes."""

    label: str = Field(alias="class")
    count: int
    share: float = Field(ge=0, le=1)
    cumulative: float = Field(ge=0, le=1)
    per_board: RateOut = Field(description="defects of this class an inspected board")


class LotsOut(Answer):
    """Lots over a range of event time, one row each, in the order they began."""

    since: datetime
    until: datetime
    rows: tuple[KpiRow, ...]


class ParetosOut(Answer):
    """Defect classes over a range of event time."""

    since: datetime
    until: datetime
    classes: tuple[ParetoOut, ...]


class TrendPointOut(Answer):
    """A figure over one step; `start` and `end` are those of the windows that are there."""

    step: datetime
    start: datetime
    end: datetime
    figure: RateOut


class TrendOut(Answer):
    """One figure step by step; steps without windows are absent."""

    metric: str
    step_s: int
    since: datetime
    until: datetime
    points: tuple[TrendPointOut, ...]


class DriftOut(Answer):
    """How the scores of one product at one station moved; `reference`: their mean in the time before the range."""

    station: str
    product: str
    reference: RateOut
    points: tuple[TrendPointOut, ...]


class DriftsOut(Answer):
    """Score drift in [since, until), step by step, against [reference_since, since)."""

    step_s: int
    since: datetime
    until: datetime
    reference_since: datetime
    series: tuple[DriftOut, ...]


class RolledYieldOut(Answer):
    """Share of a product's boards that pass each of these stations at their first visit."""

    product: str
    stations: tuple[str, ...]
    figure: RateOut


class KpisOut(Answer):
    """KPI windows from the one store: `rows` by time, `stations` over the whole range, `line` over all.

    `pareto`: defect classes of all of it, the most frequent first.
    """

    window: str
    step_s: int
    since: datetime
    until: datetime
    rows: tuple[KpiRow, ...]
    stations: tuple[KpiRow, ...]
    line: KpiRow | None
    pareto: tuple[ParetoOut, ...]
    rolled_throughput_yield: tuple[RolledYieldOut, ...] = Field(description="by product, over the whole range")


class ReviewSaid(BaseModel):
    """What a person says of a board, by a picture of it. An overruling wants its reason."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    frame_id: str = Field(pattern="^[0-9a-f]{32}$")
    verdict: Literal["pass", "fail"] = Field(description="the person's own verdict")
    reviewer: str = Field(min_length=1, max_length=80)
    reason: str = Field(default="", max_length=500)
    logged_after: datetime | None = Field(
        default=None, description="for an older frame: look in the log from this time"
    )


class ReviewOut(Answer):
    """A person's word on the verdict of a board; `frame_id` is the picture it was said at.

    `sampled`: drawn at random, with the chance 1 / `weight`.
    """

    frame_id: str
    board_id: str
    station: str
    product: str
    serial: str | None
    session: str
    visit: int
    event_at: datetime
    machine: str
    human: str
    reviewer: str
    reason: str
    reviewed_at: datetime
    model_id: str
    sampled: bool
    weight: float


class ReviewFiguresOut(Answer):
    """What reviews say, each board counted once, by the last word on it (docs/kpis.md)."""

    confirmed: int
    overruled: int
    settled: int = Field(description="boards that the machine sent to review")
    escapes_found: int = Field(description="passed boards overruled without having been drawn; in no rate")
    false_call_rate: RateOut
    escape_rate: RateOut = Field(description="from drawn passes alone, weighted; n: drawn passes reviewed")
    effective_n: float


class ReviewStepOut(Answer):
    """The figures of the reviews made in one step of time."""

    step: datetime
    figures: ReviewFiguresOut


class ReviewSeriesOut(Answer):
    """Figures of the boards whose last word was said in [since, until): of all of them, and step by step."""

    since: datetime
    until: datetime
    step_s: int
    figures: ReviewFiguresOut
    steps: tuple[ReviewStepOut, ...]


class ReviewsOut(ReviewSeriesOut):
    """The same, and reviews made in [since, until), newest first."""

    reviews: tuple[ReviewOut, ...]


class SampleOut(Answer):
    """Passed boards drawn at random that wait for a person, newest first."""

    sample_rate: float
    waiting: int
    boards: tuple[BoardOut, ...]


class NoticeOut(Answer):
    """One attempt to tell somebody."""

    channel: str
    attempted_at: datetime
    delivered: bool
    error: str


class AlertOut(Answer):
    """One alert as it stands. `since` is its first step that the console knows of."""

    alert_id: str
    rule: str
    severity: str
    labels: dict[str, str]
    state: str
    at: datetime
    since: datetime
    value: float | None
    n: int
    summary: str
    window_start: datetime
    revision: int
    notices: tuple[NoticeOut, ...]


class AlertsOut(Answer):
    """Alerts not resolved, loudest first, and the newest transitions of all, newest first."""

    open: tuple[AlertOut, ...]
    history: tuple[AlertOut, ...]


class LineOut(Answer):
    """The line and the service: `now` is the server's clock, `clock` the line's own (see the view)."""

    line: str
    now: datetime
    clock: datetime
    bus: str = Field(description="hearing or away")
    store: str = Field(description="answering or away")
    version: str


class SnapshotOut(Answer):
    """What a page needs to begin: everything but the KPIs."""

    line: LineOut
    stations: tuple[StationOut, ...]
    boards: tuple[BoardOut, ...]
    alerts: AlertsOut


class ReadyOut(Answer):
    """Whether the parts behind the console answer: part by part, 'ok' or what is wrong."""

    ready: bool
    parts: dict[str, str]
