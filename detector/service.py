"""The detector service: frames in, one result per frame out, then the offset is committed.

While one batch is in the network, the next is fetched, decoded and registered. After a crash the frames since the last
commit are inspected again: their results are repeats, recognised by frame id.
"""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import structlog

from detector.inspect import Inspection, Inspector, Picture, Prepared
from detector.metrics import BAD_RECORDS, BATCH_FRAMES, DOUBTS, FRAMES, IN_HAND, INFERENCE_SECONDS, LATENCY_SECONDS
from detector.outcomes import dead_frame, dead_record, dead_result, inspected, place_on_panel
from detector.templates import Templates
from taktwatch.bus import Bus, Consumer, Message, Outgoing, Partition
from taktwatch.clock import now
from taktwatch.config import LineConfig
from taktwatch.errors import BackendUnavailable, BadInput, ConfigError, ModelError, RecordNotFound
from taktwatch.pictures import decode as decode_picture
from taktwatch.records import DeadLetter, Frame, InspectionResult
from taktwatch.topics import Topics
from taktwatch.wire import decode, encode

__all__ = ["GROUP", "DetectorService"]

GROUP = "detector"
POLL = timedelta(milliseconds=250)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Item:
    """A polled record on its way: its frame (None: it was none), what is ready for the network, or why nothing is."""

    message: Message
    frame: Frame | None
    ready: Prepared | None
    error: str = ""


