"""All rules over all series: one window revision in, transitions out. Pure."""

from collections.abc import Mapping

from alerts.lifecycle import Series, retire, step
from alerts.rules import applies, evaluate, labels
from taktwatch.config import AlertRule, LineConfig
from taktwatch.records import AlertTransition, KpiWindow

__all__ = ["State", "fold", "kept_windows", "series_name", "without_retired"]

State = dict[str, Series]
"""Every series by its name."""


def series_name(rule: AlertRule, place: Mapping[str, str]) -> str:
    """Name a series by what its kept figures mean: a rule that looks at another metric begins anew."""
    figure = rule.metric if rule.kind == "threshold" else rule.kind
    return "|".join([rule.name, figure, *place.values()])


def kept_windows(config: LineConfig, rule: AlertRule) -> int:
    """How many windows stay open to correction: those within the KPI engine's horizon, and the rule's own rows."""
    return config.kpi.horizon_minutes + rule.for_windows + rule.keep_windows + rule.silent_windows


def fold(config: LineConfig, state: State, window: KpiWindow) -> tuple[State, list[AlertTransition]]:
    """Take one window revision into all series it concerns; the same state object where nothing changed."""
    changed: State = {}
    transitions = []
    for rule in config.alerts.rules:
        if not applies(rule, window):
            continue
        place = labels(rule, window)
        name = series_name(rule, place)
        known = state.get(name, Series(rule=rule.name, severity=rule.severity, labels=place))
        after, transition = step(rule, known, evaluate(rule, window), kept_windows(config, rule))
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
        if any(series_name(rule, series.labels) == name for rule in rules)
    }
    closed = [retire(series) for name, series in state.items() if name not in wanted]
    return wanted, [transition for transition in closed if transition is not None]
