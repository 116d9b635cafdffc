"""The detector service: frames in, one result per frame out, then the offset is committed.

Reading, preparing, the network, judging and publishing overlap (`serving.pipeline`). After a crash the frames since
the last commit are inspected again: their results are repeats, recognised by frame id.
"""

import asyncio
import gc
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import cv2
import structlog

from detector.inspect import Inspector
from detector.metrics import DEGRADED
from detector.serving.alarms import Alarms
from detector.serving.duty import Duty
from detector.serving.pipeline import Pipeline, first_cause
from detector.serving.shadow import Shadow
from detector.serving.stages import Item, made_ready, records_of, taken
from detector.serving.swap import Swaps
from detector.serving.templates import Templates
from taktwatch.bus import Bus, Consumer, Message, Outgoing, Partition, Rebalance
from taktwatch.config import LineConfig
from taktwatch.errors import BackendUnavailable, BadInput, ConfigError, ModelError, RecordNotFound
from taktwatch.topics import Topics

__all__ = ["GROUP", "DetectorService"]

GROUP = "detector"
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0

log = structlog.get_logger()


class DetectorService:
    """Inspects frames as one member of the group `detector`."""

    def __init__(self, config: LineConfig, bus: Bus, topics: Topics, *, member: str = GROUP) -> None:
        self.config, self.bus, self.topics, self.member = config, bus, topics, member
        self.alarms = Alarms(config.line, member, bus, topics)
        self.duty = Duty(
            Inspector(config, tell=self.hear),
            probation_frames=config.detector.probation_frames,
            on_return=self.give_up,
            on_proved=lambda: None,
        )
        self.templates = Templates(bus, topics, config.ingest)
        self.shadow = Shadow(bus, topics, self.templates)
        self.swaps = Swaps(config, bus, topics, duty=self.duty, alarms=self.alarms, shadow=self.shadow)
        self.network = ThreadPoolExecutor(1, thread_name_prefix="network")
        self.pause_s = FIRST_PAUSE_S

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop`, then finish what is in hand. An absent bus is waited for.

        Raises `ModelError` or `ConfigError` at once where the model of a station's product cannot be used.
        """
        cv2.setNumThreads(1)  # pictures are prepared side by side: threads within one would only wait for each other
        for product in sorted({station.product for station in self.config.stations}):
            await asyncio.to_thread(self.duty.current.engine, product)
            await asyncio.to_thread(self.duty.current.reference, product)
        gc.collect()
        gc.freeze()  # what torch and the models brought stays: to search it for garbage holds all up for 0.2 s
        try:
            await self.stay(stop)
        finally:
            gc.unfreeze()

    async def stay(self, stop: asyncio.Event) -> None:
        """Join the group again and again until `stop`."""
        while not stop.is_set():
            try:
                await self.take_part(stop)
            except BackendUnavailable as error:
                log.warning("detector waits for the bus", error=str(error), pause_s=self.pause_s)
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), self.pause_s)
                self.pause_s = min(2 * self.pause_s, LONGEST_PAUSE_S)

    def hear(self, said: str) -> None:
        """Take note of a model or an engine that had to be helped along; called from any thread."""
        DEGRADED.set(1)
        log.error("detector degraded", said=said)
        self.alarms.hear(said)

    def give_up(self, why: str) -> None:
        """Take note of a model that erred on probation; the one before is at work again."""
        log.error("model given up", why=why)
        self.swaps.given_up.put_nowait(why)

    async def take_part(self, stop: asyncio.Event) -> None:
        """Join the group and inspect until `stop`. Raises `BackendUnavailable`, `OffsetLost`."""
        await self.alarms.begin()
        position = await self.swaps.begin()
        pipeline = Pipeline(
            self.config, self.bus, self.topics, self.duty, self.templates, network=self.network, shadow=self.shadow
        )

        async def revoked(partitions: frozenset[Partition]) -> None:
            await pipeline.revoked(partitions)
            await pipeline.commit(consumer)
            pipeline.positions.forget(partitions)

        consumer: Consumer = self.bus.consumer(
            GROUP, [self.topics.frames], member=self.member, rebalance=Rebalance(from_the_commit, revoked)
        )
        async with consumer:
            self.pause_s = FIRST_PAUSE_S
            try:
                async with asyncio.TaskGroup() as group:
                    beside = [
                        group.create_task(self.swaps.follow(position)),
                        group.create_task(self.swaps.tell_returns()),
                        group.create_task(self.alarms.tell()),
                        group.create_task(self.shadow.run()),
                    ]
                    await pipeline.run(consumer, stop)
                    await self.alarms.tell_rest()
                    for task in beside:
                        task.cancel()
            except BaseExceptionGroup as failures:
                raise first_cause(failures) from None

    async def inspect_messages(self, messages: Sequence[Message]) -> list[Outgoing]:
        """Return what is to be published for these records, in their order; replay publishes it elsewhere."""
        inspector = self.duty.current
        items = [await self.ready(inspector, taken(message, 0.0, {})) for message in messages]
        batch = [item.ready for item in items if item.ready is not None]
        said = iter(await asyncio.to_thread(inspector.inspect_batch, batch))
        done = [replace(item, said=next(said)) if item.ready is not None else item for item in items]
        return [record for item in done for record in records_of(item, self.topics, inspector)]

    async def ready(self, inspector: Inspector, item: Item) -> Item:
        """Prepare one record; whatever is wrong with it becomes the item's error."""
        frame = item.frame
        if frame is None:
            return item
        try:
            template = await self.templates.get(frame.template_sha256) if frame.template_sha256 else None
            ready = await asyncio.to_thread(made_ready, inspector, frame, template)
        except (BadInput, RecordNotFound, ModelError, ConfigError) as error:
            return replace(item, inspector=inspector, error=str(error))
        return replace(item, inspector=inspector, ready=ready)


async def from_the_commit(partitions: frozenset[Partition]) -> Mapping[Partition, int]:  # noqa: ARG001 - the bus's
    """Go on where the group's commits say."""
    return {}
