"""What states make, at one moment, to be published, saved and committed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kpi_engine.balance import terms
from kpi_engine.compiled import read_verdicts
from kpi_engine.metrics import FRAMES, LEDGER, STATE_BYTES, WATERMARK_SECONDS, WINDOWS
from kpi_engine.windows import Image, KpiState, drain, save
from taktwatch.bus import Outgoing, Partition, Sheaf
from taktwatch.topics import Topics
from taktwatch.wire import encode

__all__ = ["Settlement", "settlement_of", "show"]


@dataclass(frozen=True)
class Settlement:
    """What is to be published, then saved, by partition with its position, then committed."""

    sheaves: list[Sheaf]
    outgoing: list[Outgoing]
    images: dict[Partition, tuple[int, Image]]
    positions: Mapping[Partition, int]


def settlement_of(
    moved: Mapping[Partition, KpiState],
    said: Mapping[Partition, Iterable[Outgoing]],
    positions: Mapping[Partition, int],
    topics: Topics,
) -> Settlement:
    """Return what states that moved on make to settle now; their windows no longer count as changed then.

    `said`: verdicts of boards that Python reached, by partition. `positions`: what is to be committed.
    """
    sheaves: list[Sheaf] = []
    outgoing: list[Outgoing] = []
    images = {}
    for partition, state in moved.items():
        if state.engine is not None:
            for line, count, records in read_verdicts(state.engine.verdicts()):
                sheaves.append(Sheaf(topics.boards, line.encode(), count, records))
        outgoing += said[partition]
        outgoing += windows_of(state, topics)
        image = save(state)
        STATE_BYTES.labels(str(partition[1])).set(len(image.head) + sum(map(len, image.blocks)))
        images[partition] = (state.position, image)
    return Settlement(sheaves, outgoing, images, positions)


def windows_of(state: KpiState, topics: Topics) -> list[Outgoing]:
    """Return the windows that changed."""
    windows = drain(state)
    for window in windows:
        WINDOWS.labels(window.state.value).inc()
    return [Outgoing(topics.kpis, f"{w.line}/{w.station}".encode(), *encode(w)) for w in windows]


def show(state: KpiState) -> None:
    """Set the gauges of every station."""
    for station in state.stations.values():
        sessions = station.sessions.values()
        for kind in ("accepted", "inspected", "skipped", "dead", "pending", "lost", "repeats"):
            FRAMES.labels(station.line, station.name, kind).set(sum(getattr(session, kind) for session in sessions))
        for term, frames in terms(station).items():
            LEDGER.labels(station.line, station.name, term).set(frames)
        WATERMARK_SECONDS.labels(station.line, station.name).set(station.watermark_us / 1e6)
