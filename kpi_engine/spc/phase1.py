"""Phase I: from chosen windows to a baseline.

    centre = sum of amounts / sum of n; sigma_z = mean |z_i - z_(i-1)| / 1.128 (Laney 2002); limits = centre +- width
    sigma_z spread(n); what lies beyond is removed and recorded; repeat until nothing does (Montgomery, 6.2, 7.2).

A moving range never reaches across a removed subgroup: only neighbours in time are compared.

Phase I draws its line at 4.5 sigma, not 3. A rate near 0 is skewed: of a process in control, 3 sigma would cut off
about one window in 80, always the high ones. The baseline would then be too low and too narrow however many windows it
rests on, and phase II would call falsely twice as often (measured: `benchmarks/spc_arl.py`).
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from math import inf
from statistics import NormalDist
from typing import Literal

from kpi_engine.spc.baseline import Baseline, BaselineRefused, Identity, Round, sealed
from kpi_engine.spc.measured import scale_of_means
from kpi_engine.spc.points import Sample, Subgroup
from kpi_engine.spc.rare import gap_of
from kpi_engine.spc.scales import Binomial, Geometric, Normal, Poisson, Scale, geometric_quantile, standardised
from kpi_engine.spc.shewhart import between
from taktwatch.capability import Measured, summed
from taktwatch.normal import D2, c4, c5

__all__ = ["Family", "baseline", "estimate"]

Family = Literal["binomial", "poisson", "normal", "means", "geometric"]
"""Shares of boards; defects per unit; single measured values, each a subgroup's mean; subgroups of measured values;
good boards between failed ones."""

MOST_REMOVED = 0.25
"""A process that needs more of its windows taken away is not in control."""


def baseline(
    windows: Iterable[Subgroup],
    identity: Identity,
    *,
    family: Family = "binomial",
    width: float = 4.5,
    least: int = 20,
    previous: Baseline | None = None,
) -> Baseline:
    """Make a baseline of the chosen subgroups, at least `least` of which must remain. `previous` is what it replaces.

    Raises `BaselineRefused` where they are too few, overlap, do not vary, or more than a quarter would be removed.
    """
    subgroups = ordered(windows, identity)
    kept = list(range(len(subgroups)))
    rounds: list[Round] = []
    while True:
        if len(kept) < least or len(kept) < (1 - MOST_REMOVED) * len(subgroups):
            raise BaselineRefused(
                f"{named(identity)}: {len(kept)} of {len(subgroups)} chosen subgroups are within the limits; a baseline"
                f" needs {least} and three quarters of them: choose a time when the process was in control"
            )
        scale = refusing(identity, lambda kept=kept: estimate(subgroups, kept, family))  # type: ignore[misc]
        beyond = {i for i in kept if is_beyond(scale, subgroups[i], family, width)}
        rounds.append(Round(len(kept), scale, tuple(subgroups[i] for i in sorted(beyond))))
        if not beyond:
            break
        kept = [i for i in kept if i not in beyond]
    chosen = tuple(subgroups[i] for i in kept)
    n = sum(group.n for group in chosen)
    lower, upper = limits(scale, 1 if family == "normal" else n / len(chosen))
    return sealed(
        Baseline(
            identity=identity,
            version=1 if previous is None else previous.version + 1,
            replaces="" if previous is None else previous.baseline_id,
            since=subgroups[0].start,
            until=subgroups[-1].end,
            scale=scale,
            lower=lower,
            upper=upper,
            n=n,
            width=width,
            subgroups=chosen,
            rounds=tuple(rounds),
        )
    )


def estimate(subgroups: Sequence[Subgroup], kept: Sequence[int], family: Family) -> Scale:
    """Estimate centre and overdispersion of the subgroups at the indices `kept`, which ascend.

    Raises `ValueError` where they do not vary or no two neighbours are among them.

    >>> from datetime import UTC, datetime
    >>> at = datetime(2026, 3, 3, tzinfo=UTC)
    >>> groups = [Subgroup(at, at, failed, 500) for failed in (5, 9, 2, 4)]
    >>> scale = estimate(groups, range(4), "binomial")
    >>> scale.centre, round(scale.sigma_z, 4)
    (0.01, 1.7261)
    """
    if family == "normal":
        values = {i: subgroups[i].sample.value for i in kept}
        return Normal(sum(values.values()) / len(values), moving_range(values) / D2)
    if family == "means":
        return scale_of_means([spread_of(subgroups[i]) for i in kept])
    centre = sum(subgroups[i].amount for i in kept) / sum(subgroups[i].n for i in kept)
    if family == "geometric":
        return Geometric(centre)
    plain = Binomial(centre) if family == "binomial" else Poisson(centre)
    sigma_z = moving_range({i: standardised(plain, subgroups[i].sample) for i in kept}) / D2
    return Binomial(centre, sigma_z) if family == "binomial" else Poisson(centre, sigma_z)


def is_beyond(scale: Scale, group: Subgroup, family: Family, width: float) -> bool:
    """Whether a subgroup lies `width` sigma from the centre, or as far out where nothing is normal.

    Of a subgroup of measured values also, whether they differ so much among themselves; of good boards between failed
    ones, whether they are more than chance makes as rarely as that.

    >>> from datetime import UTC, datetime
    >>> at = datetime(2026, 3, 3, tzinfo=UTC)
    >>> [is_beyond(Geometric(0.01), Subgroup(at, at, 1, n), "geometric", 4.5) for n in (1, 1200, 1300)]
    [False, False, True]
    """
    if isinstance(scale, Geometric):
        gap = gap_of(group.amount, group.n)
        return gap is not None and gap > geometric_quantile(scale.share, NormalDist().cdf(width))
    if family == "normal":
        return abs(standardised(scale, Sample(group.sample.value, 1))) > width
    if family == "means" and isinstance(scale, Normal):
        own = spread_of(group)
        if abs(own.deviation - c4(own.n) * scale.sigma) > width * c5(own.n) * scale.sigma:
            return True
    return abs(standardised(scale, group.sample)) > width


def limits(scale: Scale, n: float) -> tuple[float, float]:
    """Return the limits of a Shewhart (or g) chart for a subgroup of size n, for people to read."""
    if isinstance(scale, Geometric):
        return 0.0, geometric_quantile(scale.share, NormalDist().cdf(3.0))
    return between(scale, 3 * scale.spread(n))


def spread_of(group: Subgroup) -> Measured:
    """Return mean and deviation of a subgroup of measured values. Raises `ValueError` below two."""
    return summed(int(group.n), group.amount, group.squares)


def moving_range(values: dict[int, float]) -> float:
    """Return the mean step between neighbours: keys that differ by 1.

    >>> moving_range({0: 1.0, 1: 2.0, 5: 9.0, 6: 12.0})
    2.0
    """
    steps = [abs(values[after] - values[before]) for before, after in pairwise(values) if after == before + 1]
    return sum(steps) / len(steps) if steps else inf


def ordered(windows: Iterable[Subgroup], identity: Identity) -> list[Subgroup]:
    """Return the subgroups in time order; refuse those that share time, and empty ones."""
    subgroups = sorted(windows, key=lambda group: group.start)
    for before, after in pairwise(subgroups):
        if after.start < before.end:
            raise BaselineRefused(
                f"{named(identity)}: two chosen subgroups overlap at {after.start.isoformat()}; choose each window once"
            )
    return [group for group in subgroups if group.n > 0]


def refusing(identity: Identity, estimated: Callable[[], Scale]) -> Scale:
    """Return the estimate, or say what is wrong with the windows."""
    try:
        return estimated()
    except ValueError as error:
        raise BaselineRefused(
            f"{named(identity)}: the chosen windows give no limits ({error}); choose more of them, or a g chart where"
            " defects are this rare"
        ) from error


def named(identity: Identity) -> str:
    """Say whose baseline it is."""
    return f"baseline of {identity.metric} of {identity.product!r} at {identity.line}/{identity.station}"
