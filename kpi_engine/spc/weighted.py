"""Charts with a memory: small lasting changes add up, where a Shewhart chart sees each point alone.

Both judge their limits only: their points follow from one another, so rules over runs of them mean nothing.
Neither starts anew after a signal: it goes on signalling until the process is back.
"""

from math import sqrt

import msgspec

from kpi_engine.spc.points import Point, Sample
from kpi_engine.spc.rules import Rule
from kpi_engine.spc.scales import Scale, standardised
from kpi_engine.spc.shewhart import between

__all__ = ["Cusum", "CusumState", "Ewma", "EwmaState"]

BEYOND = (str(Rule.BEYOND_LIMITS),)


class EwmaState(msgspec.Struct, frozen=True, tag="ewma", array_like=True):
    """The weighted mean so far, as a deviation from the centre, and its variance in control."""

    level: float = 0.0
    variance: float = 0.0


class Ewma(msgspec.Struct, frozen=True):
    """Exponentially weighted moving average of a rate with varying n, or of its z-scores (`on_z`).

    level = weight * value + (1 - weight) * level; variance = weight^2 * spread(n)^2 + (1 - weight)^2 * variance;
    limits: centre +- width * sqrt(variance). With n constant that is Montgomery's 9.2 with its exact, widening limits
    (S. W. Roberts, Technometrics 1(3), 1959; J. M. Lucas and M. S. Saccucci, Technometrics 32(1), 1990). Over a Laney
    scale it is the default chart for rates; `docs/spc.md` says why its width is 3.3.

    >>> from kpi_engine.spc.scales import Binomial
    >>> chart = Ewma(Binomial(0.01, sigma_z=1.73))
    >>> state, point = chart.update(chart.start(), Sample(10, 500))
    >>> round(point.value, 6), round(point.upper, 6)
    (0.012, 0.015081)
    """

    scale: Scale
    weight: float = 0.2
    width: float = 3.3
    on_z: bool = False

    def __post_init__(self) -> None:
        """Refuse a weight that weighs nothing."""
        if not 0 < self.weight <= 1:
            raise ValueError(f"an EWMA's weight lies above 0 and up to 1, not {self.weight}")

    def start(self) -> EwmaState:
        """Return the state before the first sample."""
        return EwmaState()

    def update(self, state: EwmaState, sample: Sample) -> tuple[EwmaState, Point]:
        """Take the next sample."""
        scale, rest = self.scale, 1 - self.weight
        step = standardised(scale, sample) if self.on_z else sample.value - scale.centre
        spread = 1.0 if self.on_z else scale.spread(sample.n)
        new = EwmaState(self.weight * step + rest * state.level, self.weight**2 * spread**2 + rest**2 * state.variance)
        deviation = self.width * sqrt(new.variance)
        centre = 0.0 if self.on_z else scale.centre
        lower, upper = (-deviation, deviation) if self.on_z else between(scale, deviation)
        value = centre + new.level
        signals = () if lower <= value <= upper else BEYOND
        return new, Point(value, centre, lower, upper, sample.n, scale.sigma_z, signals)


class CusumState(msgspec.Struct, frozen=True, tag="cusum", array_like=True):
    """How far the sums have risen above, and fallen below, what the reference value allows; neither is negative."""

    high: float = 0.0
    low: float = 0.0


class Cusum(msgspec.Struct, frozen=True):
    """Tabular cumulative sum of z-scores; `reference` (k) and `decision` (h) in standard deviations.

    high = max(0, z - reference + high), low = max(0, -z - reference + low); it signals above `decision`. The point is
    the upper sum, its `second` the lower one, drawn negative. Source: Montgomery, 9.1.2 (E. S. Page, Biometrika 41,
    1954). A reference of half the change to be seen, in standard deviations, sees it soonest.

    >>> from kpi_engine.spc.scales import Normal
    >>> chart = Cusum(Normal(10.0, 1.0))
    >>> state = chart.start()
    >>> for value in (12.0, 12.5, 12.5, 12.5):
    ...     state, point = chart.update(state, Sample(value, 1))
    >>> point.value, point.upper, point.signals
    (7.5, 5.0, ('1 point beyond the control limits',))
    """

    scale: Scale
    reference: float = 0.5
    decision: float = 5.0

    def __post_init__(self) -> None:
        """Refuse a decision interval that any point crosses."""
        if not (self.decision > 0 and self.reference >= 0):
            raise ValueError(f"a CUSUM needs a decision interval above 0 and a reference of 0 or more, not {self}")

    def start(self) -> CusumState:
        """Return the state before the first sample."""
        return CusumState()

    def update(self, state: CusumState, sample: Sample) -> tuple[CusumState, Point]:
        """Take the next sample."""
        z = standardised(self.scale, sample)
        new = CusumState(max(0.0, z - self.reference + state.high), max(0.0, -z - self.reference + state.low))
        limit, sigma_z = self.decision, self.scale.sigma_z
        low = Point(-new.low, 0.0, -limit, limit, sample.n, sigma_z, BEYOND if new.low > limit else ())
        high = Point(new.high, 0.0, -limit, limit, sample.n, sigma_z, BEYOND if new.high > limit else (), low)
        return new, high
