"""KPI windows of an imaginary line, one a minute."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec

from kpi_engine.spc.baseline import Identity
from kpi_engine.spc.points import Subgroup
from kpi_engine.spc_line import LineCharts, LineRules, fold, settings_of
from taktwatch.records import ControlPoint, KpiWindow, WindowState

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


def sections(minute: int, extents_bp: list[int], depths_bp: list[int] | None = None, **changes: object) -> KpiWindow:
    """Return a minute's window of sections measured so, in basis points; depths ten times the extents unless told.

    In um a depth is as many steps of 100 nm as the extent has basis points.
    """
    depths = [10 * extent for extent in extents_bp] if depths_bp is None else depths_bp
    made = msgspec.structs.replace(
        window(minute, failed=0, inspected=len(extents_bp)),
        measured=len(extents_bp),
        extent_sum_bp=sum(extents_bp),
        extent_squares_bp2=sum(extent * extent for extent in extents_bp),
        depth_sum_bp=sum(depths),
        depth_squares_bp2=sum(depth * depth for depth in depths),
        depth_sum_100nm=sum(extents_bp),
        depth_squares_100nm2=sum(extent * extent for extent in extents_bp),
    )
    return msgspec.structs.replace(made, **changes)


def subgroups(failed: list[int], n: int = 500) -> list[Subgroup]:
    return [Subgroup(at(5 * i), at(5 * i + 5), count, n) for i, count in enumerate(failed)]


def folded(
    windows: Iterable[KpiWindow], rules: LineRules, state: LineCharts | None = None
) -> tuple[LineCharts, list[ControlPoint]]:
    """Fold windows one by one; return the charts after them and every point made."""
    state, points = state or LineCharts(), list[ControlPoint]()
    for one in windows:
        state, new, _ = fold(state, one, rules, settings_of(state, rules))
        points += new
    return state, points
