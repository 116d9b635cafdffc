"""Consumer groups of the embedded bus, shared by several processes: members, holdings, committed offsets. Blocking.

A member is alive until its lease runs out. Every living member computes the same target from the members and topics
alone, gives up what is not its own any more, and claims what is its own and free: partitions move without a
coordinator, and never have two holders. A commit counts only from the holder.
"""

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from taktwatch.bus import Partition
from taktwatch.bus.sqlite_db import connect, explained, sync_folder, transaction
from taktwatch.errors import MemberReplaced
from taktwatch.instants import MICROSECOND, microseconds

__all__ = ["Groups", "Member", "Standing", "share"]

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS groups (name TEXT PRIMARY KEY, generation INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS members (
        grp TEXT, name TEXT, incarnation TEXT NOT NULL, topics BLOB NOT NULL, expires_us INTEGER NOT NULL,
        PRIMARY KEY (grp, name)
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS holdings (
        grp TEXT, topic TEXT, number INTEGER, incarnation TEXT NOT NULL, PRIMARY KEY (grp, topic, number)
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS offsets (
        grp TEXT, topic TEXT, number INTEGER, position INTEGER NOT NULL, PRIMARY KEY (grp, topic, number)
    ) WITHOUT ROWID""",
)


@dataclass(frozen=True)
class Member:
    """One member of a group. `incarnation` tells two processes apart that use the same name one after the other."""

    group: str
    name: str
    incarnation: str
    topics: Mapping[str, int]
    """Subscribed topics and how many partitions each has."""


@dataclass(frozen=True)
class Standing:
    """What a member holds now, and which of it is to be given up."""

    held: frozenset[Partition]
    surplus: frozenset[Partition]


def share(members: Mapping[str, Mapping[str, int]]) -> dict[str, frozenset[Partition]]:
    """Return who should hold what, from each member's topics with their partition counts; every process gets the same.

    >>> {name: sorted(held) for name, held in share({"a": {"t": 3}, "b": {"t": 3}}).items()}
    {'a': [('t', 0), ('t', 2)], 'b': [('t', 1)]}
    """
    held: dict[str, set[Partition]] = {name: set() for name in members}
    counts = {topic: number for topics in members.values() for topic, number in topics.items()}
    turn = 0
    for topic, count in sorted(counts.items()):
        readers = sorted(name for name, topics in members.items() if topic in topics)
        for number in range(count):
            held[readers[turn % len(readers)]].add((topic, number))
            turn += 1
    return {name: frozenset(partitions) for name, partitions in held.items()}


class Groups:
    """The group file of a bus folder. Each method is one short transaction; a lock lets several threads call it.

    Commits survive a killed process but not, by themselves, a power failure: records after an older offset are then
    delivered again, which at-least-once allows.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / "groups.sqlite"
        self._lock = threading.Lock()
        with explained(self.path):
            root.mkdir(parents=True, exist_ok=True)
        self._connection = connect(self.path, durable=False)
        with explained(self.path):
            with transaction(self._connection):
                for statement in SCHEMA:
                    self._connection.execute(statement)
            sync_folder(root)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def take_part(self, member: Member, now: datetime, lease: timedelta) -> Standing | None:
        """Renew the lease and claim what is free and this member's; None where it was struck off: register anew.

        Others whose lease ran out are struck off. What it holds beyond its share stays its own until `release`.
        Raises `MemberReplaced` where another took the name.
        """
        now_us = microseconds(now)
        expires_us = now_us + lease // MICROSECOND
        with self._transaction() as db:
            if not self._renew(db, member, expires_us):
                return None
            self._strike_off(db, member.group, now_us)
            rows = db.execute("SELECT name, topics FROM members WHERE grp = ?", (member.group,))
            target = share({name: msgspec.json.decode(topics, type=dict[str, int]) for name, topics in rows})[
                member.name
            ]
            holders = db.execute(
                "SELECT topic, number, incarnation FROM holdings WHERE grp = ?", (member.group,)
            ).fetchall()
            held = {(topic, number) for topic, number, holder in holders if holder == member.incarnation}
            free = target - {(topic, number) for topic, number, _ in holders}
            claims = [(member.group, *partition, member.incarnation) for partition in free]
            db.executemany("INSERT INTO holdings VALUES (?, ?, ?, ?)", claims)
        return Standing(frozenset(held | free), frozenset(held - target))

    def register(self, member: Member, now: datetime, lease: timedelta) -> None:
        """Enter under a stable name: whoever had it before is replaced at once, and its partitions are free."""
        with self._transaction() as db:
            self._remove(db, member.group, member.name)
            self._join(db, member, microseconds(now) + lease // MICROSECOND)

    def renew(self, member: Member, now: datetime, lease: timedelta) -> bool:
        """Renew the lease; False where it ran out and was struck off. Raises `MemberReplaced`."""
        with self._transaction() as db:
            return self._renew(db, member, microseconds(now) + lease // MICROSECOND)

    def release(self, member: Member, partitions: frozenset[Partition]) -> None:
        """Give partitions up, so that their next holder may claim them."""
        with self._transaction() as db:
            for partition in partitions:
                self._free(db, member, partition)
            self._new_generation(db, member.group)

    def leave(self, member: Member) -> None:
        """Leave the group and give everything up."""
        with self._transaction() as db:
            condition = "grp = ? AND name = ? AND incarnation = ?"
            row = db.execute(
                f"SELECT 1 FROM members WHERE {condition}",  # noqa: S608 - a constant
                (member.group, member.name, member.incarnation),
            ).fetchone()
            if row:
                self._remove(db, member.group, member.name)

    def commit(self, member: Member, positions: Mapping[Partition, int]) -> None:
        """Save next offsets to read, of the partitions that this incarnation holds; others are left as they are."""
        held = "SELECT 1 FROM holdings WHERE grp = ? AND topic = ? AND number = ? AND incarnation = ?"
        with self._transaction() as db:
            for (topic, number), position in positions.items():
                db.execute(
                    f"INSERT OR REPLACE INTO offsets SELECT ?, ?, ?, ? WHERE EXISTS ({held})",
                    (member.group, topic, number, position, member.group, topic, number, member.incarnation),
                )

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """Return the saved offset of each partition that has one."""
        with self._lock, explained(self.path):
            query = "SELECT number, position FROM offsets WHERE grp = ? AND topic = ?"
            return dict(self._connection.execute(query, (group, topic)).fetchall())

    def generation(self, group: str) -> int:
        """Return a number that grows whenever members or holdings change in a way that others must react to."""
        with self._lock, explained(self.path):
            row = self._connection.execute("SELECT generation FROM groups WHERE name = ?", (group,)).fetchone()
        return 0 if row is None else int(row[0])

    def _renew(self, db: sqlite3.Connection, member: Member, expires_us: int) -> bool:
        row = db.execute(
            "SELECT incarnation FROM members WHERE grp = ? AND name = ?", (member.group, member.name)
        ).fetchone()
        if row is None:
            return False
        if row[0] != member.incarnation:
            raise MemberReplaced(
                f"another consumer joined group {member.group!r} as {member.name!r}; give each its own name"
            )
        db.execute(
            "UPDATE members SET expires_us = ? WHERE grp = ? AND name = ?", (expires_us, member.group, member.name)
        )
        return True

    def _join(self, db: sqlite3.Connection, member: Member, expires_us: int) -> None:
        row = (member.group, member.name, member.incarnation, msgspec.json.encode(member.topics), expires_us)
        db.execute("INSERT INTO members VALUES (?, ?, ?, ?, ?)", row)
        self._new_generation(db, member.group)

    def _strike_off(self, db: sqlite3.Connection, group: str, now_us: int) -> None:
        for (name,) in db.execute(
            "SELECT name FROM members WHERE grp = ? AND expires_us < ?", (group, now_us)
        ).fetchall():
            self._remove(db, group, name)

    def _remove(self, db: sqlite3.Connection, group: str, name: str) -> None:
        gone = "SELECT incarnation FROM members WHERE grp = ? AND name = ?"
        db.execute(f"DELETE FROM holdings WHERE grp = ? AND incarnation IN ({gone})", (group, group, name))  # noqa: S608
        db.execute("DELETE FROM members WHERE grp = ? AND name = ?", (group, name))
        self._new_generation(db, group)

    def _free(self, db: sqlite3.Connection, member: Member, partition: Partition) -> None:
        condition = "grp = ? AND topic = ? AND number = ? AND incarnation = ?"
        db.execute(f"DELETE FROM holdings WHERE {condition}", (member.group, *partition, member.incarnation))  # noqa: S608

    def _new_generation(self, db: sqlite3.Connection, group: str) -> None:
        db.execute(
            "INSERT INTO groups VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET generation = generation + 1", (group,)
        )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, explained(self.path), transaction(self._connection):
            yield self._connection
