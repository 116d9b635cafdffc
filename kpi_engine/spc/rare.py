"""The g chart: good units between two events, for defects too rare to count per window."""

from math import ceil, log
from statistics import NormalDist

import msgspec

from kpi_engine.spc.points import Point
from kpi_engine.spc.rules import Rule
from kpi_engine.spc.scales import geometric_quantile

__all__ = ["G", "GState", "event_share", "gap_of"]


class GState(msgspec.Struct, frozen=True, tag="g", array_like=True):
    """How many events in a row had no good unit between them."""

    zeros: int = 0


def event_share(gaps: list[int]) -> float:
    """Estimate the share of units with an event from the numbers of good units between events: 1 / (1 + mean).

    >>> event_share([99, 199, 149])
    0.006666666666666667
    """
    total = sum(gaps)
    if not gaps or total == 0:
        raise ValueError("a g chart needs gaps, and not all of them 0: there is no good unit to estimate from")
    return len(gaps) / (len(gaps) + total)


def gap_of(events: float, units: float) -> int | None:
    """Return the good units per event of a stretch of windows that ends with the window of the event; None without one.

    Windows have counts, not an order: where in its window a board failed is not known, so the gap reaches from the end
    of the window with the failed board before to the end of this one's. That is right to within one window's boards at
    either end, errors that cancel from gap to gap, as long as a window holds one failed board at most. Where it holds
    several, their gaps are one mean: zeros in a row, the g chart's sign of a burst, are seen only where most boards of
    a window fail. Chart the rate where that happens.

    >>> gap_of(1, 700), gap_of(2, 701), gap_of(0, 50), gap_of(3, 3)
    (699, 350, None, 0)
    """
    return round((units - events) / events) if events > 0 else None


class G(msgspec.Struct, frozen=True):
    """A chart of the number of good units between events; `share` of units with an event, 0 to 1, ends excluded.

    The number follows a geometric distribution (Montgomery, 7.3.5; J. C. Benneyan, Health Care Management Science 4,
    2001). It is far from symmetric, so limits are its quantiles where a normal chart has its 3 sigma: centre is the
    median, upper the 0.99865 quantile, both interpolated between whole numbers; lower is 0. A point above upper means
    that events became rarer. That they became more frequent shows in runs of zeros: so many in a row that chance makes
    them less often than a point beyond 3 sigma (share^run <= 0.00135).

    >>> chart = G(0.01)
    >>> state, point = chart.update(chart.start(), 700)
    >>> round(point.centre, 2), round(point.upper, 1), point.lower, point.signals
    (67.97, 656.5, 0.0, ('1 point beyond the control limits',))
    """

    share: float
    width: float = 3.0

    def __post_init__(self) -> None:
        """Refuse a share that is none."""
        if not 0 < self.share < 1:
            raise ValueError(f"a g chart needs a share of events between 0 and 1, not {self.share}")

    @property
    def centre(self) -> float:
        """The median."""
        return geometric_quantile(self.share, 0.5)

    @property
    def upper(self) -> float:
        """The quantile of a normal's `width` standard deviations."""
        return geometric_quantile(self.share, NormalDist().cdf(self.width))

    @property
    def zero_run(self) -> int:
        """The least number of events in a row without a good unit between them that signals.

        >>> G(0.01).zero_run
        2
        """
        tail = NormalDist().cdf(-self.width)
        run = max(1, ceil(log(tail) / log(self.share)))
        while run > 1 and self.share ** (run - 1) <= tail:
            run -= 1
        return run if self.share**run <= tail else run + 1

    def start(self) -> GState:
        """Return the state before the first event."""
        return GState()

    def update(self, state: GState, gap: int) -> tuple[GState, Point]:
        """Take the next event, `gap` (0 or more) good units after the one before."""
        if gap < 0:
            raise ValueError(f"there cannot be {gap} good units between two events")
        new = GState(state.zeros + 1 if gap == 0 else 0)
        upper = self.upper
        found = ((Rule.BEYOND_LIMITS, gap > upper), (Rule.ZEROS_IN_A_ROW, new.zeros >= self.zero_run))
        signals = tuple(str(rule) for rule, holds in found if holds)
        return new, Point(float(gap), self.centre, 0.0, upper, 1, 1.0, signals)
