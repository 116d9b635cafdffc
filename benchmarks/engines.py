"""What inspecting costs on each engine, against plain torchvision `model([x])`: same weights, same pictures, one run.

python benchmarks/engines.py                              board-sim on simulated boards, every engine that is installed
python benchmarks/engines.py --pictures FOLDER            on ID_test.* pictures with their ID_temp.* templates
python benchmarks/engines.py --rounds 40 --batch 8 --write   and put the table into docs/benchmarks.md

Contenders take turns on the same pictures, so that a machine that slows down slows all of them; a ratio is the median
over the turns. Before they race, their detections are compared.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from detector.engines import Channels, Engine  # noqa: E402
from detector.evaluation.deeppcb import open_deeppcb  # noqa: E402
from detector.inputs import template_inputs  # noqa: E402
from detector.proving.asking import reference  # noqa: E402
from detector.proving.bench import Pace, eager, machine, race, simulated  # noqa: E402 - its folder was just made known
from detector.proving.choose import build_engine  # noqa: E402
from detector.proving.proofs import name_of  # noqa: E402
from detector.registry import LoadedModel, load_model  # noqa: E402
from detector.tables import print_paces  # noqa: E402
from taktwatch.config import DetectorConfig, EngineName  # noqa: E402
from taktwatch.errors import ConfigError, ModelError  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- engines: begin -->", "<!-- engines: end -->"
PICTURES = 64
EAGER = "torchvision eager"
CPU: dict[EngineName, str] = {name: name for name in ("torch", "openvino", "openvino-bf16", "openvino-int8", "onnx")}
GPU: dict[EngineName, str] = {
    name: f"{name}, CUDA" for name in ("torch", "torch-fp16", "onnx", "onnx-tensorrt", "onnx-tensorrt-fp16")
}


def read_pictures(folder: Path) -> list[Channels]:
    """Return the folder's first pictures of one size, as the network sees them."""
    chosen: list[Channels] = []
    for item in open_deeppcb(folder).items[:PICTURES]:
        labelled = item.load()
        if labelled.template is not None:
            chosen.append(template_inputs(labelled.picture, labelled.template).channels)
    return [one for one in chosen if one.shape == chosen[0].shape]


def on_device(
    model: LoadedModel, settings: DetectorConfig, names: Mapping[EngineName, str]
) -> tuple[dict[str, Engine], dict[str, str]]:
    """Return engines by their titles in the table, and why the others are not run."""
    engines: dict[str, Engine] = {}
    absent: dict[str, str] = {}
    for name, title in names.items():
        if settings.device == "cuda" and not torch.cuda.is_available():
            absent[title] = "no CUDA device here"
            continue
        try:
            engine = build_engine(model, name, settings)
        except (ConfigError, ModelError) as error:
            absent[title] = str(error).partition(";")[0]
            continue
        if name_of(engine.ref) == name:
            engines[title] = engine
        else:
            absent[title] = f"it runs as {name_of(engine.ref)} here"
    return engines, absent


def agreement(engines: Mapping[str, Engine], model: LoadedModel, pictures: list[Channels]) -> str:
    """Say how far each engine's scores are from the network's own on these pictures."""
    words = []
    expected = [reference(model, one) for one in pictures]
    for name, engine in engines.items():
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


def section(paces: list[Pace], absent: Mapping[str, str], setting: str, alike: str, batch: int) -> str:
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

`python benchmarks/engines.py`, {setting}. *torchvision eager* is torchvision's own loop `model([x])` with its
transform and its pasted masks, on the CPU and, where there is one, on the CUDA device; each engine is held against
it on its own device. Ratios are medians over turns next to each other.
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
    model, settings = load_model(asked.model), DetectorConfig(threads=asked.threads, max_batch=asked.batch)
    pictures = read_pictures(asked.pictures) if asked.pictures else simulated(model.spec)
    height, width = pictures[0].shape[1:]
    kind = f"pictures of {asked.pictures.name}" if asked.pictures else "simulated pictures"
    what = f"{len(pictures)} {kind} of {width}x{height} px"
    where = machine() + (f", {torch.cuda.get_device_name(0)}" if torch.cuda.is_available() else "")
    engines, absent = on_device(model, settings.model_copy(update={"device": "cpu"}), CPU)
    on_gpu, absent_there = on_device(model, settings.model_copy(update={"device": "cuda"}), GPU)
    alike = agreement(engines | on_gpu, model, pictures[:16])
    paces = []
    for found, title, device in ((engines, EAGER, "cpu"), (on_gpu, f"{EAGER}, CUDA", "cuda")):
        if found:
            runners = {title: eager(model, (height, width), device)}
            runners |= {name: engine.infer for name, engine in found.items()}
            paces += race(runners, pictures, rounds=asked.rounds, batch=asked.batch, on_round=lambda: None)
    absent |= absent_there
    print_paces(Console(width=120), paces, f"{where}; {what}", asked.batch)
    print(alike)
    if asked.write:
        cores = f"{asked.threads} thread(s) each" if asked.threads else "all cores"
        setting = f"{where}, {cores}; `{model.card.model_id}`, {what}, {asked.rounds} turns each"
        part = section(paces, absent, setting, alike, asked.batch)
        PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), part), encoding="utf-8")


if __name__ == "__main__":
    main()
