"""COCO's figures, held against pycocotools."""

import contextlib
import io
from typing import Literal

import pytest
from eval_scenes import LABELS, scene
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detector.evaluation.coco_map import as_coco, coco_figures


def oracle(seeds: range, kind: str) -> list[float]:
    """Mean AP, at 0.50, at 0.75, by pycocotools."""
    truth, detections = as_coco([scene(seed) for seed in seeds], LABELS)
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = truth
        known.createIndex()
        judge = COCOeval(known, known.loadRes(detections), kind)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return [float(value) for value in judge.stats[:3]]


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("first", [0, 100, 200])
def test_means_equal_pycocotools(first: int, kind: Literal["bbox", "segm"]) -> None:
    seeds = range(first, first + 25)
    ours = coco_figures([scene(seed) for seed in seeds], LABELS, kind)
    assert [ours.map, ours.map50, ours.map75] == pytest.approx(oracle(seeds, kind), abs=1e-9)
    assert ours.map is not None
    assert 0 < ours.map < 1


def test_no_detections_score_nothing() -> None:
    blind = [scene(seed, skill=0.0) for seed in range(3)]
    empty = [type(one)(**{**{f: getattr(one, f) for f in one.__struct_fields__}, "found": ()}) for one in blind]
    assert coco_figures(empty, LABELS, "segm").map == 0
