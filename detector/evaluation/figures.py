"""All figures of one model on one data set, each with how far it is known. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from detector.evaluate import best_f
from detector.evaluation.coco_map import CocoFigures, coco_figures
from detector.evaluation.curves import Pool
from detector.evaluation.matching import RULE_IOU, Confusion, Pairing, confusion, pair, pools
from detector.evaluation.outcomes import Outcome
from detector.evaluation.pod import Detectability, detectability
from detector.evaluation.reliability import Reliability, reliability
from detector.intervals import Estimate, Rate, bootstrap, effective_trials, rate, share_interval
from detector.judge import LAYER
from taktwatch.records import Verdict

__all__ = ["BoardFigures", "BoardRates", "ClassFigures", "Figures", "Headline", "Known", "Scored", "score", "units_of"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

STRICT_IOU = 0.75
MOST_BOARDS = 20
"""Of more boards than this none is told alone."""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A figure with two intervals: for other pictures of these boards, and for other boards (none below five)."""

    pictures: Estimate
    boards: Estimate

    @property
    def value(self) -> float | None:
        """The figure itself."""
        return self.pictures.value


class Headline(msgspec.Struct, frozen=True, kw_only=True):
    """Pooled over classes, at IoU above 0.33 unless named otherwise.

    `f_reported` is at the product's thresholds, `f_validation` at the threshold that the model's card brings from its
    validation (None without one), `best_f` at the best threshold for these very pictures: an upper end, not a promise.
    """

    ap: Known
    mean_ap: Known
    ap75: Known
    f_reported: Known
    f_validation: Known | None
    best_f: Known
    best_f_threshold: float


class ClassFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One class: how many truths, AP, best F, and its truths that were found at the product's thresholds."""

    label: str = msgspec.field(name="class")
    truths: int
    ap: Known
    best_f: float | None
    found: Rate
    false_calls: int


class BoardRates(msgspec.Struct, frozen=True, kw_only=True):
    """Verdicts against truth, a picture a board: defective ones that passed, good ones that were stopped.

    Fail and review both stop a board. The bounds take boards as independent.
    """

    escapes: Rate
    false_calls: Rate
    reviews: Rate


class BoardFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One board alone: AP and best F, pooled over classes; intervals for other pictures of it."""

    board: str
    pictures: int
    truths: int
    ap: Estimate
    best_f: Estimate


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is computed; `labels` in the order of the confusion matrix."""

    pictures: int
    boards: int
    truths: int
    labels: tuple[str, ...]
    headline: Headline
    classes: tuple[ClassFigures, ...]
    by_board: tuple[BoardFigures, ...]
    rates: BoardRates
    coco_box: CocoFigures
    coco_mask: CocoFigures
    detectability: Detectability
    unsized: int
    confusion: Confusion
    reliability: Reliability


@dataclass(frozen=True, eq=False, slots=True)
class Scored:
    """Figures, and what they were computed from: pools by class ("" is all of them) and the pairs of each picture."""

    figures: Figures
    pools: dict[str, Pool]
    pairings: list[Pairing]


def units_of(outcomes: Sequence[Outcome]) -> tuple[Ints, Ints]:
    """Return which unit each picture is drawn with: itself, and its board; int (P,) each."""
    names = {name: index for index, name in enumerate(dict.fromkeys(outcome.board for outcome in outcomes))}
    return np.arange(len(outcomes)), np.array([names[outcome.board] for outcome in outcomes], np.int64)


