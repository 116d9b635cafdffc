"""The KPI service: results and marks in, verdicts of boards and windows out.

Every interval it *settles*, in this order: publish the boards and windows that changed, save state and position as one
record, commit the position (for whoever watches the lag). A crash anywhere in between folds a few records again and
publishes the same boards and windows with the same revisions. What is to be published and saved is made at one moment;
while it is on its way, folding goes on.
"""

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

import structlog

from kpi_engine.checks import check_station, dead_letter, readable
from kpi_engine.compiled import read_taken
from kpi_engine.membership import stay_joined
from kpi_engine.metrics import (
    BAD_RECORDS,
    BOARDS,
    OFFSETS_LOST,
    RECORDS,
    SAVE_SECONDS,
    WATCHDOG_MARKS,
)
from kpi_engine.rules import rules_of
from kpi_engine.settlement import Settlement, settlement_of, show
from kpi_engine.watchdog import silent_stations
from kpi_engine.windows import Image, KpiState, drain_verdicts, empty, fold, restore
from taktwatch.bus import Bus, Message, Outgoing, Pack, Partition, Rebalance
from taktwatch.bus.kafka_packs import others_in
from taktwatch.checkpoints import Checkpoints
from taktwatch.clock import now
from taktwatch.config import LineConfig
from taktwatch.errors import BackendUnavailable, BadRecord, OffsetLost
from taktwatch.instants import microseconds
from taktwatch.memory import keep_freed
from taktwatch.native import Engine, NativeError, available
from taktwatch.records import BoardVerdict, InspectionResult, MarkState, Record, StationMark, Verdict
from taktwatch.topics import Topics
from taktwatch.wire import encode, headers_of, kind_of

__all__ = ["GROUP", "KpiService"]

GROUP = "kpi"
BATCH = 500
"""So many records are unpacked, read and folded at once, then other tasks have their turn: that takes about as long as
a thread holds the interpreter."""
COLLECT_AFTER = (100_000, 50, 100)
"""A state of hundreds of thousands of objects without a cycle is not searched for garbage every few batches."""

log = structlog.get_logger()


