"""KPI windows folded into control charts: one call per window, points of changed subgroups out.

    state, points = fold_window(state, window, settings)

Fold the windows of the kpis topic in log order, every revision of them: then the same log gives the same points,
whoever folds it and wherever it was interrupted. Open windows decide nothing. A correction of a subgroup that is still
held (`merger`) computes its charts again, up to the newest subgroup, and publishes the points with higher revisions. A
new baseline, or another choice of charts, starts the charts anew; earlier points stay as they were published.
"""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from kpi_engine.spc.merger import Held, Merged, Merger, MergerState, Slice, take
from kpi_engine.spc.plans import METRICS, PANELS, ChartState, Figure, Setup, SpcSettings, update
from kpi_engine.spc.points import ControlPoint, Point, Sample, Subgroup
from taktwatch.errors import BadRecord, UnknownSchema
from taktwatch.instants import instant, microseconds
from taktwatch.kpis import ANY
from taktwatch.records import KpiWindow, WindowState

__all__ = ["SpcState", "StationCharts", "fold_window", "merged_windows", "restore", "save", "subgroups_of"]

VERSION = 1
"""Changes with the meaning of the state."""


class Trail(msgspec.Struct, frozen=True, array_like=True):
    """How a held subgroup was charted: the charts' states before it, and the revision its points went out with."""

    before: tuple[ChartState, ...]
    revision: int


class StationCharts(msgspec.Struct, frozen=True, array_like=True):
    """The charts of one figure of one product at one station; `trail` goes with the merger's `kept`."""

    fingerprint: str
    merger: MergerState = MergerState()
    trail: tuple[Trail, ...] = ()
    now: tuple[ChartState, ...] = ()


class SpcState(msgspec.Struct, frozen=True):
    """Every chart's state, by line, station, product and metric. Never changed: each fold returns another."""

    stations: dict[str, StationCharts] = {}
    version: int = VERSION

    @property
    def ignored(self) -> int:
        """Windows that came for times already settled."""
        return sum(charts.merger.ignored for charts in self.stations.values())


def save(state: SpcState) -> bytes:
    """Return the state as bytes."""
    return msgspec.msgpack.encode(state)


def restore(saved: bytes) -> SpcState:
    """Return the state that `save` wrote. Raises `BadRecord` for other bytes, `UnknownSchema` for another version's."""
    try:
        version = msgspec.msgpack.decode(saved, type=Versioned).version
        if version == VERSION:
            return msgspec.msgpack.decode(saved, type=SpcState)
    except msgspec.MsgspecError as error:
        raise BadRecord(f"a damaged checkpoint of control charts: {error}") from error
    raise UnknownSchema(f"a checkpoint of control charts of version {version}, this taktwatch reads {VERSION}")


class Versioned(msgspec.Struct):
    """What every version of a saved state has."""

    version: int


def fold_window(state: SpcState, window: KpiWindow, settings: SpcSettings) -> tuple[SpcState, list[ControlPoint]]:
    """Take one revision of a window; return the state after it and the points that are new or changed.

    Points come figure by figure, in the order of the settings, those of each figure oldest first.
    """
    place = (window.line, window.station, window.product)
    if window.window != settings.window or window.state is WindowState.OPEN or ANY in place:
        return state, []
    changed, points = dict[str, StationCharts](), list[ControlPoint]()
    for figure in settings.figures:
        key = "\x1f".join((*place, figure.metric))
        known, told = state.stations.get(key), slice_of(window, figure.metric)
        if known is None and figure.family in {"means", "normal"} and told.n == 0:
            continue  # what has no layers is not measured
        setup = settings.setups.get((*place, figure.metric), Setup())
        changed[key], found = fold_figure(known, told, figure, setup, labels(window, figure.metric, setup))
        points += found
    if not changed:
        return state, points
    return msgspec.structs.replace(state, stations={**state.stations, **changed}), points


def fold_figure(
    known: StationCharts | None, told: Slice, figure: Figure, setup: Setup, labelled: ControlPoint
) -> tuple[StationCharts, list[ControlPoint]]:
    """Take a window into the charts of one figure."""
    charts = known or StationCharts(setup.fingerprint, now=begun(setup))
    if charts.fingerprint != setup.fingerprint:
        charts = anew(charts, setup)
    merged = take(charts.merger, told, figure.merger)
    charts = StationCharts(setup.fingerprint, merged.state, charts.trail[merged.dropped :], charts.now)
    return (charts, []) if merged.since is None else charted(charts, merged.since, figure, setup, labelled)


