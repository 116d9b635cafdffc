"""What screening first is worth: engines with and without it against plain torchvision `model([x])`, in one run.

python benchmarks/screen.py                                             good boards re-imaged, one percent defective
python benchmarks/screen.py --pictures DEEPPCB/test --measure DEEPPCB/train       real pictures: accuracy and speed
python benchmarks/screen.py --write                                     and put the table into docs/benchmarks.md

The screens are measured first, on --measure, as `taktwatch models screen` does; the model's folder stays as it is.
Contenders take turns on the same pictures; every second turn goes backwards. Registering a picture with its template
comes before all of them and is not part of their times.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from detector.engines import Channels  # noqa: E402
from detector.engines.screened import ScreenedEngine  # noqa: E402
from detector.evaluation.datasets import open_dataset  # noqa: E402
from detector.evaluation.labelled import Dataset, Item  # noqa: E402
from detector.evaluation.matching import RULE_IOU, pools  # noqa: E402
from detector.evaluation.outcomes import Outcome  # noqa: E402
from detector.evaluation.runner import Runner, with_engine  # noqa: E402
from detector.evaluation.screening import measure_screen  # noqa: E402
from detector.proving.asking import reference  # noqa: E402 - its folder was just made known
from detector.proving.bench import Pace, eager, machine, race  # noqa: E402 - its folder was just made known
from detector.proving.choose import ENGINES, known_engine  # noqa: E402
from detector.screening import Screening, measured_for  # noqa: E402
from detector.tables import print_paces  # noqa: E402
from taktwatch.config import LineConfig, load_config  # noqa: E402
from taktwatch.errors import ConfigError  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks.md"
PICTURES = 64
EAGER, BEHIND = "torchvision eager", " + screen"
MEASURE = "sim:board?layouts=100&boards=2&defective=1&first=7000000"
STREAM = "sim:board?layouts=8&boards=50&defective=0.01&first=8000000"


@dataclass(frozen=True, eq=False, slots=True)
class Contender:
    """An engine by name, its screen and what was measured of it."""

    name: str
    runner: Runner
    screen: ScreenedEngine
    measured: Screening


def contenders(config: LineConfig, folder: Path, product: str, wanted: Sequence[str]) -> list[Contender]:
    """Return the engines that are installed, each behind the screen measured for it."""
    found = []
    for name in wanted:
        runner = Runner(with_engine(config, known_engine(name)), folder, product)
        one = measured_for(folder, runner.engine.ref, runner.product.domain or product)
        if one is not None:
            screen = ScreenedEngine(runner.engine, one.threshold, one.sha256)
            found.append(Contender(name, runner, screen, one))
    return found


def installed(config: LineConfig, folder: Path, product: str, wanted: Sequence[str]) -> list[str]:
    """Return the engines of those wanted (none: of all) that this machine can run."""
    found = []
    for name in wanted or ENGINES:
        try:
            Runner(with_engine(config, known_engine(name)), folder, product)
        except ConfigError:
            if wanted:
                raise
            continue
        found.append(name)
    return found


@dataclass(eq=False)
class Spent:
    """Seconds and CPU seconds that a contender took for so many pictures, alone and in batches."""

    alone: float = 0.0
    batch: float = 0.0
    cpu: float = 0.0
    pictures: int = 0
    batched: int = 0

    def time(self, infer: Callable[[Sequence[Channels]], object], alone: int, batch: Sequence[Channels]) -> None:
        """Time the first pictures of a batch one by one, then all of them together."""
        began, worked = time.perf_counter(), time.process_time()
        for one in batch[:alone]:
            infer([one])
        self.alone += time.perf_counter() - began
        self.cpu += time.process_time() - worked
        began = time.perf_counter()
        infer(batch)
        self.batch += time.perf_counter() - began
        self.pictures += alone
        self.batched += len(batch)


@dataclass(eq=False)
class Stream:
    """A stream of boards: what each contender spent on it, and how many boards were defective, or asked no network."""

    spent: dict[str, Spent] = field(default_factory=dict)
    boards: int = 0
    defective: int = 0
    unasked: int = 0


def accuracy(config_runners: Sequence[Contender], data: Dataset) -> dict[str, float]:
    """Return AP (IoU above 0.33, all classes pooled) of each contender, with and without screen, on a whole set."""
    first = config_runners[0].runner
    said: dict[str, list[Outcome]] = {}
    for item in data.items:
        labelled = item.load()
        prepared = first.prepared(item, labelled)
        channels = prepared.inputs.channels

        answers = {EAGER: (first, reference(first.model, channels))}
        for one in config_runners:
            answers[one.name] = (one.runner, one.runner.engine.infer([channels])[0])
            answers[one.name + BEHIND] = (one.runner, one.screen.infer([channels])[0])
        for name, (runner, raw) in answers.items():
            said.setdefault(name, []).append(runner.outcome(item, labelled, prepared, raw))
    labels = [label for label in first.model.spec.classes if label in first.product.classes]
    return {name: pools(own, labels, RULE_IOU)[""].ap(np.ones(len(own))) for name, own in said.items()}


def channels_of(runner: Runner, items: Sequence[Item]) -> Iterator[Channels]:
    """Give pictures as the network sees them."""
    for item in items:
        yield runner.prepared(item, item.load()).inputs.channels


def real(chosen: Sequence[Contender], data: Dataset, rounds: int, batch: int) -> list[Pace]:
    """Race on pictures of a set, spread over it."""
    first = chosen[0].runner
    step = max(len(data.items) // PICTURES, 1)
    pictures = list(channels_of(first, data.items[::step][:PICTURES]))
    runners = {EAGER: eager(first.model, pictures[0].shape[1:])}
    for one in chosen:
        runners[one.name] = one.runner.engine.infer
        runners[one.name + BEHIND] = one.screen.infer
    return race(runners, pictures, rounds=rounds, batch=batch, on_round=lambda: None)


def stream(chosen: Sequence[Contender], data: Dataset, batch: int) -> Stream:
    """Let boards pass, a batch at a time: the slow contenders see the first board of each, the screened ones all."""
    first, told = chosen[0].runner, Stream()
    runs: dict[str, tuple[Callable[[Sequence[Channels]], object], int]] = {}
    for start in range(0, len(data.items), batch):
        items = data.items[start : start + batch]
        labelled = [item.load() for item in items]
        pictures = [first.prepared(item, one).inputs.channels for item, one in zip(items, labelled, strict=True)]
        if not runs:
            runs[EAGER] = (eager(first.model, pictures[0].shape[1:]), 1)
            for one in chosen:
                runs[one.name], runs[one.name + BEHIND] = (one.runner.engine.infer, 1), (one.screen.infer, batch)
            for infer, _ in runs.values():
                infer(pictures[:2])  # warm-up
        for name in list(runs) if start // batch % 2 else list(runs)[::-1]:
            infer, share = runs[name]
            shown = pictures if share > 1 else pictures[:1]
            told.spent.setdefault(name, Spent()).time(infer, len(shown), shown)
        told.boards += len(items)
        told.defective += sum(bool(one.truths) for one in labelled)
        layouts = [chosen[0].screen.layout(one) for one in pictures]
        told.unasked += sum(sheet is not None and not sheet.crops for sheet in layouts)
    return told


def bounds(chosen: Sequence[Contender]) -> str:
    """Say what the screens were measured to miss."""
    return "; ".join(
        f"{one.name}: {one.measured.missed} of {one.measured.defects} defects missed ({one.measured.uncovered} in no "
        f"crop, {one.measured.lost} no longer reported), fewer than {one.measured.upper:.2%} with 95 % confidence, on "
        f"{one.measured.pictures} pictures of `{Path(one.measured.dataset).name}`"
        for one in chosen
    )


def real_table(paces: Sequence[Pace], ap: dict[str, float], batch: int) -> str:
    """Write the table of real pictures."""
    rows = "\n".join(
        f"| {pace.name} | {ap[pace.name]:.2%} | {pace.p50_ms:.0f} | {pace.cpu_ms:.0f} | {pace.alone_per_s:.1f} | "
        f"{pace.batch_per_s:.1f} | {pace.ratio:.2f}x | {pace.batch_ratio:.2f}x | {pace.cpu_ratio:.2f}x |"
        for pace in paces
    )
    return (
        f"| | AP | p50 ms | CPU ms | alone /s | batches of {batch} /s | ratio alone | in batches | in CPU time |\n"
        f"|---|---:|---:|---:|---:|---:|---:|---:|---:|\n{rows}"
    )


def stream_table(told: Stream, batch: int) -> str:
    """Write the table of the stream."""
    base = told.spent[EAGER]
    each = (base.alone + base.batch) / (base.pictures + base.batched)
    rows = "\n".join(
        f"| {name} | {one.alone / one.pictures * 1000:.1f} | {one.cpu / one.pictures * 1000:.1f} | "
        f"{one.batched / one.batch:.1f} | {each * one.pictures / one.alone:.1f}x | "
        f"{each * one.batched / one.batch:.1f}x | {base.cpu / base.pictures * one.pictures / one.cpu:.1f}x |"
        for name, one in told.spent.items()
    )
    return (
        f"| | ms a board alone | CPU ms | boards /s in batches of {batch} | ratio alone | in batches | in CPU time |\n"
        f"|---|---:|---:|---:|---:|---:|---:|\n{rows}"
    )


def put(page: str, part: str, kind: str) -> str:
    """Put a section in its place, or at the end."""
    begin, end = f"<!-- screen {kind}: begin -->", f"<!-- screen {kind}: end -->"
    if begin in page:
        before, _, rest = page.partition(begin)
        return f"{before}{begin}\n{part}\n{end}{rest.partition(end)[2]}"
    return f"{page.rstrip()}\n\n{begin}\n{part}\n{end}\n"


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "board-sim")
    parser.add_argument("--config", type=Path, default=ROOT / "line.toml")
    parser.add_argument("--pictures", help="labelled real pictures, DeepPCB's format")
    parser.add_argument("--stream", default=STREAM)
    parser.add_argument("--measure", default=MEASURE, help="labelled boards that the screens are measured on")
    parser.add_argument("--product", help="default: deeppcb for --pictures, else demo-board")
    parser.add_argument("--engine", action="append", default=[])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    config = load_config(asked.config)
    settings = config.detector.model_copy(update={"device": "cpu", "threads": asked.threads})
    config = config.model_copy(update={"detector": settings})
    data = open_dataset(asked.pictures or asked.stream)
    where = machine()
    product = asked.product or ("deeppcb" if asked.pictures else "demo-board")
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(shutil.copytree(asked.model, Path(kept) / asked.model.name))
        names = installed(config, folder, product, asked.engine)
        measure_screen(config, str(folder), open_dataset(asked.measure), engines=names, product=product)
        chosen = contenders(config, folder, product, names)
    model_id = chosen[0].runner.model.card.model_id
    cores = f"{asked.threads} thread(s) each" if asked.threads else "all cores"
    if asked.pictures:
        paces = real(chosen, data, asked.rounds, asked.batch)
        print_paces(Console(width=120), paces, where, asked.batch)
        kind, table = "real", real_table(paces, accuracy(chosen, data), asked.batch)
        words = (
            f"## Screen first: real pictures\n\n`python benchmarks/screen.py --model {asked.model.name} --pictures "
            f"{Path(asked.pictures).name} --measure {Path(asked.measure).name}`, {where}, {cores}; `{model_id}`, "
            f"{asked.rounds} turns on {PICTURES} of {len(data.items)} pictures, AP (IoU above 0.33, classes pooled) on "
            "all of them."
        )
    else:
        told = stream(chosen, data, asked.batch)
        kind, table = "stream", stream_table(told, asked.batch)
        words = (
            f"## Screen first: good boards re-imaged\n\n`python benchmarks/screen.py`, {where}, {cores}; `{model_id}`, "
            f"`{data.name}`: {told.boards} boards, {told.defective} of them defective, {told.unasked} asked no "
            "network. Every board goes through the screened engines, the first of each batch through the others."
        )
    part = f"{words}\n\n{table}\n\nThe screen on other boards: {bounds(chosen)}."
    print(part)
    if asked.write:
        PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), part, kind), encoding="utf-8")


if __name__ == "__main__":
    main()
