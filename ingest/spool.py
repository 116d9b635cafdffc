"""The spool: where a frame becomes accepted, durably, and waits until the bus has it. Blocking; used from threads.

One SQLite file per line. A session's numbers are dense by construction: a frame is stored and the session's next number
moved on in one transaction. Numbers are never given twice, whatever is killed when.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from ingest.entries import Entry, Spooled, SpoolFull
from ingest.sessions import Session
from taktwatch.errors import BackendUnavailable
from taktwatch.instants import instant, microseconds
from taktwatch.records import Outcome
from taktwatch.wire import encode

__all__ = ["Spool"]

BUSY_TIMEOUT_S = 5.0
PAGE_BYTES = 16_384
WAL_BYTES = 64 * 2**20

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS session (
        number INTEGER PRIMARY KEY, station TEXT NOT NULL, session TEXT NOT NULL, product TEXT NOT NULL,
        settings_sha256 TEXT NOT NULL, start INTEGER NOT NULL, first_shot INTEGER NOT NULL, next_seq INTEGER NOT NULL,
        last_at INTEGER NOT NULL, last_name TEXT, finished INTEGER NOT NULL, closed INTEGER NOT NULL,
        UNIQUE (station, session)
    )""",
    """CREATE TABLE IF NOT EXISTS entry (
        number INTEGER PRIMARY KEY, station TEXT NOT NULL, session TEXT NOT NULL, seq INTEGER NOT NULL,
        outcome TEXT NOT NULL, reason TEXT NOT NULL, source TEXT NOT NULL, whole_bytes INTEGER NOT NULL,
        template_sha256 TEXT, headers BLOB NOT NULL, size INTEGER NOT NULL, image BLOB NOT NULL,
        UNIQUE (station, session, seq)
    )""",
    "CREATE TABLE IF NOT EXISTS template (sha256 TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS taken (station TEXT, key TEXT, PRIMARY KEY (station, key)) WITHOUT ROWID",
)
SESSION_COLUMNS = (
    "station, session, product, settings_sha256, start, first_shot, next_seq, last_at, last_name, finished, closed"
)

pack_headers = msgspec.msgpack.Encoder().encode
unpack_headers = msgspec.msgpack.Decoder(dict[str, bytes]).decode


