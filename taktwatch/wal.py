"""SQLite's write-ahead log, switched on by whoever opens a file first."""

import sqlite3
import time

__all__ = ["wal_mode"]


def wal_mode(connection: sqlite3.Connection, *, patience_s: float) -> None:
    """Switch to write-ahead logging; SQLite itself does not wait when several switch a new file at once.

    Raises `sqlite3.OperationalError` where the file is still busy after so many seconds.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
