"""Minutes of reviews in the SQLite file of the KPI store."""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from taktwatch.errors import BadRecord
from taktwatch.records import ReviewWindow
from taktwatch.store import ReviewQuery

__all__ = ["REVIEW_SCHEMA", "prune_reviews", "read_reviews", "write_reviews"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

REVIEW_SCHEMA = """
CREATE TABLE IF NOT EXISTS review (
    start_us INTEGER NOT NULL,
    line TEXT NOT NULL,
    station TEXT NOT NULL,
    product TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (start_us, line, station, product)
) WITHOUT ROWID
"""
WRITE = """
INSERT INTO review VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET revision = excluded.revision, body = excluded.body
WHERE excluded.revision >= review.revision
"""
READ = """
SELECT body FROM review
WHERE start_us >= :since AND start_us < :until
AND (:line IS NULL OR line = :line)
AND (:station IS NULL OR station = :station)
AND (:product IS NULL OR product = :product)
ORDER BY start_us, line, station, product
"""


def write_reviews(connection: sqlite3.Connection, windows: Sequence[ReviewWindow]) -> None:
    """Write minutes. Raises `BadRecord` naming the one that SQLite refuses."""
    encoder = msgspec.json.Encoder()
    for window in windows:
        place = ((window.start - EPOCH) // MICROSECOND, window.line, window.station, window.product)
        try:
            connection.execute(WRITE, (*place, window.revision, encoder.encode(window)))
        except (OverflowError, sqlite3.IntegrityError, UnicodeEncodeError) as error:
            raise BadRecord(
                f"SQLite refuses the reviews of {window.line}/{window.station} at {window.start}: {error}"
            ) from error


def read_reviews(connection: sqlite3.Connection, query: ReviewQuery) -> list[ReviewWindow]:
    """Run a query."""
    decoder = msgspec.json.Decoder(ReviewWindow)
    parameters = {
        "since": (query.since - EPOCH) // MICROSECOND,
        "until": (query.until - EPOCH) // MICROSECOND,
        "line": query.line,
        "station": query.station,
        "product": query.product,
    }
    return [decoder.decode(body) for (body,) in connection.execute(READ, parameters)]


def prune_reviews(connection: sqlite3.Connection, oldest_us: int) -> None:
    """Forget minutes before a time."""
    connection.execute("DELETE FROM review WHERE start_us < ?", (oldest_us,))
