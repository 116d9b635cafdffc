"""The whole path of a frame against the bare engine, its latency under load, a swap under load, memory, and judging.

python benchmarks/pipeline.py                                   all parts, about ten minutes on four cores
python benchmarks/pipeline.py --parts whole judging             some of them: whole, latency, swap, memory, judging
python benchmarks/pipeline.py --engine torch --turns 8 --write docs/benchmarks.md

*Whole*: an encoded picture on the embedded bus, decoded, registered, inspected, judged, its verdict published; against
the engine alone on the same prepared pictures, in turns of one process, so that a machine that slows down slows both.
"""

import argparse
import asyncio
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as taktwatch sets it where it comes before NumPy

import msgspec
import numpy as np
import numpy.typing as npt
import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from pipeline_line import (  # noqa: E402 - its folder was just made known
    LAYOUTS,
    MODEL,
    PRODUCT,
    TOPICS,
    Boards,
    Camera,
    Spent,
    Stopwatch,
    batches,
    draw,
    line,
    said,
    settings,
    working,
)

from detector.bench import machine  # noqa: E402
from detector.engines import Channels, Engine, RawDetections  # noqa: E402
from detector.engines.choose import build_engine, known_engine, open_engine  # noqa: E402
from detector.inspect import Inspector  # noqa: E402
from detector.registry import load_model  # noqa: E402
from taktwatch.activation import activation_of, publish_activation  # noqa: E402
from taktwatch.clock import now  # noqa: E402
from taktwatch.config import DetectorConfig, LineConfig, parse_config  # noqa: E402
from taktwatch.errors import ConfigError, ModelError  # noqa: E402
from taktwatch.pictures import decode  # noqa: E402
from taktwatch.records import Outcome  # noqa: E402
from taktwatch.simulator import BOARD_DEFECTS, BoardLook, board, section  # noqa: E402

BEGIN, END = "<!-- pipeline: begin -->", "<!-- pipeline: end -->"
PARTS = ("whole", "latency", "swap", "memory", "judging")
SIDE_PX, BATCH = 640, 4
STATIONS, LOAD, JITTER = 8, 0.7, 0.2
MEMORY_PX, TOGETHER, WARM_FRAMES = 128, 250, 2000
DETECTIONS, LAYERS, TIMES = 20, 4, 10

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Turn:
    """One turn: the whole path, then the engine alone in batches and picture by picture."""

    path: Spent
    bare: Spent
    alone: Spent


def prepared(config: LineConfig, engine: Engine, boards: Boards) -> list[Channels]:
    """Return what the network sees of boards."""
    inspector = Inspector(config, engines={MODEL: engine})
    return [
        inspector.prepare(PRODUCT, decode(picture), decode(template.body)).inputs.channels
        for picture, template in zip(boards.pictures, boards.templates, strict=True)
    ]


async def race(folder: Path, engine: Engine, device: str, boards: Boards, turns: int) -> list[Turn]:
    """Let the whole path and the bare engine inspect the same pictures, in turns; the first turn warms up."""
    config = settings(folder, ROOT / "models", max_batch=BATCH, device=device)
    channels = prepared(config, engine, boards)
    taken: list[Turn] = []
    async with line(config, boards) as camera, working(camera, engine):
        for number in range(turns + 1):
            watch = Stopwatch()
            await camera.publish(len(boards), number % STATIONS)
            began = now()
            await camera.inspected()
            spent = watch.spent(len(boards))
            last = max(message.timestamp for message, _ in await said(camera.bus))
            path = replace(spent, wall_s=(last - began).total_seconds())
            watch = Stopwatch()
            for batch in batches(channels, BATCH):
                engine.infer(batch)
            bare = watch.spent(len(boards))
            watch = Stopwatch()
            for one in channels:
                engine.infer([one])
            taken.append(Turn(path, bare, watch.spent(len(boards))))
    return taken[1:]


