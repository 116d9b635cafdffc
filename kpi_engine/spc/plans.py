"""Which charts a line keeps, of which figures, and against which baselines."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import msgspec

from kpi_engine.spc.baseline import Baseline, Identity, require
from kpi_engine.spc.measured import IMR, IMRState, XbarS
from kpi_engine.spc.merger import Merger
from kpi_engine.spc.phase1 import Family
from kpi_engine.spc.points import Point, Sample
from kpi_engine.spc.rare import G, GState, gap_of
from kpi_engine.spc.rules import LIMITS_ONLY, Rule, RunState
from kpi_engine.spc.scales import Binomial, Geometric, Normal, Poisson, Scale
from kpi_engine.spc.shewhart import Shewhart
from kpi_engine.spc.weighted import Cusum, CusumState, Ewma, EwmaState
from taktwatch.capability import BASIS_POINT, summed
from taktwatch.errors import BadRecord
from taktwatch.kpis import defects_total
from taktwatch.records import KpiWindow

__all__ = [
    "DEFAULT_PLANS",
    "METRICS",
    "PANELS",
    "PLANS",
    "SECTIONS",
    "Chart",
    "ChartState",
    "Figure",
    "Metric",
    "Plan",
    "Setup",
    "SpcSettings",
    "chart_of",
    "figure_of",
    "setup",
    "update",
]

Chart = Shewhart | Ewma | Cusum | IMR | XbarS | G
ChartState = RunState | EwmaState | CusumState | IMRState | GState


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How one chart is drawn. `overdispersed`: with the baseline's sigma_z (Laney), or as if it were 1.

    `width` is for shewhart and ewma, `rules` for shewhart, xbar_s and imr, `weight` for ewma, `reference` and
    `decision` for cusum.
    """

    name: str
    kind: Literal["shewhart", "ewma", "cusum", "xbar_s", "imr", "g"]
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
"""Charts of counts by name; they are p charts or u charts as their figure is a share or a count per unit."""

XBAR_S = Plan(name="xbar_s", kind="xbar_s")
IMR_PLAN = Plan(name="imr", kind="imr")
G_PLAN = Plan(name="g", kind="g")

PANELS = {"xbar_s": ("mean", "deviation"), "imr": ("value", "range")}
"""What charts of two panels show in them; a CUSUM has its upper and its lower sum."""

SECTIONS = Merger(min_n=25, least_n=2)
"""How sections are merged unless somebody says otherwise."""

DEFAULT_PLANS = (PLANS["laney_ewma"],)
"""What is kept unless somebody says otherwise: `docs/spc.md` has what it was measured to do."""


@dataclass(frozen=True)
class Metric:
    """A figure as sums: `counts` returns (amount, n) of a window, `squares` the sum of squares of measured values.

    `unit`: what one of `amount` is in the unit of the figure.
    """

    family: Family
    counts: Callable[[KpiWindow], tuple[int, int]]
    squares: Callable[[KpiWindow], int] = lambda _: 0
    unit: float = 1.0


METRICS: dict[str, Metric] = {
    "defect_rate": Metric("binomial", lambda window: (window.failed, window.inspected)),
    "review_rate": Metric("binomial", lambda window: (window.review, window.inspected)),
    "dead_rate": Metric("binomial", lambda window: (window.dead, window.inspected + window.skipped + window.dead)),
    "first_pass_yield": Metric("binomial", lambda window: (window.first_pass_passed, window.first_pass)),
    "dpu": Metric("poisson", lambda window: (defects_total(window), window.inspected)),
    "boards_between_fails": Metric("geometric", lambda window: (window.failed, window.inspected)),
    "extent": Metric(
        "means",
        lambda window: (window.extent_sum_bp, window.measured),
        lambda window: window.extent_squares_bp2,
        BASIS_POINT,
    ),
    "depth": Metric(
        "means",
        lambda window: (window.depth_sum_bp, window.measured),
        lambda window: window.depth_squares_bp2,
        BASIS_POINT,
    ),
    "depth_um": Metric(
        "means",
        lambda window: (window.depth_sum_100nm, window.measured),
        lambda window: window.depth_squares_100nm2,
        0.1,
    ),
}
"""What charts can be kept of: counts over n, good boards between failed ones, and values measured in sections."""


@dataclass(frozen=True)
class Figure:
    """One figure as it is charted: how its windows are merged, how its limits are estimated, which charts it has."""

    metric: str
    family: Family
    merger: Merger
    plans: tuple[Plan, ...]

    @property
    def unit(self) -> float:
        """What one of a point's `amount` is, in the unit of its value."""
        return METRICS[self.metric].unit

    def value(self, amount: float, n: float) -> float | None:
        """Return what a subgroup without limits shows; None where nothing is in it.

        >>> round(figure_of("extent").value(600, 4), 9), figure_of("boards_between_fails").value(1, 100)
        (0.015, 99.0)
        """
        if self.family == "geometric":
            gap = gap_of(amount, n)
            return None if gap is None else float(gap)
        return amount / n * self.unit if n else None

    def charted(self, amount: float, n: float) -> bool:
        """Whether a subgroup has enough in it for a point: a board, an event, two sections that may differ."""
        if self.family == "geometric":
            return amount > 0
        return n >= (2 if self.family == "means" else 1)


