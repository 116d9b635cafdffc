"""Attribute agreement: how far inspectors, and a model among them, call the same parts the same. Pure.

Cohen's kappa for two (J. Cohen, 1960), Fleiss' for all together (J. L. Fleiss, 1971), both with 95 % intervals from
drawing whole parts again: readings of one part are not independent.
"""

from collections.abc import Callable, Sequence
from itertools import combinations

import msgspec
import numpy as np
import numpy.typing as npt

from detector.intervals import Estimate, Rate, bootstrap, clopper_pearson, percentile_interval, rate
from taktwatch.errors import BadInput

__all__ = [
    "Agreement",
    "PairAgreement",
    "Rating",
    "SelfAgreement",
    "attribute_agreement",
    "cohen_kappa",
    "fleiss_kappa",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

REFERENCE = "reference"
LEAST_TRIALS = 2


class Rating(msgspec.Struct, frozen=True, kw_only=True):
    """One reading: an appraiser's word for a part; `reference` is what the part really is, where that is known."""

    part: str
    appraiser: str
    trial: str
    rating: str
    reference: str = ""


class PairAgreement(msgspec.Struct, frozen=True, kw_only=True):
    """Two appraisers, or one and the reference: readings paired by trial, the share of equal ones, Cohen's kappa."""

    first: str
    second: str
    readings: int
    equal: float
    kappa: Estimate


class SelfAgreement(msgspec.Struct, frozen=True, kw_only=True):
    """One appraiser's blind second readings: parts called the same every time, and kappa of first and second."""

    appraiser: str
    parts: Rate
    kappa: Estimate


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """The whole study. `everybody`: parts that all called the same every time; `right`: and as the reference says.

    `within` is empty where everybody read once: nobody can then differ from themselves.
    """

    parts: int
    appraisers: tuple[str, ...]
    categories: tuple[str, ...]
    within: tuple[SelfAgreement, ...]
    between: tuple[PairAgreement, ...]
    against_reference: tuple[PairAgreement, ...]
    fleiss: Estimate | None
    everybody: Rate
    right: Rate | None


def cohen_kappa(table: Floats) -> float:
    """Return kappa of a square table of counts (C, C): rows the one's words, columns the other's.

    1 where both always say the same, also where they only ever say one word.

    >>> round(cohen_kappa(np.array([[44, 6], [3, 97.0]])), 2)  # AIAG MSA, 4th edition: appraisers A and B
    0.86
    """
    total = table.sum()
    if not total:
        return float("nan")
    equal = np.trace(table) / total
    chance = float(table.sum(axis=1) @ table.sum(axis=0)) / total**2
    return float((equal - chance) / (1 - chance)) if chance < 1 else 1.0


def fleiss_kappa(counts: Floats, weights: Floats | None = None) -> float:
    """Return kappa of counts (N, C): how often part i was called category j; each part by as many readings.

    `weights` (N,): how often each part was drawn.
    """
    weights = np.ones(len(counts)) if weights is None else weights
    readings = counts.sum(axis=1)
    equal = ((counts * (counts - 1)).sum(axis=1) / np.maximum(readings * (readings - 1), 1)) @ weights / weights.sum()
    shares = weights @ counts / (weights @ readings)
    chance = float(shares @ shares)
    return float((equal - chance) / (1 - chance)) if chance < 1 else 1.0


def attribute_agreement(ratings: Sequence[Rating], *, seed: int = 0) -> Agreement:
    """Study ratings. Raises `BadInput` for a reading given twice, or parts that not everybody read as often."""
    if not ratings:
        raise BadInput("no ratings; a study has parts read by appraisers")
    cube, parts, appraisers, categories, reference = _arranged(ratings)
    reads = cube.shape[2]
    within = tuple(
        _within(cube[:, index], name, categories, seed)
        for index, name in enumerate(appraisers)
        if reads >= LEAST_TRIALS
    )
    between = tuple(
        _pair(cube[:, one], cube[:, other], (appraisers[one], appraisers[other]), categories, seed)
        for one, other in combinations(range(len(appraisers)), 2)
    )
    against: tuple[PairAgreement, ...] = ()
    flat = cube.reshape(len(parts), -1)
    right = None
    if reference is not None:
        told = np.repeat(reference[:, None], reads, axis=1)
        against = tuple(
            _pair(cube[:, index], told, (name, REFERENCE), categories, seed) for index, name in enumerate(appraisers)
        )
        right = rate(int((flat == reference[:, None]).all(axis=1).sum()), len(parts))
    everybody = rate(int((flat == flat[:, :1]).all(axis=1).sum()), len(parts))
    return Agreement(
        parts=len(parts),
        appraisers=tuple(appraisers),
        categories=tuple(categories),
        within=within,
        between=between,
        against_reference=against,
        fleiss=_fleiss(flat, len(categories), seed) if flat.shape[1] > 1 else None,
        everybody=everybody,
        right=right,
    )


def _arranged(ratings: Sequence[Rating]) -> tuple[Ints, list[str], list[str], list[str], Ints | None]:
    """Return words as int (parts, appraisers, trials), the names along each side, categories, and the reference."""
    parts = list(dict.fromkeys(one.part for one in ratings))
    appraisers = list(dict.fromkeys(one.appraiser for one in ratings))
    trials = sorted({one.trial for one in ratings})
    given: dict[tuple[str, str, str], str] = {}
    truth: dict[str, str] = {}
    for one in ratings:
        key = (one.part, one.appraiser, one.trial)
        if key in given:
            raise BadInput(f"part {one.part!r}, appraiser {one.appraiser!r}, trial {one.trial!r} is given twice")
        given[key] = one.rating
        if truth.setdefault(one.part, one.reference) != one.reference:
            raise BadInput(f"part {one.part!r} has two references, {truth[one.part]!r} and {one.reference!r}")
    for part in parts:
        for appraiser in appraisers:
            for trial in trials:
                if (part, appraiser, trial) not in given:
                    raise BadInput(
                        f"part {part!r} was not read by {appraiser!r} in trial {trial!r}; "
                        "every appraiser reads every part as often"
                    )
    known = [word for word in truth.values() if word]
    if known and len(known) < len(parts):
        missing = next(part for part, word in truth.items() if not word)
        raise BadInput(f"part {missing!r} has no reference, others have; give all or none")
    categories = sorted({*given.values(), *known})
    index = {word: at for at, word in enumerate(categories)}
    cube = np.array([[[index[given[p, a, t]] for t in trials] for a in appraisers] for p in parts], np.int64)
    reference = np.array([index[truth[part]] for part in parts], np.int64) if known else None
    return cube, parts, appraisers, categories, reference


def _within(readings: Ints, name: str, categories: Sequence[str], seed: int) -> SelfAgreement:
    """Compare one appraiser's readings (parts, trials; two at least) with each other."""
    same = int((readings == readings[:, :1]).all(axis=1).sum())
    kappa = _kappa(readings[:, :1], readings[:, 1:2], len(categories), seed)
    return SelfAgreement(appraiser=name, parts=rate(same, len(readings)), kappa=kappa)


def _pair(one: Ints, other: Ints, names: tuple[str, str], categories: Sequence[str], seed: int) -> PairAgreement:
    """Compare readings (parts, trials) of two, trial by trial."""
    return PairAgreement(
        first=names[0],
        second=names[1],
        readings=one.size,
        equal=float((one == other).mean()),
        kappa=_kappa(one, other, len(categories), seed),
    )


def _kappa(one: Ints, other: Ints, categories: int, seed: int) -> Estimate:
    """Return Cohen's kappa of readings (parts, trials) with its interval."""
    tables = np.zeros((len(one), categories, categories))
    for trial in range(one.shape[1]):
        np.add.at(tables, (np.arange(len(one)), one[:, trial], other[:, trial]), 1)
    total = tables.sum(axis=0)
    chance = float(total.sum(axis=1) @ total.sum(axis=0)) / total.sum() ** 2
    same = int((one == other).all(axis=1).sum())
    return _interval(lambda weights: cohen_kappa(np.tensordot(weights, tables, 1)), len(one), chance, same, seed)


def _fleiss(flat: Ints, categories: int, seed: int) -> Estimate:
    """Return Fleiss' kappa of readings (parts, readings) with its interval."""
    counts = np.stack([(flat == index).sum(axis=1) for index in range(categories)], axis=1).astype(np.float64)
    shares = counts.sum(axis=0) / counts.sum()
    same = int((flat == flat[:, :1]).all(axis=1).sum())
    return _interval(lambda weights: fleiss_kappa(counts, weights), len(flat), float(shares @ shares), same, seed)


def _interval(figure: Callable[[Floats], float], parts: int, chance: float, same: int, seed: int) -> Estimate:
    """Draw parts again; where all agree, the exact binomial says how much less they might agree elsewhere."""
    value = figure(np.ones(parts))
    drawn = bootstrap(lambda weights: np.array([figure(weights)]), np.arange(parts), seed=seed)[:, 0]
    low, high = percentile_interval(drawn, parts) or (None, None)
    if low is not None and same == parts and chance < 1:
        low = min(low, (clopper_pearson(same, parts)[0] - chance) / (1 - chance))
    return Estimate(value=value, low=low, high=high, units=parts)
