"""What a chart measures deviations in: how far a sample of size n may lie from the centre when nothing happened."""

from math import ceil, expm1, inf, log1p, sqrt
from typing import Protocol

import msgspec

from kpi_engine.spc.points import Sample

__all__ = ["Binomial", "Geometric", "Normal", "Poisson", "Scale", "geometric_quantile", "standardised"]


class Measure(Protocol):
    """What charts want of a scale."""

    @property
    def centre(self) -> float:
        """The value in control."""

    @property
    def sigma_z(self) -> float:
        """The overdispersion allowed for; 1 is none."""

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the largest value there can be."""

    def spread(self, n: float) -> float:
        """Return the standard deviation of a sample of size n."""


class Binomial(msgspec.Struct, frozen=True, tag="binomial"):
    """Shares of n boards (failed / inspected). `centre` 0 to 1, ends excluded.

    spread(n) = sigma_z sqrt(centre (1 - centre) / n). With sigma_z = 1 it is the p chart's (Montgomery, 7.2); sigma_z
    from the moving range of z-scores makes it Laney's p' (D. B. Laney, Improved control charts for attributes, Quality
    Engineering 14(4), 2002).

    >>> round(Binomial(0.01, 1.73).spread(500), 6)
    0.007698
    """

    centre: float
    sigma_z: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a centre without spread."""
        if not (0 < self.centre < 1 and 0 < self.sigma_z < inf):
            raise ValueError(f"shares need a centre between 0 and 1 and a sigma_z above 0, not {self}")

    @property
    def bounds(self) -> tuple[float, float]:
        """Shares lie between 0 and 1."""
        return 0.0, 1.0

    def spread(self, n: float) -> float:
        """Return the standard deviation of a share of n."""
        return self.sigma_z * sqrt(self.centre * (1 - self.centre) / n)


class Poisson(msgspec.Struct, frozen=True, tag="poisson"):
    """Defects per unit, over n units. `centre` above 0.

    spread(n) = sigma_z sqrt(centre / n): the u chart (Montgomery, 7.3), or Laney's u' with a sigma_z that is not 1.

    >>> Poisson(0.04).spread(100)
    0.02
    """

    centre: float
    sigma_z: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a centre without spread."""
        if not (0 < self.centre < inf and 0 < self.sigma_z < inf):
            raise ValueError(f"defects per unit need a centre and a sigma_z above 0, not {self}")

    @property
    def bounds(self) -> tuple[float, float]:
        """Counts are not negative."""
        return 0.0, inf

    def spread(self, n: float) -> float:
        """Return the standard deviation of defects per unit over n units."""
        return self.sigma_z * sqrt(self.centre / n)


class Normal(msgspec.Struct, frozen=True, tag="normal"):
    """Means of n measured values (depth, extent). `sigma`, above 0, is that of a single value.

    spread(n) = sigma / sqrt(n) (Montgomery, 6.2).

    >>> Normal(12.0, 2.0).spread(4)
    1.0
    """

    centre: float
    sigma: float

    def __post_init__(self) -> None:
        """Refuse values that do not vary."""
        if not 0 < self.sigma < inf:
            raise ValueError(f"measured values need a sigma above 0, not {self}")

    @property
    def sigma_z(self) -> float:
        """Measured values bring their own sigma: no overdispersion beside it."""
        return 1.0

    @property
    def bounds(self) -> tuple[float, float]:
        """Any value is possible."""
        return -inf, inf

    def spread(self, n: float) -> float:
        """Return the standard deviation of a mean of n values."""
        return self.sigma / sqrt(n)


class Geometric(msgspec.Struct, frozen=True, tag="geometric"):
    """Good units between two events; `share` of units with an event, 0 to 1, ends excluded.

    spread(n) = sqrt(1 - share) / share, whatever n: each number stands for itself (Montgomery, 7.3.5).

    >>> round(Geometric(0.01).centre, 2), round(Geometric(0.01).spread(1), 2)
    (67.97, 99.5)
    """

    share: float

    def __post_init__(self) -> None:
        """Refuse a share that is none."""
        if not 0 < self.share < 1:
            raise ValueError(f"events need a share of units between 0 and 1, not {self.share}")

    @property
    def centre(self) -> float:
        """The median."""
        return geometric_quantile(self.share, 0.5)

    @property
    def sigma_z(self) -> float:
        """No overdispersion is allowed for."""
        return 1.0

    @property
    def bounds(self) -> tuple[float, float]:
        """Counts are not negative."""
        return 0.0, inf

    def spread(self, n: float) -> float:  # noqa: ARG002 - as other scales have it
        """Return the standard deviation of one number."""
        return sqrt(1 - self.share) / self.share


Scale = Binomial | Poisson | Normal | Geometric


def standardised(scale: Measure, sample: Sample) -> float:
    """Return how many standard deviations a sample lies from the centre.

    >>> standardised(Normal(12.0, 2.0), Sample(13.0, 1))
    0.5
    """
    return (sample.value - scale.centre) / scale.spread(sample.n)


def geometric_quantile(share: float, q: float) -> float:
    """Return the q quantile (0 to 1) of the number of good units before an event, linear between whole numbers.

    >>> round(geometric_quantile(0.5, 0.75), 6)
    1.0
    """
    units = max(1, ceil(log1p(-q) / log1p(-share)))
    before = -expm1((units - 1) * log1p(-share))
    at = -expm1(units * log1p(-share))
    return units - 2 + (q - before) / (at - before)
