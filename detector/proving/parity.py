"""Does an engine say what the reference says? Detections are matched by overlap; scores, areas, verdicts compared.

The reference is the network as it was trained and measured: torch, float32, uncut. Pure.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from detector.engines import RawDetections
from detector.evaluate import box_iou
from detector.intervals import rate
from detector.masks import roi_mask
from taktwatch.records import ModelRef, Verdict

__all__ = ["BOUNDS", "Agreement", "Answer", "Bounds", "Parity", "compare", "shortfalls", "summed"]

Floats = npt.NDArray[np.float64]

SAME_IOU = 0.5
"""Two boxes of one class that overlap by so much are one detection."""
CLEAR = 0.05
"""A detection counts as unmatched from so far above the network's floor; below, a hair's breadth decides."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far detections may stray. score: 0..1; area: share of the larger; unmatched: share of detections.

    almost_all: the share of detections that score and area bounds hold for; of two boxes that are nearly alike,
    rounding decides which one is kept.
    escapes: share of boards that the reference fails and the engine passes, counted on at least `boards`.
    """

    score: float
    area: float
    almost_all: float = 0.99
    unmatched: float = 0.01
    escapes: float = 1e-3
    boards: int = 3000


BOUNDS = {
    "float32": Bounds(score=1e-3, area=0.02, almost_all=0.999, unmatched=1e-3),
    "float16": Bounds(score=0.05, area=0.1),
    "bfloat16": Bounds(score=0.05, area=0.1),
    "int8": Bounds(score=0.2, area=0.3, unmatched=0.03),
}
"""By precision."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine says of one board: what is compared, and no more, so that thousands are kept in a small file.

    picture_sha256 names what it saw; labels, scores, boxes and areas are those of the detections, best score first.
    """

    board: int
    picture_sha256: str
    verdict: Verdict
    labels: tuple[int, ...]
    scores: tuple[float, ...]
    boxes: tuple[tuple[float, float, float, float], ...]
    areas_px: tuple[int, ...]

    @classmethod
    def of(
        cls, raw: RawDetections, verdict: Verdict, size: tuple[int, int], *, board: int = 0, picture_sha256: str = ""
    ) -> "Answer":
        """Keep of detections in a picture of `size` (height, width) what is compared."""
        return cls(
            board=board,
            picture_sha256=picture_sha256,
            verdict=verdict,
            labels=tuple(raw.labels.tolist()),
            scores=tuple(raw.scores.tolist()),
            boxes=tuple((float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in raw.boxes),
            areas_px=tuple(roi_mask(mask, box, *size).area_px for mask, box in zip(raw.masks, raw.boxes, strict=True)),
        )


@dataclass(frozen=True, eq=False, slots=True)
class Agreement:
    """One picture, two answers. scores, areas: differences of matched detections (M,); unmatched: of both together."""

    scores: Floats
    areas: Floats
    unmatched: int
    expected: Verdict
    said: Verdict


class Parity(BaseModel):
    """What was measured, of which engine, here. `to_pass`: boards the reference failed and the engine passed.

    score, area: what the differences of the share `almost_all` of detections do not exceed; `..._most`: the greatest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_id: str
    weights_sha256: str
    engine: str
    precision: str
    device: str
    export_sha256: str
    recipe_sha256: str = ""
    boards: int
    failed: int
    detections: int
    unmatched: int
    almost_all: float
    score: float
    score_most: float
    area: float
    area_most: float
    to_pass: int
    to_fail: int

    @property
    def is_reference(self) -> bool:
        """Whether it is torch in float32: the arithmetic that all others are held against, which needs no proof."""
        return self.engine.startswith("torch ") and self.precision == "float32"

    @property
    def to_pass_upper(self) -> float:
        """The share of `to_pass` is below this with 95 % confidence."""
        return rate(self.to_pass, self.boards).upper