def score(outcomes: Sequence[Outcome], labels: Sequence[str], *, f_threshold: float | None, seed: int = 0) -> Scored:
    """Compute all figures of at least one picture; intervals come from `seed` alone."""
    rule, strict = pools(outcomes, labels, RULE_IOU), pools(outcomes, labels, STRICT_IOU)
    reported = pools(
        [msgspec.structs.replace(one, found=tuple(f for f in one.found if f.reported)) for one in outcomes],
        labels,
        RULE_IOU,
    )
    pairings = [pair(one.truths, one.found) for one in outcomes]
    there = [label for label in labels if rule[label].truths.sum()]
    everything, known = rule[""], _Knower(outcomes, rule, seed)

    def mean_ap(weights: Floats) -> float:
        each = np.array([rule[label].ap(weights) for label in there])
        return float(np.nanmean(each)) if np.isfinite(each).any() else float("nan")

    headline = Headline(
        ap=known(everything.ap),
        mean_ap=known(mean_ap),
        ap75=known(strict[""].ap),
        f_reported=known(lambda weights: reported[""].f_at(0.0, weights)),
        f_validation=None if f_threshold is None else known(lambda weights: everything.f_at(f_threshold, weights)),
        best_f=known(everything.best_f),
        best_f_threshold=best_f(everything.matched)[1],
    )
    classes = tuple(
        ClassFigures(
            label=label,
            truths=int(rule[label].truths.sum()),
            ap=known(rule[label].ap, label),
            best_f=best_f(rule[label].matched)[0] if label in there else None,
            found=rate(int(reported[label].hits.sum()), int(rule[label].truths.sum())),
            false_calls=int((~reported[label].hits).sum()),
        )
        for label in labels
    )
    sizes, hits, unsized = _sizes(outcomes, pairings)
    figures = Figures(
        pictures=len(outcomes),
        boards=len({one.board for one in outcomes}),
        truths=int(everything.truths.sum()),
        labels=tuple(labels),
        headline=headline,
        classes=classes,
        by_board=_by_board(outcomes, labels, seed),
        rates=_rates(outcomes),
        coco_box=coco_figures(outcomes, labels, "bbox"),
        coco_mask=coco_figures(outcomes, labels, "segm"),
        detectability=detectability(sizes, hits),
        unsized=unsized,
        confusion=confusion(outcomes, pairings, labels),
        reliability=reliability(everything),
    )
    return Scored(figures, rule, pairings)


class _Knower:
    """Gives a figure both its intervals."""

    def __init__(self, outcomes: Sequence[Outcome], rule: dict[str, Pool], seed: int) -> None:
        self.pictures, self.boards = units_of(outcomes)
        self.rule, self.seed = rule, seed

    def __call__(self, figure: Callable[[Floats], float], label: str = "") -> Known:
        """Resample a figure of one class, or of all."""
        value, truths = figure(np.ones(self.pictures.size)), self.rule[label].truths
        return Known(
            pictures=self._estimate(figure, value, self.pictures, truths),
            boards=self._estimate(figure, value, self.boards, truths),
        )

    def _estimate(self, figure: Callable[[Floats], float], value: float, units: Ints, truths: Floats) -> Estimate:
        """Resample whole units; those without anything to find say nothing."""
        count = np.unique(units[truths > 0]).size
        if not np.isfinite(value):
            return Estimate(value=None, units=count)
        drawn = bootstrap(lambda weights: np.array([figure(weights)]), units, seed=self.seed)[:, 0]
        low, high = share_interval(value, drawn, count, effective_trials(truths)) or (None, None)
        return Estimate(value=value, low=low, high=high, units=count)


def _by_board(outcomes: Sequence[Outcome], labels: Sequence[str], seed: int) -> tuple[BoardFigures, ...]:
    """Score each board alone, where there are a few with several pictures each."""
    boards: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        boards.setdefault(outcome.board, []).append(outcome)
    if not 1 < len(boards) <= MOST_BOARDS or len(boards) == len(outcomes):
        return ()
    told = []
    for board, own in boards.items():
        rule = pools(own, labels, RULE_IOU)
        known = _Knower(own, rule, seed)
        told.append(
            BoardFigures(
                board=board,
                pictures=len(own),
                truths=int(rule[""].truths.sum()),
                ap=known(rule[""].ap).pictures,
                best_f=known(rule[""].best_f).pictures,
            )
        )
    return tuple(told)


def _rates(outcomes: Sequence[Outcome]) -> BoardRates:
    """Count verdicts against truth."""
    bad = [one.verdict for one in outcomes if one.defective]
    good = [one.verdict for one in outcomes if not one.defective]
    return BoardRates(
        escapes=rate(sum(verdict is Verdict.PASS for verdict in bad), len(bad)),
        false_calls=rate(sum(verdict is not Verdict.PASS for verdict in good), len(good)),
        reviews=rate(sum(one.verdict is Verdict.REVIEW for one in outcomes), len(outcomes)),
    )


def _sizes(outcomes: Sequence[Outcome], pairings: Sequence[Pairing]) -> tuple[Floats, npt.NDArray[np.bool_], int]:
    """Return equivalent diameters in um of all defects of known size, whether each was reported, and how many are not.

    A defect reported under another name counts as found: the board was stopped at the right place.
    """
    sizes, hits, unsized = [], [], 0
    for outcome, one in zip(outcomes, pairings, strict=True):
        missed = set(one.missed)
        for index, truth in enumerate(outcome.truths):
            if truth.label == LAYER:
                continue  # not a defect, but what defects sit in
            if not truth.sized:
                unsized += 1
                continue
            sizes.append(2 * np.sqrt(truth.area_px / np.pi) * outcome.um_per_px)
            hits.append(index not in missed)
    return np.array(sizes, np.float64), np.array(hits, bool), unsized