class Spool:
    """An open spool; one process holds it at a time. Any thread may call it.

    `waiting_frames` and `waiting_bytes` say how much waits for the bus. Raises `BackendUnavailable` where the file
    cannot be opened, read or written.
    """

    waiting_frames: int
    waiting_bytes: int

    def __init__(self, path: Path, max_bytes: int) -> None:
        """Open or create the spool; what an earlier process accepted is there."""
        self.path = path
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def _prepare(self) -> None:
        """Set the file up: every commit reaches the disk; the lock is held until close, so that nobody else writes."""
        for setting in (
            f"page_size = {PAGE_BYTES}",
            "locking_mode = EXCLUSIVE",
            "journal_mode = WAL",
            "synchronous = FULL",
            f"journal_size_limit = {WAL_BYTES}",
        ):
            self._db.execute(f"PRAGMA {setting}").fetchall()
        with self._transaction():
            for statement in SCHEMA:
                self._db.execute(statement)
        self.waiting_bytes, self.waiting_frames = self._db.execute(
            "SELECT coalesce(sum(size), 0), count(*) FROM entry"
        ).fetchone()

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._db.close()

    def sessions(self) -> list[Session]:
        """Return all sessions ever begun here, oldest first."""
        with self._locked():
            rows = self._db.execute(f"SELECT {SESSION_COLUMNS} FROM session ORDER BY number").fetchall()  # noqa: S608 - a constant
        return [session_of(row) for row in rows]

    def begin(self, session: Session) -> None:
        """Store a session as it is: a new one, or one opened again."""
        values = (
            session.station, session.session, session.product, session.settings_sha256, microseconds(session.start),
            session.first_shot, session.next_seq, microseconds(session.last_at), session.last_name, session.finished,
            session.closed,
        )  # fmt: skip
        with self._locked(), self._transaction():
            self._db.execute(
                f"INSERT INTO session ({SESSION_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "  # noqa: S608 - a constant
                "ON CONFLICT (station, session) DO UPDATE SET finished = excluded.finished, closed = excluded.closed",
                values,
            )

    def finish(self, session: Session) -> None:
        """Store that the session's source came to its end."""
        with self._locked(), self._transaction():
            self._db.execute(
                "UPDATE session SET finished = 1 WHERE station = ? AND session = ?", (session.station, session.session)
            )

    def set_closed(self, session: Session, *, finished: bool) -> None:
        """Store that the session's closing mark is on the bus, and whether its source had come to its end."""
        with self._locked(), self._transaction():
            self._db.execute(
                "UPDATE session SET closed = 1, finished = ? WHERE station = ? AND session = ?",
                (finished, session.station, session.session),
            )

    def accept(self, session: Session, entries: Sequence[Entry]) -> Session:
        """Make frames durable, numbered on from `session.next_seq`, and return the session after them.

        Raises `SpoolFull` where they find no room; nothing is accepted then. An empty spool takes anything, and the
        record that a frame was skipped is always taken.
        """
        if [entry.frame.seq for entry in entries] != list(range(session.next_seq, session.next_seq + len(entries))):
            raise RuntimeError(f"session {session.session} goes on at {session.next_seq}; numbers must be dense")
        size = sum(entry.size for entry in entries)
        with self._locked():
            kept = any(entry.outcome is not Outcome.SKIPPED for entry in entries)
            if kept and self.waiting_bytes and self.waiting_bytes + size > self.max_bytes:
                raise SpoolFull
            with self._transaction():
                after = msgspec.structs.replace(
                    session,
                    next_seq=session.next_seq + len(entries),
                    last_at=entries[-1].frame.taken_at,
                    last_name=entries[-1].source,
                )
                moved = self._db.execute(
                    "UPDATE session SET next_seq = ?, last_at = ?, last_name = ? "
                    "WHERE station = ? AND session = ? AND next_seq = ?",
                    (
                        after.next_seq,
                        microseconds(after.last_at),
                        after.last_name,
                        session.station,
                        session.session,
                        session.next_seq,
                    ),
                )
                if moved.rowcount != 1:
                    raise RuntimeError(
                        f"session {session.session} does not continue at {session.next_seq}; numbers must be dense"
                    )
                for entry in entries:
                    self._insert(entry)
            self.waiting_bytes += size
            self.waiting_frames += len(entries)
        return after

    def _insert(self, entry: Entry) -> None:
        """Write one frame, its template where it brings one, and the name of the file it came from."""
        frame = entry.frame
        value, headers = encode(frame)
        self._db.execute(
            "INSERT INTO entry (station, session, seq, outcome, reason, source, whole_bytes, template_sha256, headers, "
            "size, image) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                frame.station, frame.session, frame.seq, entry.outcome, entry.reason, entry.source, entry.whole_bytes,
                frame.template_sha256, pack_headers(headers), entry.size, value,
            ),
        )  # fmt: skip
        if entry.template is not None:
            self._db.execute("INSERT OR IGNORE INTO template VALUES (?, ?)", (frame.template_sha256, entry.template))
        if entry.key is not None:
            self._db.execute("INSERT OR IGNORE INTO taken VALUES (?, ?)", (frame.station, entry.key))

    def head(self, *, max_entries: int, max_bytes: int) -> list[Spooled]:
        """Return the oldest frames, in the order they were accepted: at least one where there is one."""
        found: list[Spooled] = []
        size = 0
        with self._locked():
            rows = self._db.execute(
                "SELECT number, station, session, outcome, reason, source, whole_bytes, template_sha256, headers, "
                "image, size FROM entry ORDER BY number LIMIT ?",
                (max_entries,),
            )
            for (
                number,
                station,
                session,
                outcome,
                reason,
                source,
                whole_bytes,
                template,
                headers,
                image,
                entry_size,
            ) in rows:
                size += entry_size
                if found and size > max_bytes:
                    break
                found.append(
                    Spooled(
                        number=number, station=station, session=session, outcome=Outcome(outcome), reason=reason,
                        source=source, whole_bytes=whole_bytes, template_sha256=template,
                        headers=unpack_headers(headers), value=image, size=entry_size,
                    )
                )  # fmt: skip
            rows.close()
        return found

    def forget(self, sent: Sequence[Spooled]) -> None:
        """Delete frames that the bus has."""
        with self._locked():
            with self._transaction():
                self._db.executemany("DELETE FROM entry WHERE number = ?", [(entry.number,) for entry in sent])
            self.waiting_bytes -= sum(entry.size for entry in sent)
            self.waiting_frames -= len(sent)

    def waiting(self, session: Session) -> int:
        """Return how many frames of a session the bus does not have yet."""
        with self._locked():
            (count,) = self._db.execute(
                "SELECT count(*) FROM entry WHERE station = ? AND session = ?", (session.station, session.session)
            ).fetchone()
        return int(count)

    def template(self, sha256: str) -> bytes | None:
        """Return a golden template that the bus does not have yet; None: it has."""
        with self._locked():
            row = self._db.execute("SELECT body FROM template WHERE sha256 = ?", (sha256,)).fetchone()
        return None if row is None else bytes(row[0])

    def forget_template(self, sha256: str) -> None:
        """Delete a golden template that the bus has."""
        with self._locked(), self._transaction():
            self._db.execute("DELETE FROM template WHERE sha256 = ?", (sha256,))

    def taken(self, station: str) -> frozenset[str]:
        """Return the keys of files taken at a station."""
        with self._locked():
            return frozenset(row[0] for row in self._db.execute("SELECT key FROM taken WHERE station = ?", (station,)))

    def forget_taken(self, station: str, keys: Iterable[str]) -> None:
        """Delete keys of files that are gone from their folder."""
        with self._locked(), self._transaction():
            self._db.executemany("DELETE FROM taken WHERE station = ? AND key = ?", [(station, key) for key in keys])

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock, self._explained():
            yield

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise  # a mistake in this program, not of the disk
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                message = f"the spool {self.path} is in use; does another ingest run on this data_dir?"
            else:
                message = f"the spool {self.path} cannot be used: {error}; check the disk and its rights"
            raise BackendUnavailable(message) from error
        except (sqlite3.DatabaseError, OSError) as error:
            raise BackendUnavailable(
                f"the spool {self.path} cannot be used: {error}; check the disk and its rights"
            ) from error


def session_of(row: tuple[str, str, str, str, int, int, int, int, str | None, int, int]) -> Session:
    """Read a session from its row."""
    station, session, product, settings, start, first_shot, next_seq, last_at, last_name, finished, closed = row
    return Session(
        station=station,
        session=session,
        product=product,
        settings_sha256=settings,
        start=instant(start),
        first_shot=first_shot,
        next_seq=next_seq,
        last_at=instant(last_at),
        last_name=last_name,
        finished=bool(finished),
        closed=bool(closed),
    )
