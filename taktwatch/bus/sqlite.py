"""The embedded bus: a folder that several processes share. Durable, and nothing to install or to run beside it.

FOLDER/groups.sqlite               members, holdings, committed offsets
FOLDER/topics/<topic>/log.sqlite   the index of a topic, with small values
FOLDER/topics/<topic>/*.values     large values (pictures)
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar, TypeVar

from taktwatch.bus import Bus, Consumer, Message, Outgoing, Rebalance, Sheaf, Span, TopicSetup, TopicSpec
from taktwatch.bus.outgoing import check_name, check_sizes
from taktwatch.bus.sqlite_consumer import POLL_BYTES, SqliteConsumer
from taktwatch.bus.sqlite_groups import Groups
from taktwatch.bus.sqlite_log import TopicLog, create_topic
from taktwatch.bus.sqlite_watch import GROUP, TOPIC, Name, Watch
from taktwatch.bus.sqlite_writer import Writer
from taktwatch.clock import now
from taktwatch.errors import BackendUnavailable, RecordNotFound
from taktwatch.records import Place

__all__ = ["SqliteBus"]

LEASE = timedelta(seconds=10)
SWEEP_EVERY = timedelta(minutes=1)
SEGMENT_BYTES = 64 * 2**20
READ_RECORDS = 500
IDLE_S = 1.0

T = TypeVar("T")


class SqliteBus(Bus):
    """A bus in a folder on a local disk (not on a network share: SQLite's locks and shared memory do not work there).

    `lease` is how long a group waits for a silent member; `sweep_every` how often publishing applies retention;
    `segment_bytes` how large a file of pictures grows before the next one begins.
    """

    has_packs: ClassVar[bool] = False

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], datetime] = now,
        lease: timedelta = LEASE,
        sweep_every: timedelta = SWEEP_EVERY,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self.folder = folder
        self.clock = clock
        self.lease = lease
        self.watch = Watch(self._probe)
        self._segment_bytes = segment_bytes
        self._logs: dict[str, TopicLog] = {}
        self._groups: Groups | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._writer = Writer(self._log, clock, sweep_every)
        self._readers = ThreadPoolExecutor(4, "bus-reader")
        self._group_thread = ThreadPoolExecutor(1, "bus-groups")

    async def ensure(self, specs: Sequence[TopicSpec]) -> None:
        """See `Bus.ensure`; an existing topic takes the retention of its spec."""
        for spec in specs:
            check_name(spec)
            await self._in_reader(create_topic, self.folder, spec)

    async def publish(self, records: Sequence[Outgoing]) -> list[Place]:
        """See `Bus.publish`."""
        check_sizes(records)
        if not records:
            return []
        self._check_open()
        places = await asyncio.wrap_future(self._writer.submit(records))
        for topic in {record.topic for record in records}:
            self.watch.touch((TOPIC, topic))
        return places

    async def publish_sheaves(self, sheaves: Sequence[Sheaf]) -> None:
        """Not to be asked of this bus."""
        raise NotImplementedError("the embedded bus has no packs")

    def consumer(
        self,
        group: str,
        topics: Sequence[str],
        *,
        member: str,
        rebalance: Rebalance | None = None,
        packs: bool = False,  # noqa: ARG002 - it has none
    ) -> Consumer:
        """See `Bus.consumer`."""
        return SqliteConsumer(self, group, topics, member, rebalance)

    async def read(
        self,
        topic: str,
        *,
        start: datetime | Mapping[int, int] | None = None,
        end: datetime | Mapping[int, int] | None = None,
    ) -> AsyncIterator[list[Message]]:
        """See `Bus.read`."""
        spans = await self.spans(topic)
        starts = await self._starts(topic, start, spans)
        ends = await self._ends(topic, end, spans)
        for number, position in starts.items():
            while position < ends[number]:
                messages, position = await self.read_some(  # noqa: PLW2901 - the loop goes on from there
                    topic, number, position, ends[number], max_records=READ_RECORDS, max_bytes=POLL_BYTES
                )
                if messages:
                    yield messages

    async def _starts(
        self, topic: str, start: datetime | Mapping[int, int] | None, spans: Mapping[int, Span]
    ) -> dict[int, int]:
        if isinstance(start, datetime):
            return {number: await self._find(topic, number, start) for number in spans}
        if start is None:
            return {number: span.first for number, span in spans.items()}
        return dict(start)

    async def _ends(
        self, topic: str, end: datetime | Mapping[int, int] | None, spans: Mapping[int, Span]
    ) -> dict[int, int]:
        if isinstance(end, datetime):
            return {number: await self._find(topic, number, end) for number in spans}
        asked = end or {}
        return {number: min(asked.get(number, span.next), span.next) for number, span in spans.items()}

    async def follow(self, topic: str, *, start: Mapping[int, int] | None = None) -> AsyncIterator[list[Message]]:
        """See `Bus.follow`."""
        positions = {number: span.next for number, span in (await self.spans(topic)).items()} | dict(start or {})
        names = [(TOPIC, topic)]
        while True:
            seen = self.watch.versions(names)
            idle = True
            for number in positions:
                messages, positions[number] = await self.read_some(
                    topic, number, positions[number], None, max_records=READ_RECORDS, max_bytes=POLL_BYTES
                )
                if messages:
                    idle = False
                    yield messages
            if idle:
                before = asyncio.get_running_loop().time()
                await self.watch.wait(names, seen, IDLE_S)
                if asyncio.get_running_loop().time() - before >= IDLE_S:
                    yield []

    async def fetch(self, place: Place) -> Message:
        """See `Bus.fetch`."""
        log = await self._in_reader(self._log, place.topic)
        message = await self._in_reader(log.fetch, place.partition, place.offset)
        if message is None:
            raise RecordNotFound(
                f"no record {place.offset} in {place.topic}/{place.partition}; retention removed it, or it never was"
            )
        return message

    async def last(self, topic: str, key: bytes) -> Message | None:
        """See `Bus.last`."""
        log = await self._in_reader(self._log, topic)
        return await self._in_reader(log.last, key)

    async def spans(self, topic: str) -> dict[int, Span]:
        """See `Bus.spans`."""
        log = await self._in_reader(self._log, topic)
        return await self._in_reader(log.spans)

    async def committed(self, group: str, topic: str) -> dict[int, int]:
        """See `Bus.committed`."""
        return await self.in_group_thread((await self.groups()).committed, group, topic)

    async def describe(self, topic: str) -> TopicSetup:
        """See `Bus.describe`."""
        log = await self._in_reader(self._log, topic)
        return TopicSetup(await self._in_reader(log.described))

    async def close(self) -> None:
        """See `Bus.close`."""
        if self._closed:
            return
        self._closed = True
        await self.watch.close()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._writer.close()
        self._readers.shutdown()
        self._group_thread.shutdown()
        for log in self._logs.values():
            log.close()
        if self._groups is not None:
            self._groups.close()

    async def groups(self) -> Groups:
        """Return the group file, opened at first use."""
        return await self.in_group_thread(self._open_groups)

    async def in_group_thread(self, call: Callable[..., T], *args: object) -> T:
        """Run a blocking call on the group file; one thread, so calls keep their order."""
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._group_thread, call, *args)

    async def read_some(
        self, topic: str, number: int, start: int, end: int | None, *, max_records: int, max_bytes: int
    ) -> tuple[list[Message], int]:
        """Return messages of a partition and the offset to go on from. Raises `OffsetLost`."""

        def call() -> tuple[list[Message], int]:
            return self._log(topic).read(number, start, end, max_records=max_records, max_bytes=max_bytes)

        return await self._in_reader(call)

    async def _find(self, topic: str, number: int, time: datetime) -> int:
        log = await self._in_reader(self._log, topic)
        return await self._in_reader(log.find, number, time)

    async def _probe(self, names: frozenset[Name]) -> dict[Name, object]:
        def states() -> dict[Name, object]:
            found: dict[Name, object] = {}
            for kind, name in names:
                found[kind, name] = self._open_groups().generation(name) if kind == GROUP else self._log(name).spans()
            return found

        return await self._in_reader(states)

    async def _in_reader(self, call: Callable[..., T], *args: object) -> T:
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._readers, call, *args)

    def _check_open(self) -> None:
        if self._closed:
            raise BackendUnavailable(f"the bus {self.folder} was closed")

    def _log(self, topic: str) -> TopicLog:
        with self._lock:
            if topic not in self._logs:
                self._logs[topic] = TopicLog(self.folder, topic, segment_bytes=self._segment_bytes)
            return self._logs[topic]

    def _open_groups(self) -> Groups:
        with self._lock:
            if self._groups is None:
                self._groups = Groups(self.folder)
            return self._groups
