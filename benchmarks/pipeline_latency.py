"""How long a camera waits for its verdict under load, where that time goes, and what a change of the model adds to it.

Part of `benchmarks/pipeline.py`. A frame's time ends when a reader who waits for the result of it has it: it is durable
by then. Beside what was measured stands what the same frames would take on an ideal server, one that inspects each in
the time the engine takes for one picture, first come, first served, and does nothing else: no queue does better.
"""

import asyncio
import random
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import fmean, median

import numpy as np
from pipeline_line import (
    MODEL,
    PRODUCT,
    TOPICS,
    Boards,
    Camera,
    Spent,
    Stopwatch,
    draw,
    line,
    listening,
    prepared,
    said,
    settings,
    working,
)

from detector.engines import Channels, Engine
from detector.proving.choose import known_engine, open_engine
from detector.registry import load_model
from taktwatch.activation import activation_of, publish_activation
from taktwatch.clock import now
from taktwatch.config import LineConfig
from taktwatch.errors import ConfigError, ModelError
from taktwatch.records import Outcome

__all__ = ["BATCH", "STATIONS", "Asked", "latency", "swap"]

STATIONS, LOAD, JITTER, BATCH = 8, 0.7, 0.2, 4
WARM_UP = 16
SLOWEST = 0.05

STAGES = ("to the detector", "wait", "prepare", "queue", "network", "judge", "to the reader")


@dataclass(frozen=True)
class Asked:
    """What both parts are told: models, where to work, seconds, side of the pictures in px, registered frames/s."""

    models: Path
    folder: Path
    engine_name: str
    seconds: float
    side: int
    pace: float


@dataclass(frozen=True)
class Verdict:
    """When a frame was taken, ms until a reader had its result, whether it was inspected, and ms by `STAGES`."""

    at: datetime
    ms: float
    good: bool
    stages: Mapping[str, float]


def beats(seconds: float, takt_s: float) -> list[tuple[float, int]]:
    """Return when each station takes its pictures, in s, each takt give or take the jitter, one after the other."""
    due = []
    for station in range(STATIONS):
        chance = random.Random(station)
        for beat in range(max(1, int(seconds / takt_s))):
            at = beat + (station + 0.5) / STATIONS + chance.uniform(-JITTER, JITTER)
            due.append((max(at, 0.0) * takt_s, station))
    return sorted(due)


def ideal_ms(due: Sequence[tuple[float, int]], service_ms: float) -> list[float]:
    """Return what frames take on an ideal server: each waits for those before it, then for itself.

    >>> ideal_ms([(0.0, 0), (0.05, 1), (1.0, 0)], 100.0)
    [100.0, 150.0, 100.0]
    """
    free_ms, taken = 0.0, []
    for at_s, _ in due:
        free_ms = max(free_ms, at_s * 1000) + service_ms
        taken.append(free_ms - at_s * 1000)
    return taken


async def paced(camera: Camera, seconds: float, takt_s: float) -> None:
    """Let every station take its pictures."""
    began = time.monotonic()

    async def station(number: int) -> None:
        for due_s, whose in beats(seconds, takt_s):
            if whose == number:
                await asyncio.sleep(max(began + due_s - time.monotonic(), 0))
                await camera.publish(1, number)

    await asyncio.gather(*(station(number) for number in range(STATIONS)))


async def verdicts(camera: Camera, heard: Mapping[tuple[int, int], datetime]) -> list[Verdict]:
    """Return what became of each frame, in order, once all is heard; the first result of a frame counts."""
    first: dict[str, Verdict] = {}
    records = await said(camera.bus)
    while len(heard) < len(records):  # noqa: ASYNC110 - the last are on their way
        await asyncio.sleep(0.05)
    for message, result in sorted(records, key=lambda one: one[0].timestamp):
        at = heard[message.partition, message.offset]
        ms = (at - result.taken_at).total_seconds() * 1000
        spent = {stage: us / 1000 for stage, us in result.timings_us.items()}
        stages = {stage: spent.get(stage, 0.0) for stage in STAGES}
        stages["prepare"] += spent.get("decode", 0.0)
        stages["to the reader"] = (at - result.inspected_at).total_seconds() * 1000
        stages["to the detector"] = ms - sum(stages.values())
        first.setdefault(result.frame_id, Verdict(result.taken_at, ms, result.outcome is Outcome.INSPECTED, stages))
    return sorted(first.values(), key=lambda one: one.at)


