"""Large values of a topic: appended to segment files beside the index, so that the index stays small.

A segment belongs to one writer, so appending needs no lock; readers find values by (segment, position, size). Its row
is made before its file: a file without a row is dead. A writer whose segment was swept away finds out in its own
transaction (`SegmentGone`) and writes again.
"""

import os
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from taktwatch.bus.sqlite_db import sync_folder, transaction

__all__ = ["SEGMENT_SCHEMA", "SegmentGone", "SegmentWriter", "read_values", "sweep_segments"]

SEGMENT_SCHEMA = """
CREATE TABLE IF NOT EXISTS segments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    opened_us INTEGER NOT NULL,
    newest_us INTEGER
)"""
"""`newest_us`: log time of the newest record with a value in it, in microseconds; NULL while it holds none."""

ABANDONED_AFTER_US = 3600 * 10**6
"""A segment so old without a record belongs to a writer that died before its first commit."""


class SegmentGone(Exception):
    """The segment was swept away between writing the values and committing their records."""


@dataclass
class OpenSegment:
    """The segment that a writer appends to."""

    id: int
    descriptor: int
    size: int


class SegmentWriter:
    """Appends values; used by one thread."""

    def __init__(self, folder: Path, connection: sqlite3.Connection, max_bytes: int) -> None:
        self._folder = folder
        self._connection = connection
        self._max_bytes = max_bytes
        self._open: OpenSegment | None = None

    def append(self, values: Sequence[bytes], now_us: int) -> tuple[int, list[int]]:
        """Write values, durable on return, and say in which segment and at which positions they lie."""
        segment = self._current(now_us)
        positions = []
        for value in values:
            positions.append(segment.size)
            write_all(segment.descriptor, value, segment.size)
            segment.size += len(value)
        os.fdatasync(segment.descriptor)
        return segment.id, positions

    def confirm(self, segment: int, newest_us: int) -> None:
        """Within the transaction of the records: keep the segment as long as they are kept. Raises `SegmentGone`."""
        update = "UPDATE segments SET newest_us = ? WHERE id = ?"
        if self._connection.execute(update, (newest_us, segment)).rowcount == 0:
            raise SegmentGone

    def abandon(self) -> None:
        """Close the current segment; the next value begins a new one."""
        if self._open is not None:
            os.close(self._open.descriptor)
            self._open = None

    def _current(self, now_us: int) -> OpenSegment:
        if self._open is not None and self._open.size >= self._max_bytes:
            self.abandon()
        if self._open is None:
            self._open = self._create(now_us)
        return self._open

    def _create(self, now_us: int) -> OpenSegment:
        with transaction(self._connection):
            cursor = self._connection.execute("INSERT INTO segments (opened_us) VALUES (?)", (now_us,))
        segment = cursor.lastrowid
        assert segment is not None  # noqa: S101 - an INSERT has a row id
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
        descriptor = os.open(segment_path(self._folder, segment), flags, 0o644)
        sync_folder(self._folder)
        return OpenSegment(segment, descriptor, 0)


def write_all(descriptor: int, value: bytes, position: int) -> None:
    """Write a value at a position, however many calls it takes."""
    view = memoryview(value)
    while view:
        written = os.pwrite(descriptor, view, position)
        view, position = view[written:], position + written


def segment_path(folder: Path, segment: int) -> Path:
    """Return where a segment lies.

    >>> segment_path(Path("frames"), 7).name
    '000000000007.values'
    """
    return folder / f"{segment:012d}.values"


def read_values(folder: Path, wanted: Iterable[tuple[int, int, int]]) -> list[bytes]:
    """Return the values at (segment, position, size), in order. Raises `FileNotFoundError`."""
    descriptors: dict[int, int] = {}
    values = []
    try:
        for segment, position, size in wanted:
            if segment not in descriptors:
                path = segment_path(folder, segment)
                descriptors[segment] = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            values.append(os.pread(descriptors[segment], size, position))
    finally:
        for descriptor in descriptors.values():
            os.close(descriptor)
    return values


def sweep_segments(folder: Path, connection: sqlite3.Connection, cutoff_us: int | None, now_us: int) -> None:
    """Delete segments whose records retention has removed (`cutoff_us`; None keeps all), and what dead writers left."""
    bounds = (-1 if cutoff_us is None else cutoff_us, now_us - ABANDONED_AFTER_US)
    with transaction(connection):
        connection.execute("DELETE FROM segments WHERE coalesce(newest_us < ?, opened_us < ?)", bounds)
    # Only now that the rows are gone for good may the files go. A file is made after its row, and nobody adds a row
    # while this transaction is held: a file without a row is dead.
    with transaction(connection):
        living = {segment_path(folder, row[0]).name for row in connection.execute("SELECT id FROM segments")}
        for path in folder.glob("*.values"):
            if path.name not in living:
                path.unlink(missing_ok=True)
