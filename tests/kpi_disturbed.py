"""Trials of the KPI service: members killed, stopped, joined and sent away, the broker killed; windows close meanwhile.

One log and one group for all trials. After each, everything published is compared with the log folded in one go.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kpi_line import opened
from servers.kafka import KafkaBroker
from timelines import mark, newest, result

from kpi_engine.service import GROUP
from kpi_engine.windows import Rules, drain, empty, fold
from taktwatch.bus import Bus, Message, Outgoing
from taktwatch.errors import BackendUnavailable
from taktwatch.instants import microseconds
from taktwatch.records import InspectionResult, KpiWindow, Record, StationMark, Verdict
from taktwatch.topics import Topics, lag
from taktwatch.wire import decode, encode

PROCESS = Path(__file__).parent / "kpi_process.py"
LINES = 6
TICK_S = 0.05
EVENT_TICK = timedelta(seconds=5)
SESSION_S = 2.0
HORIZON_MINUTES = 10
BEGIN = datetime(2026, 3, 3, 6, tzinfo=UTC)
PATIENCE_S = 120.0
CHECKPOINT_S = 0.3

Windows = dict[tuple[object, ...], KpiWindow]


class Failed(AssertionError):
    """A trial after which the windows are not what the log says."""


def key_of(window: KpiWindow) -> tuple[object, ...]:
    """Return which window it is, whatever its revision."""
    return window.window, window.start, window.line, window.station, window.product, window.lot


class Log:
    """The results topic as it is folded in one go, and the kpis topic as readers take it; both read as they grow."""

    def __init__(self, bus: Bus, topics: Topics) -> None:
        self.bus = bus
        self.topics = topics
        self.rules = Rules(HORIZON_MINUTES, 120_000_000)
        self.states = {number: empty() for number in range(4)}
        self.read_to = {topics.results: dict.fromkeys(range(4), 0), topics.kpis: {0: 0}}
        self.expected: Windows = {}
        self.published: Windows = {}
        self.revisions: dict[tuple[object, ...], KpiWindow] = {}
        self.frames: Counter[tuple[str, int]] = Counter()
        self.repeats = 0

    async def check(self) -> int:
        """Read on, compare, and return how many windows there are. Raises `Failed`."""
        async for message in self.following(self.topics.results):
            record, state = decode(message.value, message.headers), self.states[message.partition]
            assert isinstance(record, InspectionResult | StationMark)
            if isinstance(record, InspectionResult):
                self.frames[record.line, record.seq] += 1
            fold(state, record, message.offset, microseconds(message.timestamp), self.rules)
            for window in drain(state):
                keep(self.expected, window)
        async for message in self.following(self.topics.kpis):
            window = decode(message.value, message.headers)
            assert isinstance(window, KpiWindow)
            known = self.revisions.setdefault((*key_of(window), window.revision, window.state), window)
            self.repeats += known is not window
            if known != window:
                raise Failed(f"two writers disagree about revision {window.revision}: {known} and {window}")
            keep(self.published, window)
        if self.published != self.expected:
            wrong = [key for key in self.expected | self.published if self.expected.get(key) != self.published.get(key)]
            raise Failed(
                f"{len(wrong)} windows differ, first {wrong[0]}: "
                f"{self.published.get(wrong[0])} published, {self.expected.get(wrong[0])} expected"
            )
        minutes = [window for window in self.published.values() if window.window == "1m" and window.station]
        counted = sum(window.inspected for window in minutes)
        repeated = sum(window.late_or_repeat for window in minutes)
        if (counted, repeated) != (len(self.frames), self.frames.total() - len(self.frames)):
            raise Failed(
                f"{counted} frames counted and {repeated} repeats; the log holds {len(self.frames)} frames and "
                f"{self.frames.total() - len(self.frames)} repeats"
            )
        return len(self.expected)

    async def following(self, topic: str) -> AsyncIterator[Message]:
        """Yield what a topic holds since the last look."""
        ends = {number: span.next for number, span in (await self.bus.spans(topic)).items()}
        async for batch in self.bus.read(topic, start=self.read_to[topic], end=ends):
            for message in batch:
                yield message
        self.read_to[topic] = ends


def keep(windows: Windows, window: KpiWindow) -> None:
    """Keep the highest revision, as every reader does."""
    known = windows.get(key_of(window))
    if known is None or newest(window) >= newest(known):
        windows[key_of(window)] = window


@dataclass
class Belt:
    """Boards of several lines, 5 s of event time a tick, so that a minute closes twice a second."""

    chance: random.Random
    tick: int = 0
    seqs: Counter[str] = field(default_factory=Counter)
    held: list[Record] = field(default_factory=list)

    def records(self) -> list[Record]:
        """Return what comes in one tick: boards, some held up and some twice, and marks."""
        taken = BEGIN + self.tick * EVENT_TICK
        self.tick += 1
        found: list[Record] = []
        for number in range(LINES):
            line = f"line-{number}"
            for _ in range(self.chance.randrange(4)):
                seq = self.seqs[line]
                self.seqs[line] += 1
                board = result(
                    seq,
                    "0:0:0",
                    line=line,
                    event_at=taken,
                    taken_at=taken,
                    received_at=taken,
                    inspected_at=taken + timedelta(milliseconds=80),
                    verdict=self.chance.choice(list(Verdict)),
                    serial=f"B{self.chance.randrange(2000)}",
                )
                (self.held if self.chance.random() < 0.05 else found).append(board)
                if self.chance.random() < 0.03:
                    found.append(board)
            found.append(mark(self.seqs[line] - 1, "0:0:0", line=line, time=taken + EVENT_TICK / 2))
        if self.chance.random() < 0.2:
            found += self.held
            self.held = []
        return found


class Line:
    """A belt that runs, members of the KPI group, and a broker, for trials in a row."""

    def __init__(self, broker: KafkaBroker, bus: Bus, topics: Topics, seed: int) -> None:
        self.broker = broker
        self.bus = bus
        self.topics = topics
        self.chance = random.Random(seed)
        self.belt = Belt(random.Random(seed + 1))
        self.log = Log(bus, topics)
        self.members: dict[str, subprocess.Popen[bytes]] = {}
        self.running = asyncio.Event()

    def start(self, member: str) -> None:
        """Start a member of the group."""
        url = f"kafka://{self.broker.bootstrap}"
        settings = [url, self.topics.prefix, str(CHECKPOINT_S), member, str(SESSION_S), str(HORIZON_MINUTES)]
        environ = {**os.environ, "PYTHONPATH": str(PROCESS.parents[1])}
        with self.said(member).open("ab") as words:
            self.members[member] = subprocess.Popen(
                [sys.executable, PROCESS, *settings], env=environ, stdout=subprocess.DEVNULL, stderr=words
            )

    def said(self, member: str) -> Path:
        """Return where the words of a member go."""
        return self.broker.folder / f"{member}.log"

    def kill(self, member: str) -> None:
        """Kill a member where it stands."""
        process = self.members.pop(member)
        process.kill()
        process.wait(PATIENCE_S)

    async def publish_forever(self) -> None:
        """Publish while `running`; a batch the broker did not confirm goes again (and may then be there twice)."""
        while True:
            await self.running.wait()
            outgoing = []
            for record in self.belt.records():
                assert isinstance(record, InspectionResult | StationMark)
                outgoing.append(Outgoing(self.topics.results, record.line.encode(), *encode(record)))
            while True:
                try:
                    await self.bus.publish(outgoing)
                except BackendUnavailable:
                    await asyncio.sleep(TICK_S)
                else:
                    break
            await asyncio.sleep(TICK_S)

    async def trial(self, kind: str) -> int:
        """Disturb the line, let it come to rest, compare; return how many windows there are. Raises `Failed`."""
        self.running.set()
        await self.pause(0.5)
        await getattr(self, kind)()
        await self.pause(0.5)
        self.running.clear()
        async with asyncio.timeout(PATIENCE_S):
            while not await self.is_at_rest():
                for member, process in list(self.members.items()):
                    if process.poll() is not None:
                        said = self.said(member).read_text(encoding="utf-8", errors="replace")
                        raise Failed(f"member {member} ended with status {process.returncode}: {said[-3000:]}")
                await asyncio.sleep(0.1)
        return await self.log.check()

    async def is_at_rest(self) -> bool:
        """Whether the belt stands and everything is folded, saved and committed."""
        with suppress(BackendUnavailable):
            before = await self.bus.spans(self.topics.results)
            if await lag(self.bus, GROUP, self.topics.results) == 0:
                await asyncio.sleep(2 * TICK_S)
                return before == await self.bus.spans(self.topics.results)
        return False

    async def pause(self, most_s: float) -> None:
        """Let the belt run for a while."""
        await asyncio.sleep(self.chance.random() * most_s)

    async def undisturbed(self) -> None:
        """Nothing happens."""

    async def killed(self) -> None:
        """Kill -9 of a member; it comes back under its name, at once or after the group went on without it."""
        member = self.chance.choice(list(self.members))
        self.kill(member)
        await self.pause(2 * SESSION_S)
        self.start(member)

    async def stopped(self) -> None:
        """SIGSTOP of a member until the group has gone on without it, then SIGCONT: two owners for a moment."""
        process = self.members[self.chance.choice(list(self.members))]
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(SESSION_S)
        await self.pause(1.5 * SESSION_S)
        process.send_signal(signal.SIGCONT)

    async def rebalanced(self) -> None:
        """A member joins, another (or the same) leaves in order."""
        guest = f"guest-{uuid.uuid4().hex[:6]}"
        self.start(guest)
        await self.pause(3.0)
        member = self.chance.choice(list(self.members))
        process = self.members.pop(member)
        process.terminate()
        await asyncio.to_thread(process.wait, PATIENCE_S)

    async def broker_restarted(self) -> None:
        """Kill -9 of the broker, and start it again."""
        await asyncio.to_thread(self.broker.kill)
        await self.pause(1.0)
        await asyncio.to_thread(self.broker.start)


KINDS = ("killed", "stopped", "rebalanced", "broker_restarted")


@asynccontextmanager
async def line(broker: KafkaBroker, seed: int) -> AsyncIterator[Line]:
    """Provide a line with two members; what still runs at the end is killed."""
    topics = Topics(f"t{uuid.uuid4().hex[:10]}")
    async with opened(f"kafka://{broker.bootstrap}", topics) as bus:
        there = Line(broker, bus, topics, seed)
        publishing = asyncio.create_task(there.publish_forever())
        try:
            there.start("a")
            there.start("b")
            yield there
        finally:
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
            for member in list(there.members):
                there.kill(member)