def single_ms(engine: Engine, channels: Sequence[Channels]) -> float:
    """Return the engine's median time for one picture, nothing else running."""
    spent = []
    for one in channels:
        watch = Stopwatch()
        engine.infer([one])
        spent.append(watch.spent(1).wall_s * 1000)
    return median(spent)


def quantile(values: Sequence[float], share: float) -> float:
    """Return a quantile; not a number where there are no values."""
    return float(np.quantile(values, share)) if values else float("nan")


def went(words: str, seen: Sequence[Verdict]) -> str:
    """Return a row of where the time of some frames went, on the mean."""
    means = [fmean(one.stages[stage] for one in seen) for stage in STAGES]
    return f"| {words} | " + " | ".join(f"{mean:.0f}" for mean in means) + f" | {fmean(one.ms for one in seen):.0f} |"


def latency(asked: Asked, engine: Engine) -> str:
    """Measure camera to verdict at 70 % of the capacity just measured."""
    takt_s = STATIONS / (LOAD * asked.pace)
    boards = draw(24, asked.side, aligned=False)
    config = settings(asked.folder / "latency", asked.models, stations=STATIONS, takt_s=takt_s, max_batch=BATCH)
    channels = prepared(config, engine, boards)
    alone_ms = single_ms(engine, channels)

    async def measure() -> tuple[list[Verdict], Spent]:
        async with line(config, boards) as camera, working(camera, engine), listening(camera) as heard:
            await camera.publish(WARM_UP)
            await camera.inspected()
            watch = Stopwatch()
            await paced(camera, asked.seconds, takt_s)
            spent = watch.spent(camera.published)
            await camera.inspected()
            return (await verdicts(camera, heard))[WARM_UP:], spent

    seen, spent = asyncio.run(measure())
    alone_ms = (alone_ms + single_ms(engine, channels)) / 2
    taken, slowest = [one.ms for one in seen], sorted(seen, key=lambda one: one.ms)[-max(1, int(SLOWEST * len(seen))) :]
    ideal = ideal_ms(beats(asked.seconds, takt_s), alone_ms)
    besides = fmean(one.ms - one.stages["queue"] - one.stages["network"] for one in seen)

    def row(words: str, values: Sequence[float], rest: str) -> str:
        p50, p95, p99 = (quantile(values, share) for share in (0.5, 0.95, 0.99))
        return f"| {words} | {p50:.0f} | {p95:.0f} | {p99:.0f} | {p99 / alone_ms:.1f}x | {rest} |"

    return f"""### Latency under load ({asked.engine_name})

{STATIONS} stations, a takt of {takt_s:.2f} s each with ±{JITTER:.0%} jitter: {LOAD:.0%} of the {asked.pace:.1f}
registered pictures/s that the whole path inspects in batches; {len(seen)} frames of {asked.side} px. From the camera's
trigger until a reader of the bus has the verdict. The engine takes {alone_ms:.0f} ms for one picture alone (median
before and after): one by one they are a load of {LOAD * asked.pace * alone_ms / 1000:.0%} for it. *Ideal*: the same
frames, first come, first served, on a server that takes just that long for each and has nothing else to do.

| | p50 ms | p95 ms | p99 ms | p99, times the engine's | target | cores in use |
|---|---:|---:|---:|---:|---:|---:|
{row("camera to verdict", taken, f"3x | {spent.busy:.0%}")}
{row("ideal", ideal, " | ")}
{row("ideal, and the other stages as measured", [one + besides for one in ideal], " | ")}

| where it goes, mean ms | {" | ".join(STAGES)} | in all |
|---|{"---:|" * (len(STAGES) + 1)}
{went("all frames", seen)}
{went(f"the slowest {SLOWEST:.0%}", slowest)}"""


