"""What one KPI window says to one rule: a value with its n, and the decision that follows from it.

Pure. Windows that are still open decide nothing and are not evaluated at all; a window with fewer pictures than
`min_n` is evaluated and decides nothing, neither to fire nor to resolve.
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from operator import attrgetter

import msgspec

from taktwatch.config import AlertRule
from taktwatch.kpis import ANY, metric
from taktwatch.records import ControlPoint, KpiWindow, MarkState, WindowState

__all__ = [
    "RULE_WINDOW",
    "Decision",
    "Evaluation",
    "applies",
    "charted",
    "decide",
    "decisions",
    "evaluate",
    "evaluate_point",
    "labels",
    "point_labels",
    "recovery",
]

RULE_WINDOW = "1m"
"""The kind of window that rules look at."""


class Decision(StrEnum):
    """What a window says. `HOLD` lies between the recovery and the firing threshold; `NOTHING` says nothing at all."""

    ABOVE = "above"
    HOLD = "hold"
    BELOW = "below"
    NOTHING = "nothing"


class Evaluation(msgspec.Struct, frozen=True, array_like=True):
    """What a rule needs to know of one revision of one window.

    `value` is in the metric's own unit (rates 0 to 1, latency in seconds); None where the window has none. `n` is what
    the value rests on. `pictures` counts frames accepted or ended in the window. `ended`: the station's job was ended
    on purpose; a lost station is not ended. Of a point of a control chart: which of the rule's signals it shows, and
    the limits it was judged by.
    """

    start: datetime
    end: datetime
    product: str
    revision: int
    value: float | None
    n: int
    pictures: int
    ended: bool
    signals: tuple[str, ...] = ()
    lower: float | None = None
    upper: float | None = None


def applies(rule: AlertRule, window: KpiWindow) -> bool:
    """Whether the rule has a say on this window: closed or final, of the rules' kind, of the rule's station."""
    return (
        rule.kind != "spc"
        and window.state is not WindowState.OPEN
        and window.window == RULE_WINDOW
        and window.station != ANY
        and (rule.station is None or rule.station == window.station)
    )


def labels(rule: AlertRule, window: KpiWindow) -> dict[str, str]:
    """Whom an alert is about. A silent station is silent whatever it should have shown, so `no_data` has no product."""
    station = {"line": window.line, "station": window.station}
    return station if rule.kind == "no_data" else {**station, "product": window.product}


def charted(rule: AlertRule, point: ControlPoint) -> bool:
    """Whether the rule has a say on this point of a control chart; while limits are being learnt, none has."""
    wanted = not rule.figures or point.metric in rule.figures
    return rule.kind == "spc" and wanted and point.chart != "run" and rule.station in {None, point.station}


def point_labels(point: ControlPoint) -> dict[str, str]:
    """Whom an alert of a control chart is about: each chart of a figure speaks for itself."""
    chart = f"{point.chart} {point.panel}".strip()
    place = {"line": point.line, "station": point.station, "product": point.product}
    return {**place, "metric": point.metric, "chart": chart}


def evaluate_point(rule: AlertRule, point: ControlPoint) -> Evaluation:
    """Take from a point what the rule decides on; one that a correction left without limits has no value."""
    return Evaluation(
        start=point.start,
        end=point.end,
        product=point.product,
        revision=point.revision,
        value=None if point.centre is None else point.value,
        n=point.n,
        pictures=point.n,
        ended=False,
        signals=tuple(signal for signal in point.signals if not rule.signals or signal in rule.signals),
        lower=point.lower,
        upper=point.upper,
    )


def evaluate(rule: AlertRule, window: KpiWindow) -> Evaluation:
    """Take from a window what the rule decides on; call it where the rule `applies`."""
    pictures = max(window.accepted, window.inspected + window.skipped + window.dead)
    if rule.kind == "no_data":
        value, n = None, pictures
    else:
        rate = metric(window, rule.metric)
        value, n = rate.value, rate.n
    return Evaluation(
        start=window.start,
        end=window.end,
        product=window.product,
        revision=window.revision,
        value=value,
        n=n,
        pictures=pictures,
        ended=window.station_state is MarkState.CLOSED,
    )


def recovery(rule: AlertRule) -> float:
    """The value at or below which a firing alert starts to recover."""
    return rule.above if rule.recover_below is None else rule.recover_below


def decide(rule: AlertRule, evaluation: Evaluation) -> Decision:
    """Decide one window. Absent data never resolves: without a picture a threshold is not found to be below.

    >>> from datetime import UTC, datetime
    >>> rule = AlertRule(name="r", metric="defect_rate", above=0.25, recover_below=0.15, min_n=10)
    >>> noon = datetime(2026, 3, 3, 12, tzinfo=UTC)
    >>> def of(value, n):
    ...     return decide(rule, Evaluation(noon, noon, "p", 1, value, n, n, False)).value
    >>> of(0.31, 42), of(0.2, 42), of(0.1, 42), of(0.9, 3)
    ('above', 'hold', 'below', 'nothing')
    """
    if rule.kind == "no_data":
        return Decision.BELOW if evaluation.pictures or evaluation.ended else Decision.ABOVE
    if evaluation.value is None or (rule.kind != "spc" and evaluation.n < rule.min_n):
        return Decision.NOTHING
    if rule.kind == "spc":
        return Decision.ABOVE if evaluation.signals else Decision.BELOW
    if evaluation.value > rule.above:
        return Decision.ABOVE
    if not evaluation.pictures:
        return Decision.NOTHING
    return Decision.BELOW if evaluation.value <= recovery(rule) else Decision.HOLD


def decisions(rule: AlertRule, evaluations: Iterable[Evaluation]) -> list[tuple[datetime, Decision]]:
    """Decide windows sorted by start, one decision for each start.

    Windows of several products at one start (only `no_data` sees them) are one answer: one that heard the station
    outweighs any that did not.
    """
    decided = []
    for start, together in groupby(evaluations, key=attrgetter("start")):
        said = [decide(rule, evaluation) for evaluation in together]
        decided.append((start, Decision.BELOW if Decision.BELOW in said else said[0]))
    return decided
