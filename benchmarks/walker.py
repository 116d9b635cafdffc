"""How exact the walker is on bands of known measures, and what it costs; prints the table of docs/accuracy.md.

python benchmarks/walker.py [--bands 400]

Bands of 8 to 40 px at any fraction of a pixel, 500 x 400 px pictures, each whole and with one notch of known length and
depth. The walker sees masks with the share of each pixel, as the network gives them, and (*pixels whole*) without: of a
band that lies exactly along the rows it can only say then how many rows are set.
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from known_bands import HEIGHT, SHAPES, WIDTH, straight  # noqa: E402 - its folder was just made known

from detector.layers.walker import walk  # noqa: E402
from detector.masks import Roi  # noqa: E402

FLAT = {"along the rows": lambda rng: straight(rng.uniform(-40, 40), rng.uniform(8, 40))}


def tight(mask: np.ndarray, shares: np.ndarray | None = None) -> Roi:
    """Return a mask as the detector gives it, with its pixels' shares or without."""
    x0, y0, x1, y1 = Roi(mask, 0, 0).box
    here = slice(max(y0 - 1, 0), y1 + 1), slice(max(x0 - 1, 0), x1 + 1)
    return Roi(mask[here], here[1].start, here[0].start, None if shares is None else shares[here])


def errors(shape: str, bands: int, *, shared: bool) -> tuple[np.ndarray, float]:
    """Return errors (bands, 4) of thickness px, length share, area share and depth px, and milliseconds a walk."""
    found, spent = [], 0.0
    for seed in range(bands):
        rng = np.random.default_rng([seed, 77])
        band = {**SHAPES, **FLAT}[shape](rng)
        length, depth = rng.uniform(15, 60), rng.uniform(0.3, 0.7) * band.thickness
        start, upper = rng.uniform(-60, 20), bool(rng.integers(2))
        notch = band.notch(start, length, depth, upper=upper)
        eaten = band.eaten(start, length, depth, upper=upper)
        shares = (band.shares - eaten, eaten) if shared else (None, None)
        layers, sites = [tight(band.mask & ~notch.mask, shares[0])], [tight(notch.mask, shares[1])]
        began = time.process_time()
        (profile,) = walk(layers, sites, 1.0, (HEIGHT, WIDTH)).profiles
        spent += time.process_time() - began
        found.append(
            (
                profile.thickness_um - band.thickness,
                profile.corroded_length_share - length / profile.length_px,
                profile.corroded_area_share
                - (eaten.sum() / band.shares.sum() if shared else notch.area_px / band.roi.area_px),
                profile.deepest_um - depth,
            )
        )
    return np.abs(found), spent / bands * 1000


def main() -> None:
    """Run as the module's first lines say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bands", type=int, default=400)
    bands = parser.parse_args().bands
    print(
        "| bands | thickness px, mean / p95 / worst | length, points, p95 / worst | area, points, p95 / worst "
        "| depth px, p95 / worst | CPU ms |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    for shape, shared in ((shape, shared) for shape in (*FLAT, *SHAPES) for shared in (True, False)):
        off, ms = errors(shape, bands, shared=shared)
        off[:, 1:3] *= 100
        high, worst = np.percentile(off, 95, axis=0), off.max(axis=0)
        name = shape if shared else f"{shape}, pixels whole"
        thickness = f"{off[:, 0].mean():.2f} / {high[0]:.2f} / {worst[0]:.2f}"
        extent = f"{high[1]:.2f} / {worst[1]:.2f} | {high[2]:.2f} / {worst[2]:.2f}"
        print(f"| {name} | {thickness} | {extent} | {high[3]:.1f} / {worst[3]:.1f} | {ms:.1f} |")


if __name__ == "__main__":
    main()
