"""The way of frames through the detector, its stages overlapped, each with a bound.

poll -> wait in turn of the stations -> decode and register -> batch -> network -> judge -> publish -> commit

While one batch is in the network, the next is decoded and registered and the one before is judged and published, each
stage in threads (OpenCV, NumPy and the engines let go of the interpreter). A frame's position is committed after its
result is durable, and not before those of all frames that lay before it in its partition.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

from detector.inspect import Inspector
from detector.large import Tiled
from detector.metrics import BATCH_FRAMES, IN_HAND, LATENCY_SECONDS, QUEUE_FRAMES
from detector.serving.duty import Duty
from detector.serving.gathering import Gathering
from detector.serving.positions import Positions
from detector.serving.shadow import Shadow
from detector.serving.stages import Item, frame_in, judged, made_ready, records_of, taken, without_picture
from detector.serving.templates import Templates
from detector.serving.waiting import Policy, Waiting
from detector.steps import Seen
from taktwatch.bus import Bus, Consumer, Outgoing, Partition
from taktwatch.clock import now
from taktwatch.config import LineConfig
from taktwatch.errors import BackendUnavailable, BadInput, ConfigError, EngineFailed, ModelError, RecordNotFound
from taktwatch.topics import Topics

__all__ = ["Pipeline", "first_cause"]

POLLED = 64
"""Records asked for at once."""

POLL = timedelta(milliseconds=250)
"""How long a poll waits for records; commits go between polls. Shorter ones cost a core more than they are worth."""

PICTURES_KEPT = 16
"""Pictures of a station that are kept in memory while they wait; those behind are fetched again in their turn."""

JUDGED_BOUND, OUT_BOUND = 64, 64

T = TypeVar("T")


class Pipeline:
    """The stages of one member of the group, from when it joined until it leaves."""

    def __init__(
        self,
        config: LineConfig,
        bus: Bus,
        topics: Topics,
        duty: Duty,
        templates: Templates,
        *,
        network: Executor,
        shadow: Shadow,
    ) -> None:
        """Nothing is read before `run`. `network` has one thread: engines are no more than one's."""
        settings = config.detector
        self.bus, self.topics, self.duty, self.templates = bus, topics, duty, templates
        self.look_ahead = settings.look_ahead
        self.threads = settings.stage_threads or len(os.sched_getaffinity(0))
        self.budgets = {station.name: station.budget for station in config.stations}
        policies = {one.name: Policy(one.overload, one.max_waiting) for one in config.stations}
        self.waiting: Waiting[Item] = Waiting(policies)
        room = 2 * settings.max_batch + self.threads
        self.gathering = Gathering(most=settings.max_batch, room=room, now_s=self.now_s)
        self.positions = Positions()
        self.in_hand: Counter[Partition] = Counter()
        self.to_judge: asyncio.Queue[tuple[Item, Seen | Tiled]] = asyncio.Queue(JUDGED_BOUND)
        self.out: asyncio.Queue[tuple[Item, list[Outgoing]]] = asyncio.Queue(OUT_BOUND)
        self.wanted, self.landed = asyncio.Event(), asyncio.Event()
        self.stages = ThreadPoolExecutor(self.threads, thread_name_prefix="stage")
        self.network, self.looking = network, False
        self.shadow = shadow
        shadow.is_idle = self.is_idle

    async def run(self, consumer: Consumer, stop: asyncio.Event) -> None:
        """Inspect until `stop`, then finish what is in hand. The first failure of any stage ends all and is raised."""
        stages: list[Callable[[], Coroutine[Any, Any, None]]] = [self.infer, self.publish]
        stages += [self.prepare] * self.threads + [self.judge] * self.threads
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(stage()) for stage in stages]
                await self.read(consumer, stop)
                for task in tasks:
                    task.cancel()
        except BaseExceptionGroup as failures:
            raise first_cause(failures) from None
        finally:
            IN_HAND.set(0)
            self.stages.shutdown(wait=False, cancel_futures=True)

    async def read(self, consumer: Consumer, stop: asyncio.Event) -> None:
        """Poll and commit. Where too much waits, all partitions are paused: polling goes on, so membership does."""
        paused: frozenset[Partition] = frozenset()
        while not stop.is_set():
            room = self.look_ahead - len(self.waiting)
            if room <= 0:
                paused |= consumer.assigned
                await consumer.pause(paused)
            elif paused and room >= self.look_ahead // 2:
                await consumer.resume(paused & consumer.assigned)
                paused = frozenset()
            messages = await consumer.poll(max(1, min(POLLED, room)), POLL)
            for message in messages:
                self.positions.take((message.topic, message.partition), message.offset)
                await self.admit(taken(message, self.now_s(), self.budgets))
            self.show()
            await self.commit(consumer)
        self.waiting.drop(lambda _: True)
        await self.finished(lambda _: True)
        await self.commit(consumer)

    async def admit(self, item: Item) -> None:
        """Let a frame wait its turn; what its station's policy skips, and what is no frame, goes straight out."""
        if item.frame is None:
            self.begin(item)
            await self.conclude(item)
            return
        station = item.frame.station
        if self.waiting.of(station) >= PICTURES_KEPT:
            item = without_picture(item)
        for skipped, reason in self.waiting.put(station, item):
            self.begin(skipped)
            await self.conclude(replace(skipped, skipped=reason))
        self.wanted.set()

    async def revoked(self, partitions: frozenset[Partition]) -> None:
        """Finish what was begun of partitions that are given away; what waits is theirs who read it next."""
        self.waiting.drop(lambda item: item.partition in partitions)
        await self.finished(lambda partition: partition in partitions)

    async def finished(self, mine: Callable[[Partition], bool]) -> None:
        """Wait until nothing of some partitions is in hand."""
        while any(mine(partition) for partition in self.in_hand):
            self.landed.clear()
            await self.landed.wait()

    async def commit(self, consumer: Consumer) -> None:
        """Commit what all before it was published, too."""
        if positions := self.positions.committable():
            await consumer.commit(positions)

    async def prepare(self) -> None:
        """Stage: take the next frame, decode it and register its template, as long as the network is not far behind."""
        while True:
            item = await self.made_ready(await self.next_waiting())
            self.gathering.add(None if item.error else item)
            if item.error:
                await self.conclude(item)

    async def next_waiting(self) -> Item:
        """Return the frame whose turn it is, as soon as there is room for it."""
        while True:
            gathering = self.gathering
            if gathering.has_room:
                if gathering.again:
                    gathering.coming += 1
                    return gathering.again.popleft()
                if (item := self.waiting.take()) is not None:
                    gathering.coming += 1
                    self.begin(item)
                    return item
            self.wanted.clear()
            await self.wanted.wait()

    async def made_ready(self, item: Item) -> Item:
        """Return an item ready for the network, or with the reason why it cannot be."""
        inspector, begun_s = self.duty.current, self.now_s()
        try:
            if not item.kept:
                message = await self.bus.fetch(item.message.place)
                item = replace(item, message=message, frame=frame_in(message), kept=True)
            assert item.frame is not None  # noqa: S101 - frames alone wait
            frame = item.frame
            template = await self.templates.get(frame.template_sha256) if frame.template_sha256 else None
            ready = await self.in_thread(made_ready, inspector, frame, template)
        except (BadInput, RecordNotFound, ModelError, ConfigError) as error:
            return replace(item, inspector=inspector, error=str(error))
        at = replace(item.at, begun_s=begun_s, ready_s=self.now_s())
        return replace(item, inspector=inspector, ready=ready, at=at)

    async def infer(self) -> None:
        """Stage: choose a batch, run it through its model, hand what was seen on. One batch at a time."""
        loop = asyncio.get_running_loop()
        while True:
            batch = await self.gathering.next_batch()
            self.wanted.set()
            inspector = batch[0].inspector
            assert inspector is not None  # noqa: S101 - it is ready
            prepared = [item.ready for item in batch if item.ready is not None]
            began, self.looking = self.now_s(), True
            try:
                seen = await loop.run_in_executor(self.network, inspector.look, prepared)
            except EngineFailed as error:
                await self.fall_back(inspector, batch, error)
                continue
            finally:
                self.looking = False
            over = self.now_s()
            self.gathering.learn(batch, over - began)
            BATCH_FRAMES.observe(len(batch))
            for item, one in zip(batch, seen, strict=True):
                await self.to_judge.put((item.seen(began, over), one))

    async def fall_back(self, inspector: Inspector, batch: list[Item], error: EngineFailed) -> None:
        """Keep the frames of a batch that failed: with the model before, or one by one, the culprit alone is dead."""
        if self.duty.went_back(inspector, str(error)):
            self.gathering.give_back(inspector, batch)
            self.wanted.set()
            return
        loop = asyncio.get_running_loop()
        for item in batch:
            assert item.ready is not None  # noqa: S101 - it was in the network
            try:
                began = self.now_s()
                (seen,) = await loop.run_in_executor(self.network, inspector.look, [item.ready])
            except EngineFailed as alone:
                await self.conclude(replace(item, error=str(alone), ready=None))
            else:
                await self.to_judge.put((item.seen(began, self.now_s()), seen))

    async def judge(self) -> None:
        """Stage: masks, measures, verdict, and the record of it."""
        while True:
            item, seen = await self.to_judge.get()
            await self.conclude(await self.in_thread(judged, item, seen))
            self.shadow.offer(item)

    async def conclude(self, item: Item) -> None:
        """Hand the records of an item to the publisher."""
        records = await self.in_thread(records_of, item, self.topics, self.duty.current)
        await self.out.put((item, records))

    async def publish(self) -> None:
        """Stage: publish what is concluded, all of it at once, and settle its positions."""
        while True:
            done = [await self.out.get()]
            while not self.out.empty():
                done.append(self.out.get_nowait())
            await self.bus.publish([record for _, records in done for record in records])
            at = now()
            for item, _ in done:
                self.end(item)
                if item.frame is not None:
                    LATENCY_SECONDS.labels(item.frame.station).observe((at - item.frame.received_at).total_seconds())
                if item.inspector is not None and item.said is not None:
                    self.duty.proved(item.inspector)

    def is_idle(self) -> bool:
        """Whether no frame waits for the network or is in it."""
        return not (self.looking or self.gathering.ready or self.gathering.coming or len(self.waiting))

    def begin(self, item: Item) -> None:
        """Take an item in hand."""
        self.in_hand[item.partition] += 1
        IN_HAND.inc()

    def end(self, item: Item) -> None:
        """Let go of an item whose records are durable."""
        partition = item.partition
        self.positions.settle(partition, item.message.offset)
        self.in_hand[partition] -= 1
        if not self.in_hand[partition]:
            del self.in_hand[partition]
        IN_HAND.dec()
        self.landed.set()

    def show(self) -> None:
        """Tell Prometheus how full each stage is."""
        for stage, frames in (
            ("waiting", len(self.waiting)),
            ("preparing", self.gathering.coming),
            ("ready", len(self.gathering.ready)),
            ("judging", self.to_judge.qsize()),
            ("publishing", self.out.qsize()),
        ):
            QUEUE_FRAMES.labels(stage).set(frames)

    async def in_thread(self, call: Callable[..., T], *args: object) -> T:
        """Run a stage's work in one of its threads."""
        return await asyncio.get_running_loop().run_in_executor(self.stages, call, *args)

    @staticmethod
    def now_s() -> float:
        """Return the event loop's time."""
        return asyncio.get_running_loop().time()


def first_cause(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the failure that matters: of several, one that is not just an absent bus."""
    causes = list(failures.exceptions)
    return next((cause for cause in causes if not isinstance(cause, BackendUnavailable)), causes[0])
