"""A panel against its tiles run singly: time and memory; writes its table into docs/benchmarks.md.

python benchmarks/panels.py [--side 16000] [--engine openvino] [--write docs/benchmarks.md]

The panel is made of simulated boards, grey, shifted by a few px against its golden template, with noise and defects;
it lies on disk as PNG. *Panel*: `inspect_panel` on the two files. *Singly*: the very same tiles, each an encoded
picture with an encoded template of its own, decoded, registered, inspected and judged one after the other: half of
them before the panel, half after it, so that drift of the machine cancels. Memory is the peak of a process that
inspects the panel and does nothing else. A panel of half the side tells whether time grows with the area.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from detector.inspect import Inspector  # noqa: E402
from detector.panel import STRIP_PX, PanelFile, inspect_panel  # noqa: E402
from detector.proving.bench import machine  # noqa: E402 - the root was just made known
from detector.proving.choose import build_engine  # noqa: E402
from detector.registry import load_model  # noqa: E402
from taktwatch.config import LineConfig, parse_config  # noqa: E402
from taktwatch.pictures import decode  # noqa: E402
from taktwatch.simulator import board, golden  # noqa: E402
from taktwatch.strips import Box, cut, cut_panel  # noqa: E402

BOARD_PX = 1000
LAYOUTS = range(40_000_000, 40_000_004)
SHIFT = (5, -7)
HEADING = "## Panels"
DEFECTS = ("open", "short", "mousebite", "spur", "spurious_copper", "pin_hole")


@dataclass(frozen=True)
class Spent:
    """Seconds of wall clock and of CPU."""

    wall_s: float
    cpu_s: float


def settings() -> LineConfig:
    """Return a line with one product, as the demo has it."""
    classes = {name: {"score": 0.5} for name in DEFECTS}
    tables = {
        "products": {"panel": {"model": "board-sim", "um_per_px": 20.8, "classes": classes}},
        "detector": {"models_dir": str(ROOT / "models"), "device": "cpu"},
    }
    return parse_config(tables, "benchmark", {})


def opened(config: LineConfig, engine: str) -> Inspector:
    """Return an inspector with an engine, proven here or not."""
    model = load_model(config.detector.models_dir / "board-sim")
    return Inspector(config, engines={"board-sim": build_engine(model, engine, config.detector)})


def draw(side: int, folder: Path) -> PanelFile:
    """Write a panel of `side` px squared and its template."""
    grey = [cv2.cvtColor(golden(layout, size=(BOARD_PX, BOARD_PX)), cv2.COLOR_RGB2GRAY) for layout in LAYOUTS]
    seen = [
        cv2.cvtColor(
            board(layout, 1, size=(BOARD_PX, BOARD_PX), defects=DEFECTS[:1] if index == 0 else ()).picture,
            cv2.COLOR_RGB2GRAY,
        )
        for index, layout in enumerate(LAYOUTS)
    ]
    count = -(-side // BOARD_PX)
    for name, boards in (("golden", grey), ("panel", seen)):
        rows = [np.hstack([boards[(2 * y + x) % len(boards)] for x in range(count)]) for y in range(count)]
        whole = np.vstack(rows)[:side, :side]
        if name == "panel":
            whole = np.roll(whole, SHIFT, axis=(0, 1))
        cv2.imwrite(str(folder / f"{name}-{side}.png"), whole, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return PanelFile(folder / f"panel-{side}.png", folder / f"golden-{side}.png")


def tiles_of(side: int, config: LineConfig) -> list[Box]:
    """Return the tiles that the panel is inspected in."""
    detector = config.detector
    return [
        (x + x0, y + y0, x + x1, y + y1)
        for x, y, right, bottom in cut_panel(side, side, STRIP_PX, config.ingest.panel_overlap_px)
        for x0, y0, x1, y1 in cut(right - x, bottom - y, (detector.tile_px,) * 2, detector.tile_overlap_px)
    ]


def encoded_tiles(panel: PanelFile, boxes: Sequence[Box]) -> list[tuple[bytes, bytes]]:
    """Return the tiles of picture and template as PNG."""
    assert panel.template is not None  # noqa: S101 - it was drawn with one
    pair = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in (panel.path, panel.template)]
    setting = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    return [
        tuple(cv2.imencode(".png", one[y0:y1, x0:x1], setting)[1].tobytes() for one in pair)  # type: ignore[misc]
        for x0, y0, x1, y1 in boxes
    ]


def singly(inspector: Inspector, tiles: Sequence[tuple[bytes, bytes]]) -> int:
    """Inspect tiles as pictures of their own; return how many detections there were."""
    found = 0
    for picture, template in tiles:
        ready = inspector.prepare("panel", decode(picture), decode(template))
        found += len(inspector.inspect_batch([ready])[0].detections)
    return found


def timed(work: Callable[[], object]) -> Spent:
    """Run and measure."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


