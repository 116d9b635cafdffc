"""What inspecting costs on each engine, against plain torchvision `model([x])`: same weights, same pictures, one run.

python benchmarks/engines.py                              board-sim on simulated boards, every engine that is installed
python benchmarks/engines.py --pictures FOLDER            on ID_test.* pictures with their ID_temp.* templates
python benchmarks/engines.py --rounds 40 --batch 8 --write   and put the table into docs/benchmarks.md

Contenders take turns on the same pictures, so that a machine that slows down slows all of them; a ratio is the median
over the turns. Before they race, their detections are compared.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from detector.asking import reference  # noqa: E402
from detector.bench import Pace, Runner, bench_model, machine, simulated  # noqa: E402 - its folder was just made known
from detector.engines import Channels  # noqa: E402
from detector.engines.choose import ENGINES, EngineName, build_engine  # noqa: E402
from detector.evaluation.deeppcb import open_deeppcb  # noqa: E402
from detector.inputs import template_inputs  # noqa: E402
from detector.registry import LoadedModel, load_model  # noqa: E402
from detector.tables import print_paces  # noqa: E402
from taktwatch.config import DetectorConfig  # noqa: E402
from taktwatch.errors import ConfigError, ModelError  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- engines: begin -->", "<!-- engines: end -->"
PICTURES = 64
GPU: dict[EngineName, str] = {"torch": "torch, CUDA, float16", "onnx": "onnx, CUDA"}


def read_pictures(folder: Path) -> list[Channels]:
    """Return the folder's first pictures of one size, as the network sees them."""
    chosen: list[Channels] = []
    for item in open_deeppcb(folder).items[:PICTURES]:
        labelled = item.load()
        if labelled.template is not None:
            chosen.append(template_inputs(labelled.picture, labelled.template).channels)
    return [one for one in chosen if one.shape == chosen[0].shape]


def agreement(model: LoadedModel, settings: DetectorConfig, pictures: list[Channels]) -> str:
    """Say how far each engine's scores are from the network's own on these pictures."""
    words = []
    expected = [reference(model, one) for one in pictures]
    for name in ENGINES:
        try:
            engine = build_engine(model, name, settings)
        except ConfigError as error:
            words.append(f"{name} not run ({str(error).split(';')[0]})")
            continue
        found = [engine.infer([one])[0] for one in pictures]
        alike = [
            float(np.abs(one.scores - other.scores).max(initial=0))
            for one, other in zip(expected, found, strict=True)
            if one.labels.tolist() == other.labels.tolist()
        ]
        words.append(
            f"{name}: {len(alike)} of {len(pictures)} pictures with the same labels in the same order, scores "
            f"within {max(alike, default=float('nan')):.1g}"
        )
    return "; ".join(words)


def on_gpu(model: LoadedModel, settings: DetectorConfig) -> tuple[dict[str, Runner], dict[str, str]]:
    """Return the engines on this machine's CUDA device, and for the others why they are not run."""
    runners: dict[str, Runner] = {}
    absent: dict[str, str] = {}
    device = settings.model_copy(update={"device": "cuda"})
    for name, title in GPU.items():
        try:
            runners[title] = build_engine(model, name, device).infer
        except (ConfigError, ModelError) as error:
            absent[title] = "no CUDA device here" if not torch.cuda.is_available() else str(error).split(";")[0]
    return runners, absent


def section(paces: list[Pace], absent: dict[str, str], setting: str, alike: str, batch: int) -> str:
    """Write the page's section."""
    rows = "\n".join(
        f"| {pace.name} | {pace.p50_ms:.0f} | {pace.p95_ms:.0f} | {pace.p99_ms:.0f} | {pace.cpu_ms:.0f} | "
        f"{pace.cores:.1f} | {pace.alone_per_s:.1f} | {pace.batch_per_s:.1f} | {pace.ratio:.2f}x | "
        f"{pace.batch_ratio:.2f}x | {pace.cpu_ratio:.2f}x |"
        for pace in paces
    )
    heads = ("engine", "p50 ms", "p95 ms", "p99 ms", "CPU ms", "cores busy", "alone /s", f"in {batch}s /s")
    heads += ("ratio alone", f"in {batch}s", "of CPU")
    rows += "".join(f"\n| {name} | not run: {why} |" + " |" * 9 for name, why in absent.items())
    return f"""{BEGIN}
## Engines: one picture through the network

`python benchmarks/engines.py`, {setting}. The first row is torchvision's own loop `model([x])` with its
transform and its pasted masks; ratios are medians over turns next to each other.
*In {batch}s*: in batches of {batch}; cores busy and the ratio of CPU time are those of batches.

| {" | ".join(heads)} |
|---|{"---:|" * (len(heads) - 1)}
{rows}

Against the reference on these pictures: {alike}.
{END}"""


def put(page: str, part: str) -> str:
    """Put a section in its place, or at the end."""
    if BEGIN in page:
        before, _, rest = page.partition(BEGIN)
        return before + part + rest.partition(END)[2]
    return f"{page.rstrip()}\n\n{part}\n"


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "board-sim")
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    model, settings = load_model(asked.model), DetectorConfig(device="cpu", threads=asked.threads)
    pictures = read_pictures(asked.pictures) if asked.pictures else simulated(model.spec)
    height, width = pictures[0].shape[1:]
    kind = f"pictures of {asked.pictures.name}" if asked.pictures else "simulated pictures"
    what = f"{len(pictures)} {kind} of {width}x{height} px"
    where = machine()
    alike = agreement(model, settings, pictures[:16])
    more, absent = on_gpu(model, settings)
    paces = bench_model(
        settings,
        model,
        None,
        rounds=asked.rounds,
        batch=asked.batch,
        on_round=lambda: None,
        pictures=pictures,
        more=more,
    )
    print_paces(Console(width=120), paces, f"{where}; {what}", asked.batch)
    print(alike)
    if asked.write:
        cores = f"{asked.threads} thread(s) each" if asked.threads else "all cores"
        setting = f"{where}, {cores}; `{model.card.model_id}`, {what}, {asked.rounds} turns each"
        part = section(paces, absent, setting, alike, asked.batch)
        PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), part), encoding="utf-8")


if __name__ == "__main__":
    main()
