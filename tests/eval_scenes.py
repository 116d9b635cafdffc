"""Pictures with truths and detections, made by hand or at random: what tests of the evaluation score."""

import numpy as np

from detector.evaluation.outcomes import Found, Outcome, TrueDefect
from taktwatch.records import Verdict
from taktwatch.rle import encode_roi

LABELS = ("open", "short")
SIDE = 200
Box = tuple[int, int, int, int]


def true(label: str, box: Box, *, sized: bool = True) -> TrueDefect:
    """A truth that fills its box."""
    x0, y0, x1, y1 = box
    rle = encode_roi(np.ones((y1 - y0, x1 - x0), bool), x0, y0, SIDE, SIDE)
    area = (x1 - x0) * (y1 - y0)
    return TrueDefect(label=label, box_px=tuple(map(float, box)), mask=rle, area_px=area, sized=sized)


def found(label: str, box: Box, score: float, *, reported: bool | None = None) -> Found:
    """A detection that fills its box, reported from 0.5 on."""
    x0, y0, x1, y1 = box
    rle = encode_roi(np.ones((y1 - y0, x1 - x0), bool), x0, y0, SIDE, SIDE)
    return Found(
        label=label,
        score=score,
        box_px=tuple(map(float, box)),
        mask=rle,
        area_px=(x1 - x0) * (y1 - y0),
        reported=score >= 0.5 if reported is None else reported,
    )


def outcome(truths: list[TrueDefect], detections: list[Found], *, name: str = "a", board: str = "b") -> Outcome:
    """A picture judged by what is reported."""
    stopped = any(one.reported for one in detections)
    return Outcome(
        name=name,
        board=board,
        size=(SIDE, SIDE),
        um_per_px=20.0,
        truths=tuple(truths),
        found=tuple(detections),
        defective=bool(truths),
        verdict=Verdict.FAIL if stopped else Verdict.PASS,
    )


def scene(seed: int, *, skill: float = 0.8) -> Outcome:
    """Random truths, detections near most of them, some under the wrong name, and some elsewhere."""
    rng = np.random.default_rng(seed)
    truths = [true(str(rng.choice(LABELS)), box(rng)) for _ in range(int(rng.integers(0, 6)))]
    detections = []
    for one in truths:
        if rng.random() < skill:
            x0, y0, x1, y1 = (int(end) for end in one.box_px)
            dx, dy = (int(step) for step in rng.integers(-4, 5, 2))
            moved = (max(x0 + dx, 0), max(y0 + dy, 0), min(x1 + dx, SIDE), min(y1 + dy, SIDE))
            detections.append((one.label if rng.random() < 0.9 else str(rng.choice(LABELS)), moved))
    detections += [(str(rng.choice(LABELS)), box(rng)) for _ in range(int(rng.integers(0, 4)))]
    scores = rng.permutation(1000)[: len(detections)] / 1000
    # Scores of different pictures differ too: ties are broken differently by different libraries.
    jitter = seed % 997 / 1e6
    listed = [found(label, at, float(score) + jitter) for (label, at), score in zip(detections, scores, strict=True)]
    return outcome(truths, listed, name=f"picture-{seed}", board=f"board-{seed % 7}")


def box(rng: np.random.Generator) -> Box:
    """A box somewhere in the picture."""
    x0, y0 = (int(at) for at in rng.integers(0, SIDE - 60, 2))
    wide, high = (int(side) for side in rng.integers(8, 50, 2))
    return x0, y0, x0 + wide, y0 + high