def rows_of(kind: str, turns: Sequence[Turn], target: str) -> list[str]:
    """Write what a race says; ratios are medians over its turns."""
    wall = median(turn.bare.wall_s / turn.path.wall_s for turn in turns)
    cpu = median(turn.bare.cpu_s / turn.path.cpu_s for turn in turns)
    rows = []
    for name, words, ratios in (
        ("path", f"**{kind}: whole path**", f"{wall:.2f} | {cpu:.2f} | {target}"),
        ("bare", f"engine, batches of {BATCH}", "1 | 1 | "),
        ("alone", "engine, one by one", " | | "),
    ):
        spent: list[Spent] = [getattr(turn, name) for turn in turns]
        rate = median(one.frames / one.wall_s for one in spent)
        cpu_ms = median(one.cpu_s / one.frames * 1000 for one in spent)
        busy = median(one.busy for one in spent)
        rows.append(f"| {words} | {rate:.1f} | {cpu_ms:.0f} | {busy:.0%} | {ratios} |")
    return rows


def whole(asked: argparse.Namespace, engine: Engine, folder: Path) -> tuple[str, float]:
    """Race the whole path and the bare engine; return the table, and frames a second of the registered path."""
    rows: list[str] = []
    pace = 0.0
    for aligned in (True, False):
        boards = draw(asked.frames, asked.side, aligned=aligned)
        turns = asyncio.run(race(folder / f"whole-{aligned}", engine, "cpu", boards, asked.turns))
        pace = median(turn.path.frames / turn.path.wall_s for turn in turns)
        rows += rows_of("aligned" if aligned else "registered", turns, "0.90" if aligned else "0.80")
    if torch.cuda.is_available():
        cuda = build_engine(load_model(ROOT / "models" / MODEL), "torch", DetectorConfig(device="cuda"))
        boards = draw(asked.frames, asked.side, aligned=False)
        rows += rows_of("CUDA", asyncio.run(race(folder / "cuda", cuda, "cuda", boards, asked.turns)), "0.95")
    else:
        rows.append("| CUDA: whole path | not run | | | | | 0.95 |")
    head = "| | pictures/s | CPU ms each | cores in use | against the engine, wall | by CPU | target |"
    return "\n".join(["### Whole path", "", head, "|---|---:|---:|---:|---:|---:|---:|", *rows]), pace


async def paced(camera: Camera, seconds: float, takt_s: float) -> None:
    """Let every station take a picture each takt, give or take the jitter, the stations one after the other."""
    chance, began = random.Random(1), time.monotonic()

    async def station(number: int) -> None:
        for beat in range(max(1, int(seconds / takt_s))):
            due = (beat + (number + 0.5) / STATIONS + chance.uniform(-JITTER, JITTER)) * takt_s
            await asyncio.sleep(max(began + due - time.monotonic(), 0))
            await camera.publish(1, number)

    await asyncio.gather(*(station(number) for number in range(STATIONS)))


@dataclass(frozen=True)
class Verdict:
    """When a frame was taken, how long until its result was durable on the bus, and whether it was inspected."""

    at: datetime
    ms: float
    good: bool


async def verdicts(camera: Camera) -> list[Verdict]:
    """Return what became of each frame, in order; the first result of a frame counts."""
    first: dict[str, Verdict] = {}
    for message, result in sorted(await said(camera.bus), key=lambda one: one[0].timestamp):
        ms = (message.timestamp - result.taken_at).total_seconds() * 1000
        first.setdefault(result.frame_id, Verdict(result.taken_at, ms, result.outcome is Outcome.INSPECTED))
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


