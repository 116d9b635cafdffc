"""KPI windows of an imaginary line, one a minute."""

from datetime import UTC, datetime, timedelta

from kpi_engine.spc.baseline import Identity
from kpi_engine.spc.points import Subgroup
from taktwatch.records import KpiWindow, WindowState

BEGIN = datetime(2026, 3, 3, 6, 0, tzinfo=UTC)
CLOSED, FINAL, OPEN = WindowState.CLOSED, WindowState.FINAL, WindowState.OPEN

IDENTITY = Identity(
    line="line-1", station="top", product="board", metric="defect_rate", model_id="template-3", config_sha256="c0ffee"
)


def at(minute: int) -> datetime:
    return BEGIN + timedelta(minutes=minute)


def window(
    minute: int,
    failed: int = 1,
    inspected: int = 100,
    revision: int | None = None,
    state: WindowState = CLOSED,
    **names: str,
) -> KpiWindow:
    """Return a minute's window; its revision is its minute unless told."""
    told = {"line": "line-1", "station": "top", "product": "board", "window": "1m", **names}
    return KpiWindow(
        start=at(minute),
        end=at(minute + 1),
        revision=minute if revision is None else revision,
        state=state,
        accepted=inspected,
        inspected=inspected,
        failed=failed,
        passed=inspected - failed,
        **told,
    )


def subgroups(failed: list[int], n: int = 500) -> list[Subgroup]:
    return [Subgroup(at(5 * i), at(5 * i + 5), count, n) for i, count in enumerate(failed)]
