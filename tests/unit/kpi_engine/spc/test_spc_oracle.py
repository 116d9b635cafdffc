"""Limits and signals against pccpy, an independent implementation, imported when it is used: it is slow to load.

Where definitions differ on purpose, the test says so and compares what is comparable.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from kpi_engine.spc.measured import IMR, XbarS, measured, scale_of_means, scale_of_values
from kpi_engine.spc.phase1 import Family, estimate
from kpi_engine.spc.points import Point, Sample, Subgroup
from kpi_engine.spc.rare import G, event_share
from kpi_engine.spc.rules import NELSON, Rule
from kpi_engine.spc.scales import Binomial, Normal, Poisson, Scale
from kpi_engine.spc.shewhart import Shewhart
from kpi_engine.spc.weighted import Cusum, Ewma
from taktwatch.capability import capability_of_subgroups, capability_of_values

CLOSE = 1e-9
"""Far below the 1e-5 that is promised: both compute the same formulas in float64."""

BY_NUMBER = dict(enumerate(NELSON, start=1))


@pytest.fixture(scope="module")
def pccpy() -> ModuleType:
    return import_module("pccpy")


def counted(seed: int, *, rate: float = 0.01, constant: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return overdispersed counts of failed boards and n of 120 subgroups, the rate doubled from the 90th on."""
    rng = np.random.default_rng(seed)
    n = np.full(120, 500) if constant else rng.integers(200, 900, 120)
    shares = rng.beta(rate * 250, (1 - rate) * 250, 120)
    shares[90:] *= 2
    return rng.binomial(n, shares), n


def points(chart: Any, samples: Sequence[Any]) -> list[Point]:
    """Run a chart over all samples."""
    state, found = chart.start(), []
    for sample in samples:
        state, point = chart.update(state, sample)
        found.append(point)
    return found


def samples(amounts: np.ndarray, n: np.ndarray) -> list[Sample]:
    return [Sample(float(amount), float(size)) for amount, size in zip(amounts, n, strict=True)]


def agree(found: list[Point], panel: Any) -> None:
    """Compare value, centre and limits of every point."""
    for name, theirs in (("value", panel.values), ("centre", panel.center), ("lower", panel.lcl), ("upper", panel.ucl)):
        np.testing.assert_allclose(
            [getattr(point, name) for point in found], theirs, rtol=1e-12, atol=CLOSE, err_msg=name
        )


def signalled(found: list[Point], rule: Rule) -> list[int]:
    return [index for index, point in enumerate(found) if rule in point.signals]


def estimated(amounts: np.ndarray, n: np.ndarray, family: Family) -> Scale:
    at = datetime(2026, 3, 3, tzinfo=UTC)
    groups = [Subgroup(at, at, float(amount), float(size)) for amount, size in zip(amounts, n, strict=True)]
    return estimate(groups, range(len(groups)), family)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("known", ["known", "estimated"])
def test_p_and_u_charts_have_the_same_limits_and_points_beyond(pccpy: ModuleType, seed: int, known: str) -> None:
    failed, n = counted(seed)
    centre = 0.012 if known == "known" else float(failed.sum() / n.sum())
    for scale, chart in (
        (Binomial(centre), pccpy.p_chart(failed, n, p=0.012 if known == "known" else None)),
        (Poisson(centre), pccpy.u_chart(failed, n, u=0.012 if known == "known" else None)),
    ):
        found = points(Shewhart(scale), samples(failed, n))
        agree(found, chart.panels[0])
        assert signalled(found, Rule.BEYOND_LIMITS) == chart.panels[0].violations[1].tolist()


@pytest.mark.parametrize("seed", range(5))
def test_laney_charts_estimate_the_same_sigma_z_and_limits(pccpy: ModuleType, seed: int) -> None:
    failed, n = counted(seed)
    families: tuple[tuple[Family, Any], ...] = (
        ("binomial", pccpy.laney_p_chart(failed, n)),
        ("poisson", pccpy.laney_u_chart(failed, n)),
    )
    for family, chart in families:
        scale = estimated(failed, n, family)
        assert scale.sigma_z == pytest.approx(chart.params[0]["sigma_z"], abs=CLOSE)
        found = points(Shewhart(scale), samples(failed, n))
        agree(found, chart.panels[0])
        assert signalled(found, Rule.BEYOND_LIMITS) == chart.panels[0].violations[1].tolist()


@pytest.mark.parametrize("seed", range(5))
def test_ewma_of_rates_with_varying_n_has_the_same_limits_and_signals(pccpy: ModuleType, seed: int) -> None:
    failed, n = counted(seed)
    for scale, chart in (
        (Binomial(0.01), pccpy.ewma_p_chart(failed, n, p=0.01, weight=0.2, k=3.05)),
        (Poisson(0.01), pccpy.ewma_u_chart(failed, n, u=0.01, weight=0.2, k=3.05)),
    ):
        found = points(Ewma(scale, 0.2, 3.05), samples(failed, n))
        agree(found, chart.panels[0])
        assert signalled(found, Rule.BEYOND_LIMITS) == chart.panels[0].violations[1].tolist()
        assert signalled(found, Rule.BEYOND_LIMITS)


