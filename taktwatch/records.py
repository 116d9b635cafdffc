"""What travels between the rooms: frozen records without I/O. All times are UTC with microseconds.

Ids are deterministic: the same input gives the same id, so a repeat is recognised anywhere.
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

import msgspec

__all__ = [
    "STRUCTURES",
    "AlertState",
    "AlertTransition",
    "Asset",
    "BlockRef",
    "BoardDefect",
    "BoardVerdict",
    "Checkpoint",
    "CheckpointChunk",
    "CheckpointManifest",
    "ControlPoint",
    "DeadLetter",
    "Detection",
    "Doubt",
    "Frame",
    "InspectionResult",
    "KpiWindow",
    "LayerProfile",
    "MarkState",
    "ModelActivation",
    "ModelRef",
    "Names",
    "Notification",
    "Outcome",
    "Place",
    "Record",
    "Registration",
    "Review",
    "ReviewWindow",
    "Rle",
    "Severity",
    "SpcBaseline",
    "StationMark",
    "Tile",
    "Verdict",
    "WindowState",
    "board_id",
    "defect_words",
    "frame_id",
    "outcome_of",
]


STRUCTURES = frozenset({"copper_layer"})
"""Classes that name what is looked at, not what is wrong with it: no defects."""


class Verdict(StrEnum):
    """What the judge says of an inspected frame. `review` means: a person must look."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    REVIEW = "review"


class Doubt(StrEnum):
    """What keeps a picture from being judged, or a board from passing; `reasons` say each in words."""

    FOCUS = "focus"
    LIGHT = "light"
    SATURATION = "saturation"
    REGISTRATION = "registration"
    TURNED = "turned"
    WRONG_PRODUCT = "wrong_product"
    CALIBRATION = "calibration"
    UNEXPLAINED = "unexplained"
    UNCERTAIN = "uncertain"
    UNSURE = "unsure"
    NO_LAYER = "no_layer"
    STRAY = "stray"

    @property
    def of_picture(self) -> bool:
        """Whether nothing that was found in the picture can be trusted.

        >>> Doubt.FOCUS.of_picture, Doubt.UNEXPLAINED.of_picture
        (True, False)
        """
        return self in _OF_PICTURE


_OF_PICTURE = frozenset(
    {Doubt.FOCUS, Doubt.LIGHT, Doubt.SATURATION, Doubt.REGISTRATION, Doubt.TURNED, Doubt.WRONG_PRODUCT}
)


class Outcome(StrEnum):
    """The one terminal outcome of an accepted frame."""

    INSPECTED = "inspected"
    SKIPPED = "skipped"
    DEAD = "dead"


class MarkState(StrEnum):
    """What ingest says of a station: sending, ended on purpose, or vanished."""

    OPEN = "open"
    CLOSED = "closed"
    LOST = "lost"


class WindowState(StrEnum):
    """Open: still filling. Closed: complete by the watermark. Final: left the horizon, never changes again."""

    OPEN = "open"
    CLOSED = "closed"
    FINAL = "final"


class AlertState(StrEnum):
    """The alert lifecycle; `no_data` stands beside it and never resolves an alert."""

    NORMAL = "normal"
    PENDING = "pending"
    FIRING = "firing"
    RECOVERING = "recovering"
    RESOLVED = "resolved"
    NO_DATA = "no_data"


