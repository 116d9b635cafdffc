"""Timelines a person can read: a word for each minute in, what was told after each minute out.

31      31 of 100 boards failed          31/5   31 % of 5 boards failed
.       no picture, the session is open  lost   no picture, the station vanished
closed  no picture, the job was ended
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from alerts.lifecycle import Series, step
from alerts.rules import applies, evaluate, labels
from taktwatch.config import AlertRule
from taktwatch.records import AlertTransition, KpiWindow, MarkState, WindowState

START = datetime(2026, 3, 3, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SILENT = {".": MarkState.OPEN, "lost": MarkState.LOST, "closed": MarkState.CLOSED}


def window(
    word: str,
    minute: int,
    *,
    revision: int | None = None,
    state: WindowState = WindowState.CLOSED,
    station: str = "top",
    product: str = "demo-board",
    missing: int = 0,
) -> KpiWindow:
    """One minute of one station as the KPI engine publishes it."""
    percent, _, n = ("0", "", "0") if word in SILENT else word.partition("/")
    boards = int(n or 100)
    failed = round(int(percent) * boards / 100)
    return KpiWindow(
        window="1m",
        start=START + minute * MINUTE,
        end=START + (minute + 1) * MINUTE,
        line="line-1",
        station=station,
        product=product,
        revision=minute if revision is None else revision,
        state=state,
        accepted=boards,
        inspected=boards,
        failed=failed,
        passed=boards - failed,
        missing=missing,
        marks=60,
        station_state=SILENT.get(word, MarkState.OPEN),
    )


def fold_windows(
    rule: AlertRule, windows: Iterable[KpiWindow], series: Series | None = None, keep: int = 60
) -> tuple[Series | None, list[AlertTransition | None]]:
    """Run one rule over windows of one station; what it told after each."""
    told: list[AlertTransition | None] = []
    for each in windows:
        transition = None
        if applies(rule, each):
            series = series or Series(rule=rule.name, severity=rule.severity, labels=labels(rule, each))
            series, transition = step(rule, series, evaluate(rule, each), keep)
        told.append(transition)
    return series, told


def words(told: Iterable[AlertTransition | None]) -> str:
    """What was told after each window, "-" for nothing."""
    return " ".join(transition.state.value if transition else "-" for transition in told)


def play(rule: AlertRule, minutes: str, keep: int = 60) -> str:
    """Play a timeline: one word a minute in, one word a minute out."""
    _, told = fold_windows(rule, [window(word, at) for at, word in enumerate(minutes.split())], keep=keep)
    return words(told)
