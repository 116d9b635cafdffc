"""Measures a network on prepared samples: average precision per class, F, and how well masks fit."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torchvision.models.detection import MaskRCNN

from detector.dataset import Sample, target_boxes
from detector.evaluate import Boxes, Matched, average_precision, best_f, match, pooled
from detector.masks import Roi, grow_box, roi_mask
from detector.model import core
from detector.spec import ModelSpec

__all__ = ["measure"]

IOUS = (0.33, 0.5)


@torch.inference_mode()
def measure(network: MaskRCNN, spec: ModelSpec, samples: Sequence[Sample], *, margin_px: int = 0) -> dict[str, float]:
    """Return `ap<iou>` (mean over classes), `ap<iou>_pooled`, `ap<iou>/<class>`, and `f33` with its `f33_threshold`.

    Boxes are the tight boxes of masks, found and true, both grown by `margin_px`, or the network's own and the
    annotators' where the spec learns those; `mask_iou` is the mean over truths (0 where one is missed).
    """
    network.eval()
    parts: dict[tuple[float, int], list[Matched]] = defaultdict(list)
    mask_ious: list[float] = []
    for sample in samples:
        raw = core(network, torch.from_numpy(sample.channels)[None])[0]
        height, width = sample.channels.shape[1:]
        rois = [
            roi_mask(mask, box, height, width)
            for mask, box in zip(raw["masks"].numpy(), raw["boxes"].numpy(), strict=True)
        ]
        labels, scores = raw["labels"].numpy(), raw["scores"].numpy().astype(np.float64)
        if spec.target_margin_px is None:
            boxes, truths = raw["boxes"].numpy().astype(np.float64), target_boxes(sample, None).astype(np.float64)
        else:
            boxes = np.array([grow_box(roi.box, margin_px, height, width) for roi in rois], np.float64).reshape(-1, 4)
            truths = target_boxes(sample, margin_px).astype(np.float64)
        for index in range(1, len(spec.classes) + 1):
            mine, there = labels == index, sample.labels == index
            for iou in IOUS:
                found = Boxes(boxes[mine], scores[mine])
                parts[iou, index].append(match(found, Boxes(truths[there], np.ones(int(there.sum()))), iou))
        mask_ious += [
            _best_mask_iou(mask, [roi for roi, own in zip(rois, labels == label, strict=True) if own])
            for mask, label in zip(sample.masks, sample.labels, strict=True)
        ]
    return _figures(spec, parts) | {"mask_iou": float(np.mean(mask_ious)), "truths": float(len(mask_ious))}


def _figures(spec: ModelSpec, parts: dict[tuple[float, int], list[Matched]]) -> dict[str, float]:
    """Sum up the matches by overlap and class."""
    figures: dict[str, float] = {}
    for iou in IOUS:
        name = f"ap{iou * 100:.0f}"
        by_class = {label: pooled(parts[iou, index]) for index, label in enumerate(spec.classes, 1)}
        each = {label: average_precision(matched) for label, matched in by_class.items()}
        figures[name] = float(np.nanmean(list(each.values())))
        everything = pooled(list(by_class.values()))
        figures[f"{name}_pooled"] = average_precision(everything)
        if iou == IOUS[0]:
            figures["f33"], figures["f33_threshold"] = best_f(everything)
        figures |= {f"{name}/{label}": value for label, value in each.items()}
    return figures


def _best_mask_iou(truth: np.ndarray, rois: Sequence[Roi]) -> float:
    """Return the best overlap of any found mask with the true one, 0 to 1."""
    best, size = 0.0, int(truth.sum())
    for roi in rois:
        rows, cols = roi.mask.shape
        shared = int((truth[roi.y0 : roi.y0 + rows, roi.x0 : roi.x0 + cols] & roi.mask).sum())
        best = max(best, shared / max(size + roi.area_px - shared, 1))
    return best