class Severity(StrEnum):
    """How loudly an alert speaks."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


def frame_id(line: str, station: str, session: str, seq: int) -> str:
    """Name a frame by where it came from: 32 hexadecimal digits.

    >>> frame_id("line-1", "top", "s1", 0) == frame_id("line-1", "top", "s1", 0)
    True
    """
    identity = "\x1f".join((line, station, session, str(seq)))
    return hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()


def board_id(line: str, station: str, session: str, visit: int) -> str:
    """Name a board's visit to a station: 32 hexadecimal digits, another name than any frame's.

    >>> board_id("line-1", "top", "s1", 0) == frame_id("line-1", "top", "s1", 0)
    False
    """
    identity = "\x1f".join(("board", line, station, session, str(visit)))
    return hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()


class Names:
    """The ids of a session's frames and boards; for many of them faster than `frame_id` and `board_id`, and equal.

    >>> names = Names("line-1", "top", "s1")
    >>> names.frame(7) == frame_id("line-1", "top", "s1", 7), names.board(2) == board_id("line-1", "top", "s1", 2)
    (True, True)
    """

    __slots__ = ("_boards", "_frames", "line", "station")

    def __init__(self, line: str, station: str, session: str) -> None:
        self.line = line
        self.station = station
        identity = f"{line}\x1f{station}\x1f{session}\x1f"
        self._frames = hashlib.blake2b(identity.encode(), digest_size=16)
        self._boards = hashlib.blake2b(f"board\x1f{identity}".encode(), digest_size=16)

    def frame(self, seq: int) -> str:
        """Return a frame's id."""
        known = self._frames.copy()
        known.update(b"%d" % seq)
        return known.hexdigest()

    def frames(self, seqs: Iterable[int]) -> tuple[str, ...]:
        """Return the ids of several frames."""
        begin, ids = self._frames.copy, []
        for seq in seqs:
            known = begin()
            known.update(b"%d" % seq)
            ids.append(known.hexdigest())
        return tuple(ids)

    def board(self, visit: int) -> str:
        """Return the id of a board's visit."""
        known = self._boards.copy()
        known.update(b"%d" % visit)
        return known.hexdigest()


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Base of what goes on a topic. `payload` names the field that travels raw as the value of the message.

    Frozen and made of values, it is in no cycle, and not searched for one.
    """

    payload: ClassVar[str | None] = None


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Base of what lives inside a record."""


class Place(Part, frozen=True, kw_only=True):
    """Where a record lies in the log."""

    topic: str
    partition: int
    offset: int


class Tile(Part, frozen=True, kw_only=True):
    """Where a picture lies on a larger panel that arrives in overlapping pieces.

    `panel` names the panel; the picture is piece `index` (0 first, row by row) of `of`. `box_px` is its place on the
    panel (x0, y0, x1, y1; ends exclusive), `size_px` the panel's width and height.
    """

    panel: str
    index: int
    of: int
    box_px: tuple[int, int, int, int]
    size_px: tuple[int, int]


class Frame(Record, frozen=True, kw_only=True):
    """A picture as captured, never re-encoded, and where it came from.

    `seq` is dense per session (0, 1, 2 ...); `visit` is the trigger number of the board at this station.
    `stamped` frames carry a time made by pacing (simulator, folder, video), not read off a clock.
    """

    payload: ClassVar[str | None] = "image"

    frame_id: str
    line: str
    station: str
    product: str
    view: str
    session: str
    seq: int
    visit: int
    taken_at: datetime
    received_at: datetime
    um_per_px: float
    sha256: str
    image: bytes
    media_type: str
    lot: str | None = None
    serial: str | None = None
    template_sha256: str | None = None
    stamped: bool = False
    clock_skewed: bool = False
    tile: Tile | None = None

    @property
    def event_at(self) -> datetime:
        """The time that decides the window: `received_at` where the camera's clock was judged wrong."""
        return self.received_at if self.clock_skewed else self.taken_at


class Rle(Part, frozen=True, kw_only=True):
    """A mask in COCO's compressed run-length encoding, column-major, in frame coordinates; size is (height, width)."""

    size: tuple[int, int]
    counts: str


class Detection(Part, frozen=True, kw_only=True):
    """One thing found. `box_px` is (x0, y0, x1, y1), ends exclusive; areas come from the mask, never from the box.

    `score` is the chance that a defect is there, where the model is calibrated for these pictures; `raw_score`, which
    the thresholds are about, is the network's own.
    """

    label: str = msgspec.field(name="class")
    score: float
    box_px: tuple[float, float, float, float]
    mask: Rle
    area_px: int
    area_um2: int
    raw_score: float | None = None


