"""Which charts a line keeps, of which figure, and against which baseline."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import msgspec

from kpi_engine.spc.baseline import Baseline, Identity, require
from kpi_engine.spc.merger import Merger
from kpi_engine.spc.phase1 import Family
from kpi_engine.spc.points import Point, Sample
from kpi_engine.spc.rules import LIMITS_ONLY, Rule, RunState
from kpi_engine.spc.scales import Scale
from kpi_engine.spc.shewhart import Shewhart
from kpi_engine.spc.weighted import Cusum, CusumState, Ewma, EwmaState
from taktwatch.errors import BadRecord
from taktwatch.kpis import defects_total
from taktwatch.records import KpiWindow

__all__ = [
    "DEFAULT_PLANS",
    "METRICS",
    "PLANS",
    "ChartState",
    "Metric",
    "Plan",
    "RateChart",
    "Setup",
    "SpcSettings",
    "chart_of",
    "update",
]

RateChart = Shewhart | Ewma | Cusum
ChartState = RunState | EwmaState | CusumState


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How one chart is drawn. `overdispersed`: with the baseline's sigma_z (Laney), or as if it were 1.

    `width` is for shewhart and ewma, `rules` for shewhart, `weight` for ewma, `reference` and `decision` for cusum.
    """

    name: str
    kind: Literal["shewhart", "ewma", "cusum"]
    overdispersed: bool = True
    width: float = 3.0
    weight: float = 0.2
    reference: float = 0.5
    decision: float = 5.0
    rules: tuple[Rule, ...] = LIMITS_ONLY


PLANS: dict[str, Plan] = {
    plan.name: plan
    for plan in (
        Plan(name="laney_ewma", kind="ewma", width=3.3),
        Plan(name="laney", kind="shewhart"),
        Plan(name="laney_cusum", kind="cusum"),
        Plan(name="shewhart", kind="shewhart", overdispersed=False),
        Plan(name="ewma", kind="ewma", overdispersed=False, width=3.3),
        Plan(name="cusum", kind="cusum", overdispersed=False),
    )
}
"""Charts by name; they are p charts or u charts as their figure is a share or a count per unit."""

DEFAULT_PLANS = (PLANS["laney_ewma"],)
"""What is kept unless somebody says otherwise: `docs/spc.md` has what it was measured to do."""


@dataclass(frozen=True)
class Metric:
    """A figure as counts: `counts` returns (amount, n) of a window."""

    family: Family
    counts: Callable[[KpiWindow], tuple[int, int]]


METRICS: dict[str, Metric] = {
    "defect_rate": Metric("binomial", lambda window: (window.failed, window.inspected)),
    "review_rate": Metric("binomial", lambda window: (window.review, window.inspected)),
    "dead_rate": Metric("binomial", lambda window: (window.dead, window.inspected + window.skipped + window.dead)),
    "first_pass_yield": Metric("binomial", lambda window: (window.first_pass_passed, window.first_pass)),
    "dpu": Metric("poisson", lambda window: (defects_total(window), window.inspected)),
}
"""The figures of `taktwatch.kpis` that are counts over n."""


def chart_of(plan: Plan, scale: Scale) -> RateChart:
    """Return the chart of a plan with a baseline's centre and spread.

    >>> from kpi_engine.spc.scales import Binomial
    >>> chart_of(PLANS["shewhart"], Binomial(0.01, 1.73)).scale
    Binomial(centre=0.01, sigma_z=1.0)
    """
    if not plan.overdispersed and scale.sigma_z != 1:
        scale = msgspec.structs.replace(scale, sigma_z=1.0)
    if plan.kind == "shewhart":
        return Shewhart(scale, plan.width, plan.rules)
    if plan.kind == "ewma":
        return Ewma(scale, plan.weight, plan.width)
    return Cusum(scale, plan.reference, plan.decision)


def update(chart: RateChart, state: ChartState, sample: Sample) -> tuple[ChartState, Point]:
    """Take the next sample into a chart. Raises `BadRecord` for the state of a chart of another kind."""
    match chart, state:
        case Shewhart(), RunState():
            return chart.update(state, sample)
        case Ewma(), EwmaState():
            return chart.update(state, sample)
        case Cusum(), CusumState():
            return chart.update(state, sample)
    raise BadRecord(f"a {type(chart).__name__} chart cannot go on from {type(state).__name__}; start it anew")


@dataclass(frozen=True)
class Setup:
    """What is charted of one product at one station. `fingerprint` changes with anything a chart's state depends on."""

    names: tuple[str, ...] = ()
    charts: tuple[RateChart, ...] = ()
    baseline_id: str = ""
    fingerprint: str = ""


@dataclass(frozen=True)
class SpcSettings:
    """What `fold_window` is told.

    `limits` pairs what runs at a station with its baseline; a baseline of another product, model or configuration
    raises `BaselineRefused` here. Only windows of the length `window` are charted: an hour is made of minutes
    already counted.
    """

    limits: tuple[tuple[Identity, Baseline], ...] = ()
    plans: tuple[Plan, ...] = DEFAULT_PLANS
    metric: str = "defect_rate"
    merger: Merger = field(default_factory=Merger)
    window: str = "1m"

    def __post_init__(self) -> None:
        """Check every baseline against what runs."""
        if self.metric not in METRICS:
            raise ValueError(f"no counts are known of {self.metric!r}; charts can be kept of {', '.join(METRICS)}")
        for running, baseline in self.limits:
            require(baseline, running)

    @cached_property
    def setups(self) -> dict[tuple[str, str, str], Setup]:
        """What is charted, by line, station and product; where there is no baseline, nothing is."""
        return {
            (running.line, running.station, running.product): setup(self.plans, baseline)
            for running, baseline in self.limits
            if running.metric == self.metric
        }


def setup(plans: tuple[Plan, ...], baseline: Baseline) -> Setup:
    """Lay the charts of one baseline out."""
    told = baseline.baseline_id.encode() + msgspec.json.encode(plans, order="deterministic")
    return Setup(
        names=tuple(plan.name for plan in plans),
        charts=tuple(chart_of(plan, baseline.scale) for plan in plans),
        baseline_id=baseline.baseline_id,
        fingerprint=hashlib.sha256(told).hexdigest()[:16],
    )
