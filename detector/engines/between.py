"""What happens between the parts of the network: choosing proposals, cutting them out, keeping detections.

The same steps as torchvision's, in the same order, so that results are equal; only that boxes are decoded after the
best were chosen and not before (of a hundred thousand anchors some two thousand matter). Works on any torch device.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from torchvision.models.detection import MaskRCNN
from torchvision.ops import boxes as box_ops

from detector.engines import RawDetections
from detector.engines.packing import MASK_PX, Kept, packed, unpacked
from detector.engines.pooling import pooled
from detector.model import STRIDE_PX

__all__ = ["Parts", "Rules", "detect"]

DELTA_LIMIT = math.log(1000 / 16)  # no box grows by more
PROPOSAL_WEIGHTS, BOX_WEIGHTS = (1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)
LEAST_PROPOSAL_PX, LEAST_BOX_PX = 1e-3, 1e-2

Tensors = Sequence[torch.Tensor]


class Parts(Protocol):
    """Runs the three parts of a network (see `detector.engines.parts` for shapes)."""

    def trunk(self, pictures: torch.Tensor) -> Tensors:
        """Run the convolutions."""

    def boxes(self, cells: torch.Tensor) -> Tensors:
        """Run the box head."""

    def masks(self, cells: torch.Tensor) -> torch.Tensor:
        """Run the mask head."""


@dataclass(frozen=True, eq=False, slots=True)
class Rules:
    """How proposals and detections are chosen.

    anchors: per level and the pooled one, (A, 4) around the origin, px; box_side, mask_side: cells a side of what is
    cut for a head; the rest as torchvision names it.
    """

    levels: int
    anchors: tuple[torch.Tensor, ...]
    best_anchors: int
    proposals: int
    proposal_nms: float
    score_floor: float
    box_nms: float
    detections: int
    box_side: int
    mask_side: int

    @classmethod
    def of(cls, network: MaskRCNN, levels: int) -> "Rules":
        """Read the rules off a network."""
        heads: Any = network.roi_heads
        proposer: Any = network.rpn
        return cls(
            levels=levels,
            anchors=tuple(cells.clone() for cells in proposer.anchor_generator.cell_anchors),
            best_anchors=proposer.pre_nms_top_n(),
            proposals=proposer.post_nms_top_n(),
            proposal_nms=proposer.nms_thresh,
            score_floor=heads.score_thresh,
            box_nms=heads.nms_thresh,
            detections=heads.detections_per_img,
            box_side=heads.box_roi_pool.output_size[0],
            mask_side=heads.mask_roi_pool.output_size[0],
        )

    def on(self, device: torch.device) -> "Rules":
        """Return these with the anchors on a device."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return Rules(**values | {"anchors": tuple(cells.to(device) for cells in self.anchors)})


def detect(parts: Parts, rules: Rules, pictures: torch.Tensor) -> list[RawDetections]:
    """Inspect pictures (N, 3, H, W) of any size."""
    levels = rules.levels
    height, width = size = (pictures.shape[2], pictures.shape[3])
    outputs = parts.trunk(nn.functional.pad(pictures, (0, -width % STRIDE_PX, 0, -height % STRIDE_PX)))
    features, maps = outputs[:levels], outputs[levels:]
    proposed = propose(rules, maps[: levels + 1], maps[levels + 1 :], size)
    scores, deltas = (rows.float() for rows in parts.boxes(pooled(features, proposed, rules.box_side)))
    counts = [len(boxes) for boxes in proposed]
    kept = [keep(rules, *one, size) for one in zip(scores.split(counts), deltas.split(counts), proposed, strict=True)]
    labels = torch.cat([label for _, label, _ in kept])
    masks = pictures.new_zeros(0, MASK_PX, MASK_PX)
    if len(labels):
        masks = parts.masks(pooled(features, [boxes for boxes, _, _ in kept], rules.mask_side))
        masks = masks[torch.arange(len(labels), device=labels.device), labels]
    return unpacked(packed(kept, masks).cpu().numpy(), [len(label) for _, label, _ in kept])


