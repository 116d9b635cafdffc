"""Quantiles and constants against scipy, which tests have and the service has not."""

from importlib import import_module
from math import pi, sqrt

import pytest

from taktwatch.normal import D2, D3, c4, c5, chi2_quantile, lower_gamma, normal_quantile


@pytest.mark.parametrize("degrees", [1, 2.7, 9, 48.5, 400, 20_000])
@pytest.mark.parametrize("share", [0.001, 0.025, 0.5, 0.975, 0.9999])
def test_chi_square_quantiles_agree_with_scipy(share: float, degrees: float) -> None:
    stats = import_module("scipy.stats")
    assert chi2_quantile(share, degrees) == pytest.approx(float(stats.chi2.ppf(share, degrees)), rel=1e-9)


@pytest.mark.parametrize("a", [0.5, 3.0, 80.0])
@pytest.mark.parametrize("x", [0.0, 0.01, 1.0, 4.0, 79.0, 200.0])
def test_the_incomplete_gamma_function_agrees_with_scipy(a: float, x: float) -> None:
    special = import_module("scipy.special")
    assert lower_gamma(a, x) == pytest.approx(float(special.gammainc(a, x)), abs=1e-12)


def test_normal_quantiles_agree_with_scipy() -> None:
    stats = import_module("scipy.stats")
    for share in (1e-6, 0.00135, 0.4, 0.99865):
        assert normal_quantile(share) == pytest.approx(float(stats.norm.ppf(share)), abs=1e-9)


def test_constants_are_the_tables() -> None:
    """Montgomery, appendix VI."""
    assert (round(D2, 3), round(D3, 3)) == (1.128, 0.853)
    assert [round(c4(n), 4) for n in (2, 3, 10, 25)] == [0.7979, 0.8862, 0.9727, 0.9896]
    assert c5(2) == pytest.approx(sqrt(1 - 2 / pi))
    with pytest.raises(ValueError, match="2 values or more"):
        c4(1)