def peak_mb(panel: PanelFile, engine: str) -> tuple[float, float]:
    """Inspect a panel in a process of its own; return its peak memory before and after, MB."""
    command = [sys.executable, __file__, "--only", str(panel.path), str(panel.template), "--engine", engine]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(said[-2]), float(said[-1])


def highest_mb() -> float:
    """Return this process's peak memory, MB; Linux keeps it by program, getrusage counts who started it, too."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (line,) = [line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def only(panel: PanelFile, engine: str) -> None:
    """Inspect a panel and print this process's peak memory before and after, MB."""
    inspector = opened(settings(), engine)
    blank = np.full((640, 640, 3), 90, np.uint8)
    inspector.inspect_batch([inspector.prepare("panel", blank, blank)])
    before = highest_mb()
    inspect_panel(inspector, "panel", panel)
    print(before, highest_mb())


def compare(side: int, engine: str, folder: Path) -> str:
    """Measure and return the table."""
    config, computer = settings(), machine()
    inspector = opened(config, engine)
    panel, half = draw(side, folder), draw(side // 2, folder)
    boxes = tiles_of(side, config)
    tiles = encoded_tiles(panel, boxes)
    singly(inspector, tiles[:2])
    middle = len(tiles) // 2
    first = timed(lambda: singly(inspector, tiles[:middle]))
    whole = timed(lambda: inspect_panel(inspector, "panel", panel))
    second = timed(lambda: singly(inspector, tiles[middle:]))
    smaller = timed(lambda: inspect_panel(inspector, "panel", half))
    before, peak = peak_mb(panel, engine)
    alone = Spent(first.wall_s + second.wall_s, first.cpu_s + second.cpu_s)
    x0, y0, x1, y1 = boxes[0]
    rows = [
        ("seconds", f"{whole.wall_s:.1f}", f"{alone.wall_s:.1f}", whole.wall_s / alone.wall_s, "1.05"),
        ("CPU seconds", f"{whole.cpu_s:.1f}", f"{alone.cpu_s:.1f}", whole.cpu_s / alone.cpu_s, ""),
    ]
    growth = whole.cpu_s / smaller.cpu_s / (side / (side // 2)) ** 2
    told = "\n".join(
        f"| {what} | {one} | {other} | {ratio:.2f} | {target} |" for what, one, other, ratio, target in rows
    )
    return f"""{HEADING}

`python benchmarks/panels.py --side {side} --engine {engine}`, {computer}. A grey panel of {side:,} x {side:,}
px in a PNG file, compared with a golden template as large: {len(boxes)} tiles of {x1 - x0} x {y1 - y0} px.
*Singly*: the same tiles as encoded pictures of their own, decoded, registered, inspected and judged one after the
other, half of them before the panel, half after it.

| | panel | its tiles singly | ratio | target |
|---|---:|---:|---:|---:|
{told}
| peak memory of the process, MB ({before:.0f} before the panel) | {peak:.0f} | | | 2,000 |
| CPU seconds against those of a panel of half the side ({smaller.cpu_s:.1f}), by area | | | {growth:.2f} | 1 |
"""


def write(path: Path, table: str) -> None:
    """Put the table in place of the last one."""
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(HEADING + "\n")
    _, mark, after = rest.partition("\n## ")
    path.write_text(
        before.rstrip() + "\n\n" + table + (mark.lstrip("\n") and "\n## " + after if mark else ""), encoding="utf-8"
    )


def main() -> None:
    """Run as the module's first lines say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--side", type=int, default=16_000)
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--only", nargs=2, type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.only:
        only(PanelFile(*chosen.only), chosen.engine)
        return
    with tempfile.TemporaryDirectory() as folder:
        table = compare(chosen.side, chosen.engine, Path(folder))
    print(table)
    if chosen.write:
        write(chosen.write, table)


if __name__ == "__main__":
    main()