def proven(config: LineConfig, name: str) -> str:
    """Return the engine that can be opened while the line runs: unproven ones are refused, torch never."""
    chosen = config.detector.model_copy(update={"engine": known_engine(name)})
    try:
        open_engine(load_model(config.detector.models_dir / MODEL), chosen)
    except (ConfigError, ModelError):
        return "torch"
    return name


async def changing(
    camera: Camera, engine: Engine, seconds: float, takt_s: float
) -> tuple[list[Verdict], list[tuple[datetime, datetime]], int]:
    """Change models again and again while the stations send; return verdicts, from when to when, and frames sent."""
    changes: list[tuple[datetime, datetime]] = []
    config = camera.config
    async with working(camera, engine) as service, listening(camera) as heard:
        await camera.publish(WARM_UP)
        await camera.inspected()
        load = asyncio.create_task(paced(camera, seconds, takt_s))
        while not load.done():
            await asyncio.sleep(max(5.0, 2 * takt_s))
            if load.done():
                break
            before, began = service.duty.current, now()
            product = config.product(PRODUCT)
            following = f"{MODEL}-next" if before.config.product(PRODUCT).model == product.model else MODEL
            record = activation_of(config, PRODUCT, following, author="benchmark", reason="swap under load", at=began)
            await publish_activation(camera.bus, TOPICS, record)
            while service.duty.current is before and not load.done():  # noqa: ASYNC110 - the switch is no event
                await asyncio.sleep(0.02)
            changes.append((began, now() + timedelta(seconds=takt_s / STATIONS)))
        await camera.inspected()
        return (await verdicts(camera, heard))[WARM_UP:], changes, camera.published - WARM_UP


def swap(asked: Asked, engine: Engine) -> str:
    """Change models while 8 stations send, and compare frames taken during a change with the rest."""
    models = asked.folder / "models"
    for name in (MODEL, f"{MODEL}-next"):
        shutil.copytree(asked.models / MODEL, models / name)
    base, pace = settings(asked.folder, models), asked.pace
    engine_name = proven(base, asked.engine_name)
    boards: Boards = draw(24, asked.side, aligned=False)
    if engine_name != asked.engine_name:
        engine = open_engine(load_model(models / MODEL), base.detector)
        pace = 0.9 * 1000 / single_ms(engine, prepared(base, engine, boards))
    takt_s = STATIONS / (LOAD * pace)
    config = settings(
        asked.folder / "swap", models, takt_s=takt_s, engine=engine_name, max_batch=BATCH, probation_frames=4
    )

    async def measure() -> tuple[list[Verdict], list[tuple[datetime, datetime]], int]:
        async with line(config, boards) as camera:
            return await changing(camera, engine, asked.seconds, takt_s)

    seen, changes, published = asyncio.run(measure())
    during = [one for one in seen if any(began <= one.at <= end for began, end in changes)]
    steady = [one for one in seen if not any(began <= one.at <= end for began, end in changes)]
    failed, lost = sum(not one.good for one in seen), published - len(seen)
    took = median((end - began).total_seconds() for began, end in changes or [(now(), now())])
    p99, calm = (quantile([one.ms for one in some], 0.99) for some in (during, steady))
    counts = f"p99 ms during ({len(during)} frames) | p99 ms steady ({len(steady)} frames)"
    rows = [went(words, some) for words, some in (("during", during), ("steady", steady)) if some]
    return f"""### Another model under load ({engine_name})

{len(changes)} changes of the model (each opened beside the one at work in {took:.1f} s) while {STATIONS} stations send
{published} frames at {LOAD:.0%} load. *During*: taken from the activation to the switch.

| frames | failed | lost | {counts} | during against steady | target |
|---:|---:|---:|---:|---:|---:|---:|
| {published} | {failed} | {lost} | {p99:.0f} | {calm:.0f} | {p99 / calm:.2f}x | 0, 0, 1.2x |

| where it goes, mean ms | {" | ".join(STAGES)} | in all |
|---|{"---:|" * (len(STAGES) + 1)}
{chr(10).join(rows)}"""
