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
from detector.model import LEARNED_ASIDE_PX, STRIDE_PX

__all__ = ["Parts", "Rules", "detect"]

DELTA_LIMIT = math.log(1000 / 16)  # no box grows by more
PROPOSAL_WEIGHTS, BOX_WEIGHTS = (1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)
LEAST_PROPOSAL_PX, LEAST_BOX_PX = 1e-3, 1e-2
FEW = 1000  # boxes; of more torchvision, too, compares each level for itself
HEADSTART = 4  # times the proposals asked for: so many of the best boxes mostly hold all of them

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
    beyond = (0, -width % STRIDE_PX, 0, -height % STRIDE_PX)
    outputs = parts.trunk(nn.functional.pad(pictures, beyond) if any(beyond) else pictures)  # it copies anyway
    features, maps = outputs[:levels], outputs[levels:]
    proposed = propose(rules, maps[: levels + 1], maps[levels + 1 :], size)
    scores, deltas = (rows.float() for rows in parts.boxes(pooled(features, proposed, rules.box_side)))
    counts = [len(boxes) for boxes in proposed]
    kept = [keep(rules, *one, size) for one in zip(scores.split(counts), deltas.split(counts), proposed, strict=True)]
    labels = torch.cat([label for _, label, _ in kept])
    masks = pictures.new_zeros(0, MASK_PX, MASK_PX)
    if len(labels):
        aside = [boxes - LEARNED_ASIDE_PX for boxes, _, _ in kept]
        masks = parts.masks(pooled(features, aside, rules.mask_side))
        masks = masks[torch.arange(len(labels), device=labels.device), labels]
    return unpacked(packed(kept, masks).cpu().numpy(), [len(label) for _, label, _ in kept])


def propose(rules: Rules, objectness: Tensors, deltas: Tensors, size: tuple[int, int]) -> list[torch.Tensor]:
    """Return boxes (K, 4) per picture where something may be, best first."""
    flat = [chance.permute(0, 2, 3, 1).flatten(1).float() for chance in objectness]
    best = [chance.topk(min(rules.best_anchors, chance.shape[1]), dim=1) for chance in flat]
    scores, anchors = [chance.sigmoid() for chance, _ in best], [index for _, index in best]
    if objectness[0].is_cuda or sum(chance.shape[1] for chance in scores) <= FEW:
        boxes = _boxes(rules, deltas, anchors, size)
        counts = [chance.shape[1] for chance in scores]
        return [_together(rules, *one, counts) for one in zip(boxes, torch.cat(scores, 1), strict=True)]
    alone = (zip(*(level.split(1) for level in each), strict=True) for each in (scores, deltas, anchors))
    return [_apart(rules, score, delta, index, size) for score, delta, index in zip(*alone, strict=True)]


def _boxes(rules: Rules, deltas: Tensors, anchors: Tensors, size: tuple[int, int]) -> torch.Tensor:
    """Return the boxes (N, K of all levels, 4) that the network makes of anchors, (N, K) a level, in the picture."""
    moves, still = [], []
    for level, (delta, index, cells) in enumerate(zip(deltas, anchors, rules.anchors, strict=True)):
        place, kind = index // len(cells), index % len(cells)
        row, column = place // delta.shape[3], place % delta.shape[3]
        picture = torch.arange(len(delta), device=kind.device)[:, None, None]
        channel = kind[..., None] * 4 + torch.arange(4, device=kind.device)
        moves.append(delta[picture, channel, row[..., None], column[..., None]])
        still.append(cells[kind] + torch.stack([column, row, column, row], dim=-1) * (4 * 2**level))
    boxes = decode(torch.cat(moves, 1).float(), torch.cat(still, 1), PROPOSAL_WEIGHTS)
    return box_ops.clip_boxes_to_image(boxes, size)


def _together(rules: Rules, boxes: torch.Tensor, scores: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
    """Return the best boxes of one picture that do not double each other; `counts` of them are of each level."""
    levels = torch.cat([torch.full((most,), level, device=boxes.device) for level, most in enumerate(counts)])
    large = box_ops.remove_small_boxes(boxes, LEAST_PROPOSAL_PX)
    boxes, scores, levels = boxes[large], scores[large], levels[large]
    kept = box_ops.batched_nms(boxes, scores, levels, rules.proposal_nms)
    return boxes[kept[: rules.proposals]]


def _apart(rules: Rules, scores: Tensors, deltas: Tensors, anchors: Tensors, size: tuple[int, int]) -> torch.Tensor:
    """Return the same, each level of a picture compared for itself; a level's anchors are (1, K), best first.

    A box is suppressed by better ones alone: if the best few make enough proposals, the others need not be looked at.
    """
    every = torch.cat(list(scores), 1)
    least = every.topk(min(HEADSTART * rules.proposals, every.shape[1]), sorted=False).values.min()
    for counts in ([int((level >= least).sum()) for level in scores], [level.shape[1] for level in scores]):
        boxes = _boxes(rules, deltas, [index[:, :most] for index, most in zip(anchors, counts, strict=True)], size)
        found, chances = [], []
        for there, (chance,) in zip(boxes[0].split(counts), scores, strict=True):
            large = box_ops.remove_small_boxes(there, LEAST_PROPOSAL_PX)
            kept = large[box_ops.nms(there[large], chance[large], rules.proposal_nms)]
            found.append(there[kept])
            chances.append(chance[kept])
        if sum(map(len, found)) >= rules.proposals:
            break
    order = torch.cat(chances).argsort(descending=True, stable=True)
    return torch.cat(found)[order[: rules.proposals]]


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