class KpiService:
    """Folds the results topic into windows, one state per partition. In a replay, silence is part of the record."""

    def __init__(
        self,
        config: LineConfig,
        bus: Bus,
        topics: Topics,
        *,
        member: str = GROUP,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self.bus = bus
        self.topics = topics
        self.member = member
        self.clock = clock
        self.rules = rules_of(config, verdicts=config.kpi.boards and not topics.is_replay)
        self.line = config.line
        self.stations = frozenset(station.name for station in config.stations)
        self.silent_after_us = round(config.kpi.silent_after_s * 1e6)
        self.interval_s = config.kpi.checkpoint_interval_s
        self.packs = config.kpi.compiled and bus.has_packs and available()
        self.states: dict[Partition, KpiState] = {}
        self.said: dict[Partition, dict[str, Outgoing]] = {}
        self.saved: dict[Partition, int] = {}
        self.uncommitted: set[Partition] = set()
        self.settling: asyncio.Task[None] | None = None
        self.checkpoints = Checkpoints(bus, topics, GROUP, member)

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop`. An absent bus is waited for; then everything since the last checkpoint is folded again.

        Raises `OffsetLost` where retention removed what was not counted yet; `UnknownSchema` or `BadRecord` for a
        checkpoint that cannot be read.
        """
        gc.set_threshold(*COLLECT_AFTER)
        keep_freed()
        try:
            await stay_joined(GROUP, lambda: self.work_safely(stop), stop)
        except OffsetLost:
            OFFSETS_LOST.inc()
            log.exception("records were removed before they were counted: the KPI service stops and does not jump")
            raise

    async def work_safely(self, stop: asyncio.Event) -> None:
        """Work; where the compiled library fails, go on without it from the last checkpoint."""
        try:
            await self.work(stop)
        except NativeError as error:
            log.exception("the compiled fold failed; Python folds from the last checkpoint on")
            self.packs = False
            raise BackendUnavailable(f"{error}; its work is done again in Python") from error

    async def work(self, stop: asyncio.Event) -> None:
        """Join the group and fold until `stop`. Raises `BackendUnavailable`, `OffsetLost`."""
        rebalance = Rebalance(self.assigned, self.revoked)
        self.states.clear()
        self.said.clear()
        topics = [self.topics.results]
        async with self.bus.consumer(
            GROUP, topics, member=self.member, rebalance=rebalance, packs=self.packs
        ) as consumer:
            self.consumer = consumer
            try:
                await self.fold_until(stop)
            except BaseException as error:
                self.states.clear()  # half published perhaps: nothing of it may be saved on the way out
                await self.leave_off(at_once=isinstance(error, asyncio.CancelledError))
                raise

    async def fold_until(self, stop: asyncio.Event) -> None:
        """Poll, fold, and settle every interval."""
        clock = asyncio.get_running_loop().time
        due = clock() + self.interval_s
        while not stop.is_set():
            patience = timedelta(seconds=max(0.0, due - clock()))
            if self.packs:
                for pack in await self.consumer.poll_packs(patience):
                    await self.take_pack(pack)
            elif messages := await self.consumer.poll(BATCH, patience):
                await self.take(messages)
            if clock() >= due:
                await self.begin_to_settle(frozenset(self.states))
                await self.speak_for_the_silent()
                due = clock() + self.interval_s
        await self.settle(frozenset(self.states))

    async def assigned(self, partitions: frozenset[Partition]) -> Mapping[Partition, int]:
        """Restore the state of partitions that become ours and say where each goes on."""
        positions = {}
        for partition in partitions:
            checkpoint = await self.checkpoints.load(partition)
            engine = Engine(headers_of(BoardVerdict)) if self.packs else None
            if checkpoint is None:
                state = self.states[partition] = empty()
                state.engine = engine
            else:
                image = Image(checkpoint.state, self.checkpoints.blocks(partition))
                self.states[partition] = await asyncio.to_thread(restore, image, engine)
                self.saved[partition] = positions[partition] = checkpoint.position
                self.uncommitted.add(partition)  # a crash may have come between saving and committing
        return positions

    async def revoked(self, partitions: frozenset[Partition]) -> None:
        """Settle and forget partitions that are given away."""
        await self.settle(partitions)
        for partition in partitions:
            self.states.pop(partition, None)
            self.said.pop(partition, None)
            self.saved.pop(partition, None)
            self.uncommitted.discard(partition)

    async def take_pack(self, pack: Pack) -> None:
        """Fold what lies in a pack: the library what is ordinary, this service the rest, each in its turn."""
        place = (pack.topic, pack.partition)
        state = self.states[place]
        assert state.engine is not None  # noqa: S101 - packs are asked for with one
        await self.take(others_in(state.engine, pack))
        taken = read_taken(state.engine.taken())
        state.position = max(state.position, taken.position)
        RECORDS.labels("InspectionResult").inc(taken.results)
        RECORDS.labels("StationMark").inc(taken.marks)
        for verdict, count in zip(Verdict, (taken.passed, taken.failed, taken.review), strict=True):
            BOARDS.labels(verdict.value).inc(count)

    async def take(self, messages: Iterable[Message]) -> None:
        """Fold a batch; what cannot be counted goes to the dead topic before the position passes it."""
        bad = self.fold_all(messages)
        self.note_verdicts()
        await asyncio.sleep(0)
        if bad:
            await self.bus.publish(bad)

    def note_verdicts(self) -> None:
        """Have new verdicts ready for the next settlement; there they take the place of older ones of their board."""
        for partition, state in self.states.items():
            verdicts = drain_verdicts(state)
            said = self.said.setdefault(partition, {})
            for verdict in verdicts:
                said[verdict.board_id] = Outgoing(self.topics.boards, verdict.line.encode(), *encode(verdict))
            for kind, count in Counter([verdict.verdict for verdict in verdicts]).items():
                BOARDS.labels(kind.value).inc(count)

    def fold_all(self, messages: Iterable[Message]) -> list[Outgoing]:
        """Fold messages into the states of their partitions and return dead letters for the unreadable ones."""
        bad = []
        stamp, logged_us = None, 0
        results = marks = 0
        place: Partition | None = None
        headers, kind = None, Record
        line, stations, rules = self.line, self.stations, self.rules
        for message in messages:
            if place is None or place[1] != message.partition or place[0] != message.topic:
                place = (message.topic, message.partition)
                state = self.states[place]
            try:
                if message.headers is not headers:  # shared, too, by records of a kind that follow each other
                    kind = kind_of(message.headers)
                    headers = message.headers
                record = readable(message, kind)
                if stations:
                    check_station(record, line, stations)
            except BadRecord as error:
                log.warning("a record cannot be counted", place=str(message.place), error=str(error))
                BAD_RECORDS.labels(message.topic).inc()
                bad.append(Outgoing(self.topics.dead, message.key, *encode(dead_letter(message, error, GROUP))))
                state.position = message.offset + 1
            else:
                if message.timestamp is not stamp:  # shared by what the bus took at once
                    stamp = message.timestamp
                    logged_us = microseconds(stamp)
                fold(state, record, message.offset, logged_us, rules)
                results += kind is InspectionResult
                marks += kind is StationMark
        RECORDS.labels("InspectionResult").inc(results)
        RECORDS.labels("StationMark").inc(marks)
        return bad

    async def settle(self, partitions: frozenset[Partition]) -> None:
        """Publish changed windows, then save state and position, then commit; return when all is done."""
        await self.begin_to_settle(partitions)
        await self.settled()

    async def begin_to_settle(self, partitions: frozenset[Partition]) -> None:
        """Wait until the last settlement is done, then make the next one and let it go its way.

        Raises what the last one ended with.
        """
        await self.settled()
        moved = {p: self.states[p] for p in partitions if p in self.states and self.is_ahead(p)}
        behind = moved.keys() | (self.uncommitted & partitions & self.states.keys())
        if behind:
            said = {partition: self.said.pop(partition, {}).values() for partition in moved}
            positions = {partition: self.states[partition].position for partition in behind}
            settlement = await asyncio.to_thread(settlement_of, moved, said, positions, self.topics)
            for state in moved.values():
                show(state)
            self.settling = asyncio.create_task(self.carry_out(settlement))

    async def settled(self) -> None:
        """Wait until what was begun is published, saved and committed. Raises what it ended with."""
        settling, self.settling = self.settling, None
        if settling is not None:
            await settling

    async def leave_off(self, *, at_once: bool) -> None:
        """Let nothing be on its way any more when this member has failed: it may begin anew, and must meet its end."""
        settling, self.settling = self.settling, None
        if settling is not None:
            if at_once:
                settling.cancel()
            await asyncio.gather(settling, return_exceptions=True)

    def is_ahead(self, partition: Partition) -> bool:
        """Whether anything was folded since the last checkpoint."""
        return self.states[partition].position != self.saved.get(partition, 0)

    async def carry_out(self, settlement: Settlement) -> None:
        """Publish, then save, then commit."""
        with SAVE_SECONDS.time():
            if settlement.sheaves:
                await self.bus.publish_sheaves(settlement.sheaves)
            if settlement.outgoing:
                await self.bus.publish(settlement.outgoing)
            await asyncio.gather(*(self.save_image(place, *image) for place, image in settlement.images.items()))
            await self.consumer.commit(settlement.positions)
            self.uncommitted -= settlement.positions.keys()

    async def save_image(self, partition: Partition, position: int, image: Image) -> None:
        """Save state and position as one record."""
        await self.checkpoints.save(partition, position, image.head, image.blocks)
        self.saved[partition] = position

    async def speak_for_the_silent(self) -> None:
        """Write marks for stations nobody speaks of, where all that was said has been folded."""
        if self.topics.is_replay:
            return
        now_us = microseconds(self.clock())
        silent = {
            p: marks
            for p, state in self.states.items()
            if (marks := silent_stations(state, now_us, self.silent_after_us))
        }
        if not silent:
            return
        spans = await self.bus.spans(self.topics.results)
        for (_, number), marks in silent.items():
            if self.states[self.topics.results, number].position < spans[number].next:
                continue
            for mark in marks:
                if mark.state is MarkState.LOST:
                    log.warning("nothing heard of a station", station=mark.station, session=mark.session)
                WATCHDOG_MARKS.labels(mark.station).inc()
            await self.bus.publish([Outgoing(self.topics.results, m.line.encode(), *encode(m)) for m in marks])