def test_ewma_over_a_laney_scale_is_the_ewma_of_z_scores_where_n_is_constant(pccpy: ModuleType) -> None:
    """What pccpy has no chart for: laid onto z-scores with sigma 1, its EWMA of measured values says the same."""
    failed, n = counted(3, constant=True)
    scale = estimated(failed, n, "binomial")
    spread = scale.spread(500)
    z = (failed / n - scale.centre) / spread
    panel = pccpy.ewma_chart(z, target=0.0, sigma=1.0, weight=0.2, k=3.3).panels[0]
    agree(points(Ewma(scale, on_z=True), samples(failed, n)), panel)
    found = points(Ewma(scale), samples(failed, n))
    np.testing.assert_allclose([(point.value - scale.centre) / spread for point in found], panel.values, atol=CLOSE)
    assert signalled(found, Rule.BEYOND_LIMITS) == panel.violations[1].tolist()


@pytest.mark.parametrize("seed", range(5))
def test_cusum_of_standardised_rates_has_the_same_sums_and_signals(pccpy: ModuleType, seed: int) -> None:
    failed, n = counted(seed)
    for scale, chart in (
        (Binomial(0.01), pccpy.cusum_p_chart(failed, n, p=0.01, h=5.0, k=0.5)),
        (Poisson(0.01), pccpy.cusum_u_chart(failed, n, u=0.01, h=5.0, k=0.5)),
    ):
        panel = chart.panels[0]
        found = points(Cusum(scale), samples(failed, n))
        agree(found, panel)
        below = [point.second for point in found if point.second is not None]
        np.testing.assert_allclose([point.value for point in below], panel.secondary, atol=CLOSE)
        either = sorted({*signalled(found, Rule.BEYOND_LIMITS), *signalled(below, Rule.BEYOND_LIMITS)})
        assert either == panel.violations[1].tolist()


def test_cusum_of_measured_values_differs_by_their_unit_alone(pccpy: ModuleType) -> None:
    """Ours is in standard deviations, pccpy's in the values' unit."""
    values = np.random.default_rng(5).normal(20.5, 2.0, 60)
    panel = pccpy.cusum_chart(values, target=20.0, sigma=2.0, h=5.0, k=0.5).panels[0]
    found = points(Cusum(Normal(20.0, 2.0)), [Sample(value, 1) for value in values.tolist()])
    np.testing.assert_allclose([2.0 * point.value for point in found], panel.values, atol=CLOSE)
    np.testing.assert_allclose([2.0 * point.upper for point in found], panel.ucl, atol=CLOSE)


@pytest.mark.parametrize("share", [0.4, 0.05, 0.01, 0.0007])
def test_g_charts_have_the_same_limits_and_signals(pccpy: ModuleType, share: float) -> None:
    rng = np.random.default_rng(11)
    gaps = np.concatenate([rng.geometric(share, 80) - 1, rng.geometric(share / 6, 20) - 1, np.zeros(12, dtype=int)])
    for given in (None, share):
        theirs = pccpy.g_chart(gaps, p=given, benneyan=True)
        chart = G(event_share(gaps.tolist()) if given is None else given)
        found = points(chart, gaps.tolist())
        agree(found, theirs.panels[0])
        assert chart.zero_run == theirs.params[0]["benneyan_c"]
        assert signalled(found, Rule.BEYOND_LIMITS) == theirs.panels[0].violations[1].tolist()
        assert signalled(found, Rule.ZEROS_IN_A_ROW) == theirs.panels[0].violations["B"].tolist()


@pytest.mark.parametrize("seed", range(5))
def test_individuals_and_moving_range_have_the_same_limits_and_all_eight_rules(pccpy: ModuleType, seed: int) -> None:
    values = drifting(seed)
    chart = pccpy.imr_chart(values, tests="all")
    found = points(IMR(scale_of_values(values.tolist()), NELSON), values.tolist())
    agree(found, chart.panels[0])
    for number, rule in BY_NUMBER.items():
        assert signalled(found, rule) == chart.panels[0].violations[number].tolist(), rule
    ranges = [point.second for point in found[1:] if point.second is not None]
    moving = chart.panels[1]
    np.testing.assert_allclose([point.value for point in ranges], moving.values[1:], atol=CLOSE)
    np.testing.assert_allclose([point.upper for point in ranges], moving.ucl[1:], atol=CLOSE)
    np.testing.assert_allclose([point.centre for point in ranges], moving.center[1:], atol=CLOSE)
    assert [index + 1 for index in signalled(ranges, Rule.BEYOND_LIMITS)] == moving.violations[1].tolist()


