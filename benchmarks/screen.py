"""What screening first is worth: engines with and without it against plain torchvision `model([x])`, in one run.

python benchmarks/screen.py                          one percent defective: good boards re-imaged, then each etched anew
python benchmarks/screen.py --pictures DEEPPCB/test --measure DEEPPCB/train       real pictures: accuracy and speed
python benchmarks/screen.py --write                                     and put the table into docs/benchmarks.md

The screens are measured first, on --measure, as `taktwatch models screen` does; the model's folder stays as it is.
A stream's good boards are of the `varied` style, which the model learned from: etching moves edges and nothing else,
and boards may be dusty, blotchy, of another lot or drilled off centre. Re-imaged, each of 20 products has one good
board, etched once, that the camera sees 20 times: in another pose, focus and light, with other noise at its edges and
other dust. Templates are the products' artwork. `--stream` takes other streams, `--measure` what their screens are
measured on.

Contenders take turns on the same pictures; every second turn goes backwards. Registering a picture with its template
comes before all of them and is not part of their times.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from detector.engines import Channels  # noqa: E402
from detector.engines.screened import ScreenedEngine  # noqa: E402
from detector.evaluation.datasets import open_dataset  # noqa: E402
from detector.evaluation.labelled import Dataset, Item, Labelled  # noqa: E402
from detector.evaluation.matching import RULE_IOU, pair, pools  # noqa: E402
from detector.evaluation.outcomes import Outcome  # noqa: E402
from detector.evaluation.runner import Runner, with_engine  # noqa: E402
from detector.evaluation.screening import measure_screen  # noqa: E402
from detector.evaluation.simulated import parse_simulated  # noqa: E402
from detector.proving.asking import reference  # noqa: E402 - its folder was just made known
from detector.proving.bench import Pace, eager, machine, race  # noqa: E402 - its folder was just made known
from detector.proving.choose import ENGINES, known_engine  # noqa: E402
from detector.screen import Sheet  # noqa: E402
from detector.screening import Screening, measured_for  # noqa: E402
from detector.tables import print_paces  # noqa: E402
from taktwatch.config import LineConfig, load_config  # noqa: E402
from taktwatch.errors import ConfigError  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks.md"
PICTURES = 64
BUSY = 1.0  # load average from which times are worth little
EAGER, BEHIND = "torchvision eager", " + screen"
MEASURE = "sim:board?style=varied&layouts=200&boards=2&defective=1&first=7000000"
ETCHED_ANEW = "sim:board?style=varied&layouts=20&boards=20&defective=0.01&first=8000000"
STREAMS = (ETCHED_ANEW + "&reimaged=1", ETCHED_ANEW)


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
    """A stream of boards and what each contender spent on it.

    defective: boards, with so many defects; found: how many of these each contender reports, by whatever name;
    escaped: how many defective boards it passes. unasked: boards that asked no network; seen: the share of pixels that
    it saw, summed.
    """

    spent: dict[str, Spent] = field(default_factory=dict)
    boards: int = 0
    defective: int = 0
    defects: int = 0
    found: Counter[str] = field(default_factory=Counter)
    escaped: Counter[str] = field(default_factory=Counter)
    unasked: int = 0
    seen: float = 0.0

    def laid_out(self, channels: Channels, sheet: Sheet | None) -> None:
        """Count what the network is to see of a board."""
        self.boards += 1
        self.unasked += sheet is not None and not sheet.crops
        self.seen += 1.0 if sheet is None else sheet.size[0] * sheet.size[1] / channels[0].size

    def told(self, outcomes: Mapping[str, Outcome]) -> None:
        """Count what the contenders say of a defective board."""
        for name, outcome in outcomes.items():
            said = pair(outcome.truths, outcome.found)
            self.found[name] += len(said.hits) + len(said.confused)
            self.escaped[name] += outcome.verdict == "pass"


def outcomes(chosen: Sequence[Contender], item: Item, labelled: Labelled) -> dict[str, Outcome]:
    """Return what each contender, with and without screen, says of one picture."""
    first = chosen[0].runner
    prepared = first.prepared(item, labelled)
    channels = prepared.inputs.channels
    answers = {EAGER: (first, reference(first.model, channels))}
    for one in chosen:
        answers[one.name] = (one.runner, one.runner.engine.infer([channels])[0])
        answers[one.name + BEHIND] = (one.runner, one.screen.infer([channels])[0])
    return {name: runner.outcome(item, labelled, prepared, raw) for name, (runner, raw) in answers.items()}


def accuracy(chosen: Sequence[Contender], data: Dataset) -> dict[str, float]:
    """Return AP (IoU above 0.33, all classes pooled) of each contender, with and without screen, on a whole set."""
    first = chosen[0].runner
    said: dict[str, list[Outcome]] = {}
    for item in data.items:
        for name, outcome in outcomes(chosen, item, item.load()).items():
            said.setdefault(name, []).append(outcome)
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
        for item, one, channels in zip(items, labelled, pictures, strict=True):
            told.laid_out(channels, chosen[0].screen.layout(channels))
            if one.truths:
                told.defective += 1
                told.defects += len(one.truths)
                told.told(outcomes(chosen, item, one))
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
        f"{each * one.batched / one.batch:.1f}x | {base.cpu / base.pictures * one.pictures / one.cpu:.1f}x | "
        f"{told.found[name]} | {told.escaped[name]} |"
        for name, one in told.spent.items()
    )
    return (
        f"| | ms a board alone | CPU ms | boards /s in batches of {batch} | ratio alone | in batches | in CPU time | "
        f"of {told.defects} defects reported | defective boards passed |\n"
        f"|---|---:|---:|---:|---:|---:|---:|---:|---:|\n{rows}"
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
    parser.add_argument("--stream", action="append", help="simulated boards; several one after the other")
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
    where = machine()
    if os.getloadavg()[0] > BUSY:
        print("The machine is busy: beside other work eager's threads wait busily and take many times as long.")
    product = asked.product or ("deeppcb" if asked.pictures else "demo-board")
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(shutil.copytree(asked.model, Path(kept) / asked.model.name))
        names = installed(config, folder, product, asked.engine)
        measure_screen(config, str(folder), open_dataset(asked.measure), engines=names, product=product)
        chosen = contenders(config, folder, product, names)
    model_id = chosen[0].runner.model.card.model_id
    cores = f"{asked.threads} thread(s) each" if asked.threads else "all cores"
    if asked.pictures:
        data = open_dataset(asked.pictures)
        paces = real(chosen, data, asked.rounds, asked.batch)
        print_paces(Console(width=120), paces, where, asked.batch)
        words = (
            f"## Screen first: real pictures\n\n`python benchmarks/screen.py --model {asked.model.name} --pictures "
            f"{Path(asked.pictures).name} --measure {Path(asked.measure).name}`, {where}, {cores}; `{model_id}`, "
            f"{asked.rounds} turns on {PICTURES} of {len(data.items)} pictures, AP (IoU above 0.33, classes pooled) on "
            "all of them."
        )
        publish("real", words, real_table(paces, accuracy(chosen, data), asked.batch), chosen, write=asked.write)
        return
    for name in asked.stream or STREAMS:
        kind, title = ("stream", "re-imaged") if parse_simulated(name).reimaged else ("fresh", "etched anew")
        told = stream(chosen, open_dataset(name), asked.batch)
        words = (
            f"## Screen first: good boards {title}\n\n`python benchmarks/screen.py`, {where}, {cores}; `{model_id}`, "
            f"`{name}`: {told.boards} boards, {told.defective} of them defective. {told.unasked} asked no network; it "
            f"saw {told.seen / told.boards:.1%} of all pixels. Every board goes through the screened engines, the "
            "first of each batch through the others; defective ones through all."
        )
        publish(kind, words, stream_table(told, asked.batch), chosen, write=asked.write)


def publish(kind: str, words: str, table: str, chosen: Sequence[Contender], *, write: bool) -> None:
    """Print a section, and put it into the page where asked."""
    part = f"{words}\n\n{table}\n\nThe screen on other boards: {bounds(chosen)}."
    print(part)
    if write:
        PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), part, kind), encoding="utf-8")


if __name__ == "__main__":
    main()
