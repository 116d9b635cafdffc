"""Verdicts on thousands of simulated boards against truth: escapes and false calls, with exact bounds.

python benchmarks/verdicts.py [--processes 4] [--dataset 'sim:board?...'] [--write docs/accuracy.md]

By default the boards are of the drawing style held out for testing, which no training draws. Every board goes the way
that a line's pictures go: registered, through the network, judged, with all that sends a board to review. One process
a core, one thread each; the engine is OpenVINO in float32 unless another is named.
"""

import argparse
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import cv2  # noqa: E402 - its threads were just counted

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from detector.evaluation.datasets import open_dataset  # noqa: E402 - its folder was just made known
from detector.evaluation.labelled import Dataset  # noqa: E402
from detector.evaluation.runner import Runner, choose_product, model_folder  # noqa: E402
from detector.intervals import Rate, rate  # noqa: E402
from taktwatch.config import load_config  # noqa: E402
from taktwatch.records import Verdict  # noqa: E402

DATASET = "sim:board?style=held-out&layouts=1280&boards=10&first=8000000&most=3&height=448&width=448"
BEGIN, END = "<!-- verdicts: begin -->", "<!-- verdicts: end -->"
MOST_ESCAPES, MOST_FALSE_CALLS = 0.005, 0.01


@dataclass
class Tally:
    """What happened to good and to defective boards, and on which products it went wrong."""

    good: int = 0
    defective: int = 0
    escapes: int = 0
    false_calls: int = 0
    reviews: int = 0
    failed_by_products: Counter[str] = field(default_factory=Counter)
    good_doubts: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        """Add what another process saw."""
        for name in ("good", "defective", "escapes", "false_calls", "reviews"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.failed_by_products += other.failed_by_products
        self.good_doubts += other.good_doubts
        self.missed += other.missed


@dataclass(frozen=True)
class Asked:
    """Which model judges which boards, by whose rules (None: the first product that fits), on what engine."""

    model: str
    dataset: str
    product: str | None
    engine: str
    second_look: bool

    def runner(self, data: Dataset) -> Runner:
        """Open the model on one thread of the shipped line."""
        config = load_config(ROOT / "line.toml", {})
        detector = config.detector.model_copy(update={"engine": self.engine, "threads": 1, "device": "cpu"})
        name = choose_product(config, data, self.product)
        product = config.product(name).model_copy(update={"second_look": self.second_look})
        config = config.model_copy(update={"detector": detector, "products": {**config.products, name: product}})
        return Runner(config, model_folder(config, self.model), name)


def look(asked: Asked, share: range) -> Tally:
    """Inspect a share of the boards."""
    cv2.setNumThreads(1)
    data, tally = open_dataset(asked.dataset), Tally()
    runner = asked.runner(data)
    for number in share:
        outcome = runner.inspect(data.items[number])
        passed = outcome.verdict is Verdict.PASS
        tally.reviews += outcome.verdict is Verdict.REVIEW
        if outcome.defective:
            tally.defective += 1
            tally.escapes += passed
            tally.missed.update({truth.label for truth in outcome.truths} if passed else ())
        else:
            tally.good += 1
            tally.false_calls += not passed
            tally.good_doubts.update(() if passed else outcome.doubts or ("a sure defect",))
        if passed == outcome.defective:
            tally.failed_by_products[outcome.board] += 1
    return tally


def words(told: Rate, most: float) -> str:
    """Write a rate, its bound, and whether the target is met."""
    met = "met" if told.upper <= most else "missed"
    return f"{told.events} of {told.n} | {told.value or 0:.2%} | {told.upper:.2%} | at most {most:.1%}: {met}"


def table(tally: Tally, command: str, model_id: str, minutes: float) -> str:
    """Write what was found as Markdown."""
    doubts = ", ".join(f"{name} {count}" for name, count in tally.good_doubts.most_common()) or "none"
    missed = ", ".join(f"{name} {count}" for name, count in tally.missed.most_common()) or "none"
    boards = tally.good + tally.defective
    products, most = len(tally.failed_by_products), max(tally.failed_by_products.values(), default=0)
    lines = (
        f"`{model_id}`, by `{command}` ({minutes:.0f} minutes, load {os.getloadavg()[0]:.1f}):",
        "",
        "| | boards | share | upper 95 % bound | target |",
        "|---|---:|---:|---:|---|",
        f"| escapes | {words(rate(tally.escapes, tally.defective), MOST_ESCAPES)} |",
        f"| false calls | {words(rate(tally.false_calls, tally.good), MOST_FALSE_CALLS)} |",
        "",
        f"Of all {boards} boards {tally.reviews} went to review. Good boards were stopped by: {doubts}.",
        f"Boards that escaped had: {missed}. Mistakes fell on {products} products, at most {most} on one.",
        "Bounds are exact binomial ones (Clopper and Pearson); boards of one product are not quite independent.",
    )
    return "\n".join(lines)


def written(page: Path, text: str) -> None:
    """Put the table between the page's markers."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def main() -> None:
    """Inspect, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="board-sim")
    parser.add_argument("--dataset", default=DATASET)
    parser.add_argument("--product")
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--second-look", action="store_true", help="as products.*.second_look")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--write", type=Path, help="a page with the markers of this table")
    given = parser.parse_args()
    asked = Asked(given.model, given.dataset, given.product, given.engine, given.second_look)
    began, data = time.monotonic(), open_dataset(asked.dataset)
    boards = len(data.items)
    first = asked.runner(data)  # made here once: processes find the engine's export
    each = max(1, boards // (given.processes * 16))
    shares = [range(start, min(start + each, boards)) for start in range(0, boards, each)]
    tally = Tally()
    with ProcessPoolExecutor(given.processes, mp_context=get_context("spawn")) as pool:
        todo = [pool.submit(look, asked, share) for share in shares]
        for number, done in enumerate(as_completed(todo), 1):
            tally.add(done.result())
            sys.stderr.write(
                f"\r{number} of {len(shares)} shares, {tally.escapes} escapes, {tally.false_calls} false calls "
            )
    command = " ".join(["python benchmarks/verdicts.py", *(f"'{one}'" if "?" in one else one for one in sys.argv[1:])])
    text = table(tally, command, first.ref.model_id, (time.monotonic() - began) / 60)
    sys.stdout.write(f"\n{text}\n")
    if given.write:
        written(given.write, text)


if __name__ == "__main__":
    main()