def latency(asked: argparse.Namespace, engine: Engine, folder: Path, pace: float) -> str:
    """Measure camera to verdict at 70 % of the capacity just measured."""
    takt_s = STATIONS / (LOAD * pace)
    boards = draw(24, asked.side, aligned=False)
    config = settings(folder / "latency", ROOT / "models", stations=STATIONS, takt_s=takt_s, max_batch=BATCH)
    alone_ms = single_ms(engine, prepared(config, engine, boards))

    async def measure() -> tuple[list[Verdict], Spent]:
        async with line(config, boards) as camera, working(camera, engine):
            await camera.publish(4)
            await camera.inspected()
            watch = Stopwatch()
            await paced(camera, asked.seconds, takt_s)
            spent = watch.spent(camera.published)
            await camera.inspected()
            return (await verdicts(camera))[4:], spent

    seen, spent = asyncio.run(measure())
    p50, p95, p99 = (quantile([one.ms for one in seen], share) for share in (0.5, 0.95, 0.99))
    return f"""### Latency under load

{STATIONS} stations, a takt of {takt_s:.2f} s each with ±{JITTER:.0%} jitter: {LOAD:.0%} of the {pace:.1f} registered
pictures/s above; {len(seen)} frames. From the camera's trigger to the verdict durable on the bus; the engine takes
{alone_ms:.0f} ms for one picture alone.

| p50 ms | p95 ms | p99 ms | p99, times the engine's | target | cores in use |
|---:|---:|---:|---:|---:|---:|
| {p50:.0f} | {p95:.0f} | {p99:.0f} | {p99 / alone_ms:.1f}x | 3x | {spent.busy:.0%} |"""


def proven(config: LineConfig, name: str) -> str:
    """Return the engine that can be opened while the line runs: unproven ones are refused, torch never."""
    chosen = config.detector.model_copy(update={"engine": known_engine(name)})
    try:
        open_engine(load_model(config.detector.models_dir / MODEL), chosen)
    except (ConfigError, ModelError):
        return "torch"
    return name


def swap(asked: argparse.Namespace, folder: Path, pace: float, engine: Engine) -> str:
    """Change models again and again while 8 stations send, and compare frames taken during a change with the rest."""
    models = folder / "models"
    for name in (MODEL, f"{MODEL}-next"):
        shutil.copytree(ROOT / "models" / MODEL, models / name)
    base = settings(folder, models)
    engine_name = proven(base, asked.engine)
    if engine_name != asked.engine:
        engine = open_engine(load_model(models / MODEL), base.detector)
    boards = draw(24, asked.side, aligned=False)
    config = settings(folder / "swap", models, engine=engine_name, max_batch=BATCH, probation_frames=4)
    channels = prepared(config, engine, boards)
    if engine_name != asked.engine:
        pace = 0.9 * 1000 / single_ms(engine, channels)
    takt_s = STATIONS / (LOAD * pace)
    config = settings(folder / "swap", models, takt_s=takt_s, engine=engine_name, max_batch=BATCH, probation_frames=4)

    async def measure() -> tuple[list[Verdict], list[tuple[datetime, datetime]], int]:
        changes: list[tuple[datetime, datetime]] = []
        async with line(config, boards) as camera, working(camera, engine) as service:
            await camera.publish(4)
            await camera.inspected()
            load = asyncio.create_task(paced(camera, asked.seconds, takt_s))
            while not load.done():
                await asyncio.sleep(max(5.0, 2 * takt_s))
                if load.done():
                    break
                before, began = service.duty.current, now()
                product = config.product(PRODUCT)
                following = f"{MODEL}-next" if before.config.product(PRODUCT).model == product.model else MODEL
                record = activation_of(
                    config, PRODUCT, following, author="benchmark", reason="swap under load", at=began
                )
                await publish_activation(camera.bus, TOPICS, record)
                while service.duty.current is before and not load.done():  # noqa: ASYNC110 - the switch is no event
                    await asyncio.sleep(0.02)
                changes.append((began, now() + timedelta(seconds=takt_s / STATIONS)))
            await camera.inspected()
            return (await verdicts(camera))[4:], changes, camera.published - 4

    seen, changes, published = asyncio.run(measure())
    during = [one.ms for one in seen if any(began <= one.at <= end for began, end in changes)]
    steady = [one.ms for one in seen if not any(began <= one.at <= end for began, end in changes)]
    failed, lost = sum(not one.good for one in seen), published - len(seen)
    took = median((end - began).total_seconds() for began, end in changes or [(now(), now())])
    p99, calm = quantile(during, 0.99), quantile(steady, 0.99)
    counts = f"p99 ms during ({len(during)} frames) | p99 ms steady ({len(steady)} frames)"
    return f"""### Another model under load

{len(changes)} changes of the model ({engine_name}; each opened beside the one at work in {took:.1f} s) while
{STATIONS} stations send {published} frames at {LOAD:.0%} load. *During*: taken from the activation to the switch.

| frames | failed | lost | {counts} | during against steady | target |
|---:|---:|---:|---:|---:|---:|---:|
| {published} | {failed} | {lost} | {p99:.0f} | {calm:.0f} | {p99 / calm:.2f}x | 0, 0, 1.2x |"""


