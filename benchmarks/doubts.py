"""What goes to review, and what does not: spoilt pictures by kind, good boards, and differences nobody explains.

python benchmarks/doubts.py [--products 15] [--pairs DEEPPCB/train --every 5] [--write docs/accuracy.md]

Each product is built of 12 good boards under one of three cameras, as `taktwatch product new` does; then come good
boards, and good boards spoilt. Without the network, differences are counted on boards with known defects: how many
of those would be reported if no defect was detected at all, and on how many boards something else is reported.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import cv2  # noqa: E402 - its threads were just counted
import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from verdicts import settings  # noqa: E402 - its folder was just made known

from detector.aligning.regions import inspected_area  # noqa: E402
from detector.aligning.registration import matrix_of  # noqa: E402
from detector.evaluation.datasets import open_dataset  # noqa: E402
from detector.evaluation.runner import Runner, model_folder  # noqa: E402
from detector.inputs import lay_template  # noqa: E402
from detector.inspect import Inspector  # noqa: E402
from detector.masks import Roi  # noqa: E402
from detector.products.product import find_boards, make_product  # noqa: E402
from detector.steps import Inspection  # noqa: E402
from detector.unexplained import unexplained  # noqa: E402
from taktwatch.config import with_folder  # noqa: E402
from taktwatch.errors import BadInput  # noqa: E402
from taktwatch.pictures import encode_png  # noqa: E402
from taktwatch.records import Doubt, Verdict  # noqa: E402
from taktwatch.rle import decode  # noqa: E402
from taktwatch.simulator import board, product_look  # noqa: E402
from taktwatch.simulator.look import Camera  # noqa: E402

Picture = npt.NDArray[np.uint8]
CAMERAS: tuple[Camera, ...] = ("colour", "grey", "binary")
FIRST, SIZE = 8_500_000, (448, 448)
GOOD, SPOILT, LEARNT = 20, 5, 12
AT = datetime(2026, 3, 3, tzinfo=UTC)
NEAR_PX = 9


def photographed(layout: int, camera: Camera, seed: int) -> Picture:
    """Photograph a good board."""
    return board(layout, seed, size=SIZE, defects=(), look=product_look(layout, camera)).picture


def blurred(picture: Picture, rng: np.random.Generator) -> Picture:
    """Lose the focus, keep the sensor's noise."""
    soft = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 2.5)
    return np.clip(soft + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


def haired(picture: Picture, rng: np.random.Generator) -> Picture:
    """Let a hair of 4 px fall on it, bright on dark boards and dark on bright ones."""
    hair, (x, y) = picture.copy(), rng.integers(80, 280, 2)
    bright = picture.mean() < 128
    end = (int(x + rng.integers(40, 90)), int(y + rng.integers(40, 90)))
    cv2.line(hair, (int(x), int(y)), end, (235, 235, 225) if bright else (20, 20, 25), 4)
    return hair


SPOILERS: dict[str, tuple[Callable[[Picture, np.random.Generator], Picture], set[Doubt]]] = {
    "out of focus": (blurred, {Doubt.FOCUS}),
    "half the light": (lambda picture, _: (picture * 0.5).astype(np.uint8), {Doubt.LIGHT, Doubt.SATURATION}),
    "over-exposed": (lambda picture, _: cv2.convertScaleAbs(picture, alpha=2.2), {Doubt.LIGHT, Doubt.SATURATION}),
    "turned by 180 degrees": (lambda picture, _: np.ascontiguousarray(picture[::-1, ::-1]), {Doubt.TURNED}),
    "a hair on it": (haired, {Doubt.UNEXPLAINED}),
}
ANOTHER = "another product"


class Line:
    """One product built of good boards, and its inspector."""

    def __init__(self, layout: int, camera: Camera, root: Path, engines: Inspector) -> None:
        good = root / "good" / f"{layout}"
        good.mkdir(parents=True)
        for seed in range(LEARNT):
            (good / f"{seed}.png").write_bytes(encode_png(photographed(layout, camera, seed)))
        name = f"p{layout}"
        make_product(name, find_boards(good), root, um_per_px=20.8, now=AT)
        product = with_folder(name, engines.config.product("demo-board"), root / name)
        config = engines.config.model_copy(update={"products": {name: product}})
        self.name, self.inspector = name, Inspector(config, engines=engines.engines)
        reference = self.inspector.reference(name).product
        assert reference is not None  # noqa: S101 - it was just made
        self.template, self.sha256 = reference.template, reference.card.template_sha256

    def inspect(self, picture: Picture) -> Inspection:
        """Inspect a picture as the service does."""
        ready = self.inspector.prepare(self.name, picture, self.template, template_sha256=self.sha256, taken_at=AT)
        return self.inspector.inspect_batch([ready])[0]


def gates(products: int, engine: str) -> Iterator[str]:
    """Yield the rows of good and spoilt boards."""
    good, stopped, told, seen = 0, Counter[str](), Counter[str](), Counter[str]()
    named, refused = Counter[str](), list[str]()
    config = settings(engine)
    shared = Runner(config, model_folder(config, "board-sim"), "demo-board").inspector
    with tempfile.TemporaryDirectory() as folder:
        for number in range(products):
            layout, camera = FIRST + number, CAMERAS[number % len(CAMERAS)]
            rng = np.random.default_rng([1, layout])
            try:
                line = Line(layout, camera, Path(folder), shared)
            except BadInput as error:
                refused.append(str(error).partition(" does not fit ")[2])
                continue
            for seed in range(100, 100 + GOOD):
                said = line.inspect(photographed(layout, camera, seed))
                good += 1
                beyond = {str(doubt) for doubt in said.doubts} - {Doubt.UNSURE}
                stopped.update(beyond)
                stopped["any of these"] += bool(beyond)
            cases = {what: (spoil, wanted, layout) for what, (spoil, wanted) in SPOILERS.items()}
            cases[ANOTHER] = (lambda picture, _: picture, {Doubt.WRONG_PRODUCT, Doubt.REGISTRATION}, layout + products)
            for what, (spoil, wanted, shown) in cases.items():
                for seed in range(200, 200 + SPOILT):
                    if what in {"half the light", "over-exposed", "out of focus"} and camera == "binary":
                        continue  # its pictures are thresholded before anybody sees them
                    said = line.inspect(spoil(photographed(shown, camera, seed), rng))
                    seen[what] += 1
                    told[what] += said.verdict is not Verdict.PASS
                    named[what] += bool(wanted & set(said.doubts))
    if refused:
        yield f"{len(refused)} of {products} products could not be built: a board does not fit {refused[0]}"
        yield ""
    yield "| good boards stopped by | boards |"
    yield "|---|---:|"
    for what, count in stopped.most_common():
        yield f"| {what} | {count} of {good} |"
    yield ""
    yield "| spoilt | stopped | by its own name |"
    yield "|---|---:|---:|"
    for what, count in seen.items():
        yield f"| {what} | {told[what]} of {count} | {named[what]} of {count} |"


def differences(where: str, every: int) -> str:
    """Return the row of a data set: defects that would be reported undetected, and boards with something else."""
    data = open_dataset(where)
    told, defects, false_calls, pictures = 0, 0, 0, 0
    for item in data.items[::every]:
        labelled = item.load()
        if labelled.template is None:
            continue
        pair = lay_template(labelled.picture, labelled.template)
        size = (pair.seen.shape[0], pair.seen.shape[1])
        area = inspected_area(size, matrix_of(pair.registration), template=size)
        masks = [decode(truth.mask) for truth in labelled.truths]
        shown = unexplained(pair.seen, pair.lit, [], area=area)
        pictures, defects = pictures + 1, defects + len(masks)
        for mask in masks:
            near = cv2.dilate(mask.astype(np.uint8), np.ones((NEAR_PX, NEAR_PX), np.uint8))
            told += any(near[one.y, one.x] for one in shown)
        known = [Roi(mask, 0, 0) for mask in masks]
        false_calls += bool(unexplained(pair.seen, pair.lit, known, area=area))
    share = f"{told} of {defects}, {told / defects:.1%}" if defects else "no defects"
    return f"| {where} | {pictures} | {share} | {false_calls} of {pictures}, {false_calls / pictures:.1%} |"


def main() -> None:
    """Measure and print."""
    cv2.setNumThreads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=15, help="a third under each camera")
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--pairs", help="real pairs in DeepPCB's format")
    parser.add_argument("--every", type=int, default=5, help="only every so many of them")
    parser.add_argument("--write", type=Path, help="a page with the markers of these tables")
    asked = parser.parse_args()
    lines = [f"`{' '.join(['python benchmarks/doubts.py', *sys.argv[1:]])}`:", "", *gates(asked.products, asked.engine)]
    lines += [
        "",
        "| without any detection | pictures | defects told | pictures with something else |",
        "|---|---:|---:|---:|",
    ]
    size = f"height={SIZE[0]}&width={SIZE[1]}"
    lines += [
        differences(f"sim:board?layouts=300&boards=1&first=8100000&defective=0&{size}", 1),
        differences(f"sim:board?layouts=150&boards=1&first=8200000&defective=1&{size}", 1),
    ]
    if asked.pairs:
        lines.append(differences(asked.pairs, asked.every))
    text = "\n".join(lines)
    sys.stdout.write(text + "\n")
    if asked.write:
        before, rest = asked.write.read_text(encoding="utf-8").split("<!-- doubts: begin -->")
        after = rest.split("<!-- doubts: end -->")[1]
        page = f"{before}<!-- doubts: begin -->\n{text}\n<!-- doubts: end -->{after}"
        asked.write.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