class DetectorService:
    """Inspects frames as one member of the group `detector`."""

    def __init__(self, config: LineConfig, bus: Bus, topics: Topics, *, member: str = GROUP) -> None:
        self.config, self.bus, self.topics, self.member = config, bus, topics, member
        self.inspector = Inspector(config)
        self.templates = Templates(bus, topics, config.ingest)
        self.network = ThreadPoolExecutor(1, thread_name_prefix="network")

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop`, then finish what is in hand. An absent bus is waited for.

        Raises `ModelError` or `ConfigError` at once where the model of a station's product cannot be used.
        """
        for product in sorted({station.product for station in self.config.stations}):
            await asyncio.to_thread(self.inspector.engine, product)
            await asyncio.to_thread(self.inspector.reference, product)
        pause_s = FIRST_PAUSE_S
        while not stop.is_set():
            try:
                async with self.bus.consumer(GROUP, [self.topics.frames], member=self.member) as consumer:
                    pause_s = FIRST_PAUSE_S
                    await self.consume(consumer, stop)
            except BackendUnavailable as error:
                log.warning("detector waits for the bus", error=str(error), pause_s=pause_s)
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def consume(self, consumer: Consumer, stop: asyncio.Event) -> None:
        """Inspect batch after batch; each is published, then committed, while the next is made ready."""
        running: asyncio.Task[dict[Partition, int]] | None = None
        try:
            while not stop.is_set():
                messages = await consumer.poll(self.config.detector.max_batch, POLL)
                IN_HAND.inc(len(messages))
                items = await self.prepare(messages)
                if running is not None:
                    await consumer.commit(await running)
                running = asyncio.create_task(self.finish(items)) if items else None
            if running is not None:
                await consumer.commit(await running)
        finally:
            IN_HAND.set(0)
            if running is not None and not running.done():
                running.cancel()
                with suppress(asyncio.CancelledError, BackendUnavailable):
                    await running

    async def inspect_messages(self, messages: Sequence[Message]) -> list[Outgoing]:
        """Return what is to be published for these records, in their order; replay publishes it elsewhere."""
        return await self.conclude(await self.prepare(messages))

    async def prepare(self, messages: Sequence[Message]) -> list[Item]:
        """Decode and register pictures, each in a thread of its own."""
        return list(await asyncio.gather(*(self.prepare_one(message) for message in messages)))

    async def prepare_one(self, message: Message) -> Item:
        """Make one record ready; whatever is wrong with it becomes the item's error."""
        try:
            frame = decode(message.value, message.headers)
        except BadInput as error:
            return Item(message, None, None, str(error))
        if not isinstance(frame, Frame):
            return Item(message, None, None, f"a {type(frame).__name__} on {message.topic}, which takes frames alone")
        try:
            template = await self.templates.get(frame.template_sha256) if frame.template_sha256 else None
            ready = await asyncio.to_thread(self.ready, frame, template)
        except (BadInput, RecordNotFound, ModelError, ConfigError) as error:
            return Item(message, frame, None, str(error))
        return Item(message, frame, ready)

    def ready(self, frame: Frame, template: Picture | None) -> Prepared:
        """Decode a frame's picture and prepare it (in a thread)."""
        began = time.perf_counter_ns()
        limits = self.config.ingest
        picture = decode_picture(
            frame.image, name=f"frame {frame.frame_id}", max_px=limits.max_picture_px, max_side=limits.max_side_px
        )
        decoded_us = (time.perf_counter_ns() - began) // 1000
        origin = place_on_panel(frame, picture.shape[:2])
        prepared = self.inspector.prepare(
            frame.product,
            picture,
            template,
            um_per_px=frame.um_per_px,
            origin=origin,
            template_sha256=frame.template_sha256,
            taken_at=frame.event_at,
        )
        return prepared.timed("decode", decoded_us)

    async def finish(self, items: Sequence[Item]) -> dict[Partition, int]:
        """Inspect, publish, and return the offsets that may then be committed."""
        outgoing = await self.conclude(items)
        await self.bus.publish(outgoing)
        at = now()
        for item in items:
            IN_HAND.dec()
            if item.frame is not None:
                LATENCY_SECONDS.labels(item.frame.station).observe((at - item.frame.received_at).total_seconds())
        positions: dict[Partition, int] = {}
        for item in items:
            partition = (item.message.topic, item.message.partition)
            positions[partition] = max(positions.get(partition, 0), item.message.offset + 1)
        return positions

    async def conclude(self, items: Sequence[Item]) -> list[Outgoing]:
        """Run the network over what is ready and turn every item into its records."""
        batch = [item.ready for item in items if item.ready is not None]
        loop = asyncio.get_running_loop()
        said = iter(await loop.run_in_executor(self.network, self.inspector.inspect_batch, batch) if batch else ())
        if batch:
            BATCH_FRAMES.observe(len(batch))
        return [
            record for item in items for record in self.records(item, next(said) if item.ready is not None else None)
        ]

    def records(self, item: Item, said: Inspection | None) -> list[Outgoing]:
        """Return the result of an item, or its dead letter with a dead result where it was a frame."""
        message, frame = item.message, item.frame
        if frame is None:
            BAD_RECORDS.inc()
            sha256 = hashlib.sha256(message.value).hexdigest()
            return [self.outgoing(self.topics.dead, message.key, dead_record(message, item.error, sha256))]
        settings = self.config.products.get(frame.product)
        sha256 = self.config.product_sha256(frame.product) if settings else ""
        if said is None or settings is None:
            result = dead_result(frame, message.place, item.error, config_sha256=sha256, at=now())
            letter = dead_frame(frame, message.place, item.error, message.timestamp)
            FRAMES.labels(frame.station, frame.product, result.outcome, "").inc()
            return [
                self.outgoing(self.topics.results, frame.line.encode(), result),
                self.outgoing(self.topics.dead, message.key, letter),
            ]
        opportunities = settings.opportunities
        result = inspected(frame, message.place, said, opportunities=opportunities, config_sha256=sha256, at=now())
        FRAMES.labels(frame.station, frame.product, result.outcome, said.verdict).inc()
        for doubt in result.doubts:
            DOUBTS.labels(frame.station, frame.product, doubt).inc()
        INFERENCE_SECONDS.labels(said.model.name).observe(said.timings_us["infer"] / 1e6)
        return [self.outgoing(self.topics.results, frame.line.encode(), result)]

    @staticmethod
    def outgoing(topic: str, key: bytes, record: InspectionResult | DeadLetter) -> Outgoing:
        """Return a record on its way out."""
        value, headers = encode(record)
        return Outgoing(topic, key, value, headers)
