"""One record being folded, and where: it touches the shares it changes, so that `drain` finds them."""

import msgspec

from kpi_engine.ledger import Told
from kpi_engine.rollup import enroll
from kpi_engine.rules import Rules
from kpi_engine.state import Change, KpiState, Station, line_bound
from kpi_engine.sums import MINUTE_US, Sums, snapshot

__all__ = ["Step"]


class Step(msgspec.Struct, gc=False):
    """One record being folded, and where."""

    state: KpiState
    station: Station
    key: str
    offset: int
    logged_us: int
    rules: Rules
    frozen_minute: int

    def complete(self, minute: int) -> bool:
        """Whether every frame of a minute is in."""
        return self.station.rest or (minute + 1) * MINUTE_US <= self.station.watermark_us

    def told(self, event_us: int, product: str) -> Told:
        """Return what the ledger wants to know of this record."""
        return Told(event_us, product, self.logged_us, self.frozen_minute * MINUTE_US)

    def touch(self, share: str, minute: int) -> Sums:
        """Return the sums of a live share, created if need be, as changed by this record."""
        place = (self.key, share, minute)
        known = place in self.state.changed
        sums = self.station.windows[share][minute] if known else self.begin(share, minute)
        sums.revision = self.offset
        sums.closed = self.complete(minute)
        return sums

    def begin(self, share: str, minute: int) -> Sums:
        """Return the sums of a share that begins to change, and remember them as they were."""
        station, state = self.station, self.state
        windows = station.windows.setdefault(share, {})
        before = snapshot(windows[minute]) if minute in windows else Sums()
        sums = windows.setdefault(minute, Sums())
        line = state.lines[station.line]
        of_station = enroll(
            station.rollups,
            share,
            minute,
            self.rules,
            frozen=self.frozen_minute,
            bound=station.bound,
            offset=self.offset,
        )
        of_line = enroll(
            line.rollups,
            share,
            minute,
            self.rules,
            frozen=line.frozen,
            bound=line_bound(state, line),
            offset=self.offset,
        )
        state.changed[self.key, share, minute] = Change(before, of_station, of_line)
        return sums
