"""KPI windows in an SQLite file that several processes share. Nothing to install or to run beside it."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import msgspec

from taktwatch.errors import BackendUnavailable, ConfigError
from taktwatch.instants import MICROSECOND, microseconds
from taktwatch.records import ControlPoint, KpiWindow, ReviewWindow, WindowState
from taktwatch.store import KpiQuery, KpiStore, ReviewQuery, SpcQuery, StoreState
from taktwatch.store.sqlite_rows import POINTS, REVIEWS, insert
from taktwatch.wal import wal_mode

__all__ = ["SqliteKpiStore"]

BUSY_TIMEOUT_S = 10.0
PRUNE_STEP_US = 3_600_000_000
"""Retention is applied when event time went on by so much, not at every write."""

RANK = {state: rank for rank, state in enumerate(WindowState)}

SCHEMA = """
CREATE TABLE IF NOT EXISTS kpi (
    kind TEXT NOT NULL,
    start_us INTEGER NOT NULL,
    line TEXT NOT NULL,
    station TEXT NOT NULL,
    product TEXT NOT NULL,
    revision INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (kind, start_us, line, station, product)
) WITHOUT ROWID
"""
WRITE = """
INSERT INTO kpi VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET revision = excluded.revision, rank = excluded.rank, body = excluded.body
WHERE (excluded.revision, excluded.rank) >= (kpi.revision, kpi.rank)
"""
READ = """
SELECT body FROM kpi
WHERE kind = :kind AND start_us >= :since AND start_us < :until
AND (:line IS NULL OR line = :line)
AND (:station IS NULL OR station = :station)
AND (:product IS NULL OR product = :product OR substr(product, 1, length(:product) + 1) = :product || char(31))
AND (:lot IS NULL OR substr(product, -length(:lot) - 1) = char(31) || :lot)
ORDER BY start_us, line, station, product
"""

T = TypeVar("T")


class SqliteKpiStore(KpiStore):
    """Windows in the file at `path` (on a local disk), kept for `retention` behind the newest; None keeps all."""

    def __init__(self, path: Path, *, retention: timedelta | None = None) -> None:
        self.path = path
        self.retention = retention
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._pruned_us = 0

    async def prepare(self) -> None:
        """Create folder, file and table, as any first use does."""
        await self._in_thread(lambda _: None)

    async def write(self, windows: Sequence[KpiWindow]) -> None:
        """See `KpiStore.write`."""
        await self._in_thread(lambda connection: self._write(connection, windows))

    async def read(self, query: KpiQuery) -> list[KpiWindow]:
        """See `KpiStore.read`."""
        return await self._in_thread(lambda connection: read(connection, query))

    async def state(self) -> StoreState:
        """See `KpiStore.state`; of a file that is not there yet, whether it may be made."""
        if await asyncio.to_thread(self._exists):
            await self._in_thread(lambda connection: connection.execute("SELECT 1 FROM kpi LIMIT 1").fetchone())
            return StoreState(exists=True, retention=self.retention)
        return StoreState(exists=False, retention=self.retention)

    async def write_points(self, points: Sequence[ControlPoint]) -> None:
        """See `KpiStore.write_points`."""
        await self._in_thread(lambda connection: POINTS.write(connection, points))

    async def read_points(self, query: SpcQuery) -> list[ControlPoint]:
        """See `KpiStore.read_points`."""
        return await self._in_thread(lambda connection: POINTS.read(connection, query))

    async def write_reviews(self, windows: Sequence[ReviewWindow]) -> None:
        """See `KpiStore.write_reviews`."""
        await self._in_thread(lambda connection: REVIEWS.write(connection, windows))

    async def read_reviews(self, query: ReviewQuery) -> list[ReviewWindow]:
        """See `KpiStore.read_reviews`."""
        return await self._in_thread(lambda connection: REVIEWS.read(connection, query))

    async def close(self) -> None:
        """Close the file."""
        await asyncio.to_thread(self._close)

    def _exists(self) -> bool:
        """Say whether the file is there. Raises `ConfigError` where it may not be written, or made."""
        there = next(place for place in (self.path.absolute(), *self.path.absolute().parents) if place.exists())
        if not os.access(there, os.W_OK):
            raise ConfigError(f"the KPI store {self.path} cannot be written: no right to write to {there}")
        return self.path.exists()

    def _write(self, connection: sqlite3.Connection, windows: Sequence[KpiWindow]) -> None:
        encoder = msgspec.json.Encoder()
        with connection:
            for window in windows:
                row = (
                    window.window,
                    microseconds(window.start),
                    window.line,
                    window.station,
                    product_key(window),
                    window.revision,
                    RANK[window.state],
                    encoder.encode(window),
                )
                insert(connection, WRITE, row, f"window of {window.line}/{window.station} at {window.start}")
            if self.retention is not None and windows:
                self._prune(connection, max(microseconds(window.start) for window in windows))

    def _prune(self, connection: sqlite3.Connection, newest_us: int) -> None:
        if newest_us - self._pruned_us >= PRUNE_STEP_US and self.retention is not None:
            oldest_us = newest_us - self.retention // MICROSECOND
            connection.execute("DELETE FROM kpi WHERE start_us < ?", (oldest_us,))
            POINTS.prune(connection, oldest_us)
            REVIEWS.prune(connection, oldest_us)
            self._pruned_us = newest_us

    async def _in_thread(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.to_thread(self._locked, work)

    def _locked(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = connect(self.path)
                return work(self._connection)
            except (sqlite3.OperationalError, OSError) as error:
                raise BackendUnavailable(f"the KPI store {self.path} cannot be used: {error}") from error
            except sqlite3.DatabaseError as error:
                raise ConfigError(f"the KPI store {self.path} is no SQLite file: {error}; move it away") from error

    def _close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


def connect(path: Path) -> sqlite3.Connection:
    """Open the file for several threads (one at a time) and several processes, durable on every commit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
    try:
        wal_mode(connection, patience_s=BUSY_TIMEOUT_S)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(SCHEMA)
        connection.execute(POINTS.schema)
        connection.execute(REVIEWS.schema)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def read(connection: sqlite3.Connection, query: KpiQuery) -> list[KpiWindow]:
    """Run a query."""
    decoder = msgspec.json.Decoder(KpiWindow)
    parameters = {
        "kind": query.window,
        "since": microseconds(query.since),
        "until": microseconds(query.until),
        "line": query.line,
        "station": query.station,
        "product": query.product,
        "lot": query.lot,
    }
    found = [decoder.decode(body) for (body,) in connection.execute(READ, parameters)]
    return [
        window
        for window in found
        if query.product in {None, window.product} and (query.lot is None or query.lot == window.lot)
    ]


def product_key(window: KpiWindow) -> str:
    """Return what the column `product` holds: the product, and behind it the lot of a lot's window."""
    return window.product if window.lot is None else f"{window.product}\x1f{window.lot}"