def charted(
    charts: StationCharts, since: int, figure: Figure, setup: Setup, labelled: ControlPoint
) -> tuple[StationCharts, list[ControlPoint]]:
    """Chart the held subgroups from index `since` on, those that were charted before with a higher revision."""
    trail = list(charts.trail)
    states = trail[since].before if since < len(trail) else charts.now
    points: list[ControlPoint] = []
    for index in range(since, len(charts.merger.kept)):
        held = charts.merger.kept[index]
        if index < len(trail):
            if index > since and trail[index].before == states:
                return msgspec.structs.replace(charts, trail=tuple(trail)), points
            trail[index] = Trail(states, max(held.revision, trail[index].revision + 1))
        else:
            trail.append(Trail(states, held.revision))
        frame = framed(labelled, held, trail[index].revision)
        if not setup.charts or not figure.charted(held.amount, held.n):
            points += emptied(frame, figure, setup, held)
            continue
        after = []
        for name, chart, before in zip(setup.names, setup.charts, states, strict=True):
            new, point = update(chart, before, Sample(held.amount, held.n, held.squares))
            after.append(new)
            points += drawn(frame, name, point, figure.unit)
        states = tuple(after)
    return msgspec.structs.replace(charts, trail=tuple(trail), now=states), points


def emptied(frame: ControlPoint, figure: Figure, setup: Setup, held: Held) -> list[ControlPoint]:
    """Return a subgroup's points without limits: there is no baseline, or a correction left nothing in it."""
    value = figure.value(held.amount, held.n)
    return [
        msgspec.structs.replace(frame, chart=name, panel=panel, value=value if not at else None)
        for name in setup.names or ("run",)
        for at, panel in enumerate(PANELS.get(name, ("",)))
    ]


def drawn(frame: ControlPoint, name: str, point: Point, unit: float) -> list[ControlPoint]:
    """Return a chart's point as it travels, in the unit of its figure; a chart of two panels gives two."""
    names = PANELS.get(name) or (("", "") if point.second is None else ("upper", "lower"))
    panels = [(names[0], point)] + ([] if point.second is None else [(names[1], point.second)])
    return [
        msgspec.structs.replace(
            frame,
            chart=name,
            panel=panel,
            value=shown.value * unit,
            centre=shown.centre * unit,
            lower=shown.lower * unit,
            upper=shown.upper * unit,
            sigma_z=shown.sigma_z,
            signals=shown.signals,
        )
        for panel, shown in panels
    ]


def labels(window: KpiWindow, metric: str, setup: Setup) -> ControlPoint:
    """Return a point that only says where it belongs."""
    return ControlPoint(
        chart="",
        line=window.line,
        station=window.station,
        product=window.product,
        metric=metric,
        start=window.start,
        end=window.end,
        amount=0,
        n=0,
        value=None,
        baseline_id=setup.baseline_id,
    )


def framed(labelled: ControlPoint, held: Held, revision: int) -> ControlPoint:
    """Put a subgroup's times and counts on a point."""
    return msgspec.structs.replace(
        labelled,
        start=instant(held.start_us),
        end=instant(held.end_us),
        amount=held.amount,
        n=held.n,
        squares=held.squares,
        revision=revision,
    )


def begun(setup: Setup) -> tuple[ChartState, ...]:
    """Return the charts' states before their first sample."""
    return tuple(chart.start() for chart in setup.charts)


def anew(charts: StationCharts, setup: Setup) -> StationCharts:
    """Start the charts anew after the last closed subgroup, whose limits are no longer known; what fills goes on."""
    merger = charts.merger
    settled_us = max((held.end_us for held in merger.kept), default=merger.settled_us)
    return StationCharts(
        setup.fingerprint,
        MergerState((), merger.filling, max(settled_us, merger.settled_us), merger.ignored),
        now=begun(setup),
    )


def slice_of(window: KpiWindow, metric: str) -> Slice:
    """Return what the merger wants of a window."""
    amount, n = METRICS[metric].counts(window)
    final, squares = window.state is WindowState.FINAL, METRICS[metric].squares(window)
    return Slice(microseconds(window.start), microseconds(window.end), amount, n, window.revision, final, squares)


def merged_windows(
    windows: Iterable[KpiWindow], metric: str = "defect_rate", merger: Merger | None = None
) -> list[Subgroup]:
    """Merge windows of one product at one station for phase I: closed ones, the newest revision of each, in time order.

    What does not make a whole subgroup at the end is left out.
    """
    merger = merger or Merger()
    newest: dict[datetime, KpiWindow] = {}
    for window in windows:
        known = newest.get(window.start)
        if window.state is not WindowState.OPEN and (known is None or known.revision < window.revision):
            newest[window.start] = window
    state, found = MergerState(), list[Subgroup]()
    for start in sorted(newest):
        merged: Merged = take(state, slice_of(newest[start], metric), merger)
        state = merged.state
        if merged.since is not None:
            held = state.kept[merged.since]
            times = instant(held.start_us), instant(held.end_us)
            found.append(Subgroup(*times, held.amount, held.n, held.revision, held.squares))
    return found


def subgroups_of(points: Iterable[ControlPoint]) -> list[Subgroup]:
    """Return the subgroups behind one figure's points at one place, newest revisions alone, in time order."""
    newest: dict[datetime, ControlPoint] = {}
    for point in points:
        known = newest.get(point.start)
        if known is None or known.revision < point.revision:
            newest[point.start] = point
    return [
        Subgroup(start, point.end, point.amount, point.n, point.revision, point.squares)
        for start, point in sorted(newest.items())
    ]
