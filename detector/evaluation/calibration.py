"""What a score is worth, and which thresholds cost least, for one model on one engine and one kind of pictures.

Scores become chances that a defect is there, whatever its name, by isotonic regression, per class. Thresholds minimise
the expected cost of a board at the product's own defect rate, whatever share of the validation boards is defective:
escapes against false calls.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.isotonic import IsotonicRegression

from detector.beside import hashed
from detector.evaluate import box_iou
from detector.evaluation.outcomes import Outcome, found_boxes, true_boxes
from detector.scores import UNCALIBRATED, Calibration, ClassCalibration, Costs
from taktwatch.errors import BadInput
from taktwatch.records import STRUCTURES, ModelRef

__all__ = ["board_cost", "board_weights", "calibrate"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LEAST_FOUND = 20
"""Fewer detections of a class than this carry no curve: its scores are left as they are."""
SAME_PLACE = 0.1
"""Overlap from which a detection lies where a defect is: small boxes overlap little, and still show it."""
ROUNDS = 10
NEVER = 1.0


def calibrate(
    outcomes: Sequence[Outcome],
    labels: Sequence[str],
    *,
    model: ModelRef,
    domain: str,
    dataset: str,
    dataset_sha256: str,
    expected_defect_rate: float,
    costs: Costs,
    stops: bool = True,
) -> Calibration:
    """Calibrate on validation boards. Raises `BadInput` without good or without defective ones, or for odd settings.

    `stops` is whether any detection stops a board; where limits decide (sections), thresholds stay as they are.
    """
    if not 0 < expected_defect_rate < 1:
        raise BadInput(f"an expected defect rate of {expected_defect_rate:g} leaves nothing to decide; give 0 to 1")
    if min(costs.escape, costs.false_call) <= 0:
        raise BadInput("an escape and a false call both cost something; give costs above 0")
    defective = np.array([one.defective for one in outcomes], bool)
    if not defective.any() or defective.all():
        lacking = "good" if defective.all() else "defective"
        raise BadInput(f"{dataset}: no {lacking} boards to calibrate on; both kinds are weighed against each other")
    weights = board_weights(defective, expected_defect_rate)
    best = _best_scores(outcomes, labels)
    all_hits, curves = [], []
    for label in labels:
        found, hits, boards = _places(outcomes, label)
        all_hits.append(hits)
        curves.append(_isotonic(found, hits, weights[boards]))
    thresholds = np.full(len(labels), UNCALIBRATED, np.float64)
    if stops:
        worth = costs.false_call / (costs.false_call + costs.escape)  # the chance from which a stop saves more
        wanted = [_score_at(worth, *curve) if curve[0] else None for curve in curves]
        thresholds = _cheapest(best, defective, weights, costs, wanted)
    classes = {
        label: ClassCalibration(
            threshold=float(threshold), n=hits.size, right=int(hits.sum()), scores=scores, chances=chances
        )
        for label, threshold, hits, (scores, chances) in zip(labels, thresholds, all_hits, curves, strict=True)
    }
    made = Calibration(
        model_id=model.model_id,
        engine=model.engine,
        precision=model.precision,
        domain=domain,
        dataset=dataset,
        dataset_sha256=dataset_sha256,
        expected_defect_rate=expected_defect_rate,
        costs=costs,
        defective_boards=int(defective.sum()),
        good_boards=int((~defective).sum()),
        expected_cost=board_cost(best, thresholds, defective, weights, costs) if stops else None,
        classes=classes,
    )
    return msgspec.structs.replace(made, sha256=hashed(made))


def board_weights(defective: Bools, rate: float) -> Floats:
    """Return what each board (N,) counts, so that defective ones together make up `rate`.

    >>> board_weights(np.array([True, False, False]), 0.1).round(3).tolist()
    [0.1, 0.45, 0.45]
    """
    good = ~defective
    return np.asarray(np.where(defective, rate / max(defective.sum(), 1), (1 - rate) / max(good.sum(), 1)), np.float64)


def board_cost(best: Floats, thresholds: Floats, defective: Bools, weights: Floats, costs: Costs) -> float:
    """Return the expected cost of a board; `best` (N, C) holds each board's best score of each class.

    A board is stopped by any detection at or above its class's threshold (C,).
    """
    stopped = (best >= thresholds).any(axis=1)
    escaped, called = weights[defective & ~stopped].sum(), weights[~defective & stopped].sum()
    return float(costs.escape * escaped + costs.false_call * called)


def _best_scores(outcomes: Sequence[Outcome], labels: Sequence[str]) -> Floats:
    """Return each board's best score of each class, float (N, C); 0 where nothing was found."""
    best = np.zeros((len(outcomes), len(labels)))
    for row, outcome in enumerate(outcomes):
        for found in outcome.found:
            if found.label in labels:
                column = labels.index(found.label)
                best[row, column] = max(best[row, column], found.score)
    return best


