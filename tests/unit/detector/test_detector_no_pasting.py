"""No code path pastes a mask into a full frame: all that is done for detections takes less memory than one such."""

import tracemalloc
from collections.abc import Callable

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import TINY

from dashboards.console.outlines import outline
from detector.engines import RawDetections
from detector.judge import findings, judge
from detector.overlay import draw_overlay
from detector.scale import Scale
from detector.scores import Scores
from detector.spec import ModelSpec
from detector.unexplained import unexplained
from taktwatch.config import ClassConfig, ProductConfig
from taktwatch.records import Detection
from taktwatch.rle import decode

SIDE = 4000
PASTED_BYTES = SIDE * SIDE  # of bool; torchvision's are float32, four times as much
FEW = PASTED_BYTES // 4

SECTION = TINY.model_copy(update={"view": "section", "input": "rgb", "classes": ("copper_layer", "corrosion")})


def product_of(spec: ModelSpec) -> ProductConfig:
    classes = {name: ClassConfig(score=0.1, min_area_px=1) for name in spec.classes}
    return ProductConfig(view=spec.view, model="m", um_per_px=2.0, classes=classes)


def peak_bytes(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@st.composite
def detections(draw: st.DrawFn, spec: ModelSpec) -> RawDetections:
    """Small things anywhere on a large frame, its edges included; with layers, one that crosses a part of it."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count = draw(st.integers(1, 40))
    corner = rng.uniform(-10, SIDE - 20, (count, 2))
    boxes = np.clip(np.hstack([corner, corner + rng.uniform(4, 80, (count, 2))]), 0, SIDE)
    labels = np.ones(count, np.int64)
    if spec.view == "section":
        labels[:] = 2
        y = float(rng.uniform(0, SIDE - 40))
        boxes[0], labels[0] = (100, y, 1000, y + 40), 1
    return RawDetections(
        boxes=boxes.astype(np.float32),
        labels=labels,
        scores=np.linspace(0.9, 0.5, count, dtype=np.float32),
        masks=rng.random((count, 28, 28), np.float32) ** 0.2,
    )


def judged(raw: RawDetections, spec: ModelSpec) -> tuple[Detection, ...]:
    product = product_of(spec)
    found = findings(raw, spec, Scores(product), SIDE, SIDE)
    return judge(found, product, scale=Scale.square(2.0), height=SIDE, width=SIDE).detections


@settings(deadline=None, max_examples=15)
@given(detections(TINY))
def test_masks_runs_and_verdict_of_a_board_are_made_without_pasting(raw: RawDetections) -> None:
    assert peak_bytes(lambda: judged(raw, TINY)) < FEW


@settings(deadline=None, max_examples=15)
@given(detections(SECTION))
def test_layers_are_walked_without_pasting(raw: RawDetections) -> None:
    assert peak_bytes(lambda: judged(raw, SECTION)) < FEW


@settings(deadline=None, max_examples=8)
@given(detections(TINY))
def test_outlines_and_overlays_are_drawn_without_pasting(raw: RawDetections) -> None:
    found = judged(raw, TINY)
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    assert peak_bytes(lambda: [outline(one) for one in found]) < FEW
    assert peak_bytes(lambda: draw_overlay(picture, found)) < picture.nbytes + FEW  # its copy of the picture


@settings(deadline=None, max_examples=15)
@given(detections(TINY))
def test_what_a_mask_explains_is_asked_of_the_mask_alone(raw: RawDetections) -> None:
    product = product_of(TINY)
    rois = [one.roi for one in findings(raw, TINY, Scores(product), SIDE, SIDE)]
    small = np.full((200, 200), 120, np.uint8)
    lit = small.astype(np.float32)
    inside = [roi for roi in rois if roi.x0 < 150 and roi.y0 < 150]
    small[90:110, 90:110] = 10
    pasted = np.zeros((SIDE, SIDE), np.uint8)
    for roi in inside:
        height, width = roi.mask.shape
        pasted[roi.y0 : roi.y0 + height, roi.x0 : roi.x0 + width] |= roi.mask
    near = cv2.dilate(pasted[:200, :200], np.ones((19, 19), np.uint8))
    assert bool(unexplained(small, lit, inside)) == (not near[99, 99])


def test_memory_shows_a_pasted_mask() -> None:  # the measure itself
    raw = RawDetections(
        boxes=np.array([[10, 10, 40, 40]], np.float32),
        labels=np.ones(1, np.int64),
        scores=np.ones(1, np.float32),
        masks=np.ones((1, 28, 28), np.float32),
    )
    (one,) = judged(raw, TINY)
    assert peak_bytes(lambda: decode(one.mask)) >= PASTED_BYTES
