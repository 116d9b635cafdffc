"""What goes into a chart and what comes out of it."""

from datetime import datetime

from taktwatch.records import ControlPoint, Part

__all__ = ["ControlPoint", "Point", "Sample", "Subgroup"]


class Sample(Part, frozen=True, kw_only=False):
    """What was counted in one subgroup: `amount` (failed boards, defects, a sum) over `n` (boards, area; above 0).

    Of measured values `amount` is their sum and `squares` that of their squares.

    >>> Sample(6, 500).value
    0.012
    """

    amount: float
    n: float
    squares: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a sample that rests on nothing."""
        if not self.n > 0:
            raise ValueError(f"a sample rests on n = {self.n}; it must be above 0: leave empty windows out")

    @property
    def value(self) -> float:
        """Amount per unit."""
        return self.amount / self.n


class Subgroup(Part, frozen=True):
    """Windows merged into one sample: from `start` to `end`, as of the highest revision of its windows."""

    start: datetime
    end: datetime
    amount: float
    n: float
    revision: int = 0
    squares: float = 0.0

    @property
    def sample(self) -> Sample:
        """The subgroup without its times. Raises `ValueError` where n is 0."""
        return Sample(self.amount, self.n, self.squares)


class Point(Part, frozen=True):
    """One point of a chart as it is drawn: its value between its limits, and which rules it breaks, in words.

    `sigma_z` is the overdispersion the limits allow for (1: none). `second` is the point of the panel below: the moving
    range of an individual, the standard deviation beside a mean, the lower sum beside a CUSUM's upper one.
    """

    value: float
    centre: float
    lower: float
    upper: float
    n: float
    sigma_z: float = 1.0
    signals: tuple[str, ...] = ()
    second: "Point | None" = None
