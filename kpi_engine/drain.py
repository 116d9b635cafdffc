"""What changed since the last time, as it is published: windows of minutes, their roll-ups, verdicts of boards."""

from kpi_engine.rollup import Key, Rolled, roll, rolled_window
from kpi_engine.runs import settle_all
from kpi_engine.saving import KpiState
from kpi_engine.state import Change, Memory, Place, Station
from kpi_engine.sums import MINUTE_US, share_parts
from kpi_engine.totals import delta, gathered, published, snapshot
from taktwatch.kpis import ANY
from taktwatch.records import BoardVerdict, KpiWindow, WindowState

__all__ = ["drain", "drain_verdicts", "minute_window", "roll_share", "roll_up"]


def drain(state: KpiState) -> list[KpiWindow]:
    """Return every window that changed since the last call, final ones first, and forget that they changed."""
    settle_all(state.steps)
    roll_up(state)
    windows = state.finals
    minutes = {(key, share_parts(share)[0], minute): None for key, share, minute in state.changed}
    for key, product, minute in minutes:
        station = state.stations[key]
        windows.append(minute_window(station, product, minute, WindowState.OPEN))
    for holder, name in state.rolled:
        rollups, line, station_name = holder_of(state, holder)
        rolled = rollups[name]
        kind = WindowState.CLOSED if rolled.sums.closed else WindowState.OPEN
        windows.append(rolled_window(rolled, kind, line=line, station=station_name))
    state.changed, state.rolled, state.finals = {}, {}, []
    for step in state.steps.values():
        step.hot = None
    return windows


def drain_verdicts(state: KpiState) -> list[BoardVerdict]:
    """Return the newest verdict of every board that changed since the last call, in the order they were reached."""
    verdicts = list(state.verdicts.values())
    state.verdicts = {}
    return verdicts


def holder_of(state: KpiState, holder: str) -> tuple[dict[Key, Rolled], str, str]:
    """Return the roll-ups of a station (by its key) or of a line, with the names of line and station."""
    station = state.stations.get(holder)
    return (
        (state.lines[holder].rollups, holder, ANY) if station is None else (station.rollups, station.line, station.name)
    )


def minute_window(station: Station, product: str, minute: int, state: WindowState) -> KpiWindow:
    """Return the one-minute window of a product: the sum of its shares. `state` open means: open or closed."""
    shares = []
    for share, windows in station.windows.items():
        found = windows.get(minute)
        if found is not None:
            name, lot = share_parts(share)
            if name == product:
                shares.append((lot, found))
    sums = gathered(shares)
    if state is WindowState.OPEN and sums.closed:
        state = WindowState.CLOSED
    return published(
        sums,
        "1m",
        minute * MINUTE_US,
        (minute + 1) * MINUTE_US,
        state,
        line=station.line,
        station=station.name,
        product=product,
    )


def roll_up(state: Memory) -> None:
    """Bring the roll-ups up to date with the shares that changed."""
    for place in state.changed:
        roll_share(state, place)


def roll_share(state: Memory, place: Place) -> None:
    """Add to the roll-ups what one share changed by since it was last rolled up."""
    key, share, minute = place
    station = state.stations[key]
    sums = station.windows[share][minute]
    before, of_station, of_line = state.changed[place]
    changed = delta(sums, before)
    for found in roll(station.rollups, of_station, changed):
        state.rolled[key, found] = None
    for found in roll(state.lines[station.line].rollups, of_line, changed):
        state.rolled[station.line, found] = None
    state.changed[place] = Change(snapshot(sums), of_station, of_line)
