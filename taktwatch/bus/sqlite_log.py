"""One topic of the embedded bus: an index in SQLite, large values in segment files. Blocking.

A record's row id is its partition and offset in one number, so a range of a partition is a range of rows. Log times
never go back within a partition, so a time is found by halving offsets and needs no index.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec

from taktwatch.bus import Message, Outgoing, Span, TopicSpec
from taktwatch.bus.outgoing import partition_of
from taktwatch.bus.sqlite_db import connect, explained, read_snapshot, sync_folder, transaction
from taktwatch.bus.sqlite_segments import SEGMENT_SCHEMA, SegmentGone, SegmentWriter, read_values, sweep_segments
from taktwatch.errors import BackendUnavailable, OffsetLost, RecordNotFound
from taktwatch.instants import MICROSECOND, instant, microseconds

__all__ = ["TopicLog", "create_topic"]

INLINE_BYTES = 32 * 2**10
"""Values up to this size lie in the index itself: one write to the disk instead of two."""

PARTITION_BITS = 44
"""Row id = partition << 44 | offset: half a million partitions of 17 trillion records."""

SWEEP_ROWS = 5_000
"""Rows deleted in one transaction, so that publishing is never held up for long."""


SCHEMA = (
    "CREATE TABLE IF NOT EXISTS topic (partitions INTEGER, retention_us INTEGER, compacted INTEGER)",
    """CREATE TABLE IF NOT EXISTS partitions (
        number INTEGER PRIMARY KEY, first INTEGER NOT NULL, next INTEGER NOT NULL, newest_us INTEGER NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS records (
        id INTEGER PRIMARY KEY, time_us INTEGER NOT NULL, key BLOB NOT NULL, headers BLOB NOT NULL,
        size INTEGER NOT NULL, crc INTEGER NOT NULL, value BLOB, segment INTEGER, position INTEGER
    )""",
    SEGMENT_SCHEMA,
)
KEY_INDEX = "CREATE INDEX IF NOT EXISTS records_by_key ON records (key, id)"
COLUMNS = "id, time_us, key, headers, size, crc, value, segment, position"

pack_headers = msgspec.msgpack.Encoder().encode
unpack_headers = msgspec.msgpack.Decoder(dict[str, bytes]).decode


def log_folder(root: Path, topic: str) -> Path:
    """Return where a topic lies."""
    return root / "topics" / topic


def unknown_topic(root: Path, topic: str) -> RecordNotFound:
    """Say that nobody created the topic."""
    return RecordNotFound(f"no topic {topic!r} on the bus {root}; `taktwatch run` creates it")


def create_topic(root: Path, spec: TopicSpec) -> None:
    """Create a topic, or give an existing one the retention of `spec`; its partitions and compaction stay."""
    folder = log_folder(root, spec.name)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)
    retention_us = None if spec.retention is None else spec.retention // MICROSECOND
    connection = connect(folder / "log.sqlite", durable=True)
    try:
        with explained(folder / "log.sqlite"), transaction(connection):
            for statement in SCHEMA:
                connection.execute(statement)
            if connection.execute("SELECT 1 FROM topic").fetchone():
                connection.execute("UPDATE topic SET retention_us = ?", (retention_us,))
                return
            connection.execute("INSERT INTO topic VALUES (?, ?, ?)", (spec.partitions, retention_us, spec.compacted))
            connection.executemany(
                "INSERT INTO partitions VALUES (?, 0, 0, 0)", [(number,) for number in range(spec.partitions)]
            )
            if spec.compacted:
                connection.execute(KEY_INDEX)
    finally:
        connection.close()
        sync_folder(folder)


class TopicLog:
    """Appends to and reads from one topic. `append` and `sweep` belong to one thread; reading may use many."""

    def __init__(self, root: Path, topic: str, *, segment_bytes: int) -> None:
        """Open a topic. Raises `RecordNotFound` where nobody created it."""
        self.topic = topic
        self.folder = log_folder(root, topic)
        self.path = self.folder / "log.sqlite"
        self._connections: list[sqlite3.Connection] = []
        self._readers = threading.local()
        self._lock = threading.Lock()
        with explained(root):
            if root.exists() and not root.is_dir():
                raise BackendUnavailable(f"the bus folder {root} is a file; move it away or name another folder")
            if not self.path.is_file():
                raise unknown_topic(root, topic)
        self._writer = self._connect()
        self._segments = SegmentWriter(self.folder, self._writer, segment_bytes)
        try:
            self.partitions, self.compacted = self._spec(root)
        except BaseException:
            self.close()
            raise

    def _spec(self, root: Path) -> tuple[int, bool]:
        with explained(self.path):
            if not self._writer.execute("SELECT 1 FROM sqlite_master WHERE name = 'topic'").fetchone():
                raise unknown_topic(root, self.topic)
            partitions, compacted = self._writer.execute("SELECT partitions, compacted FROM topic").fetchone()
        return partitions, bool(compacted)

    def described(self) -> TopicSpec:
        """Return the topic as it is set up now; its retention may have been changed since it was opened."""
        with explained(self.path):
            row = self._reader().execute("SELECT retention_us FROM topic").fetchone()
        retention = None if row[0] is None else timedelta(microseconds=row[0])
        return TopicSpec(self.topic, self.partitions, retention, compacted=self.compacted)

    def close(self) -> None:
        """Close every connection and file; no thread may be reading or writing."""
        self._segments.abandon()
        for connection in self._connections:
            connection.close()

    def append(self, records: Sequence[Outgoing], now: datetime) -> list[tuple[int, int]]:
        """Append records as one transaction, durable on return; return the partition and offset of each."""
        now_us = microseconds(now)
        for _ in range(3):
            try:
                with explained(self.path):
                    return self._append(records, now_us)
            except SegmentGone:
                self._segments.abandon()
            except BaseException:
                self._segments.abandon()  # what was half written is never written over
                raise
        raise BackendUnavailable(
            f"the bus file {self.path}: its segments vanish while they are written; who deletes them?"
        )

    def _append(self, records: Sequence[Outgoing], now_us: int) -> list[tuple[int, int]]:
        large = [] if self.compacted else [index for index, r in enumerate(records) if len(r.value) > INLINE_BYTES]
        segment, positions = self._segments.append([records[i].value for i in large], now_us) if large else (None, [])
        where = dict(zip(large, positions, strict=True))
        with transaction(self._writer):
            ends = {row[0]: row[1:] for row in self._writer.execute("SELECT number, next, newest_us FROM partitions")}
            rows: list[tuple[Any, ...]] = []
            places = []
            for index, record in enumerate(records):
                number = partition_of(record.key, self.partitions)
                offset, newest_us = ends[number]
                time_us = max(now_us, newest_us)
                ends[number] = (offset + 1, time_us)
                places.append((number, offset))
                position = where.get(index)
                inside = record.value if position is None else None
                rows.append(
                    (
                        number << PARTITION_BITS | offset,
                        time_us,
                        record.key,
                        pack_headers(dict(record.headers)),
                        len(record.value),
                        crc32(record.value),
                        inside,
                        None if position is None else segment,
                        position,
                    )
                )
            self._writer.executemany(f"INSERT INTO records ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)  # noqa: S608
            touched = {number for number, _ in places}
            self._writer.executemany(
                "UPDATE partitions SET next = ?, newest_us = ? WHERE number = ?", [(*ends[n], n) for n in touched]
            )
            if segment is not None:
                self._segments.confirm(segment, max(ends[number][1] for number in touched))
            if self.compacted:
                newest = {row[2]: row[0] for row in rows}
                self._writer.executemany("DELETE FROM records WHERE key = ? AND id < ?", list(newest.items()))
        return places

    def spans(self) -> dict[int, Span]:
        """Return the first offset kept and the next offset of each partition."""
        with explained(self.path):
            rows = self._reader().execute("SELECT number, first, next FROM partitions").fetchall()
        return {number: Span(first, after) for number, first, after in rows}

    def read(
        self, partition: int, start: int, end: int | None, *, max_records: int, max_bytes: int
    ) -> tuple[list[Message], int]:
        """Return messages from offset `start` on, before `end`, and the offset to go on from.

        At least one message is returned where there is one, however large. Raises `OffsetLost` where retention removed
        what lay at `start`, or where the log ends before it.
        """
        if not 0 <= partition < self.partitions:
            raise RecordNotFound(f"topic {self.topic} has no partition {partition}, only 0 to {self.partitions - 1}")
        base = partition << PARTITION_BITS
        with self._snapshot() as reader:
            first, after = reader.execute(
                "SELECT first, next FROM partitions WHERE number = ?", (partition,)
            ).fetchone()
            if not first <= start <= after:
                raise OffsetLost(
                    f"{self.topic}/{partition}: offset {start} is gone, the log holds {first} to {after}; "
                    "records were not read in time: lengthen retention_days, or start the group anew"
                )
            stop = after if end is None else min(end, after)
            rows, more = self._rows(reader, base + start, base + stop, max_records, max_bytes)
            try:
                messages = self._messages(rows)
            except FileNotFoundError as error:
                raise self._vanished(partition, start, error) from error
        return messages, messages[-1].offset + 1 if more else max(start, stop)

    def _rows(
        self, reader: sqlite3.Connection, start: int, stop: int, max_records: int, max_bytes: int
    ) -> tuple[list[tuple[Any, ...]], bool]:
        """Return index rows within the bounds (but one in any case), and whether more lie before `stop`."""
        query = f"SELECT {COLUMNS} FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"  # noqa: S608 - a constant
        rows: list[tuple[Any, ...]] = []
        size = 0
        with closing(reader.execute(query, (start, stop, max_records + 1))) as cursor:
            for row in cursor:
                size += row[4]
                if rows and (len(rows) == max_records or size > max_bytes):
                    return rows, True
                rows.append(row)
        return rows, False

    def _vanished(self, partition: int, start: int, error: FileNotFoundError) -> Exception:
        """Tell retention, which deletes a segment after its records, from a file that somebody removed."""
        if start < self.spans()[partition].first:
            return OffsetLost(f"{self.topic}/{partition}: offset {start} was removed by retention while it was read")
        return BackendUnavailable(f"the bus file {error.filename} is missing; restore it from a backup")

    def fetch(self, partition: int, offset: int) -> Message | None:
        """Return one record, or None where there is none."""
        if not (0 <= partition < self.partitions and offset >= 0):
            return None
        return self._one("id = ?", partition << PARTITION_BITS | offset)

    def last(self, key: bytes) -> Message | None:
        """Return the newest record of a key; by index in a compacted topic, else searched from the end."""
        base = partition_of(key, self.partitions) << PARTITION_BITS
        return self._one(
            "id >= ? AND id < ? AND key = ? ORDER BY id DESC LIMIT 1", base, base + (1 << PARTITION_BITS), key
        )

    def _one(self, condition: str, *values: int | bytes) -> Message | None:
        with self._snapshot() as reader:
            rows = reader.execute(f"SELECT {COLUMNS} FROM records WHERE {condition}", values).fetchall()  # noqa: S608
            try:
                messages = self._messages(rows)
            except FileNotFoundError:
                return None  # retention came in between
        first = self.spans()[messages[0].partition].first if messages else 0
        return messages[0] if messages and messages[0].offset >= first else None

    def _messages(self, rows: Sequence[tuple[Any, ...]]) -> list[Message]:
        outside = [(row[7], row[8], row[4]) for row in rows if row[7] is not None]
        fetched = iter(read_values(self.folder, outside))
        messages = []
        for id_, time_us, key, headers, _, crc, inside, segment, _ in rows:
            value = inside if segment is None else next(fetched)
            partition, offset = id_ >> PARTITION_BITS, id_ & ((1 << PARTITION_BITS) - 1)
            if crc32(value) != crc:
                raise BackendUnavailable(
                    f"{self.topic}/{partition}: the record at offset {offset} is damaged on disk in {self.folder}; "
                    "restore it from a backup"
                )
            time = instant(time_us)
            messages.append(Message(self.topic, partition, offset, time, key, value, unpack_headers(headers)))
        return messages

    def find(self, partition: int, time: datetime) -> int:
        """Return the first offset at or after a log time; the end where there is none."""
        base, sought = partition << PARTITION_BITS, microseconds(time)
        with self._snapshot() as reader:
            low, high = reader.execute("SELECT first, next FROM partitions WHERE number = ?", (partition,)).fetchone()
            query = "SELECT id, time_us FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT 1"
            while low < high:
                middle = (low + high) // 2
                row = reader.execute(query, (base + middle, base + high)).fetchone()
                if row is None or row[1] >= sought:
                    high = middle
                else:
                    low = row[0] - base + 1
        return int(low)

    def sweep(self, now: datetime) -> None:
        """Remove records older than the topic's retention, and give their space back. A few rows a transaction."""
        with explained(self.path):
            (retention_us,) = self._writer.execute("SELECT retention_us FROM topic").fetchone()
            cutoff_us = None if retention_us is None else microseconds(now) - retention_us
            if cutoff_us is not None:
                cutoff = instant(cutoff_us)
                for partition in range(self.partitions):
                    self._remove_before(partition, self.find(partition, cutoff))
            sweep_segments(self.folder, self._writer, cutoff_us, microseconds(now))

    def _remove_before(self, partition: int, first: int) -> None:
        with transaction(self._writer):
            self._writer.execute("UPDATE partitions SET first = max(first, ?) WHERE number = ?", (first, partition))
        base = partition << PARTITION_BITS
        rows = "SELECT id FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
        deleted = SWEEP_ROWS
        while deleted == SWEEP_ROWS:
            with transaction(self._writer):
                bounds = (base, base + first, SWEEP_ROWS)
                deleted = self._writer.execute(f"DELETE FROM records WHERE id IN ({rows})", bounds).rowcount  # noqa: S608

    def _connect(self) -> sqlite3.Connection:
        connection = connect(self.path, durable=True)
        with self._lock:
            self._connections.append(connection)
        return connection

    def _reader(self) -> sqlite3.Connection:
        if not hasattr(self._readers, "connection"):
            self._readers.connection = self._connect()
        connection: sqlite3.Connection = self._readers.connection
        return connection

    @contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        with explained(self.path):
            reader = self._reader()
            with read_snapshot(reader):
                yield reader
