"""Decoded templates are kept as long as there is room."""

import asyncio
from pathlib import Path

import numpy as np

from detector.serving.templates import Templates
from taktwatch.assets import make_asset, publish_asset
from taktwatch.bus.connect import open_bus
from taktwatch.config import IngestConfig, parse_config
from taktwatch.pictures import encode_png
from taktwatch.simulator import golden
from taktwatch.topics import Topics

TOPICS = Topics()
PICTURES = [golden(seed, size=(96, 128)) for seed in range(4)]
ASSETS = [make_asset(encode_png(picture), "template", "image/png") for picture in PICTURES]


async def fetched(folder: Path, *, capacity: int, most_bytes: int) -> Templates:
    """Fetch all templates in turn, the first once more in between; return what is left."""
    config = parse_config({"bus": f"sqlite:///{folder}/bus"}, "test", {})
    bus = open_bus(config.bus_url, config.kafka, client="test")
    try:
        await bus.ensure(TOPICS.specs(None))
        for asset in ASSETS:
            await publish_asset(bus, TOPICS, asset)
        templates = Templates(bus, TOPICS, IngestConfig(), capacity=capacity, most_bytes=most_bytes)
        for index in (0, 1, 0, 2, 3):
            assert np.array_equal(await templates.get(ASSETS[index].sha256), PICTURES[index])
        return templates
    finally:
        await bus.close()


def test_the_least_recently_used_is_given_up_first(tmp_path: Path) -> None:
    templates = asyncio.run(fetched(tmp_path, capacity=3, most_bytes=10**9))
    assert list(templates.known) == [ASSETS[index].sha256 for index in (0, 2, 3)]


def test_large_ones_are_given_up_by_what_they_take_and_the_newest_stays(tmp_path: Path) -> None:
    one = PICTURES[0].nbytes
    templates = asyncio.run(fetched(tmp_path / "two", capacity=16, most_bytes=2 * one))
    assert (len(templates.known), templates.held_bytes) == (2, 2 * one)
    alone = asyncio.run(fetched(tmp_path / "one", capacity=16, most_bytes=one // 2))
    assert list(alone.known) == [ASSETS[3].sha256]
