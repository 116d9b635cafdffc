"""Numbers as they are shown, made in one place from the windows of a store: ranges, roll-ups, Pareto, trends, charts.

`read_parts` is the one question to the store; everything else is a pure function of its answer, so SQLite and InfluxDB
give equal numbers. Windows are only ever added up (`taktwatch.kpis.merge`): a rate over a day is the rate over all its
boards, never a mean of rates.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, TypeVar

import msgspec

from taktwatch.instants import EPOCH
from taktwatch.kpis import ANY, Rate, mean_score, merge, metric, pareto, ratio, rolled_throughput_yield, score_drift
from taktwatch.records import KpiWindow
from taktwatch.store import KpiQuery, KpiStore

__all__ = [
    "By",
    "Drift",
    "ParetoRow",
    "Rolled",
    "RolledYield",
    "TrendPoint",
    "chart_series",
    "drifts",
    "floor_time",
    "lots",
    "pareto_rows",
    "parts",
    "read_parts",
    "roll_up",
    "rolled_yields",
    "total",
    "totals",
    "trend",
]

By = Literal["line", "station", "product"]
"""What a roll-up is kept apart by, beside time."""

State = TypeVar("State")
Point = TypeVar("Point")


@dataclass(frozen=True)
class Rolled:
    """Windows added up: those of one step of time (`step` is its start) or, where `step` is None, of a whole range.

    `window.start` and `window.end` are those of the windows that are there: a step half filled shows its real length.
    """

    window: KpiWindow
    windows: int
    step: datetime | None = None


@dataclass(frozen=True)
class ParetoRow:
    """One defect class: how often, its share of all defects, the share with all more frequent ones, and per board.

    Shares are 0 to 1; `per_board` is defects of this class an inspected board, with the boards as its n.
    """

    label: str
    count: int
    share: float
    cumulative: float
    per_board: Rate


@dataclass(frozen=True)
class TrendPoint:
    """A figure over one step of time."""

    step: datetime
    start: datetime
    end: datetime
    rate: Rate


@dataclass(frozen=True)
class RolledYield:
    """How many boards of a product pass all the stations it was seen at, each at its first visit."""

    product: str
    stations: tuple[str, ...]
    rate: Rate


@dataclass(frozen=True)
class Drift:
    """How the scores of one product at one station moved: `reference` is their mean then, `points` the drift since."""

    station: str
    product: str
    reference: Rate
    points: tuple[TrendPoint, ...]


async def read_parts(store: KpiStore, query: KpiQuery) -> list[KpiWindow]:
    """Return the windows of single stations and products in a range; sums over several are left out.

    Adding these up counts every board once, whatever roll-ups lie beside them. Raises `BackendUnavailable`.
    """
    return parts(await store.read(query))


def parts(windows: Iterable[KpiWindow]) -> list[KpiWindow]:
    """Return the windows that are no sums over lines, stations or products.

    >>> from taktwatch.kpis import EXAMPLE
    >>> import msgspec
    >>> whole_line = msgspec.structs.replace(EXAMPLE, station="*", product="*")
    >>> parts([EXAMPLE, whole_line]) == [EXAMPLE]
    True
    """
    return [window for window in windows if ANY not in (window.line, window.station, window.product)]


def floor_time(time: datetime, step: timedelta) -> datetime:
    """Return the start of the step that a time lies in; steps are counted from 1970 in UTC.

    >>> floor_time(datetime.fromisoformat("2026-03-03T12:07:09Z"), timedelta(minutes=5)).isoformat()
    '2026-03-03T12:05:00+00:00'
    """
    return EPOCH + (time - EPOCH) // step * step


def total(windows: Iterable[KpiWindow]) -> Rolled | None:
    """Add windows up; None where there are none.

    >>> from taktwatch.kpis import EXAMPLE
    >>> total([EXAMPLE]).window.inspected, total([])
    (20, None)
    """
    kept = list(windows)
    merged = merge(kept)
    return None if merged is None else Rolled(merged, len(kept))


def totals(windows: Iterable[KpiWindow], by: Sequence[By] = ("station",)) -> list[Rolled]:
    """Add the windows of a range up, kept apart by `by`, in order of those names."""
    return [summed for _, group in sorted(grouped(windows, by).items()) if (summed := total(group)) is not None]


def roll_up(windows: Iterable[KpiWindow], step: timedelta, by: Sequence[By] = ("station",)) -> list[Rolled]:
    """Add windows up to steps of any span, kept apart by `by`; in order of time, then of names.

    A window belongs to the step it starts in. Steps without windows are absent: no data is not zero.

    >>> from taktwatch.kpis import EXAMPLE
    >>> [hour] = roll_up([EXAMPLE, EXAMPLE], timedelta(hours=1))
    >>> hour.step.isoformat(), hour.window.inspected, hour.windows
    ('2026-03-03T12:00:00+00:00', 40, 2)
    """
    steps: defaultdict[datetime, list[KpiWindow]] = defaultdict(list)
    for window in windows:
        steps[floor_time(window.start, step)].append(window)
    return [replace(rolled, step=begin) for begin, group in sorted(steps.items()) for rolled in totals(group, by)]


def lots(windows: Iterable[KpiWindow]) -> list[Rolled]:
    """Return one row for each lot of a product at a station, in the order they began.

    The windows of a lot are cut by the hour (kind "lot"); here they are whole again, as far as the range asked for has
    them. Windows of other kinds are left out: minutes and hours hold the same boards.

    >>> from taktwatch.kpis import EXAMPLE
    >>> import msgspec
    >>> hour = msgspec.structs.replace(EXAMPLE, window="lot", lot="L7")
    >>> later = msgspec.structs.replace(hour, start=hour.start + timedelta(hours=1), end=hour.end + timedelta(hours=1))
    >>> [(row.window.lot, row.window.inspected, row.windows) for row in lots([later, hour, EXAMPLE])]
    [('L7', 40, 2)]
    """
    groups: defaultdict[tuple[str, str, str, str], list[KpiWindow]] = defaultdict(list)
    for window in windows:
        if window.lot is not None:
            groups[window.line, window.station, window.product, window.lot].append(window)
    rows = [summed for _, group in sorted(groups.items()) if (summed := total(group)) is not None]
    return sorted(rows, key=lambda row: row.window.start)


def grouped(windows: Iterable[KpiWindow], by: Sequence[By]) -> dict[tuple[str, ...], list[KpiWindow]]:
    """Return windows by their names."""
    groups: defaultdict[tuple[str, ...], list[KpiWindow]] = defaultdict(list)
    for window in windows:
        groups[tuple(getattr(window, name) for name in by)].append(window)
    return groups


def pareto_rows(windows: Iterable[KpiWindow]) -> list[ParetoRow]:
    """Return the defect classes of all windows taken together, the most frequent first, equal counts by name.

    >>> from taktwatch.kpis import EXAMPLE
    >>> [(row.label, row.count, row.share, row.cumulative, row.per_board.value) for row in pareto_rows([EXAMPLE])]
    [('open', 4, 0.8, 0.8, 0.2), ('short', 1, 0.2, 1.0, 0.05)]
    """
    merged = merge(windows)
    if merged is None:
        return []
    classes = [(label, count) for label, count in pareto(merged) if count]
    defects = sum(count for _, count in classes)
    rows, so_far = [], 0
    for label, count in classes:
        so_far += count
        per_board = ratio(count, merged.inspected, merged.inspected)
        rows.append(ParetoRow(label, count, count / defects, so_far / defects, per_board))
    return rows


def trend(windows: Iterable[KpiWindow], name: str, step: timedelta) -> list[TrendPoint]:
    """Return a figure of `taktwatch.kpis.METRICS` step by step, each with its n and interval. Raises `KeyError`.

    >>> from taktwatch.kpis import EXAMPLE
    >>> [point] = trend([EXAMPLE], "defect_rate", timedelta(hours=1))
    >>> point.rate.value, point.rate.n
    (0.15, 20)
    """
    return [
        TrendPoint(
            rolled.step or rolled.window.start, rolled.window.start, rolled.window.end, metric(rolled.window, name)
        )
        for rolled in roll_up(windows, step, by=())
    ]


def rolled_yields(windows: Iterable[KpiWindow]) -> list[RolledYield]:
    """Return the rolled throughput yield of each product over the stations that inspected it, by product.

    A station counts where it inspected a board of the product at all: one without first visits leaves the yield open.

    >>> from taktwatch.kpis import EXAMPLE
    >>> [(found.product, found.stations, found.rate.value) for found in rolled_yields([EXAMPLE])]
    [('demo-board', ('top',), 0.8)]
    """
    found = []
    for (product,), group in sorted(grouped(windows, ("product",)).items()):
        stations = [rolled.window for rolled in totals(group) if rolled.window.inspected]
        names = tuple(station.station for station in stations)
        found.append(RolledYield(product, names, rolled_throughput_yield(stations)))
    return found


def drifts(windows: Iterable[KpiWindow], step: timedelta, reference: Iterable[KpiWindow]) -> list[Drift]:
    """Return the score drift of each product at each station step by step, against windows of a reference time.

    Each is compared with itself alone: another station's camera, another product's model score otherwise. One that the
    reference time does not know has points without value.

    >>> from taktwatch.kpis import EXAMPLE
    >>> [found] = drifts([EXAMPLE], timedelta(hours=1), [EXAMPLE])
    >>> found.station, found.reference.value, found.points[0].rate.value
    ('top', 0.9, 0.0)
    """
    by: tuple[By, ...] = ("line", "station", "product")
    before = grouped(reference, by)
    found = []
    for names, group in sorted(grouped(windows, by).items()):
        against = merge(before.get(names, ())) or msgspec.structs.replace(group[0], scored=0)
        points = tuple(
            TrendPoint(
                rolled.step or rolled.window.start,
                rolled.window.start,
                rolled.window.end,
                score_drift(rolled.window, against),
            )
            for rolled in roll_up(group, step, by=())
        )
        found.append(Drift(names[1], names[2], mean_score(against), points))
    return found


def chart_series(
    windows: Iterable[KpiWindow],
    state: State,
    fold: Callable[[State, KpiWindow], tuple[State, Iterable[Point]]],
    name: Callable[[Point], Hashable],
) -> list[Point]:
    """Fold windows, oldest first, into a control chart and return its points in order of their first appearance.

    `fold` is the chart: state and a window in, state and points out. A point that comes again under the same `name`
    (a subgroup that grew, or was corrected) takes the place of the earlier one.

    >>> from taktwatch.kpis import EXAMPLE
    >>> def running_sum(state, window):
    ...     return state + window.failed, [(window.start, state + window.failed)]
    >>> [count for _, count in chart_series([EXAMPLE], 0, running_sum, name=lambda point: point[0])]
    [3]
    """
    points: dict[Hashable, Point] = {}
    for window in sorted(windows, key=lambda one: (one.start, one.line, one.station, one.product)):
        state, made = fold(state, window)
        points |= {name(point): point for point in made}
    return list(points.values())
