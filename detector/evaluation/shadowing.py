"""Two models on the same frames of a line, one counted, one beside it: where they differ. Pure.

Nobody said what is true on these frames, so nothing here says which model is right: only how often they agree, which
way verdicts differ, whether scores moved, and what each took.
"""

from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import stats

from detector.evaluate import box_iou
from detector.intervals import Estimate, Rate, bootstrap, percentile_interval, rate
from taktwatch.records import Detection, InspectionResult, Verdict

__all__ = ["Beside", "Flips", "Took", "compare_beside", "words_of"]

SAME_IOU = 0.5
"""Two boxes of one class that overlap by so much are one detection."""

Pair = tuple[InspectionResult, InspectionResult]
Floats = npt.NDArray[np.float64]


class Flips(msgspec.Struct, frozen=True, kw_only=True):
    """Frames that one model passed and the other did not, and McNemar's exact two-sided p of so uneven a split."""

    only_counted_passes: int
    only_shadow_passes: int
    p: float


class Took(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds of one frame in the network."""

    p50_ms: float
    p95_ms: float


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """What comparing came to. `frames` were counted while the shadow ran, `compared` of them it saw, too.

    agreement: the share of equal verdicts. verdicts: how often, by the counted one's and the shadow's. flips: of those
    only one passes. detections: found by both, by the counted one alone, by the shadow alone. score_drift: score of
    the shadow less that of the counted one on what both found, by frames.
    """

    counted: str
    shadow: str
    frames: int
    compared: int
    agreement: Rate
    verdicts: dict[str, dict[str, int]]
    flips: Flips
    detections: tuple[int, int, int]
    score_drift: Estimate
    counted_took: Took
    shadow_took: Took


def compare_beside(pairs: Sequence[Pair], frames: int, *, seed: int = 0) -> Beside | None:
    """Compare what the counted model and the shadow said of the same frames; None where there is nothing to compare.

    `frames`: how many were counted meanwhile. Pairs are of one model each.
    """
    if not pairs:
        return None
    verdicts = Counter((str(one.verdict), str(other.verdict)) for one, other in pairs)
    drifts: list[Floats] = []
    both = alone = beside = 0
    for one, other in pairs:
        matched = same_detections(one.detections, other.detections)
        drifts.append(np.array([other.detections[b].score - one.detections[a].score for a, b in matched], np.float64))
        both += len(matched)
        alone += len(one.detections) - len(matched)
        beside += len(other.detections) - len(matched)
    counted, shadow = pairs[-1]
    return Beside(
        counted=_named(counted),
        shadow=_named(shadow),
        frames=frames,
        compared=len(pairs),
        agreement=rate(sum(count for (one, other), count in verdicts.items() if one == other), len(pairs)),
        verdicts={str(one): {str(other): verdicts[str(one), str(other)] for other in Verdict} for one in Verdict},
        flips=_flips(pairs),
        detections=(both, alone, beside),
        score_drift=_drift(drifts, seed),
        counted_took=_took([one for one, _ in pairs]),
        shadow_took=_took([other for _, other in pairs]),
    )


def same_detections(some: Sequence[Detection], others: Sequence[Detection]) -> list[tuple[int, int]]:
    """Match detections of one class by overlap, best score first, each at most once; places in both sequences."""
    boxes = [np.array([each.box_px for each in found], np.float64).reshape(-1, 4) for found in (some, others)]
    overlap = box_iou(boxes[0], boxes[1])
    labels = [np.array([each.label for each in found], object) for found in (some, others)]
    overlap[labels[0][:, None] != labels[1][None]] = -1
    matched = []
    for one in sorted(range(len(some)), key=lambda at: -some[at].score):
        if len(others) and overlap[one].max() >= SAME_IOU:
            other = int(overlap[one].argmax())
            overlap[:, other] = -1
            matched.append((one, other))
    return matched


def words_of(said: Beside) -> list[str]:
    """Say it in lines."""
    flips, (both, alone, beside) = said.flips, said.detections
    rows = [
        f"  {one:>6}: " + ", ".join(f"{count} {other}" for other, count in others.items() if count)
        for one, others in said.verdicts.items()
        if any(others.values())
    ]
    agreement, counted, shadow = said.agreement, said.counted_took, said.shadow_took
    passes = f"only the counted one passes: {flips.only_counted_passes}, only the shadow: {flips.only_shadow_passes}"
    took = f"in the network: {counted.p50_ms:.0f} ms (p95 {counted.p95_ms:.0f})"
    return [
        f"{said.shadow} beside {said.counted}: {said.compared} of {said.frames} frames compared",
        f"same verdict: {agreement.events} of {agreement.n} ({agreement.low:.1%} to {agreement.high:.1%})",
        "by the counted verdict, the shadow's:",
        *rows,
        f"{passes} (McNemar's exact p {flips.p:.2g})",
        f"detections: {both} by both, {alone} by the counted one alone, {beside} by the shadow alone",
        f"score on what both found, shadow less counted: {said.score_drift.words}",
        f"{took}, the shadow {shadow.p50_ms:.0f} ms (p95 {shadow.p95_ms:.0f})",
    ]


def _flips(pairs: Sequence[Pair]) -> Flips:
    counted = sum(one.verdict is Verdict.PASS and other.verdict is not Verdict.PASS for one, other in pairs)
    shadow = sum(other.verdict is Verdict.PASS and one.verdict is not Verdict.PASS for one, other in pairs)
    n = counted + shadow
    p = float(stats.binomtest(counted, n).pvalue) if n else 1.0
    return Flips(only_counted_passes=counted, only_shadow_passes=shadow, p=p)


def _drift(by_frame: Sequence[Floats], seed: int) -> Estimate:
    """Return the mean difference; whole frames are drawn for its interval."""
    sums, counts = np.array([one.sum() for one in by_frame]), np.array([one.size for one in by_frame], np.float64)
    if not counts.sum():
        return Estimate(value=None, units=len(by_frame))

    def mean(weights: Floats) -> Floats:
        drawn = float(weights @ counts)
        return np.array([float(weights @ sums) / drawn if drawn else np.nan])

    interval = percentile_interval(bootstrap(mean, np.arange(len(sums)), seed=seed)[:, 0], len(sums))
    low, high = interval or (None, None)
    return Estimate(value=float(sums.sum() / counts.sum()), low=low, high=high, units=len(sums))


def _took(results: Sequence[InspectionResult]) -> Took:
    p50, p95 = np.quantile([one.timings_us.get("infer", 0) / 1000 for one in results], [0.5, 0.95])
    return Took(p50_ms=float(p50), p95_ms=float(p95))


def _named(result: InspectionResult) -> str:
    return "" if result.model is None else result.model.model_id