def propose(rules: Rules, objectness: Tensors, deltas: Tensors, size: tuple[int, int]) -> list[torch.Tensor]:
    """Return boxes (K, 4) per picture where something may be, best first."""
    count = objectness[0].shape[0]
    boxes, scores, levels = [], [], []
    for level, (chance, delta, cells) in enumerate(zip(objectness, deltas, rules.anchors, strict=True)):
        flat = chance.permute(0, 2, 3, 1).reshape(count, -1).float()
        best, index = flat.topk(min(rules.best_anchors, flat.shape[1]), dim=1)
        place, kind = index // len(cells), index % len(cells)
        row, column = place // chance.shape[3], place % chance.shape[3]
        corner = torch.stack([column, row], dim=-1).mul(4 * 2**level).repeat(1, 1, 2)
        channel = kind[..., None] * 4 + torch.arange(4, device=kind.device)
        moves = delta[
            torch.arange(count, device=kind.device)[:, None, None], channel, row[..., None], column[..., None]
        ]
        boxes.append(decode(moves.float(), cells[kind] + corner, PROPOSAL_WEIGHTS))
        scores.append(best.sigmoid())
        levels.append(torch.full_like(index, level))
    everything = torch.cat(boxes, 1), torch.cat(scores, 1), torch.cat(levels, 1)
    return [_best_proposals(rules, *one, size) for one in zip(*everything, strict=True)]


def _best_proposals(
    rules: Rules, boxes: torch.Tensor, scores: torch.Tensor, levels: torch.Tensor, size: tuple[int, int]
) -> torch.Tensor:
    """Return the best boxes of one picture that do not double each other."""
    boxes = box_ops.clip_boxes_to_image(boxes, size)
    large = box_ops.remove_small_boxes(boxes, LEAST_PROPOSAL_PX)
    boxes, scores, levels = boxes[large], scores[large], levels[large]
    kept = box_ops.batched_nms(boxes, scores, levels, rules.proposal_nms)
    return boxes[kept[: rules.proposals]]


def keep(
    rules: Rules, scores: torch.Tensor, deltas: torch.Tensor, proposals: torch.Tensor, size: tuple[int, int]
) -> Kept:
    """Return boxes (n, 4), labels and scores (n,) of one picture, best first."""
    index, label = (scores[:, 1:] > rules.score_floor).nonzero(as_tuple=True)
    label = label + 1
    score = scores[index, label]
    moves = deltas.reshape(len(deltas), scores.shape[1], 4)[index, label]
    boxes = box_ops.clip_boxes_to_image(decode(moves, proposals[index], BOX_WEIGHTS), size)
    large = box_ops.remove_small_boxes(boxes, LEAST_BOX_PX)
    boxes, label, score = boxes[large], label[large], score[large]
    kept = box_ops.batched_nms(boxes, score, label, rules.box_nms)[: rules.detections]
    return boxes[kept], label[kept], score[kept]


def decode(deltas: torch.Tensor, boxes: torch.Tensor, weights: tuple[float, float, float, float]) -> torch.Tensor:
    """Move and stretch boxes (..., 4) by deltas (..., 4).

    >>> decode(torch.zeros(1, 4), torch.tensor([[2.0, 2.0, 6.0, 4.0]]), PROPOSAL_WEIGHTS).tolist()
    [[2.0, 2.0, 6.0, 4.0]]
    """
    sides = boxes[..., 2:] - boxes[..., :2]
    middle = boxes[..., :2] + 0.5 * sides
    wx, wy, ww, wh = weights
    middle = deltas[..., :2] / deltas.new_tensor([wx, wy]) * sides + middle
    half = 0.5 * torch.exp((deltas[..., 2:] / deltas.new_tensor([ww, wh])).clamp(max=DELTA_LIMIT)) * sides
    return torch.cat([middle - half, middle + half], dim=-1)
