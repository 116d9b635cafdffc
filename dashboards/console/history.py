"""Older results, read back from the log: what the live view no longer holds is found by time."""

from collections.abc import Callable
from datetime import datetime

from dashboards.console.view import Board
from taktwatch.bus import Bus
from taktwatch.errors import BadInput
from taktwatch.records import BoardVerdict, InspectionResult
from taktwatch.wire import decode

__all__ = ["MOST_RECORDS", "search", "verdict_from"]

MOST_RECORDS = 100_000
"""How many records one search reads at most; it then returns what it found so far."""


async def search(
    bus: Bus,
    topic: str,
    *,
    since: datetime,
    until: datetime | None,
    wanted: Callable[[InspectionResult], bool],
    limit: int,
) -> list[Board]:
    """Return the first `limit` wanted results logged in [since, until), in log order, the first result of each frame.

    Raises `BackendUnavailable`.
    """
    found: dict[str, Board] = {}
    read = 0
    async for batch in bus.read(topic, start=since, end=until):
        for message in batch:
            try:
                record = decode(message.value, message.headers)
            except BadInput:
                continue  # the follower has logged it
            if isinstance(record, InspectionResult) and record.frame_id not in found and wanted(record):
                found[record.frame_id] = Board(result=record, place=message.place, logged_at=message.timestamp)
                if len(found) == limit:
                    return list(found.values())
        read += len(batch)
        if read >= MOST_RECORDS:
            break
    return list(found.values())


async def verdict_from(bus: Bus, topic: str, board_id: str, *, since: datetime, until: datetime) -> BoardVerdict | None:
    """Return the verdict of a board logged in [since, until), the highest revision; None where there is none.

    Raises `BackendUnavailable`.
    """
    found: BoardVerdict | None = None
    read = 0
    async for batch in bus.read(topic, start=since, end=until):
        for message in batch:
            try:
                record = decode(message.value, message.headers)
            except BadInput:
                continue  # the follower has logged it
            if isinstance(record, BoardVerdict) and record.board_id == board_id:
                found = record if found is None or record.revision >= found.revision else found
        read += len(batch)
        if read >= MOST_RECORDS:
            break
    return found
