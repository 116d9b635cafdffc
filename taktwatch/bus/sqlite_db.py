"""SQLite as the embedded bus uses it: how a file is opened, a transaction is held, and a failure is told."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taktwatch.errors import BackendUnavailable
from taktwatch.wal import wal_mode

__all__ = ["connect", "explained", "read_snapshot", "sync_folder", "transaction"]

BUSY_S = 15.0
"""How long a connection waits for another process's transaction; ours last milliseconds."""

REMEDIES = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space or lower retention_days",
    sqlite3.SQLITE_BUSY: f"another process held it locked for {BUSY_S:.0f} s; is one stopped in a debugger?",
    sqlite3.SQLITE_LOCKED: "another connection holds it locked; try again",
    sqlite3.SQLITE_READONLY: "it is read-only; give this user write permission",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; does the folder exist and may this user write there?",
    sqlite3.SQLITE_CORRUPT: "it is damaged; stop taktwatch, move the file away and restore it from a backup",
    sqlite3.SQLITE_NOTADB: "it is no bus file; stop taktwatch, move the file away and restore it from a backup",
    sqlite3.SQLITE_IOERR: "the disk reports an error; see the system log",
}


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn a driver's or the file system's error into `BackendUnavailable` that names the file and the remedy."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        raise BackendUnavailable(f"the bus file {path}: {REMEDIES.get(code, str(error))}") from error
    except OSError as error:
        code = {errno.ENOSPC: sqlite3.SQLITE_FULL, errno.EROFS: sqlite3.SQLITE_READONLY}.get(error.errno or 0, 0)
        raise BackendUnavailable(f"the bus file {path}: {REMEDIES.get(code, error.strerror)}") from error


def connect(path: Path, *, durable: bool) -> sqlite3.Connection:
    """Open a file in WAL mode with explicit transactions.

    `durable` survives power loss (`synchronous=FULL`: every commit reaches the disk); without it a commit survives the
    process but not the power.
    """
    with explained(path):
        connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            wal_mode(connection, patience_s=BUSY_S)
            connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            connection.execute(f"PRAGMA journal_size_limit={64 * 2**20}")
        except BaseException:
            connection.close()
            raise
        return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write as one transaction: all of it is kept, or nothing."""
    yield from held(connection, "BEGIN IMMEDIATE")


@contextmanager
def read_snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Read several tables as they were at one moment."""
    yield from held(connection, "BEGIN")


def held(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    """Begin, yield, commit; roll back whatever goes wrong in between or in the commit itself."""
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def sync_folder(folder: Path) -> None:
    """Make new names in a folder survive power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