def _cheapest(best: Floats, defective: Bools, weights: Floats, costs: Costs, wanted: Sequence[float | None]) -> Floats:
    """Lower the cost a class at a time until nothing gets cheaper.

    Of equal thresholds the nearest to where chances say a stop is worth it, or (None) the middle of the widest gap.
    """
    thresholds = np.full(best.shape[1], UNCALIBRATED)
    cost = board_cost(best, thresholds, defective, weights, costs)
    for _ in range(ROUNDS):
        before = cost
        for column in range(best.shape[1]):
            thresholds[column], cost = _best_threshold(
                best, thresholds, column, defective, weights, costs, wanted[column]
            )
        if cost >= before - 1e-12:
            break
    return thresholds


def _best_threshold(  # noqa: PLR0917 - what one round of `_cheapest` holds
    best: Floats,
    thresholds: Floats,
    column: int,
    defective: Bools,
    weights: Floats,
    costs: Costs,
    wanted: float | None = None,
) -> tuple[float, float]:
    """Return the cheapest threshold of one class, the others held, and what a board then costs."""
    others = thresholds.copy()
    others[column] = np.inf
    free = ~(best >= others).any(axis=1)
    values = np.unique(np.concatenate([[0.0], best[free, column], [NEVER]]))
    # A threshold between two neighbouring scores stops all boards from the upper one on.
    middles = (values[:-1] + values[1:]) / 2
    gain = np.where(defective, -costs.escape, costs.false_call) * weights
    nothing = board_cost(best, others, defective, weights, costs)
    order = np.argsort(best[free, column])
    summed = np.concatenate([np.cumsum(gain[free][order][::-1])[::-1], [0.0]])
    at = np.searchsorted(best[free, column][order], middles)
    totals = nothing + summed[at]
    cheapest = np.flatnonzero(totals <= totals.min() + 1e-12)
    if wanted is None:
        chosen = cheapest[np.argmax(np.diff(values)[cheapest])]
    else:
        chosen = cheapest[np.argmin(np.abs(middles[cheapest] - wanted))]
    return float(middles[chosen]), float(totals[chosen])


def _score_at(chance: float, scores: Sequence[float], chances: Sequence[float]) -> float:
    """Return the lowest score that is worth a chance; the highest seen where none is.

    >>> _score_at(0.5, (0.2, 0.4, 0.6), (0.0, 0.0, 1.0))
    0.5
    """
    after = int(np.searchsorted(chances, chance))
    if after in {0, len(chances)}:
        return scores[0] if after == 0 else scores[-1]
    low, high = after - 1, after
    share = (chance - chances[low]) / (chances[high] - chances[low])
    return scores[low] + share * (scores[high] - scores[low])


def _places(outcomes: Sequence[Outcome], label: str) -> tuple[Floats, Bools, npt.NDArray[np.int64]]:
    """Return scores of a class's detections, whether each lies where something true is, and on which board; (N,)."""
    scores, hits, boards = [], [], []
    for index, outcome in enumerate(outcomes):
        truths = [truth for truth in outcome.truths if (truth.label == label) or not {label, truth.label} & STRUCTURES]
        mine = [found for found in outcome.found if found.label == label]
        overlap = box_iou(found_boxes(mine), true_boxes(tuple(truths)))
        scores += [found.score for found in mine]
        hits += (overlap.max(axis=1, initial=0.0) >= SAME_PLACE).tolist()
        boards += [index] * len(mine)
    return np.array(scores, np.float64), np.array(hits, bool), np.array(boards, np.int64)


def _isotonic(scores: Floats, hits: Bools, weights: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the points of a rising curve from score to chance; none where too little was found."""
    if scores.size < LEAST_FOUND:
        return (), ()
    curve = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
    curve.fit(scores, hits.astype(np.float64), sample_weight=weights)
    return tuple(map(float, curve.X_thresholds_)), tuple(map(float, curve.y_thresholds_))
