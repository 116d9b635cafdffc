"""Points of control charts in the SQLite file of the KPI store."""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from taktwatch.errors import BadRecord
from taktwatch.records import ControlPoint
from taktwatch.store import SpcQuery

__all__ = ["SPC_SCHEMA", "prune_points", "read_points", "write_points"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

SPC_SCHEMA = """
CREATE TABLE IF NOT EXISTS spc (
    start_us INTEGER NOT NULL,
    line TEXT NOT NULL,
    station TEXT NOT NULL,
    product TEXT NOT NULL,
    metric TEXT NOT NULL,
    chart TEXT NOT NULL,
    panel TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (start_us, line, station, product, metric, chart, panel)
) WITHOUT ROWID
"""
WRITE = """
INSERT INTO spc VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET revision = excluded.revision, body = excluded.body
WHERE excluded.revision >= spc.revision
"""
READ = """
SELECT body FROM spc
WHERE start_us >= :since AND start_us < :until
AND (:line IS NULL OR line = :line)
AND (:station IS NULL OR station = :station)
AND (:product IS NULL OR product = :product)
AND (:metric IS NULL OR metric = :metric)
ORDER BY start_us, line, station, product, metric, chart, panel
"""


def write_points(connection: sqlite3.Connection, points: Sequence[ControlPoint]) -> None:
    """Write points. Raises `BadRecord` naming the one that SQLite refuses."""
    encoder = msgspec.json.Encoder()
    for point in points:
        place = (point.line, point.station, point.product, point.metric, point.chart, point.panel)
        row = ((point.start - EPOCH) // MICROSECOND, *place, point.revision, encoder.encode(point))
        try:
            connection.execute(WRITE, row)
        except (OverflowError, sqlite3.IntegrityError, UnicodeEncodeError) as error:
            raise BadRecord(
                f"SQLite refuses the control point of {point.line}/{point.station} at {point.start}: {error}"
            ) from error


def read_points(connection: sqlite3.Connection, query: SpcQuery) -> list[ControlPoint]:
    """Run a query."""
    decoder = msgspec.json.Decoder(ControlPoint)
    parameters = {
        "since": (query.since - EPOCH) // MICROSECOND,
        "until": (query.until - EPOCH) // MICROSECOND,
        "line": query.line,
        "station": query.station,
        "product": query.product,
        "metric": query.metric,
    }
    return [decoder.decode(body) for (body,) in connection.execute(READ, parameters)]


def prune_points(connection: sqlite3.Connection, oldest_us: int) -> None:
    """Forget points of subgroups that began before a time."""
    connection.execute("DELETE FROM spc WHERE start_us < ?", (oldest_us,))
