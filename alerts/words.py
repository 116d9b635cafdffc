"""What an alert says to a person: one sentence with value, n and threshold. Pure."""

from collections.abc import Mapping

from alerts.rules import Evaluation, recovery
from taktwatch.config import AlertRule
from taktwatch.records import AlertState, AlertTransition

__all__ = ["place_of", "summary", "title"]

NAMES = {
    "defect_rate": "defect rate",
    "review_rate": "review rate",
    "dpmo": "defects per million opportunities",
    "dead_rate": "rate of unusable pictures",
    "corroded_share": "corroded share",
    "missing": "missing frames",
    "latency_p95_s": "p95 latency",
    "first_pass_yield": "first-pass yield",
    "dpu": "defects per unit",
    "boards_between_fails": "good boards between failed ones",
    "extent": "corroded area of sections",
    "depth": "depth of corrosion",
    "depth_um": "depth of corrosion in um",
}
SHARES = frozenset({"defect_rate", "review_rate", "dead_rate", "corroded_share", "first_pass_yield", "extent", "depth"})


def quantity(metric: str, value: float | None) -> str:
    """A value in its unit, with three digits that matter.

    >>> quantity("defect_rate", 0.31), quantity("corroded_share", 0.0052), quantity("latency_p95_s", 0.4217)
    ('31 %', '0.52 %', '0.422 s')
    >>> quantity("missing", 3.0), quantity("dpmo", 12345.6), quantity("dpmo", None)
    ('3', '12346', 'unknown')
    """
    if value is None:
        return "unknown"
    if metric in SHARES:
        return f"{value * 100:.3g} %" if value < 1 else f"{value * 100:.0f} %"
    if metric == "latency_p95_s":
        return f"{value:.3g} s"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"  # noqa: PLR2004 - three digits, no exponent


def place_of(labels: Mapping[str, str]) -> str:
    """Where: the station; of an alert about none, the detector or the product.

    >>> place_of({"line": "line-1", "station": "top", "product": "demo-board"})
    'line-1/top'
    >>> place_of({"line": "line-1", "detector": "host-7"})
    'line-1/host-7'
    """
    where = (labels[kind] for kind in ("station", "detector", "product") if kind in labels)
    return f"{labels.get('line', '')}/{next(where, '')}"


def windows(count: int, of: int | None = None) -> str:
    """Count windows.

    >>> windows(1), windows(2), windows(1, 3)
    ('1 window', '2 windows', '1 of 3 windows')
    """
    if of is not None:
        return f"{count} of {of} windows"
    return f"{count} window" if count == 1 else f"{count} windows"


def summary(rule: AlertRule, labels: Mapping[str, str], state: AlertState, said: Evaluation, streak: int) -> str:
    """Say what happened; `said` is the window that speaks for it, `streak` how many of the needed windows are in.

    >>> from datetime import UTC, datetime
    >>> rule = AlertRule(name="r", metric="defect_rate", above=0.25, for_windows=2)
    >>> noon = datetime(2026, 3, 3, 12, tzinfo=UTC)
    >>> said = Evaluation(noon, noon, "p", 1, 0.31, 42, 42, False)
    >>> summary(rule, {"line": "line-1", "station": "top"}, AlertState.FIRING, said, 0)
    'defect rate 31 % (n = 42) above 25 % at line-1/top for 2 windows'
    """
    where = place_of(labels)
    if rule.kind == "no_data":
        return silence(rule, where, state, said, streak)
    if rule.kind == "spc":
        return drift(rule, labels, state, said, streak)
    figure = f"{NAMES[rule.metric]} {quantity(rule.metric, said.value)} (n = {said.n})"
    limit = quantity(rule.metric, rule.above)
    match state:
        case AlertState.PENDING:
            return f"{figure} above {limit} at {where} for {windows(streak, rule.for_windows)}"
        case AlertState.RECOVERING:
            back = quantity(rule.metric, recovery(rule))
            return f"{figure} at or below {back} at {where} for {windows(streak, rule.keep_windows)}"
        case AlertState.FIRING:
            return f"{figure} above {limit} at {where} for {windows(rule.for_windows)}"
        case _:
            return f"{figure} no longer above {limit} at {where}"


def silence(rule: AlertRule, where: str, state: AlertState, said: Evaluation, streak: int) -> str:
    """Say that a station fell silent, or spoke again."""
    match state:
        case AlertState.PENDING:
            return f"no picture from {where} for {windows(streak, rule.silent_windows)}"
        case AlertState.NO_DATA:
            return f"no picture from {where} for {windows(rule.silent_windows)}"
        case _ if said.ended and not said.pictures:
            return f"{where} was closed on purpose"
        case _:
            return f"pictures from {where} again (n = {said.n})"


def drift(rule: AlertRule, labels: Mapping[str, str], state: AlertState, said: Evaluation, streak: int) -> str:
    """Say what a control chart shows.

    >>> from datetime import UTC, datetime
    >>> rule = AlertRule(name="r", kind="spc")
    >>> noon = datetime(2026, 3, 3, 12, tzinfo=UTC)
    >>> said = Evaluation(noon, noon, "p", 1, 0.021, 512, 512, False, ("1 point beyond ...",), 0.004, 0.016)
    >>> place = {"line": "line-1", "station": "top", "metric": "defect_rate", "chart": "laney_ewma"}
    >>> drift(rule, place, AlertState.FIRING, said, 0)
    'defect rate drifts at line-1/top: 2.1 %, limits 0.4 % to 1.6 % (n = 512, laney_ewma): 1 point beyond ...'
    """
    metric, chart = labels["metric"], labels["chart"]
    name = NAMES.get(metric, metric)
    if "cusum" in chart:  # sums of z-scores, whatever the figure's unit
        metric = ""
    limits = f"limits {quantity(metric, said.lower)} to {quantity(metric, said.upper)}"
    figure = f"{quantity(metric, said.value)}, {limits} (n = {said.n}, {chart})"
    where, signals = place_of(labels), "; ".join(said.signals)
    match state:
        case AlertState.PENDING:
            return f"{name} may drift at {where}, {subgroups(streak, rule.for_windows)}: {figure}: {signals}"
        case AlertState.FIRING:
            return f"{name} drifts at {where}: {figure}: {signals}"
        case AlertState.RECOVERING:
            return f"{name} without signal at {where} for {subgroups(streak, rule.keep_windows)}: {figure}"
        case _:
            return f"{name} in control again at {where}: {figure}"


def subgroups(count: int, of: int) -> str:
    """Count subgroups.

    >>> subgroups(1, 2)
    '1 of 2 subgroups'
    """
    return f"{count} of {of} subgroups"


def title(transition: AlertTransition) -> str:
    """One line for the head of a message.

    >>> from datetime import UTC, datetime
    >>> noon = datetime(2026, 3, 3, 12, tzinfo=UTC)
    >>> title(AlertTransition(
    ...     alert_id="a", rule="defect-rate", severity="critical", labels={"line": "l", "station": "s"},
    ...     previous=AlertState.PENDING, state=AlertState.FIRING, at=noon, value=0.3, n=9, summary="",
    ...     window_start=noon, revision=1))
    'FIRING (critical): defect-rate at l/s'
    """
    state = transition.state.value.replace("_", " ").upper()
    return f"{state} ({transition.severity}): {transition.rule} at {place_of(transition.labels)}"
