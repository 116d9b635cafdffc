"""Charts of measured values, depth and extent: single values with moving range, means with standard deviation."""

from collections.abc import Sequence
from statistics import fmean

import msgspec

from kpi_engine.spc.points import Point, Sample
from kpi_engine.spc.rules import LIMITS_ONLY, Rule, RunState
from kpi_engine.spc.scales import Normal
from kpi_engine.spc.shewhart import Shewhart
from taktwatch.capability import Measured, measured, moving_sigma
from taktwatch.normal import D2, D3, c4, c5

__all__ = ["IMR", "IMRState", "Measured", "XbarS", "measured", "scale_of_means", "scale_of_values"]

BEYOND = (str(Rule.BEYOND_LIMITS),)


def scale_of_values(values: Sequence[float]) -> Normal:
    """Estimate centre and sigma of single values in time order: mean, and mean moving range / d2 (Montgomery, 6.4).

    >>> scale = scale_of_values([10.0, 12.0, 11.0, 13.0])
    >>> scale.centre, round(scale.sigma, 4)
    (11.5, 1.477)
    """
    return Normal(fmean(values), moving_sigma(values))


def scale_of_means(subgroups: Sequence[Measured]) -> Normal:
    """Estimate centre and sigma of subgroups: the mean of all values, and the mean of s / c4(n) (Montgomery, 6.3).

    With differing n, s / c4(n) is weighted by the inverse of its variance, c4^2 / (1 - c4^2) (I. W. Burr, Journal of
    Quality Technology 1(3), 1969).

    >>> scale = scale_of_means([measured([10.0, 12.0, 14.0]), measured([11.0, 12.0, 13.0])])
    >>> scale.centre, round(scale.sigma, 4)
    (12.0, 1.6926)
    """
    if not subgroups:
        raise ValueError("there is no subgroup to estimate sigma from")
    total = sum(group.n for group in subgroups)
    weights = [c4(group.n) ** 2 / (1 - c4(group.n) ** 2) for group in subgroups]
    sigma = sum(w * group.deviation / c4(group.n) for w, group in zip(weights, subgroups, strict=True)) / sum(weights)
    return Normal(sum(group.n * group.mean for group in subgroups) / total, sigma)


class IMRState(msgspec.Struct, frozen=True, tag="imr", array_like=True):
    """The value before, and the runs of values."""

    last: float | None = None
    runs: RunState = RunState()


class IMR(msgspec.Struct, frozen=True):
    """Individuals and moving range: single values within centre +- 3 sigma, and the step from the one before.

    The moving range has centre d2 sigma and limits d2 sigma +- 3 d3 sigma, not below 0 (Montgomery, 6.4). It is the
    point's `second`, from the second value on; only its limits are judged, since neighbouring ranges share a value.

    >>> chart = IMR(Normal(10.0, 1.0))
    >>> state, _ = chart.update(chart.start(), 9.0)
    >>> state, point = chart.update(state, 12.8)
    >>> point.signals, round(point.second.value, 1), round(point.second.upper, 3), point.second.signals
    ((), 3.8, 3.686, ('1 point beyond the control limits',))
    """

    scale: Normal
    rules: tuple[Rule, ...] = LIMITS_ONLY
    width: float = 3.0

    def start(self) -> IMRState:
        """Return the state before the first value."""
        return IMRState()

    def update(self, state: IMRState, value: float) -> tuple[IMRState, Point]:
        """Take the next value."""
        runs, point = Shewhart(self.scale, self.width, self.rules).update(state.runs, Sample(value, 1))
        if state.last is not None:
            step, sigma = abs(value - state.last), self.scale.sigma
            lower, upper = max(0.0, D2 - self.width * D3) * sigma, (D2 + self.width * D3) * sigma
            signals = () if lower <= step <= upper else BEYOND
            point = msgspec.structs.replace(point, second=Point(step, D2 * sigma, lower, upper, 2, 1.0, signals))
        return IMRState(value, runs), point


class XbarS(msgspec.Struct, frozen=True):
    """Means and standard deviations of subgroups, whose n may differ.

    Means: centre +- 3 sigma / sqrt(n). Standard deviations, the point's `second`: c4 sigma +- 3 sigma sqrt(1 - c4^2),
    not below 0, limits only (Montgomery, 6.3).

    >>> chart = XbarS(Normal(12.0, 2.0))
    >>> state, point = chart.update(chart.start(), measured([15.0, 16.0, 17.0, 16.0]))
    >>> point.upper, point.signals, round(point.second.upper, 4)
    (15.0, ('1 point beyond the control limits',), 4.1755)
    """

    scale: Normal
    rules: tuple[Rule, ...] = LIMITS_ONLY
    width: float = 3.0

    def start(self) -> RunState:
        """Return the state before the first subgroup."""
        return RunState()

    def update(self, state: RunState, subgroup: Measured) -> tuple[RunState, Point]:
        """Take the next subgroup."""
        n, sigma = subgroup.n, self.scale.sigma
        state, point = Shewhart(self.scale, self.width, self.rules).update(state, Sample(subgroup.mean * n, n))
        centre, deviation = c4(n) * sigma, self.width * c5(n) * sigma
        lower, upper = max(0.0, centre - deviation), centre + deviation
        signals = () if lower <= subgroup.deviation <= upper else BEYOND
        second = Point(subgroup.deviation, centre, lower, upper, n, 1.0, signals)
        return state, msgspec.structs.replace(point, second=second)