def resident_mb() -> float:
    """Return this process's memory that is in use, MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def fill(folder: Path, engine: Engine, frames: int, side: int) -> list[float]:
    """Inspect so many frames, `TOGETHER` at a time; return the memory in use after each lot, MB."""
    boards = draw(32, side, aligned=False)
    taken = []
    async with line(settings(folder, ROOT / "models", max_batch=BATCH), boards) as camera, working(camera, engine):
        for _ in range(frames // TOGETHER):
            await camera.publish(TOGETHER)
            await camera.inspected()
            taken.append(resident_mb())
    return taken


def growth(taken: Sequence[float], warm: int) -> tuple[float, float]:
    """Return memory after `warm` lots and at the end, each the median of a tenth of what follows, MB.

    >>> growth([50, 90, 100, 100, 102, 102], 2)
    (100, 102)
    """
    left = taken[warm:]
    tenth = max(len(left) // 10, 1)
    return median(left[:tenth]), median(left[-tenth:])


def memory(asked: argparse.Namespace) -> str:
    """Measure in a process of its own, in which nothing else ran before."""
    command = [sys.executable, __file__, "--engine", asked.engine, "--fill", str(asked.memory_frames)]
    command += ["--memory-px", str(asked.memory_px)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    taken = [float(one) for one in done.stdout.split()[-(asked.memory_frames // TOGETHER) :]]
    early, late = growth(taken, min(WARM_FRAMES // TOGETHER, len(taken) // 2))
    return f"""### Memory

{asked.memory_frames:,} frames of {asked.memory_px} x {asked.memory_px} px through the whole path in a process of its
own; memory in use (RSS) after a warm-up and at the end.

