"""How well and how fast templates are registered, beside OpenCV's ECC in the same run; writes docs/registration.md.

python benchmarks/registration.py [--ours] [--boards 60] [--write docs/registration.md]

Boards are simulated: another board of the product with faults, light, noise and etching of its own, photographed
through a known map within +-40 px, +-3 degrees, +-2 % and a tilt of up to 1e-5 per px (about 1 px at the picture's
edge). Times are CPU time of one thread.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import cv2
import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from known_maps import SIDE, Case, cut, drawn_map, known_case, residual_px  # noqa: E402 - its folder was just made known

from detector.aligning.alignment import align, find_edges  # noqa: E402
from detector.aligning.capture import find_candidates  # noqa: E402
from detector.aligning.light import flattened  # noqa: E402
from detector.aligning.maps import IDENTITY, Map, rescaled  # noqa: E402
from detector.aligning.registration import matrix_of, register, warp  # noqa: E402
from taktwatch.simulator.look import Camera  # noqa: E402

CAMERAS: tuple[Camera, ...] = ("colour", "grey", "binary")
FIRST_LAYOUT = 30_000_000  # products that no training and no other test draws
GOOD_PX = 0.5
LEAST_QUALITY = 0.8
MOST_UNSURE_PX = 1.0
REACHES = {"capture range": 1.0, "half of it": 0.5, "within 6 px, 0.45 degrees, 0.3 %": 0.15}
RIM_AWAY_PX = (6.0, 16.0)
EDGE_LEVELS = 12.0  # grey levels per px from which a template's pixel counts as copper's edge

HEAD = (
    "| method, camera | boards | p50 px | p95 px | p99 px | at copper's edges p95 px | over 0.5 px "
    "| over 0.5 px at copper's edges | ms p50 | ms p95 |"
)

Grey = npt.NDArray[np.uint8]
Found = tuple[Map | None, float]


@dataclass
class Tally:
    """What one method did: residuals over the picture and at copper's edges in px (inf: gave up), CPU ms."""

    picture_px: list[float] = field(default_factory=list)
    edges_px: list[float] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)

    def row(self, name: str) -> str:
        """Return a row of the table."""
        picture, ms = np.array(self.picture_px), np.array(self.ms)
        failed = int((np.array(self.edges_px) > GOOD_PX).sum())
        over = int((picture > GOOD_PX).sum())
        p50, p95, p99 = np.quantile(picture, (0.5, 0.95, 0.99), method="higher")
        edges95 = np.quantile(self.edges_px, 0.95, method="higher")
        figures = " | ".join(f"{value:.2f}" if np.isfinite(value) else "gave up" for value in (p50, p95, p99, edges95))
        times = " | ".join(f"{value:.0f}" for value in np.quantile(ms, (0.5, 0.95)))
        return f"| {name} | {len(ms)} | {figures} | {over / len(ms):.1%} | {failed / len(ms):.1%} | {times} |"


def ours(case: Case) -> Found:
    """Register as the detector does."""
    found, _ = register(case.picture, case.template)
    return matrix_of(found), found.quality


def ecc(case: Case, start: Map) -> Found:
    """Let OpenCV maximise the correlation over homographies, full size, from a start."""
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-4)
    everywhere = np.full(case.picture.shape, 255, np.uint8)
    inverse = np.linalg.inv(start).astype(np.float32)
    try:
        quality, found = cv2.findTransformECC(
            case.picture, case.template, inverse, cv2.MOTION_HOMOGRAPHY, criteria, everywhere, 5
        )
    except cv2.error:
        return None, 0.0
    return np.linalg.inv(np.asarray(found, np.float64)), float(quality)


def plain_ecc(case: Case) -> Found:
    """ECC from no motion at all."""
    return ecc(case, IDENTITY)


def shifted_ecc(case: Case) -> Found:
    """ECC from the shift that phase correlation finds."""
    window = cv2.createHanningWindow((SIDE, SIDE), cv2.CV_32F)
    (dx, dy), _ = cv2.phaseCorrelate(case.template.astype(np.float32), case.picture.astype(np.float32), window)
    return ecc(case, np.array([[1, 0, dx], [0, 1, dy], [0, 0, 1.0]]))


METHODS: dict[str, Callable[[Case], Found]] = {
    "taktwatch": ours,
    "findTransformECC": plain_ecc,
    "phaseCorrelate + findTransformECC": shifted_ecc,
}