def test_every_rule_is_seen_at_least_once_by_the_comparison_above() -> None:
    """A comparison of empty lists would prove nothing."""
    seen: set[str] = set()
    for seed in range(5):
        values = drifting(seed)
        for point in points(IMR(scale_of_values(values.tolist()), NELSON), values.tolist()):
            seen.update(point.signals)
    assert seen == {str(rule) for rule in NELSON}


def drifting(seed: int) -> np.ndarray:
    """Return values with all that the rules look for: a jump, a drift, a sawtooth, a calm, two machines mixed."""
    rng = np.random.default_rng(seed)
    calm = rng.normal(10.0, 1.0, 60)
    jump = rng.normal(11.5, 1.0, 20)
    ramp = 8.5 + 0.4 * np.arange(9) + rng.normal(0, 0.05, 9)
    saw = 10.0 + np.where(np.arange(18) % 2, 0.8, -0.8) + rng.normal(0, 0.2, 18)
    hug = rng.normal(10.0, 0.2, 20)
    mixed = 10.0 + rng.choice([-2.2, 2.2], 14) + rng.normal(0, 0.2, 14)
    return np.concatenate([calm, jump, ramp, saw, hug, mixed, [16.0, 10.0]])


@pytest.mark.parametrize("sizes", ["equal", "different"])
def test_means_and_deviations_have_the_same_limits_and_signals(pccpy: ModuleType, sizes: str) -> None:
    rng = np.random.default_rng(21)
    table = rng.normal(30.0, 3.0, (40, 6))
    table[25:] += 2.0
    table[30] = rng.normal(32.0, 12.0, 6)
    if sizes == "different":
        table[::3, 4:] = np.nan
    groups = [measured(row[~np.isnan(row)].tolist()) for row in table]
    chart = pccpy.xbar_s_chart(table, tests="all")
    found = points(XbarS(scale_of_means(groups), NELSON), groups)
    agree(found, chart.panels[0])
    deviations = [point.second for point in found if point.second is not None]
    agree(deviations, chart.panels[1])
    assert signalled(deviations, Rule.BEYOND_LIMITS) == chart.panels[1].violations[1].tolist()
    # With varying n pccpy looks for trends in the plotted values, we in standardised ones (test 3 and 4).
    numbers = BY_NUMBER if sizes == "equal" else [number for number in BY_NUMBER if number not in {3, 4}]
    for number in numbers:
        assert signalled(found, BY_NUMBER[number]) == chart.panels[0].violations[number].tolist(), number


@pytest.mark.parametrize("seed", range(5))
def test_rules_on_counts_with_constant_n_signal_at_the_same_points(pccpy: ModuleType, seed: int) -> None:
    """pccpy offers tests 1 to 4 on charts of counts; the rest are compared on measured values above."""
    failed, n = counted(seed, constant=True)
    chart = pccpy.laney_p_chart(failed, n, tests=(1, 2, 3, 4))
    found = points(Shewhart(estimated(failed, n, "binomial"), rules=NELSON), samples(failed, n))
    for number in (1, 2, 3, 4):
        assert signalled(found, BY_NUMBER[number]) == chart.panels[0].violations[number].tolist(), number


@pytest.mark.parametrize("limits", [(20.0, 40.0), (None, 40.0), (20.0, None)])
def test_capability_of_single_values_agrees_with_its_intervals(
    pccpy: ModuleType, limits: tuple[float | None, float | None]
) -> None:
    lower, upper = limits
    values = np.random.default_rng(8).normal(31.0, 2.5, 80)
    theirs = pccpy.capability_analysis(values, lower, upper)
    ours = capability_of_values(values.tolist(), lower=lower, upper=upper)
    assert ours.cpk.value == pytest.approx(theirs.cpk, abs=CLOSE)
    assert ours.ppk.value == pytest.approx(theirs.ppk, abs=CLOSE)
    assert (ours.ppk.low, ours.ppk.high) == pytest.approx(theirs.ppk_ci, abs=CLOSE)
    if lower is None or upper is None:
        assert ours.cp is None
        assert ours.pp is None
    else:
        assert ours.cp is not None
        assert ours.pp is not None
        assert (ours.cp.value, ours.pp.value) == pytest.approx((theirs.cp, theirs.pp), abs=CLOSE)
        assert (ours.pp.low, ours.pp.high) == pytest.approx(theirs.pp_ci, abs=CLOSE)


def test_capability_of_subgroups_agrees(pccpy: ModuleType) -> None:
    table = np.random.default_rng(9).normal(31.0, 2.5, (30, 5))
    theirs = pccpy.capability_analysis(table, 20.0, 40.0)
    ours = capability_of_subgroups([measured(row.tolist()) for row in table], lower=20.0, upper=40.0)
    assert ours.cp is not None
    found = (ours.sigma_within, ours.sigma_overall, ours.cp.value, ours.cpk.value, ours.ppk.value)
    wanted = (theirs.sigma_within, theirs.sigma_overall, theirs.cp, theirs.cpk, theirs.ppk)
    assert found == pytest.approx(wanted, abs=CLOSE)
