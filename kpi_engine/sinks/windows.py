"""The KPI sink: windows of the kpis topic become rows of the store."""

from kpi_engine.metrics import STALE, STORE_HELD, STORED
from kpi_engine.sinks.store import BATCH, Age, Key, Rows, StoreSink
from taktwatch.bus import Bus
from taktwatch.config import LineConfig
from taktwatch.records import KpiWindow, WindowState
from taktwatch.store import KpiStore
from taktwatch.topics import Topics

__all__ = ["BATCH", "GROUP", "KpiSink"]

GROUP = "kpi-store"
RANK = {state: rank for rank, state in enumerate(WindowState)}

REMEMBERED = 100_000
"""How many windows' revisions are remembered: those of a stale writer's horizon, and far more."""


class KpiSink(StoreSink[KpiWindow]):
    """Writes what the KPI service published."""

    def __init__(self, config: LineConfig, bus: Bus, topics: Topics, store: KpiStore, *, member: str = GROUP) -> None:
        rows = Rows(
            group=GROUP,
            topic=topics.kpis,
            kind=KpiWindow,
            name="window",
            names="KPI windows",
            write=store.write,
            key_of=key_of,
            age_of=age,
            remembered=REMEMBERED,
            stored=STORED,
            stale=STALE,
            held=STORE_HELD,
        )
        super().__init__(rows, config, bus, topics, store, member=member)


def key_of(window: KpiWindow) -> Key:
    """Return which window it is, whatever its revision."""
    return window.window, window.start, window.line, window.station, window.product, window.lot


def age(window: KpiWindow) -> Age:
    """Order of the revisions of one window."""
    return window.revision, RANK[window.state]