def at_edges_px(found: Map, case: Case) -> float:
    """RMS distance between two maps at the template's copper edges that the picture shows."""
    slope = cv2.magnitude(*(cv2.Sobel(case.template, cv2.CV_32F, dx, 1 - dx, ksize=3, scale=0.25) for dx in (1, 0)))
    y, x = np.nonzero(slope[::4, ::4] > EDGE_LEVELS)
    points = np.stack([4.0 * x, 4.0 * y], 1)[None]
    there, here = (cv2.perspectiveTransform(points, matrix)[0] for matrix in (case.true, found))
    inside = np.all((there >= 0) & (there < SIDE), axis=1)
    return float(np.sqrt(((here - there)[inside] ** 2).sum(axis=1).mean())) if inside.any() else 0.0


def measure(method: Callable[[Case], Found], case: Case, tally: Tally) -> None:
    """Run one method on one board."""
    began = time.thread_time()
    found, _ = method(case)
    tally.ms.append((time.thread_time() - began) * 1000)
    tally.picture_px.append(np.inf if found is None else residual_px(found, case.true))
    tally.edges_px.append(np.inf if found is None else at_edges_px(found, case))


def accuracy(boards: int) -> list[str]:
    """Return tables of residuals and times by method, reach and camera."""
    lines = []
    for reach_name, reach in REACHES.items():
        lines += [
            f"### {reach_name.capitalize()}",
            "",
            HEAD,
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        tallies = {(name, camera): Tally() for name in METHODS for camera in CAMERAS}
        for camera in CAMERAS:
            for index in range(boards):
                rng = np.random.default_rng([5, index])
                case = known_case(FIRST_LAYOUT + index, camera, index, drawn_map(rng, reach=reach, tilt=1e-5))
                for name, method in METHODS.items():
                    measure(method, case, tallies[name, camera])
        lines += [tally.row(f"{name}, {camera}") for (name, camera), tally in tallies.items()]
        lines.append("")
        print("\n".join(lines[-len(tallies) - 5 :]), flush=True)
    return lines


def rims(boards: int) -> list[str]:
    """Return a table of residuals beside a rim that was cut elsewhere, in the capture range."""
    tallies = {(name, camera): Tally() for name in METHODS if name != "findTransformECC" for camera in CAMERAS}
    for camera in CAMERAS:
        for index in range(boards):
            rng = np.random.default_rng([9, index])
            case = known_case(FIRST_LAYOUT + index, camera, index, drawn_map(rng, reach=0.15))
            rim, away = rng.uniform(0.3, 0.7) * SIDE, rng.choice((-1, 1)) * rng.uniform(*RIM_AWAY_PX)
            template = cut(case.template, rim, IDENTITY)
            beside = replace(case, picture=cut(case.picture, rim + away, case.true), template=template)
            for name, camera_ in tallies:
                if camera_ == camera:
                    measure(METHODS[name], beside, tallies[name, camera])
    return [HEAD, "|---|---|---|---|---|---|---|---|---|---|"] + [
        tally.row(f"{name}, {camera}") for (name, camera), tally in tallies.items()
    ]


def separation(boards: int) -> list[str]:
    """Return how the quality tells boards of the product from others and from turned ones."""
    rows = {"the product": [], "another product": [], "the product turned by 180 degrees": []}
    places: list[tuple[float, float]] = []
    for camera in CAMERAS:
        for index in range(boards):
            case = known_case(FIRST_LAYOUT + index, camera, index)
            other = known_case(FIRST_LAYOUT + 1000 + index, camera, index, np.eye(3), defects=0).template
            turned = np.ascontiguousarray(case.picture[::-1, ::-1])
            found = register(case.picture, case.template)[0]
            rows["the product"].append(found.quality)
            places.append((found.unsure_px, residual_px(matrix_of(found), case.true)))
            rows["another product"].append(register(case.picture, other)[0].quality)
            rows["the product turned by 180 degrees"].append(register(turned, case.template)[0].quality)
    right = np.array(rows["the product"])
    wrong = np.array([*rows["another product"], *rows["the product turned by 180 degrees"]])
    auc = float((right[:, None] > wrong).mean() + (right[:, None] == wrong).mean() / 2)
    lines = [
        "| picture | pictures | quality lowest | p1 | p50 | p99 | highest | at least 0.8 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, values in rows.items():
        figures = " | ".join(f"{value:.3f}" for value in np.quantile(values, (0, 0.01, 0.5, 0.99, 1)))
        passed = int((np.array(values) >= LEAST_QUALITY).sum())
        lines.append(f"| {name} | {len(values)} | {figures} | {passed} |")
    unsure, off = np.array(places).T
    loose = unsure > MOST_UNSURE_PX
    held = (
        f"`unsure_px` is above {MOST_UNSURE_PX:g} for {loose.sum()} of these {len(unsure)} pictures of the product "
        f"(hardly any copper); {(off[loose] > GOOD_PX).sum()} of them are over {GOOD_PX} px. Of the others "
        f"{(off[~loose] > GOOD_PX).sum()} are, the worst by {off[~loose].max():.2f} px."
    )
    return [*lines, "", f"Area under the ROC curve: {auc:.4f}.", "", held]


def steps(rounds: int) -> list[str]:
    """Return the median CPU time of each step of one registration at 640 squared."""
    case = known_case(FIRST_LAYOUT, "colour", 1)
    small, half = (
        [
            cv2.resize(grey, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
            for grey in (case.picture, case.template)
        ]
        for factor in (8, 2)
    )
    searched = [flattened(grey, 8) for grey in small]
    seen, golden = (cv2.GaussianBlur(flattened(grey, 16), (0, 0), 1.0) for grey in half)
    edges = find_edges(golden, 8192)
    assert edges is not None  # noqa: S101 - 320 px squared have edges enough
    start = rescaled(case.true, 0.5).copy()
    start[:2, 2] += 0.7
    parts: dict[str, Callable[[], object]] = {
        "take the lamp out of both, half size": lambda: [flattened(grey, 16) for grey in half],
        "search 21 turns and zooms, 80 px squared": lambda: find_candidates(searched[0], searched[1], 7, count=4),
        "choose 8,192 edges, half size": lambda: find_edges(golden, 8192),
        "align from 1 px away, half size": lambda: align(seen, edges, start, rounds=8, enough_px=0.01),
        "warp the template": lambda: warp(case.template, case.true, case.picture),
        "all of `register`": lambda: register(case.picture, case.template),
    }
    lines = ["| step | ms p50 |", "|---|---|"]
    for name, part in parts.items():
        taken = []
        for _ in range(rounds):
            began = time.thread_time()
            part()
            taken.append((time.thread_time() - began) * 1000)
        lines.append(f"| {name} | {np.median(taken):.1f} |")
    return lines


def page(boards: int, option: str = "") -> str:
    """Return the whole page; `option`: what else was asked for."""
    with Path("/proc/cpuinfo").open(encoding="utf-8") as info:
        cpu = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), "unknown")
    fits = separation(boards)
    print("\n".join(fits), flush=True)
    beside = rims(boards)
    print("\n".join(beside), flush=True)
    return "\n".join(
        [
            "# Registration, measured",
            "",
            "How a golden template is laid onto a frame: see `detector/aligning/registration.py`.",
            f"Made by `python benchmarks/registration.py {option}--boards {boards} --write docs/registration.md`.",
            "",
            "Each board is simulated apart from its template: faults, etching, dust, light and noise of its own,",
            "photographed through a known map within +-40 px, +-3 degrees, +-2 % and a tilt of up to 1 px at the edge.",
            "Residual: RMS distance over the whole 640 x 640 picture between where the found map and the true one",
            "take the template. Where a product shows hardly any copper, the map beyond it cannot be known and does",
            "not matter: residuals at the copper's edges are given beside. Times are CPU time of one thread.",
            f"Processor: {cpu}, OpenCV {cv2.__version__}, NumPy {np.__version__}.",
            "",
            "## Residuals and times",
            "",
            *accuracy(boards),
            "## Beside a rim that was cut elsewhere",
            "",
            "Template and board end at rims 6 to 16 px apart, somewhere in the middle of the picture; nothing but bare",
            "ground lies beyond. Within 6 px, 0.45 degrees, 0.3 %. What counts is where copper is: copper's edges.",
            "Some products cannot be found so: where all copper runs across the rim, the rim alone tells the rest.",
            "",
            *beside,
            "",
            "## Is it the product at all",
            "",
            "`quality`, after registration, of pictures in the whole capture range:",
            "",
            *fits,
            "",
            "`min_registration = 0.8` in a product's settings sends what fits worse to review.",
            "",
            "## Where the time goes",
            "",
            *steps(50),
            "",
        ]
    )


def main() -> None:
    """Measure, print, and write the page where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boards", type=int, default=60, help="boards per camera and range")
    parser.add_argument("--ours", action="store_true", help="leave the peers out")
    parser.add_argument("--write", type=Path, help="write the page here")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    if given.ours:
        for peer in set(METHODS) - {"taktwatch"}:
            del METHODS[peer]
    text = page(given.boards, "--ours " if given.ours else "")
    print(text.split("## Is it")[1])
    if given.write:
        given.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