def compare(reference: Answer, other: Answer, *, floor: float) -> Agreement:
    """Compare two answers to one picture; `floor` is the score below which the network reports nothing."""
    scores, areas, mine, theirs = [], [], set(), set()
    for one, two in _pairs(reference, other):
        scores.append(abs(reference.scores[one] - other.scores[two]))
        before, after = reference.areas_px[one], other.areas_px[two]
        areas.append(abs(before - after) / max(before, after, 1))
        mine.add(one)
        theirs.add(two)
    unmatched = sum(
        score >= floor + CLEAR
        for answer, matched in ((reference, mine), (other, theirs))
        for at, score in enumerate(answer.scores)
        if at not in matched
    )
    return Agreement(
        np.array(scores, np.float64), np.array(areas, np.float64), unmatched, reference.verdict, other.verdict
    )


def _pairs(reference: Answer, other: Answer) -> list[tuple[int, int]]:
    """Give each detection of the reference, best score first, the free one of its class that it overlaps most."""
    mine, theirs = (np.array(one.boxes, np.float64).reshape(-1, 4) for one in (reference, other))
    overlap = box_iou(mine, theirs)
    overlap[np.array(reference.labels)[:, None] != np.array(other.labels)[None]] = -1
    pairs = []
    for one in range(len(reference.scores)):
        if overlap.shape[1] and overlap[one].max() >= SAME_IOU:
            two = int(overlap[one].argmax())
            overlap[:, two] = -1
            pairs.append((one, two))
    return pairs


def summed(agreements: Iterable[Agreement], ref: ModelRef, export_sha256: str = "", recipe_sha256: str = "") -> Parity:
    """Sum up what was compared; the hashes name the export and how it was made (torch has none)."""
    everything = list(agreements)
    scores = np.concatenate([one.scores for one in everything] or [np.zeros(0)])
    areas = np.concatenate([one.areas for one in everything] or [np.zeros(0)])
    verdicts = [(one.expected, one.said) for one in everything]
    share = BOUNDS[ref.precision].almost_all
    return Parity(
        model_id=ref.model_id,
        weights_sha256=ref.weights_sha256,
        engine=ref.engine,
        precision=ref.precision,
        device=ref.device,
        export_sha256=export_sha256,
        recipe_sha256=recipe_sha256,
        boards=len(everything),
        failed=sum(expected is Verdict.FAIL for expected, _ in verdicts),
        detections=len(scores),
        unmatched=sum(one.unmatched for one in everything),
        almost_all=share,
        score=_most(scores, share),
        score_most=float(scores.max(initial=0)),
        area=_most(areas, share),
        area_most=float(areas.max(initial=0)),
        to_pass=verdicts.count((Verdict.FAIL, Verdict.PASS)),
        to_fail=verdicts.count((Verdict.PASS, Verdict.FAIL)),
    )


def shortfalls(parity: Parity, *, boards: int | None = None) -> list[str]:
    """Say what keeps an engine from being used; nothing where it may be.

    `boards`: so many are enough; None wants what a proof wants, and none of the reference's own arithmetic.
    """
    bounds = BOUNDS[parity.precision]
    if boards is None:
        boards = 0 if parity.is_reference else bounds.boards
    words = []
    if parity.score > bounds.score:
        words.append(f"scores differ by {parity.score:.2g}, at most {bounds.score:.2g}")
    if parity.area > bounds.area:
        words.append(f"areas differ by {parity.area:.2g}, at most {bounds.area:.2g}")
    if parity.unmatched > bounds.unmatched * max(parity.detections, 1):
        words.append(f"{parity.unmatched} of {parity.detections} detections have no partner")
    if parity.to_pass > bounds.escapes * parity.boards:
        words.append(f"{parity.to_pass} of {parity.boards} boards pass that the reference fails")
    if parity.boards < boards:
        words.append(f"compared on {parity.boards} boards, {boards} are wanted")
    return words


def _most(values: Floats, share: float) -> float:
    """Return what this share of the values does not exceed."""
    return float(np.quantile(values, share, method="higher")) if values.size else 0.0
