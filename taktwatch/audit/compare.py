"""What agrees and what differs between a recorded run and its replay. Pure.

Two results agree when outcome, verdict, classes and their counts are equal. Where they differ only by detections whose
score lies within `CLOSE` of the class's threshold, the frame is a close call, listed apart: another processor may round
the last digits differently.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from taktwatch.records import Detection, InspectionResult, KpiWindow

__all__ = ["CLOSE", "Comparison", "Difference", "compare_results", "compare_windows"]

CLOSE = 1e-3
"""Scores nearer than this to a threshold are close calls (0..1)."""

Thresholds = Mapping[str, Mapping[str, float]]
"""Product, then class, to the score below which nothing is reported."""

NOT_COMPARED = ("revision", "state", "late_or_repeat", "latency_sum_us", "latency_buckets", "marks", "station_state")
"""Fields of a window that tell of delivery and of speed, not of what was seen."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One frame that was judged otherwise."""

    frame_id: str
    station: str
    seq: int
    recorded: str
    replayed: str


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a replay. `engines` has the differing (recorded, replayed) pairs of engine/precision/device."""

    compared: int
    agreeing: int
    differences: tuple[Difference, ...]
    close_calls: tuple[Difference, ...]
    not_replayed: tuple[str, ...]
    windows_compared: int = 0
    windows_differing: tuple[str, ...] = ()
    engines: tuple[tuple[str, str], ...] = ()
    models: tuple[tuple[str, str], ...] = ()

    @property
    def equal(self) -> bool:
        """Nothing differs but close calls."""
        return not (self.differences or self.not_replayed or self.windows_differing)


def compare_results(
    recorded: Iterable[InspectionResult], replayed: Iterable[InspectionResult], thresholds: Thresholds
) -> Comparison:
    """Compare frame by frame, by frame id."""
    again = {result.frame_id: result for result in replayed}
    agreeing = 0
    compared = 0
    differences: list[Difference] = []
    close_calls: list[Difference] = []
    not_replayed: list[str] = []
    engines: set[tuple[str, str]] = set()
    models: set[tuple[str, str]] = set()
    for before in recorded:
        after = again.get(before.frame_id)
        if after is None:
            not_replayed.append(before.frame_id)
            continue
        compared += 1
        if before.model and after.model:
            engines.add((engine_of(before), engine_of(after)))
            models.add((before.model.model_id, after.model.model_id))
        if judged(before) == judged(after):
            agreeing += 1
            continue
        difference = Difference(
            frame_id=before.frame_id,
            station=before.station,
            seq=before.seq,
            recorded=in_words(before),
            replayed=in_words(after),
        )
        sure = thresholds.get(before.product, {})
        close = before.outcome == after.outcome and sure_classes(before, sure) == sure_classes(after, sure)
        (close_calls if close else differences).append(difference)
    return Comparison(
        compared=compared,
        agreeing=agreeing,
        differences=tuple(differences),
        close_calls=tuple(close_calls),
        not_replayed=tuple(not_replayed),
        engines=tuple(sorted(pair for pair in engines if pair[0] != pair[1])),
        models=tuple(sorted(models)),
    )


def compare_windows(recorded: Iterable[KpiWindow], replayed: Iterable[KpiWindow]) -> tuple[int, tuple[str, ...]]:
    """Return how many windows were compared, and the names of those that differ."""
    before = {name_of(window): seen_in(window) for window in recorded}
    after = {name_of(window): seen_in(window) for window in replayed}
    names = sorted(before.keys() | after.keys())
    return len(names), tuple(name for name in names if before.get(name) != after.get(name))


def judged(result: InspectionResult) -> tuple[str, str | None, Counter[str]]:
    """What must be equal: outcome, verdict, and how many of each class."""
    return result.outcome, result.verdict, Counter(found.label for found in result.detections)


def sure_classes(result: InspectionResult, thresholds: Mapping[str, float]) -> Counter[str]:
    """Classes and counts without the detections whose score is within `CLOSE` of the threshold."""
    return Counter(
        found.label for found in result.detections if abs(raw_score(found) - thresholds.get(found.label, 0.0)) >= CLOSE
    )


def raw_score(found: Detection) -> float:
    """Return the score that thresholds are about: the network's own."""
    return found.score if found.raw_score is None else found.raw_score


def in_words(result: InspectionResult) -> str:
    """Verdict and classes on one line.

    A frame without verdict shows its outcome.
    """
    classes = Counter(found.label for found in result.detections)
    found = ", ".join(f"{count} {label}" for label, count in sorted(classes.items()))
    return f"{result.verdict or result.outcome}" + (f" ({found})" if found else "")


def engine_of(result: InspectionResult) -> str:
    """Engine, precision and device in one word."""
    model = result.model
    return f"{model.engine}/{model.precision}/{model.device}" if model else "none"


def name_of(window: KpiWindow) -> str:
    """Return a window's identity in words."""
    names = (window.station, window.product, window.window, window.lot or "", f"{window.start:%Y-%m-%dT%H:%MZ}")
    return " ".join(name for name in names if name)


def seen_in(window: KpiWindow) -> dict[str, object]:
    """The fields of a window that say what was seen."""
    fields = msgspec.structs.asdict(window)
    for name in NOT_COMPARED:
        del fields[name]
    return fields
