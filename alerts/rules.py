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
from taktwatch.records import KpiWindow, MarkState, WindowState

__all__ = ["RULE_WINDOW", "Decision", "Evaluation", "applies", "decide", "decisions", "evaluate", "labels", "recovery"]

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
    on purpose; a lost station is not ended.
    """

    start: datetime
    end: datetime
    product: str
    revision: int
    value: float | None
    n: int
    pictures: int
    ended: bool


def applies(rule: AlertRule, window: KpiWindow) -> bool:
    """Whether the rule has a say on this window: closed or final, of the rules' kind, of the rule's station."""
    return (
        window.state is not WindowState.OPEN
        and window.window == RULE_WINDOW
        and window.station != ANY
        and (rule.station is None or rule.station == window.station)
    )


def labels(rule: AlertRule, window: KpiWindow) -> dict[str, str]:
    """Whom an alert is about. A silent station is silent whatever it should have shown, so `no_data` has no product."""
    station = {"line": window.line, "station": window.station}
    return station if rule.kind == "no_data" else {**station, "product": window.product}


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
    if evaluation.value is None or evaluation.n < rule.min_n:
        return Decision.NOTHING
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
