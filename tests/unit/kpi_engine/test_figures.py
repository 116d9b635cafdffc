"""Figures against numbers computed elsewhere."""

import msgspec
import pytest

from taktwatch.kpis import EXAMPLE, completeness, dead_rate, dpmo, dpu, poisson_interval, rolled_throughput_yield


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [
        (1, 0.025317807984289876, 5.571643390938899),
        (5, 1.6234863901184207, 11.66833207932267),
        (50, 37.110963737461866, 65.91876666433681),
        (100, 81.36399125092314, 121.62679379242638),
    ],
)
def test_the_poisson_interval_is_the_chi_square_one(count: int, low: float, high: float) -> None:
    """Half the quantiles of chi-square with 2 n and 2 n + 2 degrees of freedom, as SciPy has them."""
    assert poisson_interval(count) == pytest.approx((low, high), rel=1e-12)


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [(101, 82.26615879303894, 122.72415570583051), (500, 457.1285768996295, 545.8092685651714)],
)
def test_large_counts_are_close_to_it(count: int, low: float, high: float) -> None:
    assert poisson_interval(count) == pytest.approx((low, high), rel=1e-4)


def test_frames_and_boards_are_not_mixed_up() -> None:
    """Ten boards of three pictures, one of which is dead and one missing."""
    window = msgspec.structs.replace(EXAMPLE, accepted=30, inspected=10, dead=1, missing=1)
    assert (dead_rate(window).value, dead_rate(window).n) == (1 / 29, 29)
    assert (completeness(window).value, completeness(window).n) == (29 / 30, 30)
    assert (dpu(window).value, dpmo(window).n) == (0.5, 10)


def test_a_station_nobody_passed_yet_leaves_the_rolled_yield_open() -> None:
    empty = msgspec.structs.replace(EXAMPLE, first_pass=0, first_pass_passed=0)
    assert rolled_throughput_yield([EXAMPLE, empty]).value is None


def test_of_one_station_the_rolled_yield_is_its_first_pass_yield() -> None:
    rate = rolled_throughput_yield([EXAMPLE])
    assert (rate.value, rate.n) == (0.8, 20)
    assert (rate.low, rate.high) == pytest.approx((0.5840, 0.9193), abs=1e-4)


def test_a_perfect_line_has_an_interval_too() -> None:
    perfect = msgspec.structs.replace(EXAMPLE, first_pass_passed=20)
    rate = rolled_throughput_yield([perfect] * 3)
    assert rate.value == rate.high == 1.0
    assert rate.low is not None
    assert 0.4 < rate.low < 0.6
