"""Shewhart charts of rates: each point for itself between its limits, and rules over runs of points.

    p   Shewhart(Binomial(centre))              u   Shewhart(Poisson(centre))
    p'  Shewhart(Binomial(centre, sigma_z))     u'  Shewhart(Poisson(centre, sigma_z))

Limits: centre +- width * spread(n), width 3, cut to what is possible; n may differ from point to point. Sources:
Montgomery, 7.2 and 7.3 (p, u); Laney 2002 (p', u'). With varying n, zones and trends are judged on standardised values
(Montgomery, 7.2.2; Nelson, Journal of Quality Technology 21(4), 1989): a share of 50 boards is no neighbour of one of
5,000.
"""

import msgspec

from kpi_engine.spc.points import Point, Sample
from kpi_engine.spc.rules import LIMITS_ONLY, Rule, RunState, watch
from kpi_engine.spc.scales import Measure, Scale, standardised

__all__ = ["Shewhart", "between"]


def between(scale: Measure, deviation: float) -> tuple[float, float]:
    """Return the limits at `deviation` from a scale's centre, cut to what is possible."""
    lowest, highest = scale.bounds
    return max(lowest, scale.centre - deviation), min(highest, scale.centre + deviation)


class Shewhart(msgspec.Struct, frozen=True):
    """A chart of a rate; `width` in standard deviations, `rules` in the order they are reported.

    >>> from kpi_engine.spc.scales import Binomial
    >>> chart = Shewhart(Binomial(0.01))
    >>> state, point = chart.update(chart.start(), Sample(12, 500))
    >>> round(point.upper, 5), point.lower, point.signals
    (0.02335, 0.0, ('1 point beyond the control limits',))
    >>> chart = Shewhart(Binomial(0.01, sigma_z=1.73))
    >>> chart.update(chart.start(), Sample(12, 500))[1].signals
    ()
    """

    scale: Scale
    width: float = 3.0
    rules: tuple[Rule, ...] = LIMITS_ONLY

    def start(self) -> RunState:
        """Return the state before the first sample."""
        return RunState()

    def update(self, state: RunState, sample: Sample) -> tuple[RunState, Point]:
        """Take the next sample."""
        value, scale = sample.value, self.scale
        lower, upper = between(scale, self.width * scale.spread(sample.n))
        state, found = watch(state, standardised(scale, sample), beyond=not lower <= value <= upper)
        signals = tuple(str(rule) for rule in self.rules if rule in found)
        return state, Point(value, scale.centre, lower, upper, sample.n, scale.sigma_z, signals)
