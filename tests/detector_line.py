"""A line with one small model of random weights on the embedded bus, and a detector that inspects on it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import torch
from tiny_model import TINY, card

from detector.model import build_model
from detector.registry import pack_weights, save_model
from detector.service import DetectorService
from taktwatch.assets import make_asset, publish_asset
from taktwatch.bus import Bus, Outgoing
from taktwatch.bus.connect import open_bus
from taktwatch.config import LineConfig, parse_config
from taktwatch.pictures import encode_jpeg, encode_png
from taktwatch.records import DeadLetter, Frame, InspectionResult, Record, frame_id
from taktwatch.simulator import board, golden
from taktwatch.topics import Topics
from taktwatch.wire import decode, encode

TOPICS = Topics()
START = datetime(2026, 3, 3, 8, tzinfo=UTC)
SIZE = (96, 128)
TEMPLATE = make_asset(encode_png(golden(3, size=SIZE)), "template", "image/png")


def save_tiny(folder: Path) -> Path:
    torch.manual_seed(5)
    weights = pack_weights(build_model(TINY))
    known = card(TINY).model_copy(update={"weights_sha256": hashlib.sha256(weights).hexdigest()})
    save_model(folder / "tiny", known, weights)
    return folder


def settings(models: Path, folder: Path, **product: object) -> LineConfig:
    classes = {"open": {"score": 0.01}, "short": {"score": 0.01}}
    tables = {
        "line": "l",
        "data_dir": str(folder),
        "bus": f"sqlite:///{folder}/bus",
        "stations": [{"name": "top", "product": "p", "source": {"kind": "simulator"}}],
        "products": {
            "p": {"model": "tiny", "um_per_px": 20.0, "opportunities": 7, "classes": classes, "min_shown_px": 0}
            | product
        },
        "detector": {"models_dir": str(models), "max_batch": 3, "device": "cpu", "threads": 1},
    }
    return parse_config(tables, "test", {})


def frame(seq: int, image: bytes | None = None, **changes: object) -> Frame:
    image = encode_jpeg(board(3, seq, size=SIZE, defects=()).picture) if image is None else image
    at = START + timedelta(seconds=2 * seq)
    made = Frame(
        frame_id=frame_id("l", "top", "s", seq),
        line="l",
        station="top",
        product="p",
        view="board",
        session="s",
        seq=seq,
        visit=seq,
        taken_at=at,
        received_at=at + timedelta(milliseconds=30),
        um_per_px=20.8,
        sha256=hashlib.sha256(image).hexdigest(),
        image=image,
        media_type="image/jpeg",
        lot="A7",
        serial=f"SN{seq}",
        template_sha256=TEMPLATE.sha256,
    )
    return msgspec.structs.replace(made, **changes)


def outgoing(made: Frame) -> Outgoing:
    value, headers = encode(made)
    return Outgoing(TOPICS.frames, made.frame_id.encode(), value, headers)


@asynccontextmanager
async def line(config: LineConfig) -> AsyncIterator[Bus]:
    bus = open_bus(config.bus_url, config.kafka, client="test")
    try:
        await bus.ensure(TOPICS.specs(None))
        await publish_asset(bus, TOPICS, TEMPLATE)
        yield bus
    finally:
        await bus.close()


async def everything(bus: Bus, topic: str) -> list[Record]:
    return [decode(one.value, one.headers) async for batch in bus.read(topic) for one in batch]


async def results(bus: Bus) -> list[InspectionResult]:
    return [one for one in await everything(bus, TOPICS.results) if isinstance(one, InspectionResult)]


async def letters(bus: Bus) -> list[DeadLetter]:
    return [one for one in await everything(bus, TOPICS.dead) if isinstance(one, DeadLetter)]


async def run_until(done: Callable[[], Awaitable[bool]], *services: DetectorService) -> None:
    stop = asyncio.Event()
    tasks = [asyncio.create_task(service.run(stop)) for service in services]
    while not await done() and not any(task.done() for task in tasks):  # noqa: ASYNC110 - it lies in a database
        await asyncio.sleep(0.05)
    stop.set()
    await asyncio.gather(*tasks)


def second_model(models: Path) -> None:
    torch.manual_seed(6)
    weights = pack_weights(build_model(TINY))
    known = card(TINY).model_copy(update={"name": "next", "weights_sha256": hashlib.sha256(weights).hexdigest()})
    save_model(models / "next", known, weights)
