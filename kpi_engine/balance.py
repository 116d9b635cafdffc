"""The ledger of a line: accepted = inspected + skipped + dead + pending + lost, each number from its own source.

Accepted: ingest's marks. Inspected, skipped, dead: first results. Pending: frames on the bus that the detectors have
not committed. Lost: what the KPI engine declared missing. So a frame that vanished anywhere else leaves the balance
open.

Where retention has removed the beginning of the results topic, each session is balanced from its first mark that is
still kept: over the frames accepted after it.
"""

from collections import Counter

import msgspec

from kpi_engine.ledger import Gap, Session, Told, find, see
from kpi_engine.saving import Image, restore
from kpi_engine.state import Station
from taktwatch.bus import Bus
from taktwatch.checkpoints import load_checkpoint
from taktwatch.errors import BadRecord
from taktwatch.instants import microseconds
from taktwatch.records import Frame, InspectionResult, Outcome, Record, StationMark
from taktwatch.topics import Topics
from taktwatch.wire import decode

__all__ = ["StationBalance", "Tally", "read_balance", "terms"]

Place = tuple[str, str]
"""Line and station."""


class StationBalance(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger of one station, in frames."""

    line: str
    station: str
    accepted: int = 0
    inspected: int = 0
    skipped: int = 0
    dead: int = 0
    pending: int = 0
    lost: int = 0
    repeats: int = 0

    @property
    def unaccounted(self) -> int:
        """Accepted frames of which nobody knows anything; 0 at rest, frames in ingest's spool while it runs.

        >>> StationBalance(line="l", station="s", accepted=10, inspected=8, dead=1).unaccounted
        1
        """
        return self.accepted - (self.inspected + self.skipped + self.dead + self.pending + self.lost)

    @property
    def balanced(self) -> bool:
        """Every accepted frame is accounted for."""
        return self.unaccounted == 0


def terms(station: Station) -> dict[str, int]:
    """Return the balance of a station as the engine knows it, over all its sessions, those forgotten included.

    Accepted is what ingest's marks say; pending and lost are counted in numbers, the outcomes one by one: they meet in
    `unaccounted`. It is 0 but for a moment in which results run ahead of the marks (then below 0).
    """
    sessions, past = station.sessions.values(), station.past
    found = {
        "accepted": past.accepted + sum(session.marked + 1 for session in sessions),
        "inspected": past.inspected + sum(session.inspected for session in sessions),
        "skipped": past.skipped + sum(session.skipped for session in sessions),
        "dead": past.dead + sum(session.dead for session in sessions),
        "pending": sum(session.pending for session in sessions),
        "lost": sum(session.lost for session in sessions),
    }
    return {**found, "unaccounted": 2 * found["accepted"] - sum(found.values())}


class Counted(msgspec.Struct):
    """One session as the results topic tells it: frames from number `base` on."""

    base: int
    seen: Session

    @property
    def accepted(self) -> int:
        """Frames ingest's marks speak of."""
        return max(0, self.seen.marked + 1 - self.base)

    def knows(self, seq: int) -> bool:
        """Whether a frame has its outcome."""
        return seq < self.base or (seq - self.base <= self.seen.top and find(self.seen.gaps, seq - self.base) is None)


class Tally:
    """What the results topic tells, per session."""

    def __init__(self) -> None:
        self.sessions: dict[tuple[str, str, str], Counted] = {}

    def add(self, record: Record, *, trimmed: bool = False) -> None:
        """Count a result or a mark. `trimmed`: the beginning of its partition is gone."""
        if not isinstance(record, (InspectionResult, StationMark)):
            return
        key = (record.line, record.station, record.session)
        counted = self.sessions.get(key)
        if counted is None:
            if trimmed and isinstance(record, InspectionResult):
                return
            base = record.last_seq + 1 if trimmed and isinstance(record, StationMark) else 0
            counted = self.sessions[key] = Counted(base, Session(record.product))
        seen = counted.seen
        if isinstance(record, StationMark):
            seen.marked = max(seen.marked, record.last_seq)
        elif record.seq >= counted.base:
            told = Told(microseconds(record.event_at), record.product, 0, 0)
            if see(seen, record.seq - counted.base, told) is not None:
                seen.inspected += record.outcome is Outcome.INSPECTED
                seen.skipped += record.outcome is Outcome.SKIPPED
                seen.dead += record.outcome is Outcome.DEAD

    def knows(self, frame: Frame) -> bool:
        """Whether a frame has its outcome."""
        counted = self.sessions.get((frame.line, frame.station, frame.session))
        return counted is not None and counted.knows(frame.seq)

    def balances(self, pending: Counter[Place], lost: Counter[Place]) -> dict[str, StationBalance]:
        """Return the balance of every station, given what other sources say."""
        stations: dict[Place, list[Counted]] = {}
        for (line, station, _), counted in sorted(self.sessions.items()):
            stations.setdefault((line, station), []).append(counted)
        return {
            station: StationBalance(
                line=line,
                station=station,
                accepted=sum(counted.accepted for counted in sessions),
                inspected=sum(counted.seen.inspected for counted in sessions),
                skipped=sum(counted.seen.skipped for counted in sessions),
                dead=sum(counted.seen.dead for counted in sessions),
                pending=pending[line, station],
                lost=lost[line, station],
                repeats=sum(counted.seen.repeats for counted in sessions),
            )
            for (line, station), sessions in stations.items()
        }


async def read_balance(
    bus: Bus, topics: Topics, *, detector: str = "detector", engine: str = "kpi"
) -> dict[str, StationBalance]:
    """Read the balance of every station, by its name. `detector` and `engine` name the consumer groups."""
    tally = Tally()
    spans = await bus.spans(topics.results)
    async for batch in bus.read(topics.results):
        for message in batch:
            try:
                tally.add(decode(message.value, message.headers), trimmed=spans[message.partition].first > 0)
            except BadRecord:
                continue  # it is in the dead topic; the frame it meant stays unaccounted for
    return tally.balances(await read_pending(bus, topics, tally, detector), await read_lost(bus, topics, tally, engine))


async def read_pending(bus: Bus, topics: Topics, tally: Tally, group: str) -> Counter[Place]:
    """Count the frames on the bus that the detectors have not committed and that have no outcome."""
    committed = await bus.committed(group, topics.frames)
    spans = await bus.spans(topics.frames)
    start = {number: max(committed.get(number, 0), span.first) for number, span in spans.items()}
    waiting: set[tuple[str, str, str]] = set()
    async for batch in bus.read(topics.frames, start=start):
        for message in batch:
            try:
                frame = decode(message.value, message.headers)
            except BadRecord:
                continue  # no frame, so nobody waits for it
            if isinstance(frame, Frame) and not tally.knows(frame):
                waiting.add((frame.line, frame.station, frame.frame_id))
    return Counter((line, station) for line, station, _ in waiting)


async def read_lost(bus: Bus, topics: Topics, tally: Tally, group: str) -> Counter[Place]:
    """Count the frames that the KPI engine's checkpoints call missing."""
    lost: Counter[Place] = Counter()
    for number in await bus.spans(topics.results):
        checkpoint = await load_checkpoint(bus, topics, group, (topics.results, number))
        if checkpoint is None:
            continue
        for station in restore(Image(checkpoint.state)).stations.values():
            for name, session in station.sessions.items():
                if counted := tally.sessions.get((station.line, station.name, name)):
                    lost[station.line, station.name] += missing_from(session.gaps, counted.base)
    return lost


def missing_from(gaps: list[Gap], base: int) -> int:
    """Count the missing frames numbered `base` and above."""
    return sum(max(0, gap.last + 1 - max(gap.first, base)) for gap in gaps if gap.missing)