def defect_words(label: str, score: float, box_px: tuple[float, float, float, float]) -> str:
    """Say a defect in words: its class, the middle of its box, its score.

    >>> defect_words("open", 0.93, (110, 330, 130, 350))
    'open at (120, 340), score 0.93'
    """
    x0, y0, x1, y1 = box_px
    return f"{label} at ({int(x0 + x1) // 2}, {int(y0 + y1) // 2}), score {score:.2f}"


class LayerProfile(Part, frozen=True, kw_only=True):
    """Corrosion relative to the original envelope of one copper layer (copper and corrosion, notches bridged).

    Shares are derived from the pixel counts; depths are in um. `surface`: a site breaks through to the envelope, at its
    upper face (left one of a steep layer) or at its lower one. `breaks`: places without copper. `mean_depth_um` is that
    of the corroded length. `left_out_px`: length at junctions and picture edges, of which nothing was measured.
    """

    layer: str
    layer_px: int
    corroded_px: int
    length_px: int
    corroded_length_px: int
    thickness_um: float
    deepest_um: float
    residual_um: float
    sites: int
    surface: bool
    mean_depth_um: float = 0.0
    breaks: int = 0
    upper_surface: bool = False
    lower_surface: bool = False
    left_out_px: int = 0

    @property
    def corroded_area_share(self) -> float:
        """Corroded share of the layer's area, 0 to 1."""
        return self.corroded_px / self.layer_px if self.layer_px else 0.0

    @property
    def depth_share(self) -> float:
        """Deepest corrosion as a share of the layer's thickness, 0 where it has none."""
        return self.deepest_um / self.thickness_um if self.thickness_um > 0 else 0.0

    @property
    def corroded_length_share(self) -> float:
        """Share of the layer's length with corrosion at it, 0 to 1."""
        return self.corroded_length_px / self.length_px if self.length_px else 0.0


class Registration(Part, frozen=True, kw_only=True):
    """How the template was laid onto the frame: a map (template px to frame px) and its quality.

    `matrix` holds the first two rows of the 3x3 map, `tilt` the first two numbers of its third (the last is 1): zero
    for a camera that looks straight down. `quality` is the correlation of the warped template with the frame, -1 to 1.
    `unsure_px` is how far (RMS over the frame) the true map may be from it where the board shows too little to tell.
    """

    matrix: tuple[float, float, float, float, float, float]
    quality: float
    tilt: tuple[float, float] = (0.0, 0.0)
    unsure_px: float = 0.0


class ModelRef(Part, frozen=True, kw_only=True):
    """Model = weights + settings + licence; named in every result by hash, and so is what its scores are worth."""

    name: str
    model_id: str
    weights_sha256: str
    engine: str
    precision: str
    device: str
    calibration_sha256: str = ""


class ModelActivation(Record, frozen=True, kw_only=True, tag="model_activation"):
    """Which model inspects a product from now on, and which one runs beside it uncounted (`shadow`, "" for none).

    `model` and `shadow` name folders; `model_id` is what the card of `model` said when it was chosen ("" where nobody
    looked). It overrules `products.*.model` of line.toml for as long as that still names `configured`: who edits the
    file afterwards has the last word. `author` is "detector" where a detector went back to the model before.
    """

    line: str
    product: str
    model: str
    model_id: str
    configured: str
    author: str
    reason: str
    at: datetime
    shadow: str = ""


class InspectionResult(Record, frozen=True, kw_only=True, tag="inspection_result"):
    """The one terminal outcome of an accepted frame; `dead` and `skipped` frames have no verdict.

    `doubts` names what kept it from being judged or from passing (values of `Doubt`, each told in `reasons`).
    """

    frame_id: str
    line: str
    station: str
    product: str
    view: str
    session: str
    seq: int
    visit: int
    event_at: datetime
    taken_at: datetime
    received_at: datetime
    inspected_at: datetime
    outcome: Outcome
    sha256: str
    um_per_px: float
    lot: str | None = None
    serial: str | None = None
    place: Place | None = None
    verdict: Verdict | None = None
    reasons: tuple[str, ...] = ()
    detections: tuple[Detection, ...] = ()
    layers: tuple[LayerProfile, ...] = ()
    opportunities: int = 0
    model: ModelRef | None = None
    config_sha256: str = ""
    template_sha256: str | None = None
    registration: Registration | None = None
    timings_us: dict[str, int] = {}
    tile: Tile | None = None
    doubts: tuple[str, ...] = ()