| after {min(WARM_FRAMES, asked.memory_frames // 2):,} frames, MB | at the end, MB | growth | target |
|---:|---:|---:|---:|
| {early:.1f} | {late:.1f} | {late / early - 1:+.1%} | 2 % |"""


def crowded(view: str, side: int) -> tuple[Picture, Picture | None]:
    """Draw a picture with at least as many defects as are to be judged, and its template."""
    size = (side, side)
    if view == "section":
        return section(42_000_000, 1, size=size, sites=2 * DETECTIONS).picture, None
    seen = board(LAYOUTS[0], 1, size=size, look=BoardLook(), defects=BOARD_DEFECTS * 6)
    return seen.picture, seen.template


def chosen(raw: RawDetections, layers: int) -> RawDetections:
    """Return the best `DETECTIONS` of what was found, so many of the first class (a section's layers) among them."""
    first = np.flatnonzero(raw.labels == 1)[:layers]
    others = np.flatnonzero((raw.labels != 1) | (layers == 0))[: DETECTIONS - len(first)]
    kept = np.sort(np.concatenate([first, others]))
    return RawDetections(raw.boxes[kept], raw.labels[kept], raw.scores[kept], raw.masks[kept])


def judged_row(view: str, model: str, asked: argparse.Namespace) -> str:
    """Measure masks, runs, walker, verdict and the record of 20 detections against the network, in CPU time."""
    loaded = load_model(ROOT / "models" / model)
    engine = build_engine(loaded, known_engine(asked.engine), DetectorConfig(device="cpu"))
    classes = {name: {"score": 0.01, "min_area_px": 1} for name in loaded.spec.classes}
    product = {"view": view, "model": model, "um_per_px": 20.8, "classes": classes}
    tables = {"products": {PRODUCT: product}, "detector": {"models_dir": str(ROOT / "models"), "device": "cpu"}}
    inspector = Inspector(parse_config(tables, "benchmark", {}), engines={model: engine})
    picture, template = crowded(view, asked.side)
    ready = inspector.prepare(PRODUCT, picture, template)
    (seen,) = inspector.infer([ready])
    raw = chosen(seen.raw, LAYERS if view == "section" else 0)
    network, after = [], []
    for _ in range(3 * asked.turns):
        watch = Stopwatch()
        inspector.infer([ready])
        network.append(watch.spent(1).cpu_s)
        watch = Stopwatch()
        for _ in range(TIMES):
            done = inspector.conclude(ready, raw)
            msgspec.json.encode(done.detections), msgspec.json.encode(done.layers)
        after.append(watch.spent(1).cpu_s / TIMES)
    share = median(one / other for one, other in zip(after, network, strict=True))
    sizes = f"{len(done.detections)} | {len(done.layers)}"
    return f"| {view} | {sizes} | {median(network) * 1000:.0f} | {median(after) * 1000:.1f} | {share:.1%} | 5 % |"


def judging(asked: argparse.Namespace) -> str:
    """Measure what comes after the network, of both views."""
    rows = [judged_row("board", MODEL, asked), judged_row("section", "section-sim", asked)]
    return f"""### After the network

Masks, run-length encoding, what differs from the template and was not found, walker, verdict and its record, for one
picture of {asked.side} x {asked.side} px with {DETECTIONS} detections.

| view | detections in the record | layers | network, CPU ms | after it, CPU ms | share | target |
|---|---:|---:|---:|---:|---:|---:|
{chr(10).join(rows)}"""


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--frames", type=int, default=32, help="pictures a turn")
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--side", type=int, default=SIDE_PX, help="of the pictures, px")
    parser.add_argument("--seconds", type=float, default=90.0, help="of latency, and of swaps")
    parser.add_argument("--memory-frames", type=int, default=10_000)
    parser.add_argument("--memory-px", type=int, default=MEMORY_PX, help="640 takes about 20 minutes on four cores")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--fill", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def put(page: str, part: str) -> str:
    """Put the section in its place, or at the end."""
    before, mark, rest = page.partition(BEGIN)
    return before + part + rest.partition(END)[2] if mark else f"{page.rstrip()}\n\n{part}\n"


def main() -> None:
    """Run as the module's first lines say."""
    asked = parse()
    where = machine()
    engine = build_engine(load_model(ROOT / "models" / MODEL), known_engine(asked.engine), DetectorConfig(device="cpu"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if asked.fill:
            print(*asyncio.run(fill(folder, engine, asked.fill, asked.memory_px)))
            return
        told, pace = [], 0.0
        if {"whole", "latency", "swap"} & set(asked.parts):
            table, pace = whole(asked, engine, folder)
            told.append(table)
            print(table, flush=True)
        others: dict[str, Callable[[], str]] = {
            "latency": lambda: latency(asked, engine, folder, pace),
            "swap": lambda: swap(asked, folder, pace, engine),
            "memory": lambda: memory(asked),
            "judging": lambda: judging(asked),
        }
        for part, measure in others.items():
            if part in asked.parts:
                told.append(measure())
                print(f"\n{told[-1]}", flush=True)
    options = f" --parts {' '.join(asked.parts)}" if set(asked.parts) != set(PARTS) else ""
    intro = f"`python benchmarks/pipeline.py --engine {asked.engine}{options}`, {where}."
    if asked.write:
        text = f"{BEGIN}\n## Pipeline: from the camera to the verdict\n\n{intro}\n\n" + "\n\n".join(told) + f"\n{END}"
        asked.write.write_text(put(asked.write.read_text(encoding="utf-8"), text), encoding="utf-8")


if __name__ == "__main__":
    main()
