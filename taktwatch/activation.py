"""Which model inspects a product on a running line: a record on the bus, so that every detector hears of it.

A compacted topic keeps the last activation of each product. Detectors follow it, make the model ready beside the old
one and switch between two batches; none is restarted.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from taktwatch.bus import Bus, Outgoing
from taktwatch.config import LineConfig
from taktwatch.errors import BadRecord
from taktwatch.records import ModelActivation
from taktwatch.topics import Topics
from taktwatch.wire import decode, encode

__all__ = [
    "activation_of",
    "as_activated",
    "publish_activation",
    "read_activation",
    "read_activations",
]

Activations = Mapping[str, ModelActivation]
"""The newest activation of each product, by the product's name."""


def activation_of(
    config: LineConfig,
    product: str,
    model: str,
    *,
    model_id: str = "",
    shadow: str = "",
    author: str,
    reason: str,
    at: datetime,
) -> ModelActivation:
    """Return the record that makes `model` inspect a product of this line. Raises `UnknownProduct`."""
    return ModelActivation(
        line=config.line,
        product=product,
        model=model,
        model_id=model_id,
        configured=config.product(product).model,
        author=author,
        reason=reason,
        at=at,
        shadow=shadow,
    )


def as_activated(config: LineConfig, activations: Activations) -> LineConfig:
    """Return the configuration with the activated models in it.

    An activation stands as long as line.toml names the model that it named then.
    """
    products = {
        name: product.model_copy(update={"model": chosen.model})
        if (chosen := activations.get(name)) is not None and chosen.configured == product.model
        else product
        for name, product in config.products.items()
    }
    return config.model_copy(update={"products": products})


async def publish_activation(bus: Bus, topics: Topics, activation: ModelActivation) -> None:
    """Tell every detector of the line; it is theirs to make the model ready and to switch, or to refuse it."""
    value, headers = encode(activation)
    await bus.publish([Outgoing(topics.models, key_of(activation.line, activation.product), value, headers)])


async def read_activation(bus: Bus, topics: Topics, line: str, product: str) -> ModelActivation | None:
    """Return the newest activation of a product, or None. Raises `BadRecord` for a record that is none."""
    message = await bus.last(topics.models, key_of(line, product))
    if message is None:
        return None
    record = decode(message.value, message.headers)
    if not isinstance(record, ModelActivation):
        raise BadRecord(f"a {type(record).__name__} on {topics.models}, which takes activations alone")
    return record


async def read_activations(bus: Bus, topics: Topics, line: str, products: Iterable[str]) -> dict[str, ModelActivation]:
    """Return the newest activation of each of these products that has one."""
    found = {product: await read_activation(bus, topics, line, product) for product in products}
    return {product: record for product, record in found.items() if record is not None}


def key_of(line: str, product: str) -> bytes:
    """Return the key under which a product's activation is kept."""
    return f"{line}\x1f{product}".encode()
