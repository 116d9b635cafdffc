"""All rules over all series: one revision of a window or of a point of a control chart in, transitions out. Pure."""

from collections.abc import Mapping

from alerts.lifecycle import Series, retire, step
from alerts.rules import Evaluation, applies, charted, evaluate, evaluate_point, labels, point_labels
from taktwatch.config import AlertRule, LineConfig
from taktwatch.records import AlertTransition, ControlPoint, KpiWindow

__all__ = ["State", "fold", "kept_windows", "series_name", "without_retired"]

State = dict[str, Series]
"""Every series by its name."""


def series_name(rule: AlertRule, place: Mapping[str, str]) -> str:
    """Name a series by what its kept figures mean: a rule that looks at another metric begins anew."""
    figure = rule.metric if rule.kind == "threshold" else rule.kind
    return "|".join([rule.name, figure, *place.values()])


def figured(rule: AlertRule, place: Mapping[str, str]) -> bool:
    """Whether a rule looks at the figure that a series is about; rules that name none look at any."""
    return not rule.figures or place.get("metric") in rule.figures


def kept_windows(config: LineConfig, rule: AlertRule) -> int:
    """How many windows stay open to correction: those within the KPI engine's horizon, and the rule's own rows."""
    return config.kpi.horizon_minutes + rule.for_windows + rule.keep_windows + rule.silent_windows


def seen(rule: AlertRule, record: KpiWindow | ControlPoint) -> tuple[dict[str, str], Evaluation] | None:
    """Return whom a record is about and what it says to a rule; None where the rule has no say on it."""
    if isinstance(record, ControlPoint):
        return (point_labels(record), evaluate_point(rule, record)) if charted(rule, record) else None
    return (labels(rule, record), evaluate(rule, record)) if applies(rule, record) else None


def fold(config: LineConfig, state: State, record: KpiWindow | ControlPoint) -> tuple[State, list[AlertTransition]]:
    """Take one revision into all series it concerns; the same state object where nothing changed."""
    changed: State = {}
    transitions = []
    for rule in config.alerts.rules:
        said = seen(rule, record)
        if said is None:
            continue
        place, evaluation = said
        name = series_name(rule, place)
        known = state.get(name, Series(rule=rule.name, severity=rule.severity, labels=place))
        after, transition = step(rule, known, evaluation, kept_windows(config, rule))
        if after is not known:
            changed[name] = after
        if transition is not None:
            transitions.append(transition)
    return ({**state, **changed} if changed else state), transitions


def without_retired(config: LineConfig, state: State) -> tuple[State, list[AlertTransition]]:
    """Leave out series whose rule line.toml no longer has, and close what was told of them."""
    rules = config.alerts.rules
    wanted = {
        name: series
        for name, series in state.items()
        if any(series_name(rule, series.labels) == name and figured(rule, series.labels) for rule in rules)
    }
    closed = [retire(series) for name, series in state.items() if name not in wanted]
    return wanted, [transition for transition in closed if transition is not None]
