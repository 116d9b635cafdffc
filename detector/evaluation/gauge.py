"""Crossed gauge R&R by analysis of variance: how much of what is measured is the measuring. Pure.

Every appraiser measures every part several times. The appraiser-by-part interaction is pooled with repeatability where
its p is above 0.25 (AIAG, Measurement Systems Analysis, 4th edition). Intervals are generalised confidence intervals
(M. Hamada, S. Weerahandi, Journal of Quality Technology 32, 2000): they suit sums and ratios of variances alike.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import stats

from detector.intervals import Estimate
from taktwatch.errors import BadInput

__all__ = ["AnovaRow", "Component", "Gauge", "Measurement", "gauge_study"]

Floats = npt.NDArray[np.float64]

POOL_ABOVE = 0.25
STUDY_SIGMAS = 6.0
NDC_FACTOR = 1.41  # AIAG's; sqrt(2) rounded
DRAWS = 20_000
CONFIDENCE = 0.95
LEAST = 2


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One measured value of a part."""

    part: str
    appraiser: str
    trial: str
    value: float


class AnovaRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table; F and p None where nothing stands below it."""

    source: str
    df: int
    ss: float
    ms: float
    f: float | None = None
    p: float | None = None


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """A source of variation: standard deviation with its interval, share of the study variation, of the tolerance.

    Shares are of standard deviations: they do not add up to 1, their squares do.
    """

    name: str
    sigma: Estimate
    study_share: Estimate
    tolerance_share: Estimate | None = None


class Gauge(msgspec.Struct, frozen=True, kw_only=True):
    """A gauge study. `ndc`: how many classes of parts the gauge tells apart, cut to a whole number, 1 at least."""

    quantity: str
    parts: int
    appraisers: int
    trials: int
    anova: tuple[AnovaRow, ...]
    pooled: bool
    components: tuple[Component, ...]
    ndc: int
    ndc_exact: Estimate

    def component(self, name: str) -> Component:
        """Return a component by its name."""
        return next(one for one in self.components if one.name == name)


def gauge_study(
    measurements: Sequence[Measurement],
    *,
    quantity: str = "value",
    tolerance: float | None = None,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Gauge:
    """Study measurements; `tolerance` is the width of the tolerance in the same unit.

    Raises `BadInput` for fewer than two parts, appraisers or trials, or a cell that is missing or given twice.
    """
    if tolerance is not None and tolerance <= 0:
        raise BadInput(f"a tolerance of {tolerance:g} is none; give its whole width, above 0")
    cube = _arranged(measurements)
    p, o, r = cube.shape
    table = _anova(cube)
    interaction = table[2]
    pooled = interaction.p is None or interaction.p > POOL_ABOVE
    if pooled:
        table = _pooled_table(table)
    squares = {row.source: (row.ms, row.df) for row in table}
    value = _components({name: np.array([ms]) for name, (ms, _) in squares.items()}, p, o, r)
    rng = np.random.default_rng(seed)
    drawn = _components({name: ms * df / rng.chisquare(df, DRAWS) for name, (ms, df) in squares.items()}, p, o, r)
    components = tuple(
        Component(
            name=name,
            sigma=_estimate(np.sqrt(value[name]), np.sqrt(drawn[name]), confidence, p),
            study_share=_share(name, value, drawn, confidence, p),
            tolerance_share=None
            if tolerance is None
            else _estimate(
                STUDY_SIGMAS * np.sqrt(value[name]) / tolerance,
                STUDY_SIGMAS * np.sqrt(drawn[name]) / tolerance,
                confidence,
                p,
            ),
        )
        for name in value
    )
    ndc = _ndc(value), _ndc(drawn)
    exact = _estimate(ndc[0], ndc[1], confidence, p)
    return Gauge(
        quantity=quantity,
        parts=p,
        appraisers=o,
        trials=r,
        anova=table,
        pooled=pooled,
        components=components,
        ndc=max(int(min(exact.value or 0.0, 1e6)), 1),
        ndc_exact=exact,
    )


def _arranged(measurements: Sequence[Measurement]) -> Floats:
    """Return values as float (parts, appraisers, trials)."""
    given: dict[tuple[str, str, str], float] = {}
    for one in measurements:
        key = (one.part, one.appraiser, one.trial)
        if key in given:
            raise BadInput(f"part {one.part!r}, appraiser {one.appraiser!r}, trial {one.trial!r} is given twice")
        if not np.isfinite(one.value):
            raise BadInput(
                f"part {one.part!r}, appraiser {one.appraiser!r}, trial {one.trial!r}: {one.value} is no value"
            )
        given[key] = one.value
    sides = [list(dict.fromkeys(key[side] for key in given)) for side in range(3)]
    for count, what in zip(map(len, sides), ("parts", "appraisers", "trials"), strict=True):
        if count < LEAST:
            raise BadInput(f"a gauge study has at least two {what}, this one {count}")
    for part in sides[0]:
        for appraiser in sides[1]:
            for trial in sides[2]:
                if (part, appraiser, trial) not in given:
                    raise BadInput(
                        f"part {part!r} was not measured by {appraiser!r} in trial {trial!r}; "
                        "in a crossed study every appraiser measures every part as often"
                    )
    return np.array([[[given[a, b, c] for c in sides[2]] for b in sides[1]] for a in sides[0]], np.float64)


def _anova(cube: Floats) -> tuple[AnovaRow, ...]:
    """Return the table with interaction: parts and appraisers are tested against it, it against repeatability."""
    p, o, r = cube.shape
    grand = cube.mean()
    parts, appraisers, cells = cube.mean(axis=(1, 2)), cube.mean(axis=(0, 2)), cube.mean(axis=2)
    ss_part = o * r * float(((parts - grand) ** 2).sum())
    ss_appraiser = p * r * float(((appraisers - grand) ** 2).sum())
    ss_both = r * float(((cells - parts[:, None] - appraisers[None] + grand) ** 2).sum())
    ss_error = float(((cube - cells[:, :, None]) ** 2).sum())
    both, error = (p - 1) * (o - 1), p * o * (r - 1)
    return (
        _row("part", p - 1, ss_part, ss_both, both),
        _row("appraiser", o - 1, ss_appraiser, ss_both, both),
        _row("interaction", both, ss_both, ss_error, error),
        AnovaRow(source="repeatability", df=error, ss=ss_error, ms=ss_error / error),
    )


def _pooled_table(table: tuple[AnovaRow, ...]) -> tuple[AnovaRow, ...]:
    """Return the table with the interaction counted as repeatability."""
    part, appraiser, both, error = table
    df, ss = both.df + error.df, both.ss + error.ss
    return (
        _row("part", part.df, part.ss, ss, df),
        _row("appraiser", appraiser.df, appraiser.ss, ss, df),
        AnovaRow(source="repeatability", df=df, ss=ss, ms=ss / df),
    )


def _row(source: str, df: int, ss: float, ss_below: float, df_below: int) -> AnovaRow:
    """Return a line, tested against another; no F where that one is nil."""
    ms, below = ss / df, ss_below / df_below
    if below <= 0:
        return AnovaRow(source=source, df=df, ss=ss, ms=ms)
    return AnovaRow(source=source, df=df, ss=ss, ms=ms, f=ms / below, p=float(stats.f.sf(ms / below, df, df_below)))


def _components(ms: dict[str, Floats], p: int, o: int, r: int) -> dict[str, Floats]:
    """Return variances (N,) by name from mean squares (N,); a negative estimate is nil."""
    error = ms["repeatability"]
    below = ms.get("interaction", error)
    interaction = np.maximum((below - error) / r, 0)
    appraiser = np.maximum((ms["appraiser"] - below) / (p * r), 0)
    part = np.maximum((ms["part"] - below) / (o * r), 0)
    gauge = error + interaction + appraiser
    variances = {"repeatability": error, "appraiser": appraiser}
    if "interaction" in ms:
        variances["interaction"] = interaction
    return variances | {
        "reproducibility": appraiser + interaction,
        "gauge": gauge,
        "part": part,
        "total": gauge + part,
    }


def _share(name: str, value: dict[str, Floats], drawn: dict[str, Floats], confidence: float, parts: int) -> Estimate:
    """Return the share of the study variation."""
    return _estimate(_ratio(value[name], value["total"]), _ratio(drawn[name], drawn["total"]), confidence, parts)


def _ratio(one: Floats, other: Floats) -> Floats:
    """Return the ratio of standard deviations; nothing of nothing is 0."""
    return np.sqrt(one / np.where(other > 0, other, 1))


def _ndc(variances: dict[str, Floats]) -> Floats:
    """Return the number of distinct categories, not cut."""
    return NDC_FACTOR * np.sqrt(variances["part"] / np.maximum(variances["gauge"], 1e-300))


def _estimate(value: Floats, drawn: Floats, confidence: float, parts: int) -> Estimate:
    """Return a figure with the middle of its draws; the figure itself is always inside."""
    half = (1 - confidence) / 2
    low, high = np.quantile(drawn, [half, 1 - half])
    one = float(value[0])
    return Estimate(value=one, low=min(float(low), one), high=max(float(high), one), units=parts)
