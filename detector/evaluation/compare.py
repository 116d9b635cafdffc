"""Two models on the same pictures: the difference of each figure, pictures and boards drawn for both at once. Pure."""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import stats

from detector.evaluation.curves import Pool
from detector.evaluation.figures import BoardRates, ClassFigures, Known, Scored, units_of
from detector.evaluation.outcomes import Outcome
from detector.intervals import Estimate, bootstrap, percentile_interval
from taktwatch.errors import BadInput
from taktwatch.records import Verdict

__all__ = ["Comparison", "Discordant", "compare"]

Floats = npt.NDArray[np.float64]


class Discordant(msgspec.Struct, frozen=True, kw_only=True):
    """Boards that one model judged right and the other wrong, and McNemar's exact two-sided p of so uneven a split."""

    only_first_right: int
    only_second_right: int
    p: float


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """First model minus second: above 0 the first is better. `second_...`: what the second reaches alone."""

    first: str
    second: str
    ap: Known
    best_f: Known
    verdicts: Discordant
    second_classes: tuple[ClassFigures, ...]
    second_rates: BoardRates


def compare(
    first: tuple[str, Sequence[Outcome], Scored], second: tuple[str, Sequence[Outcome], Scored], *, seed: int = 0
) -> Comparison:
    """Compare two models by their ids, outcomes and scores. Raises `BadInput` where the pictures are not the same."""
    (name, outcomes, one), (other_name, others, other) = first, second
    if [outcome.name for outcome in outcomes] != [outcome.name for outcome in others]:
        raise BadInput(f"{name} and {other_name} were shown different pictures; evaluate both on one data set")
    return Comparison(
        first=name,
        second=other_name,
        ap=_difference(Pool.ap, one, other, outcomes, seed),
        best_f=_difference(Pool.best_f, one, other, outcomes, seed),
        verdicts=_discordant(outcomes, others),
        second_classes=other.figures.classes,
        second_rates=other.figures.rates,
    )


def _difference(
    figure: Callable[[Pool, Floats], float], one: Scored, other: Scored, outcomes: Sequence[Outcome], seed: int
) -> Known:
    """Resample the difference: each draw weighs the same pictures for both models."""

    def difference(weights: Floats) -> Floats:
        return np.array([figure(one.pools[""], weights) - figure(other.pools[""], weights)])

    value = float(difference(np.ones(len(outcomes)))[0])
    known = []
    for units in units_of(outcomes):
        count = int(units.max()) + 1
        interval = percentile_interval(bootstrap(difference, units, seed=seed)[:, 0], count)
        low, high = interval or (None, None)
        known.append(Estimate(value=value if np.isfinite(value) else None, low=low, high=high, units=count))
    return Known(pictures=known[0], boards=known[1])


def _discordant(outcomes: Sequence[Outcome], others: Sequence[Outcome]) -> Discordant:
    """Count boards that only one of the two judged right."""
    right = [_right(one) for one in outcomes]
    other = [_right(one) for one in others]
    only_first = sum(a and not b for a, b in zip(right, other, strict=True))
    only_second = sum(b and not a for a, b in zip(right, other, strict=True))
    n = only_first + only_second
    p = float(stats.binomtest(only_first, n).pvalue) if n else 1.0
    return Discordant(only_first_right=only_first, only_second_right=only_second, p=p)


def _right(outcome: Outcome) -> bool:
    """Say whether a defective board was stopped, or a good one passed."""
    return outcome.defective == (outcome.verdict is not Verdict.PASS)