def outcome_of(
    frame: Frame, outcome: Outcome, reason: str, *, config_sha256: str, at: datetime, place: Place | None = None
) -> InspectionResult:
    """Return a frame's terminal outcome without a verdict: `dead`, `skipped`, or what an inspection adds to."""
    return InspectionResult(
        frame_id=frame.frame_id,
        line=frame.line,
        station=frame.station,
        product=frame.product,
        view=frame.view,
        session=frame.session,
        seq=frame.seq,
        visit=frame.visit,
        event_at=frame.event_at,
        taken_at=frame.taken_at,
        received_at=frame.received_at,
        inspected_at=at,
        outcome=outcome,
        sha256=frame.sha256,
        um_per_px=frame.um_per_px,
        lot=frame.lot,
        serial=frame.serial,
        place=place,
        reasons=(reason,),
        config_sha256=config_sha256,
        template_sha256=frame.template_sha256,
        tile=frame.tile,
    )


class StationMark(Record, frozen=True, kw_only=True, tag="station_mark"):
    """What ingest says of a station about once a second: up to `time`, nothing after `last_seq` was accepted.

    `last_seq` is -1 before the first frame. `author` is "ingest", or "watchdog" where ingest itself fell silent.
    """

    line: str
    station: str
    session: str
    product: str
    last_seq: int
    time: datetime
    state: MarkState
    author: str = "ingest"


class BoardDefect(Part, frozen=True, kw_only=True):
    """A defect of a panel, `box_px` (x0, y0, x1, y1; ends exclusive) on the panel; what seams cut is one again."""

    label: str = msgspec.field(name="class")
    score: float
    box_px: tuple[float, float, float, float]


class BoardVerdict(Record, frozen=True, tag="board_verdict"):
    """What the pictures of one visit of a board say together: the worst decides, and one that is not in means review.

    `expected` pictures make a board, `frames` are those with an outcome, in order of capture, `inspected` of them were
    judged. `event_at` is when the first was taken, `decided_at` when the last had its outcome. A board of which no
    picture could be inspected is stopped as `review`, and no figure counts it. `revision` is the offset (in results) of
    the last record that changed it: a late picture corrects its board; readers keep the highest.
    `defects` are those of a panel that arrived in pieces; of other boards the frames' results have them.
    `reinspection`: the same serial was seen at the station at most one horizon before, as far as was known then; an
    earlier visit that arrives later is counted right in the windows and publishes no verdict again.

    Its fields may go without names, for with them it would take six times as long to make one, and the KPI engine makes
    one of every board.
    """

    board_id: str
    line: str
    station: str
    product: str
    session: str
    visit: int
    event_at: datetime
    decided_at: datetime
    revision: int
    verdict: Verdict
    expected: int
    inspected: int
    frames: tuple[str, ...]
    reasons: tuple[str, ...] = ()
    lot: str | None = None
    serial: str | None = None
    defects: tuple[BoardDefect, ...] = ()
    reinspection: bool = False


