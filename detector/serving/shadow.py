"""A model that runs beside the counted one: on the same frames, when nothing waits, and nothing counts what it says.

Frames are handed over once their verdict is on its way. They wait here while the line has work; of too many, the
oldest are let go of. What was said lies on the shadow topic, and `detector.evaluation.shadowing` compares.
"""

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import structlog

from detector.inspect import Inspector
from detector.metrics import SHADOW_FRAMES
from detector.serving.outcomes import inspected
from detector.serving.stages import Item, made_ready, outgoing
from detector.serving.templates import Templates
from detector.steps import Inspection, Picture
from taktwatch.bus import Bus
from taktwatch.clock import now
from taktwatch.errors import BadInput, ConfigError, EngineFailed, ModelError, RecordNotFound
from taktwatch.topics import Topics

__all__ = ["KEPT", "NICENESS", "Shadow", "step_back"]

KEPT = 16
"""Frames that wait for the model beside, at most."""

LOOK_AGAIN_S = 0.02
NICENESS = 10

log = structlog.get_logger()


class Shadow:
    """`inspectors` by product are the models beside; `is_idle` says whether the counted ones have nothing to do.

    One frame at a time, in a thread of less priority: a counted frame that comes meanwhile shares cores with that one.
    """

    def __init__(self, bus: Bus, topics: Topics, templates: Templates) -> None:
        self.bus, self.topics, self.templates = bus, topics, templates
        self.inspectors: dict[str, Inspector] = {}
        self.waiting: deque[Item] = deque()
        self.offered = asyncio.Event()
        self.is_idle: Callable[[], bool] = lambda: True
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="shadow", initializer=step_back)

    def offer(self, item: Item) -> None:
        """Take a frame whose verdict is on its way, if a model runs beside for its product; never waits."""
        if item.frame is None or item.ready is None or item.ready.product not in self.inspectors:
            return
        self.waiting.append(item)
        if len(self.waiting) > KEPT:
            self.waiting.popleft()
            SHADOW_FRAMES.labels("shed").inc()
        self.offered.set()

    async def run(self) -> None:
        """Inspect what waits whenever the line is idle, for ever."""
        while True:
            await self.offered.wait()
            while self.waiting:
                while not self.is_idle():  # noqa: ASYNC110 - between two frames of a line it is looked at a few times
                    await asyncio.sleep(LOOK_AGAIN_S)
                if self.waiting:
                    await self.look(self.waiting.popleft())
            self.offered.clear()

    async def look(self, item: Item) -> None:
        """Let the model beside inspect one frame and publish what it says; one that fails is not asked again."""
        frame, ready = item.frame, item.ready
        assert frame is not None  # noqa: S101 - it was offered
        assert ready is not None  # noqa: S101 - same
        inspector = self.inspectors.get(ready.product)
        if inspector is None:
            return
        loop = asyncio.get_running_loop()
        try:
            template = await self.templates.get(frame.template_sha256) if frame.template_sha256 else None
            said = await loop.run_in_executor(self.thread, seen_beside, inspector, item, template)
        except (EngineFailed, BadInput, RecordNotFound, ModelError, ConfigError) as error:
            SHADOW_FRAMES.labels("failed").inc()
            del self.inspectors[ready.product]
            log.exception("the model beside failed and is not asked again", product=ready.product, error=str(error))
            return
        settings = inspector.config.product(frame.product)
        result = inspected(
            frame,
            item.message.place,
            said,
            opportunities=settings.opportunities,
            config_sha256=inspector.config.product_sha256(frame.product),
            at=now(),
        )
        await self.bus.publish([outgoing(self.topics.shadow, frame.line.encode(), result)])
        SHADOW_FRAMES.labels("inspected").inc()


def seen_beside(inspector: Inspector, item: Item, template: Picture | None) -> Inspection:
    """Inspect a frame with another model; what is prepared already is taken over where that model sees the same."""
    assert item.frame is not None  # noqa: S101 - it was offered
    assert item.ready is not None  # noqa: S101 - same
    assert item.inspector is not None  # noqa: S101 - it was inspected
    product = item.ready.product
    ready = item.ready
    if inspector.engine(product).spec.input != item.inspector.engine(product).spec.input:
        ready = made_ready(inspector, item.frame, template)
    return inspector.inspect_batch([ready])[0]


def step_back() -> None:
    """Let this thread, and those that it starts, have what others leave of a core; Linux alone knows threads so."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
