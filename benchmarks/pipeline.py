"""The whole path of a frame against the bare engine, its latency under load, a swap under load, memory, and judging.

python benchmarks/pipeline.py                                   all parts, about 15 minutes on four cores
python benchmarks/pipeline.py --parts latency swap              some of them: whole, latency, swap, memory, judging
python benchmarks/pipeline.py --engine torch --turns 8 --write docs/benchmarks.md

Each part writes its table as soon as it is done, in the place of its last one of the same engine.

*Whole*: an encoded picture on the embedded bus, decoded, registered, inspected, judged, its verdict published; against
the engine alone on the same prepared pictures, in turns of one process, so that a machine that slows down slows both.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as taktwatch sets it where it comes before NumPy

import cv2
import msgspec
import numpy as np
import numpy.typing as npt
import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from pipeline_latency import BATCH, STATIONS, Asked, latency, swap  # noqa: E402 - its folder was just made known
from pipeline_line import (  # noqa: E402
    LAYOUTS,
    MODEL,
    PRODUCT,
    Boards,
    Spent,
    Stopwatch,
    batches,
    draw,
    line,
    prepared,
    said,
    settings,
    working,
)

from detector.engines import Engine, RawDetections  # noqa: E402
from detector.inspect import Inspector  # noqa: E402
from detector.proving.bench import machine  # noqa: E402
from detector.proving.choose import build_engine, known_engine  # noqa: E402
from detector.registry import load_model  # noqa: E402
from taktwatch.clock import now  # noqa: E402
from taktwatch.config import DetectorConfig, parse_config  # noqa: E402
from taktwatch.simulator import BOARD_DEFECTS, BoardLook, board, section  # noqa: E402

PARTS = ("whole", "latency", "swap", "memory", "judging")
SIDE_PX = 640
MEMORY_PX, TOGETHER, WARM_FRAMES = 128, 250, 2000
DETECTIONS, LAYERS, TIMES = 20, 4, 10

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Turn:
    """One turn: the whole path, then the engine alone in batches and picture by picture."""

    path: Spent
    bare: Spent
    alone: Spent


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
        cuda = build_engine(load_model(ROOT / "models" / MODEL), "torch-fp16", DetectorConfig(device="cuda"))
        boards = draw(asked.frames, asked.side, aligned=False)
        rows += rows_of("CUDA", asyncio.run(race(folder / "cuda", cuda, "cuda", boards, asked.turns)), "0.95")
    else:
        rows.append("| CUDA: whole path | not run | | | | | 0.95 |")
    head = "| | pictures/s | CPU ms each | cores in use | against the engine, wall | by CPU | target |"
    return "\n".join([f"### Whole path ({asked.engine})", "", head, "|---|---:|---:|---:|---:|---:|---:|", *rows]), pace


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
    return f"""### Memory ({asked.engine})

{asked.memory_frames:,} frames through the whole path in a process of its own; memory in use (RSS) after a warm-up
and at the end. Pictures of {asked.memory_px} x {asked.memory_px} px, so that so many take minutes: what leaks, leaks by
the frame.

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
    return f"""### After the network ({asked.engine})

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
    parser.add_argument("--frames", type=int, default=96, help="pictures a turn; filling the stages takes 3 to 5")
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--side", type=int, default=SIDE_PX, help="of the pictures, px")
    parser.add_argument("--seconds", type=float, default=120.0, help="of latency, and of swaps")
    parser.add_argument("--memory-frames", type=int, default=10_000)
    parser.add_argument("--memory-px", type=int, default=MEMORY_PX, help="640 takes about 20 minutes on four cores")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--fill", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def put(page: str, name: str, text: str) -> str:
    """Put a part's text in its place among the pipeline's, or after them.

    >>> page = put("kept", "memory", "new")
    >>> put(page, "memory", "newer") == page.replace("new", "newer")
    True
    """
    begin, end = (f"<!-- pipeline: {edge} -->" for edge in ("begin", "end"))
    if begin not in page:
        page = f"{page.rstrip()}\n\n{begin}\n## Pipeline: from the camera to the verdict\n\n{end}\n"
    first, last = (f"<!-- pipeline, {name}: {edge} -->" for edge in ("begin", "end"))
    part = f"{first}\n{text}\n{last}\n"
    if first in page:
        before, _, rest = page.partition(first)
        return before + part + rest.partition(f"{last}\n")[2]
    return page.replace(end, f"{part}\n{end}")


def capacity(asked: argparse.Namespace, engine: Engine, folder: Path) -> float:
    """Return the registered pictures a second of the whole path, where the race was not asked for."""
    boards = draw(asked.frames, asked.side, aligned=False)
    turns = asyncio.run(race(folder / "capacity", engine, "cpu", boards, 1))
    return turns[0].path.frames / turns[0].path.wall_s


def main() -> None:
    """Run as the module's first lines say."""
    asked = parse()
    cv2.setNumThreads(1)  # as the detector does
    engine = build_engine(load_model(ROOT / "models" / MODEL), known_engine(asked.engine), DetectorConfig(device="cpu"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if asked.fill:
            print(*asyncio.run(fill(folder, engine, asked.fill, asked.memory_px)))
            return
        pace = 0.0

        def load() -> Asked:
            nonlocal pace
            pace = pace or capacity(asked, engine, folder)  # once: its line leaves results in the folder
            return Asked(ROOT / "models", folder, asked.engine, asked.seconds, asked.side, pace)

        for part in (part for part in PARTS if part in asked.parts):
            where = machine()
            match part:
                case "whole":
                    told, pace = whole(asked, engine, folder)
                case "latency":
                    told = latency(load(), engine)
                case "swap":
                    told = swap(load(), engine)
                case "memory":
                    told = memory(asked)
                case _:
                    told = judging(asked)
            heading, _, rest = told.partition("\n\n")
            command = f"`python benchmarks/pipeline.py --engine {asked.engine} --parts {part}`"
            text = f"{heading}\n\n{command}, {where}.\n\n{rest}"
            print(f"{text}\n", flush=True)
            if asked.write:
                page = asked.write.read_text(encoding="utf-8")
                asked.write.write_text(put(page, f"{part} {asked.engine}", text), encoding="utf-8")


if __name__ == "__main__":
    main()
