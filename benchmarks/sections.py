"""Sections end to end from pixels: what model and walker say of simulated sections, against the truth.

python benchmarks/sections.py [--pictures 120] [--engine openvino] [--write docs/accuracy.md]

Sections of layouts that no training drew. Boundary error: mean distance in px between the edge of what was found and
the true edge, both ways, picture edges left out; of layers as laminated (their envelopes), and of corrosion that was
found.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from detector.evaluation.runner import with_engine  # noqa: E402 - the root was just made known
from detector.inspect import Inspector  # noqa: E402 - the root was just made known
from detector.steps import Inspection  # noqa: E402
from taktwatch.config import load_config  # noqa: E402
from taktwatch.rle import decode  # noqa: E402
from taktwatch.simulator import SimulatedPicture, section  # noqa: E402

FIRST_LAYOUT = 50_000_000
BEGIN, END = "<!-- sections: begin -->", "<!-- sections: end -->"
TARGETS = {"layer": 1.5, "corrosion": 1.5, "length": 2.0, "area": 2.0, "deepest": 2.0}

Mask = npt.NDArray[np.bool_]


def edge(mask: Mask) -> Mask:
    """Return the pixels of a mask beside others, those at the picture's edge left out."""
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    return mask & (inner == 0)


def apart(one: Mask, other: Mask) -> float:
    """Return the mean distance between two edges, both ways, px."""
    edges = edge(one), edge(other)
    if not (edges[0].any() and edges[1].any()):
        return float("nan")
    far = [cv2.distanceTransform((~each).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for each in edges]
    return float((far[1][edges[0]].mean() + far[0][edges[1]].mean()) / 2)


def compared(said: Inspection, seen: SimulatedPicture) -> dict[str, list[float]]:
    """Return errors of one picture by what they are of; `layers`, `surface`: 1 where that was told rightly."""
    off: dict[str, list[float]] = {}
    masks = {kind: [decode(one.mask) for one in said.detections if one.label == kind] for kind in KINDS}
    everywhere = np.logical_or.reduce([*masks["corrosion"], np.zeros(seen.picture.shape[:2], np.bool_)])
    off["layers"] = [float(len(said.layers) == len(seen.layers))]
    if len(said.layers) != len(seen.layers):
        return off
    for profile, truth in zip(said.layers, seen.layers, strict=True):
        near = [mask for mask in masks["copper_layer"] if (mask & truth.envelope).sum() > 0.5 * mask.sum()]
        own = everywhere & cv2.dilate(truth.envelope.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
        if near:
            found = np.logical_or.reduce(near) | (own & truth.envelope)
            off.setdefault("layer", []).append(apart(found, truth.envelope))
        if truth.corroded.any() and own.any():
            off.setdefault("corrosion", []).append(apart(own, truth.corroded))
        length = truth.corroded.any(axis=0).mean()
        off.setdefault("length", []).append(100 * abs(profile.corroded_length_share - length))
        area = truth.corroded.sum() / truth.envelope.sum()
        off.setdefault("area", []).append(100 * abs(profile.corroded_area_share - area))
        off.setdefault("deepest", []).append(abs(profile.deepest_um / UM_PER_PX - truth.deepest_px))
        off.setdefault("thickness", []).append(abs(profile.thickness_um / UM_PER_PX - truth.thickness_px))
        off.setdefault("surface", []).append(float(profile.surface == truth.surface))
    return off


KINDS = ("copper_layer", "corrosion")
UM_PER_PX = 1.5
WORDS = {
    "layer": "boundary of layers, px",
    "corrosion": "boundary of corrosion, px",
    "length": "corroded length, points",
    "area": "corroded area, points",
    "deepest": "deepest point, px",
    "thickness": "thickness, px",
}


def measured(pictures: int, engine: str) -> str:
    """Measure and return the table."""
    inspector = Inspector(with_engine(load_config(ROOT / "line.toml", {}), engine))
    all_off: dict[str, list[float]] = {}
    for seed in range(pictures):
        seen = section(FIRST_LAYOUT + seed, seed, defect_probability=0.7)
        said = inspector.inspect_batch([inspector.prepare("demo-section", seen.picture, None)])[0]
        for what, values in compared(said, seen).items():
            all_off.setdefault(what, []).extend(values)
    rows = []
    for what, words in WORDS.items():
        values = np.array([value for value in all_off.get(what, []) if np.isfinite(value)])
        target = f"{TARGETS[what]:g}" if what in TARGETS else ""
        high = np.percentile(values, [50, 95])
        told = f"{values.mean():.2f} | {high[0]:.2f} | {high[1]:.2f} | {values.max():.1f}"
        rows.append(f"| {words} | {values.size} | {told} | {target} |")
    layers, surfaces = np.mean(all_off["layers"]), np.mean(all_off["surface"])
    table = "\n".join(rows)
    return f"""{BEGIN}
`python benchmarks/sections.py --pictures {pictures} --engine {engine}`: simulated sections of layouts that no training
drew, `{said.model.model_id}` on {said.model.engine}, {said.model.precision}.

| error | n | mean | p50 | p95 | worst | target |
|---|---:|---:|---:|---:|---:|---:|
{table}

All layers found, none made up: {layers:.1%} of pictures; the table is of these. Whether corrosion breaks through a
surface was told rightly of {surfaces:.1%} of layers. The extent of a site that was not found counts in full.
{END}"""


def main() -> None:
    """Run as the module's first lines say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=120)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--engine", default="auto")
    asked = parser.parse_args()
    table = measured(asked.pictures, asked.engine)
    print(table)
    if asked.write:
        text = asked.write.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        asked.write.write_text(before + table + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
