"""Matching, held against pycocotools, and average precision, held against scikit-learn."""

import contextlib
import io

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sklearn.metrics import average_precision_score

from detector.evaluate import Boxes, average_precision, best_f, match, pooled

Scene = tuple[Boxes, Boxes]


def scene(seed: int) -> Scene:
    """Truths, and detections near some of them and elsewhere."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 200, (int(rng.integers(0, 8)), 2))
    truths = np.concatenate([corner, corner + rng.uniform(10, 40, corner.shape)], axis=1)
    near = truths + rng.normal(0, 4, truths.shape)
    corner = rng.uniform(0, 200, (int(rng.integers(0, 6)), 2))
    found = np.concatenate([near, np.concatenate([corner, corner + rng.uniform(10, 40, corner.shape)], axis=1)])
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
    scores = rng.choice(np.arange(1, 2000), len(found), replace=False) / 2000
    return Boxes(found, scores), Boxes(truths, np.ones(len(truths)))


def oracle(scenes: list[Scene], iou: float) -> float:
    """Average precision by scikit-learn of what pycocotools matched."""
    wide = [box_xywh(boxes) for _, boxes in scenes]
    truth = COCO()
    annotations = [
        {"image_id": picture, "category_id": 1, "bbox": list(box), "area": box[2] * box[3], "iscrowd": 0}
        for picture, boxes in enumerate(wide)
        for box in boxes
    ]
    truth.dataset = {
        "images": [{"id": picture} for picture in range(len(scenes))],
        "categories": [{"id": 1}],
        "annotations": [{"id": index + 1, **annotation} for index, annotation in enumerate(annotations)],
    }
    found = [
        {"image_id": picture, "category_id": 1, "bbox": list(box), "score": score}
        for picture, (boxes, _) in enumerate(scenes)
        for box, score in zip(box_xywh(boxes), boxes.scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(found), "bbox")
        judge.params.iouThrs = np.array([iou])
        judge.evaluate()
    pictures = [one for one in judge.evalImgs if one is not None and one["aRng"] == judge.params.areaRng[0]]
    hits = np.concatenate([one["dtMatches"][0] > 0 for one in pictures])
    scores = np.concatenate([one["dtScores"] for one in pictures])
    share = hits.sum() / len(annotations)  # scikit-learn knows of no truths that nothing was scored for
    return float(average_precision_score(hits, scores)) * share if share else 0.0


def box_xywh(boxes: Boxes) -> np.ndarray:
    """Boxes as COCO writes them."""
    return np.concatenate([boxes.boxes[:, :2], boxes.boxes[:, 2:] - boxes.boxes[:, :2]], axis=1)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=5), st.sampled_from([0.33, 0.5, 0.75]))
def test_average_precision_of_what_is_matched_equals_that_of_libraries(seeds: list[int], iou: float) -> None:
    scenes = [scene(seed) for seed in seeds]
    truths, found = sum(len(truth.boxes) for _, truth in scenes), sum(len(one.boxes) for one, _ in scenes)
    if truths == 0 or found == 0:
        return
    ours = average_precision(pooled([match(one, truth, iou) for one, truth in scenes]))
    assert abs(ours - oracle(scenes, iou)) < 1e-9


def test_one_truth_is_hit_once() -> None:
    truth = Boxes(np.array([[0, 0, 10, 10.0]]), np.ones(1))
    twice = Boxes(np.array([[0, 0, 10, 10.0], [0, 0, 10, 9.0]]), np.array([0.8, 0.9]))
    matched = match(twice, truth, 0.5)
    assert matched.scores.tolist() == [0.9, 0.8]
    assert matched.hits.tolist() == [True, False]


def test_the_best_threshold_drops_the_false_calls() -> None:
    truth = Boxes(np.array([[0, 0, 10, 10.0], [50, 50, 60, 60.0]]), np.ones(2))
    found = Boxes(np.array([[0, 0, 10, 10.0], [50, 50, 60, 60.0], [80, 0, 90, 9.0]]), np.array([0.9, 0.7, 0.2]))
    assert best_f(match(found, truth, 0.5)) == (1.0, 0.7)


def test_nothing_found_scores_nothing() -> None:
    nothing = Boxes(np.zeros((0, 4)), np.zeros(0))
    truth = Boxes(np.array([[0, 0, 10, 10.0]]), np.ones(1))
    assert average_precision(match(nothing, truth, 0.5)) == 0
    assert np.isnan(average_precision(match(nothing, nothing, 0.5)))
