"""Which recorded results a replay is about, and their frames, read from the log without a group."""

from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta

import msgspec

from taktwatch.bus import Bus, Message
from taktwatch.errors import BadRecord
from taktwatch.records import InspectionResult, StationMark
from taktwatch.topics import Topics
from taktwatch.wire import decode

__all__ = ["MARGIN", "Recording", "read_frames", "read_recording"]

MARGIN = timedelta(hours=24)
"""How much earlier than its event time a record may lie in the log: clocks and stamps run ahead no further."""


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """What was recorded of a time range: the first result of each frame in log order, and the marks between them.

    `log` holds both in log order, as the KPI engine read them.
    """

    results: tuple[InspectionResult, ...]
    log: tuple[tuple[Message, InspectionResult | StationMark], ...]


async def read_recording(bus: Bus, topics: Topics, since: datetime, until: datetime, station: str | None) -> Recording:
    """Read results and marks whose event time lies in [since, until); the first result of a frame counts."""
    first: dict[str, InspectionResult] = {}
    log: list[tuple[Message, InspectionResult | StationMark]] = []
    async for batch in bus.read(topics.results, start=since - MARGIN):
        for message in batch:
            try:
                record = decode(message.value, message.headers)
            except BadRecord:
                continue  # the KPI engine sent it to the dead topic when it met it
            if isinstance(record, InspectionResult):
                at = record.event_at
            elif isinstance(record, StationMark):
                at = record.time
            else:
                continue
            if not since <= at < until or (station is not None and record.station != station):
                continue
            if isinstance(record, InspectionResult):
                first.setdefault(record.frame_id, record)
            log.append((message, record))
    return Recording(results=tuple(first.values()), log=tuple(log))


async def read_frames(bus: Bus, results: Iterable[InspectionResult]) -> AsyncIterator[list[Message]]:
    """Yield the messages of the frames that these results came from, in batches, each partition in order."""
    wanted: dict[str, dict[int, set[int]]] = {}
    for result in results:
        if result.place is not None:
            place = result.place
            wanted.setdefault(place.topic, {}).setdefault(place.partition, set()).add(place.offset)
    for topic, partitions in wanted.items():
        start = {partition: min(offsets) for partition, offsets in partitions.items()}
        end = {partition: max(offsets) + 1 for partition, offsets in partitions.items()}
        async for batch in bus.read(topic, start=start, end=end):
            chosen = [message for message in batch if message.offset in partitions.get(message.partition, ())]
            if chosen:
                yield chosen
