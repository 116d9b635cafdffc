"""Which model inspects a product: the newest activation, as long as line.toml says what it said then."""

import asyncio
from datetime import UTC, datetime

from taktwatch.activation import activation_of, as_activated, publish_activation, read_activations
from taktwatch.bus.connect import open_bus
from taktwatch.config import LineConfig, parse_config
from taktwatch.topics import Topics

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)


def settings(model: str = "old") -> LineConfig:
    products = {name: {"model": model, "um_per_px": 20.0} for name in ("p", "q")}
    return parse_config({"line": "l", "products": products}, "test", {})


def test_an_activation_overrules_the_file_until_the_file_is_edited() -> None:
    chosen = {"p": activation_of(settings(), "p", "new", author="Kim", reason="better", at=NOON)}
    assert [as_activated(settings(), chosen).product(name).model for name in ("p", "q")] == ["new", "old"]
    edited = as_activated(settings("newest"), chosen)
    assert edited.product("p").model == "newest"
    assert as_activated(settings(), chosen).product_sha256("p") != settings().product_sha256("p")


def test_the_newest_activation_of_each_product_is_found_again(sqlite_bus_url: str) -> None:
    config, topics = settings(), Topics()

    async def main() -> None:
        bus = open_bus(sqlite_bus_url, config.kafka, client="test")
        try:
            await bus.ensure(topics.specs(None))
            assert not await read_activations(bus, topics, "l", config.products)
            for model in ("new", "newer"):
                one = activation_of(config, "p", model, shadow="s", author="Kim", reason="better", at=NOON)
                await publish_activation(bus, topics, one)
            found = await read_activations(bus, topics, "l", config.products)
            assert {name: (one.model, one.shadow, one.configured) for name, one in found.items()} == {
                "p": ("newer", "s", "old")
            }
            assert not await read_activations(bus, topics, "another line", config.products)
        finally:
            await bus.close()

    asyncio.run(main())
