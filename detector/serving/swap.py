"""Changes models under load: the new one is made ready beside the old one and takes over between two batches.

What was activated is a record on the bus (`taktwatch.activation`). A model that cannot be made ready, or errs within
its probation, is given up by another such record, so that every detector of the line hears of it.
"""

import asyncio

import numpy as np
import structlog

from detector.engines.lanes import lanes
from detector.inspect import Inspector
from detector.proving.choose import STARTS_THREADS_LATER
from detector.proving.proofs import name_of
from detector.serving.alarms import AUTHOR, Alarms
from detector.serving.duty import Duty
from detector.serving.shadow import Shadow, step_back
from taktwatch.activation import activation_of, as_activated, publish_activation, read_activations
from taktwatch.bus import Bus
from taktwatch.clock import now
from taktwatch.config import LineConfig
from taktwatch.errors import BadRecord, ConfigError, EngineFailed, ModelError
from taktwatch.records import ModelActivation
from taktwatch.topics import Topics
from taktwatch.wire import decode

__all__ = ["Swaps"]

WARM_PX = 128

log = structlog.get_logger()


class Swaps:
    """Follows the activations of a line and puts them on duty."""

    def __init__(
        self, config: LineConfig, bus: Bus, topics: Topics, *, duty: Duty, alarms: Alarms, shadow: Shadow
    ) -> None:
        self.config, self.bus, self.topics = config, bus, topics
        self.duty, self.alarms, self.shadow = duty, alarms, shadow
        self.aside = lanes(1, "opening")
        self.aside.submit(step_back).result()
        self.activations: dict[str, ModelActivation] = {}
        self.given_up: asyncio.Queue[str] = asyncio.Queue()

    async def begin(self) -> int:
        """Put on duty what was activated before; return the offset from which activations are to be followed."""
        position = (await self.bus.spans(self.topics.models))[0].next
        for activation in (
            await read_activations(self.bus, self.topics, self.config.line, self.config.products)
        ).values():
            await self.take_up(activation)
        return position

    async def follow(self, position: int) -> None:
        """Take up every activation from an offset on, for ever."""
        async for batch in self.bus.follow(self.topics.models, start={0: position}):
            for message in batch:
                try:
                    record = decode(message.value, message.headers)
                except BadRecord as error:
                    log.warning("an activation cannot be read", offset=message.offset, error=str(error))
                    continue
                if isinstance(record, ModelActivation) and record.line == self.config.line:
                    await self.take_up(record)

    async def take_up(self, activation: ModelActivation) -> None:
        """Make an activated model ready beside the present one, then switch; what cannot be made ready is refused."""
        name = activation.product
        if name not in self.config.products:
            return
        chosen = as_activated(self.config, {**self.activations, name: activation})
        serving = self.duty.current
        if chosen.product(name).model != serving.config.product(name).model:
            wanted = {product.model for product in chosen.products.values()}
            shared = {model: engine for model, engine in serving.engines.items() if model in wanted}
            inspector = Inspector(chosen, engines=shared, tell=serving.tell)
            try:
                await self.open_aside(inspector, name)
                await asyncio.to_thread(warm, inspector, name, activation.model_id)
            except (ModelError, ConfigError, EngineFailed) as error:
                log.exception("an activated model is refused", product=name, model=activation.model)
                await self.go_back(activation, str(error))
                return
            self.duty.switch(inspector)
            log.info("model switched", product=name, model=activation.model, author=activation.author)
        self.activations[name] = activation
        await self.run_beside(activation)
        if activation.author != AUTHOR:
            await self.alarms.activated(activation)

    async def open_aside(self, inspector: Inspector, product: str) -> None:
        """Open a product's model in one thread of less priority: frames that are inspected meanwhile keep their cores.

        Engines that start threads of their own as they are opened, which would stay at that priority, are only handed
        the loaded model there. Where settings leave the engine open, it is the one at work: engines that race for the
        cores now would measure the line. Raises `ModelError`, `ConfigError`.
        """
        model = inspector.config.product(product).model
        if model in inspector.engines:
            return
        loop, aside = asyncio.get_running_loop(), self.aside
        loaded = await loop.run_in_executor(aside, inspector.load, model)
        serving, wanted, engine = self.duty.current, inspector.config.detector.engine, None
        at_work = serving.engines.get(serving.config.product(product).model)
        if wanted == "auto" and at_work is not None:
            where = aside if name_of(at_work.ref) in STARTS_THREADS_LATER else None
            engine = await loop.run_in_executor(where, inspector.opened_like, loaded, at_work.ref)
        if engine is None:
            where = aside if wanted in STARTS_THREADS_LATER else None
            engine = await loop.run_in_executor(where, inspector.opened, loaded)
        inspector.engines[model] = engine

    async def run_beside(self, activation: ModelActivation) -> None:
        """Let the model that an activation names as shadow run beside the counted one; what cannot be opened is not."""
        name, beside = activation.product, activation.shadow
        running = self.shadow.inspectors.get(name)
        if beside and running is not None and running.config.product(name).model == beside:
            return
        self.shadow.inspectors.pop(name, None)
        if not beside:
            return
        product = self.config.product(name).model_copy(update={"model": beside})
        config = self.config.model_copy(update={"products": {**self.config.products, name: product}})
        inspector = Inspector(config)
        try:
            await self.open_aside(inspector, name)
            await asyncio.to_thread(warm, inspector, name, "")
        except (ModelError, ConfigError, EngineFailed):
            log.exception("a model cannot run beside the counted one", product=name, model=beside)
            return
        self.shadow.inspectors[name] = inspector
        log.info("a model runs beside the counted one", product=name, model=beside)

    async def tell_returns(self) -> None:
        """Publish that the models before are at work again, each time one was given up, for ever."""
        while True:
            why = await self.given_up.get()
            serving = self.duty.current.config
            for name, activation in list(self.activations.items()):
                if serving.product(name).model != as_activated(self.config, self.activations).product(name).model:
                    await self.go_back(activation, why)

    async def go_back(self, failed: ModelActivation, why: str) -> None:
        """Publish that a product is inspected by the model on duty, and tell people."""
        name = failed.product
        model = self.duty.current.config.product(name).model
        said = f"{failed.model} was given up for {name}, {model} inspects it again: {why}"
        activation = activation_of(
            self.config,
            name,
            model,
            shadow=failed.shadow,
            author=AUTHOR,
            reason=f"{failed.model} was given up: {why}",
            at=now(),
        )
        self.activations[name] = activation
        await self.alarms.given_up(failed, said)
        await publish_activation(self.bus, self.topics, activation)


def warm(inspector: Inspector, product: str, model_id: str) -> None:
    """Open a product's model and run it once. Raises `ModelError`, `ConfigError`, `EngineFailed`; blocking."""
    inspector.engine(product)
    engine = inspector.engines[inspector.config.product(product).model]  # an empty picture passes no screen
    inspector.reference(product)
    if model_id and engine.ref.model_id != model_id:
        raise ModelError(f"the folder holds {engine.ref.model_id}, not {model_id}, which was activated")
    try:
        engine.infer([np.zeros((3, WARM_PX, WARM_PX), np.float32)])
    except RuntimeError as error:
        raise EngineFailed(f"{engine.ref.model_id} fails on an empty picture: {error}") from error