class KpiWindow(Record, frozen=True, kw_only=True, tag="kpi_window"):
    """Sums over one event-time window; rates are computed from these by `taktwatch.kpis`.

    `window` is "1m" (one station and product), or a roll-up: "1h", "shift" (named by `shift`), or "lot" (an hour's part
    of `lot`). In a roll-up product "*" stands for all products, station "*" for the whole line. `inspected`, `passed`,
    `failed`, `review`, `first_pass` count boards; `accepted`, `skipped`, `dead`, `missing` count frames.

    `revision` is the offset (in results) of the last record that changed the window; readers keep the highest.
    All sums are integers: um2, um, us, counts, basis points (a score of 0.9312 is 9312 bp). `scored` detections have
    scores that add up to `score_sum_bp`, their squares to `score_squares_bp2`: all that a mean and its spread need.
    `measured` pictures showed a layer: of each, the largest corroded area share of a layer (`extent`) and the largest
    depth as a share of a layer's thickness (`depth`), in basis points, and the deepest corrosion in steps of 100 nm, as
    sums and sums of squares.
    `latency_buckets` is a fixed base-2 histogram of the time from a board's receipt to its verdict: key k counts
    latencies in [2^(k/4), 2^((k+1)/4)) us.
    """

    window: str
    start: datetime
    end: datetime
    line: str
    station: str
    product: str
    revision: int
    state: WindowState
    accepted: int = 0
    inspected: int = 0
    passed: int = 0
    failed: int = 0
    review: int = 0
    skipped: int = 0
    dead: int = 0
    missing: int = 0
    late_or_repeat: int = 0
    first_pass: int = 0
    first_pass_passed: int = 0
    opportunities: int = 0
    defects: dict[str, int] = {}
    layer_um2: int = 0
    corroded_um2: int = 0
    deepest_um: int = 0
    surface_corrosion: int = 0
    latency_sum_us: int = 0
    latency_buckets: dict[int, int] = {}
    marks: int = 0
    station_state: MarkState = MarkState.OPEN
    layer_length_um: int = 0
    corroded_length_um: int = 0
    scored: int = 0
    score_sum_bp: int = 0
    score_squares_bp2: int = 0
    measured: int = 0
    extent_sum_bp: int = 0
    extent_squares_bp2: int = 0
    depth_sum_bp: int = 0
    depth_squares_bp2: int = 0
    depth_sum_100nm: int = 0
    depth_squares_100nm2: int = 0
    lot: str | None = None
    shift: str | None = None


class ControlPoint(Record, frozen=True, kw_only=True, tag="control_point"):
    """A point of a control chart as it travels; line, station, product, metric, chart, panel and `start` name it.

    Readers keep the highest revision. `amount` and `n` are the subgroup's own counts (integers of KPI windows; of
    measured values their sum in basis points or 100 nm, and `squares` the sum of their squares), `value`
    is what the chart plots: the rate itself (p, u, Laney), its weighted mean (EWMA) or a cumulative sum. Without a
    baseline there are no limits: centre, lower and upper are None and the chart is "run". `value` is None where a
    correction took the last board out of the subgroup. While limits are being learnt (phase I), `collected` of `wanted`
    subgroups are in.
    """

    chart: str
    line: str
    station: str
    product: str
    metric: str
    start: datetime
    end: datetime
    amount: int
    n: int
    value: float | None
    centre: float | None = None
    lower: float | None = None
    upper: float | None = None
    sigma_z: float = 1.0
    signals: tuple[str, ...] = ()
    panel: str = ""
    baseline_id: str = ""
    revision: int = 0
    collected: int = 0
    wanted: int = 0
    squares: int = 0


class SpcBaseline(Record, frozen=True, kw_only=True):
    """The limits a product at a station is held to, on their way: `body` is a baseline of `kpi_engine.spc` as JSON."""

    payload: ClassVar[str | None] = "body"

    line: str
    station: str
    product: str
    metric: str
    baseline_id: str
    author: str
    body: bytes


class AlertTransition(Record, frozen=True, kw_only=True, tag="alert_transition"):
    """One step of one alert's life. `alert_id` is the same from pending to resolved; `labels` name whom it is about."""

    alert_id: str
    rule: str
    severity: Severity
    labels: dict[str, str]
    previous: AlertState
    state: AlertState
    at: datetime
    value: float | None
    n: int
    summary: str
    window_start: datetime
    revision: int


class Notification(Record, frozen=True, kw_only=True, tag="notification"):
    """One attempt to tell somebody of a transition; `key` makes it recognisable when it is repeated."""

    key: str
    alert_id: str
    channel: str
    attempted_at: datetime
    delivered: bool
    error: str = ""


