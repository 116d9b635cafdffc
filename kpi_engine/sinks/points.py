"""The SPC sink: points of control charts become rows of the store."""

from kpi_engine.metrics import POINTS_STORED
from kpi_engine.sinks.store import Age, Key, Rows, StoreSink
from taktwatch.bus import Bus
from taktwatch.config import LineConfig
from taktwatch.records import ControlPoint
from taktwatch.store import KpiStore
from taktwatch.topics import Topics

__all__ = ["GROUP", "SpcSink"]

GROUP = "spc-store"
REMEMBERED = 10_000
"""How many points' revisions are remembered."""


class SpcSink(StoreSink[ControlPoint]):
    """Writes what the SPC service published."""

    def __init__(self, config: LineConfig, bus: Bus, topics: Topics, store: KpiStore, *, member: str = GROUP) -> None:
        rows = Rows(
            group=GROUP,
            topic=topics.spc,
            kind=ControlPoint,
            name="control point",
            names="control points",
            write=store.write_points,
            key_of=key_of,
            age_of=age,
            remembered=REMEMBERED,
            stored=POINTS_STORED,
        )
        super().__init__(rows, config, bus, topics, store, member=member)


def key_of(point: ControlPoint) -> Key:
    """Return which point it is, whatever its revision."""
    return point.start, point.line, point.station, point.product, point.metric, point.chart, point.panel


def age(point: ControlPoint) -> Age:
    """Order of the revisions of one point."""
    return point.revision, 0
