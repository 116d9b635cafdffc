"""Points of control charts and minutes of reviews in the SQLite file of the KPI store: of each place the newest."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Generic, Protocol, TypeVar

import msgspec

from taktwatch.errors import BadRecord
from taktwatch.instants import microseconds
from taktwatch.records import ControlPoint, ReviewWindow
from taktwatch.store import ReviewQuery, SpcQuery

__all__ = ["POINTS", "REVIEWS", "Rows", "insert"]


class Placed(Protocol):
    """A record that begins at a time, somewhere on a line, and may be corrected."""

    @property
    def start(self) -> datetime:
        """When what it tells of begins."""

    @property
    def line(self) -> str:
        """On which line."""

    @property
    def station(self) -> str:
        """At which station."""

    @property
    def revision(self) -> int:
        """The higher, the newer."""


Record = TypeVar("Record", bound=Placed)
Query = TypeVar("Query", bound=SpcQuery | ReviewQuery)


class Rows(Generic[Record, Query]):
    """A table of records of one `kind`, called `called` in errors: one by start and `place`, which names their fields.

    `asked` are those fields that a query may name.
    """

    def __init__(
        self, table: str, kind: type[Record], called: str, *, place: Sequence[str], asked: Sequence[str]
    ) -> None:
        self.kind, self.called = kind, called
        self.names, self.asked = tuple(place), tuple(asked)
        columns = ", ".join(f"{name} TEXT NOT NULL" for name in place)
        key = ", ".join(("start_us", *place))
        self.schema = (
            f"CREATE TABLE IF NOT EXISTS {table} (start_us INTEGER NOT NULL, {columns}, revision INTEGER NOT NULL, "
            f"body BLOB NOT NULL, PRIMARY KEY ({key})) WITHOUT ROWID"
        )
        marks = ", ".join("?" * (len(place) + 3))
        newer = f"revision = excluded.revision, body = excluded.body WHERE excluded.revision >= {table}.revision"
        self._write = f"INSERT INTO {table} VALUES ({marks}) ON CONFLICT DO UPDATE SET {newer}"  # noqa: S608 - our names
        which = "".join(f" AND (:{name} IS NULL OR {name} = :{name})" for name in asked)
        self._read = f"SELECT body FROM {table} WHERE start_us >= :since AND start_us < :until{which} ORDER BY {key}"  # noqa: S608
        self._prune = f"DELETE FROM {table} WHERE start_us < ?"  # noqa: S608

    def write(self, connection: sqlite3.Connection, records: Sequence[Record]) -> None:
        """Write records, all of them or none. Raises `BadRecord` naming the one that SQLite refuses."""
        encoder = msgspec.json.Encoder()
        with connection:
            for record in records:
                place = (getattr(record, name) for name in self.names)
                row = (microseconds(record.start), *place, record.revision, encoder.encode(record))
                insert(
                    connection, self._write, row, f"{self.called} of {record.line}/{record.station} at {record.start}"
                )

    def read(self, connection: sqlite3.Connection, query: Query) -> list[Record]:
        """Run a query; by start, then place."""
        decoder = msgspec.json.Decoder(self.kind)
        which = {name: getattr(query, name) for name in self.asked}
        span = {"since": microseconds(query.since), "until": microseconds(query.until)}
        return [decoder.decode(body) for (body,) in connection.execute(self._read, which | span)]

    def prune(self, connection: sqlite3.Connection, oldest_us: int) -> None:
        """Forget what began before a time."""
        connection.execute(self._prune, (oldest_us,))


def insert(connection: sqlite3.Connection, statement: str, row: Sequence[object], called: str) -> None:
    """Run an INSERT. Raises `BadRecord`, saying what it is called, for a row that SQLite refuses."""
    try:
        connection.execute(statement, row)
    except (OverflowError, sqlite3.IntegrityError, UnicodeEncodeError) as error:
        raise BadRecord(f"SQLite refuses the {called}: {error}") from error


PLACE = ("line", "station", "product")
POINTS: Rows[ControlPoint, SpcQuery] = Rows(
    "spc", ControlPoint, "control point", place=(*PLACE, "metric", "chart", "panel"), asked=(*PLACE, "metric")
)
REVIEWS: Rows[ReviewWindow, ReviewQuery] = Rows("review", ReviewWindow, "reviews", place=PLACE, asked=PLACE)