class Review(Record, frozen=True, kw_only=True, tag="review"):
    """What a person said of a board: `machine` is the board's verdict, `human` pass or fail. The last word counts.

    `frame_id` names the picture that the person looked at; session and visit name the board. `sampled`: the board had
    passed and was drawn at random for checking, each with the chance 1 / `weight`.
    """

    frame_id: str
    line: str
    station: str
    product: str
    session: str
    visit: int
    event_at: datetime
    machine: Verdict
    human: Verdict
    reviewer: str
    reason: str
    reviewed_at: datetime
    serial: str | None = None
    model_id: str = ""
    sampled: bool = False
    weight: float = 1.0


class ReviewWindow(Record, frozen=True, kw_only=True, tag="review_window"):
    """Sums over the boards whose last word was said in one minute; rates come from `taktwatch.review_figures`.

    A row of the store, made by `taktwatch.reviews` from the reviews topic, and on no topic itself. Integers alone:
    boards, and weights in thousandths of a board, each rounded, so that sums of sums are exact.

    confirmed, overruled: boards the machine passed or failed, by what people made of it.
    settled: boards the machine sent to review. escapes_found: passes overruled without having been drawn.
    failed: reviewed fails, of which `false_calls` are good. drawn: drawn passes reviewed, of which `escapes` are
    defective; their weights add up to `weight_milli` and `escaped_weight_milli`, their squares to
    `weight_squares_milli2`.
    `revision` is the offset (in reviews) of the last word that changed the minute; readers keep the highest.
    """

    start: datetime
    line: str
    station: str
    product: str
    revision: int
    confirmed: int = 0
    overruled: int = 0
    settled: int = 0
    escapes_found: int = 0
    failed: int = 0
    false_calls: int = 0
    drawn: int = 0
    escapes: int = 0
    weight_milli: int = 0
    escaped_weight_milli: int = 0
    weight_squares_milli2: int = 0


class DeadLetter(Record, frozen=True, kw_only=True):
    """Bytes as received that could not be used, why, and where they came from.

    Where `body_bytes` exceeds `len(body)`, only the head was kept (the whole would not fit on the bus).
    """

    payload: ClassVar[str | None] = "body"

    error: str
    source: str
    received_at: datetime
    body: bytes
    body_bytes: int
    sha256: str
    line: str = ""
    station: str = ""
    frame_id: str = ""
    place: Place | None = None


class BlockRef(Part, frozen=True, kw_only=True):
    """A block of a state, written once as a `CheckpointChunk`: by whom, under which number, and its id."""

    writer: str
    number: int
    save_id: str


class Checkpoint(Record, frozen=True, kw_only=True):
    """Open state and the position it belongs to, in one record: both are saved, or neither is.

    `position` is the next offset to read of `topic`/`partition`. A state too large for one record has a
    `CheckpointManifest` instead. `blocks` are part of the state, too, and not written again.
    """

    payload: ClassVar[str | None] = "state"

    group: str
    topic: str
    partition: int
    position: int
    state: bytes
    blocks: tuple[BlockRef, ...] = ()


class CheckpointManifest(Record, frozen=True, kw_only=True, tag="checkpoint_manifest"):
    """A checkpoint whose state lies in `chunks` records of `CheckpointChunk`, written before it.

    `chunks_of` is part of their keys: who wrote them, and in which slot. `save_id` is theirs, too, and no other save's.
    """

    group: str
    topic: str
    partition: int
    position: int
    chunks: int
    chunks_of: str
    save_id: str
    blocks: tuple[BlockRef, ...] = ()


class CheckpointChunk(Record, frozen=True, kw_only=True):
    """A piece of a large state, counted from 0; `save_id` is the same for all pieces of one save."""

    payload: ClassVar[str | None] = "state"

    save_id: str
    index: int
    state: bytes


class Asset(Record, frozen=True, kw_only=True):
    """Something results name by hash and need again: a golden template, kept by its SHA-256."""

    payload: ClassVar[str | None] = "body"

    sha256: str
    kind: str
    media_type: str
    body: bytes