def figure_of(
    metric: str,
    plans: tuple[Plan, ...] = DEFAULT_PLANS,
    merger: Merger | None = None,
    sections: Merger = SECTIONS,
    rules: tuple[Rule, ...] = LIMITS_ONLY,
) -> Figure:
    """Lay out a figure: `plans` and `merger` are for counts, `sections` and `rules` for measured values.

    Where one section is enough (`sections.min_n` 1), each subgroup's mean is a single value, with its moving range;
    else subgroups have their mean and standard deviation. Raises `ValueError` for a figure that nothing is known of.

    >>> [figure_of(name).plans[0].name for name in ("dpu", "depth", "boards_between_fails")]
    ['laney_ewma', 'xbar_s', 'g']
    >>> figure_of("depth", sections=Merger(min_n=1, least_n=1)).plans[0].name
    'imr'
    """
    if metric not in METRICS:
        raise ValueError(f"no counts are known of {metric!r}; charts can be kept of {', '.join(METRICS)}")
    merger, family = merger or Merger(), METRICS[metric].family
    if family == "geometric":
        return Figure(metric, family, msgspec.structs.replace(merger, events=1), (G_PLAN,))
    if family != "means":
        return Figure(metric, family, merger, plans)
    if sections.min_n == 1:
        return Figure(metric, "normal", sections, (msgspec.structs.replace(IMR_PLAN, rules=rules),))
    return Figure(metric, family, sections, (msgspec.structs.replace(XBAR_S, rules=rules),))


def chart_of(plan: Plan, scale: Scale) -> Chart:
    """Return the chart of a plan with a baseline's centre and spread. Raises `BadRecord` for one of something else.

    >>> from kpi_engine.spc.scales import Binomial
    >>> chart_of(PLANS["shewhart"], Binomial(0.01, 1.73)).scale
    Binomial(centre=0.01, sigma_z=1.0)
    """
    match plan.kind, scale:
        case "xbar_s", Normal():
            return XbarS(scale, plan.rules, plan.width)
        case "imr", Normal():
            return IMR(scale, plan.rules, plan.width)
        case "g", Geometric():
            return G(scale.share, plan.width)
        case (("xbar_s" | "imr" | "g"), _):
            raise BadRecord(f"limits of a {type(scale).__name__} process give no {plan.kind} chart")
    if isinstance(scale, Geometric):
        raise BadRecord(f"good boards between failed ones give no {plan.kind} chart, but a g chart")
    if not plan.overdispersed and isinstance(scale, Binomial | Poisson) and scale.sigma_z != 1:
        scale = msgspec.structs.replace(scale, sigma_z=1.0)
    if plan.kind == "shewhart":
        return Shewhart(scale, plan.width, plan.rules)
    if plan.kind == "ewma":
        return Ewma(scale, plan.weight, plan.width)
    return Cusum(scale, plan.reference, plan.decision)


def update(chart: Chart, state: ChartState, sample: Sample) -> tuple[ChartState, Point]:
    """Take the next sample into a chart. Raises `BadRecord` for the state of a chart of another kind."""
    match chart, state:
        case XbarS(), RunState():
            return chart.update(state, summed(int(sample.n), sample.amount, sample.squares))
        case IMR(), IMRState():
            return chart.update(state, sample.value)
        case G(), GState():
            return chart.update(state, gap_of(sample.amount, sample.n) or 0)
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
    charts: tuple[Chart, ...] = ()
    baseline_id: str = ""
    fingerprint: str = ""


@dataclass(frozen=True)
class SpcSettings:
    """What `fold_window` is told.

    `limits` pairs what runs at a station with its baseline; a baseline of another product, model or configuration
    raises `BaselineRefused` here. Only windows of the length `window` are charted: an hour is made of minutes
    already counted. `plans` and `merger` are for counts, `sections` and `rules` for measured values (`figure_of`).
    """

    limits: tuple[tuple[Identity, Baseline], ...] = ()
    plans: tuple[Plan, ...] = DEFAULT_PLANS
    metrics: tuple[str, ...] = ("defect_rate",)
    merger: Merger = field(default_factory=Merger)
    window: str = "1m"
    sections: Merger = SECTIONS
    rules: tuple[Rule, ...] = LIMITS_ONLY

    def __post_init__(self) -> None:
        """Check the figures, and every baseline against what runs."""
        if not self.figures:
            raise ValueError("no figure is named; leave metrics out for the defect rate's chart")
        for running, baseline in self.limits:
            require(baseline, running)

    @cached_property
    def figures(self) -> tuple[Figure, ...]:
        """The figures as they are charted. Raises `ValueError`."""
        return tuple(figure_of(name, self.plans, self.merger, self.sections, self.rules) for name in self.metrics)

    @cached_property
    def setups(self) -> dict[tuple[str, str, str, str], Setup]:
        """What is charted, by line, station, product and figure; where there is no baseline, nothing is."""
        figures = {figure.metric: figure for figure in self.figures}
        return {
            (running.line, running.station, running.product, running.metric): setup(
                figures[running.metric].plans, baseline
            )
            for running, baseline in self.limits
            if running.metric in figures
        }


def setup(plans: tuple[Plan, ...], baseline: Baseline) -> Setup:
    """Lay the charts of one baseline out. Raises `BadRecord` where its scale gives no such charts."""
    told = baseline.baseline_id.encode() + msgspec.json.encode(plans, order="deterministic")
    return Setup(
        names=tuple(plan.name for plan in plans),
        charts=tuple(chart_of(plan, baseline.scale) for plan in plans),
        baseline_id=baseline.baseline_id,
        fingerprint=hashlib.sha256(told).hexdigest()[:16],
    )
