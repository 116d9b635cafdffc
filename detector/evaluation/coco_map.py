"""COCO's mAP of boxes and masks, by faster-coco-eval. Pure but for what that library prints."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from detector.evaluation.outcomes import Box, Outcome

__all__ = ["CocoFigures", "as_coco", "coco_figures"]


class CocoFigures(msgspec.Struct, frozen=True, kw_only=True):
    """COCO's own figures: mean over classes and IoU 0.50 to 0.95, at 0.50 and 0.75; None without truths."""

    map: float | None
    map50: float | None
    map75: float | None


def coco_figures(outcomes: Sequence[Outcome], labels: Sequence[str], kind: Literal["bbox", "segm"]) -> CocoFigures:
    """Score boxes or masks as COCO does."""
    truth, found = as_coco(outcomes, labels)
    if not truth["annotations"]:
        return CocoFigures(map=None, map50=None, map75=None)
    if not found:
        return CocoFigures(map=0.0, map50=0.0, map75=0.0)
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO(truth)
        judge = COCOeval_faster(known, known.loadRes(found), kind)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return CocoFigures(map=_known(judge.stats[0]), map50=_known(judge.stats[1]), map75=_known(judge.stats[2]))


def as_coco(outcomes: Sequence[Outcome], labels: Sequence[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return truths and detections as COCO writes them."""
    classes = {label: index for index, label in enumerate(labels, 1)}
    annotations: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for picture, outcome in enumerate(outcomes, 1):
        for truth in outcome.truths:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": picture,
                    "category_id": classes[truth.label],
                    "bbox": _xywh(truth.box_px),
                    "segmentation": {"size": list(truth.mask.size), "counts": truth.mask.counts},
                    "area": truth.area_px,
                    "iscrowd": 0,
                }
            )
        found += [
            {
                "image_id": picture,
                "category_id": classes[one.label],
                "bbox": _xywh(one.box_px),
                "segmentation": {"size": list(one.mask.size), "counts": one.mask.counts},
                "score": one.score,
            }
            for one in outcome.found
        ]
    images = [{"id": picture, "height": one.size[0], "width": one.size[1]} for picture, one in enumerate(outcomes, 1)]
    categories = [{"id": index, "name": label} for label, index in classes.items()]
    return {"images": images, "annotations": annotations, "categories": categories}, found


def _xywh(box: Box) -> list[float]:
    """Return a box as COCO writes it."""
    x0, y0, x1, y1 = box
    return [x0, y0, x1 - x0, y1 - y0]


def _known(value: float) -> float | None:
    """COCO writes -1 where there is nothing to say."""
    return float(value) if np.isfinite(value) and value >= 0 else None
