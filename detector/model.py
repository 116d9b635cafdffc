"""Builds torchvision's Mask R-CNN from a `ModelSpec`: no download, no resizing, no full-frame mask pasting."""

from collections.abc import Sequence
from math import log2
from typing import Any, cast

import torch
from torch import nn
from torchvision.models import resnet
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.mobilenetv3 import mobilenet_v3_large
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import initLevelMapper

from detector.spec import ModelSpec

__all__ = ["LEARNED_ASIDE_PX", "STRIDE_PX", "answering", "build_model", "core", "count_parameters"]

Targets = list[dict[str, torch.Tensor]]

LEARNED_ASIDE_PX = 0.5
"""How far up and left of the truth a network draws masks that learned them in torchvision's way.

What a mask should be is cut out of the true one by RoIAlign as first published (He et al. 2017), which takes the value
of a px for that of its upper left corner and not of its middle (Detectron2's `aligned` does otherwise).
"""

SURE = 20.0  # as a logit: as good as certain
FINEST_STRIDE_PX = 4  # of the pyramid's first level, each next one twice as coarse
STRIDE_PX = 32  # pictures are padded to a multiple of the coarsest stride
MOBILENET_STAGES = ((3, 24), (6, 40), (12, 112), (15, 160))  # last block and channels of strides 4, 8, 16, 32


class AsIs(nn.Module):
    """Stands where torchvision resizes: stacks pictures of one size and pads them to the stride, nothing else."""

    def forward(self, pictures: Sequence[torch.Tensor], targets: Targets | None) -> tuple[ImageList, Targets | None]:
        """Return the batch (N, 3, H', W') and the targets untouched."""
        batch = torch.stack(list(pictures))
        height, width = batch.shape[-2:]
        padded = nn.functional.pad(batch, (0, -width % STRIDE_PX, 0, -height % STRIDE_PX))
        return ImageList(padded, [(height, width)] * len(batch)), targets

    def postprocess(self, detections: Any, _inside: Any, _outside: Any) -> Any:
        """Leave detections as they are: boxes in picture px, masks as probabilities per box."""
        return detections


def build_model(spec: ModelSpec) -> MaskRCNN:
    """Build the network with fresh weights (seed torch first to get the same ones again)."""
    trunk = _trunk(spec)
    ratios = (spec.anchor_ratios,) * (spec.levels + 1)
    width, classes = spec.fpn_width, len(spec.classes) + 1
    model = MaskRCNN(
        trunk,
        rpn_anchor_generator=AnchorGenerator(tuple((side,) for side in spec.anchors_px), ratios),
        rpn_pre_nms_top_n_train=1000,
        rpn_post_nms_top_n_train=500,
        rpn_pre_nms_top_n_test=500,
        rpn_post_nms_top_n_test=spec.proposals,
        rpn_batch_size_per_image=128,
        box_roi_pool=pool(spec, 7),
        box_head=TwoMLPHead(width * 7 * 7, spec.box_head),
        box_predictor=FastRCNNPredictor(spec.box_head, classes),
        box_batch_size_per_image=128,
        box_score_thresh=spec.score_floor,
        box_nms_thresh=spec.box_nms,
        box_detections_per_img=spec.detections,
        mask_roi_pool=pool(spec, spec.mask_px // 2),
        mask_head=MaskRCNNHeads(width, spec.mask_head, 1) if spec.mask_head else nn.Identity(),
        mask_predictor=MaskRCNNPredictor(spec.mask_head[-1], spec.mask_head[-1], classes)
        if spec.mask_head
        else WholeBox(classes),
    )
    heads: Any = model.roi_heads
    if spec.mask_head:
        heads.mask_roi_pool = MaskPool(heads.mask_roi_pool)
    else:
        heads.mask_roi_pool = heads.mask_head = heads.mask_predictor = None  # nothing of it is trained
    model.transform = AsIs()
    return model


class MaskPool(nn.Module):
    """Cuts boxes out of the pyramid by `pool`: as many px aside as a trained network draws masks aside, so it does not.

    While it learns, boxes are where they are.
    """

    def __init__(self, pool: MultiScaleRoIAlign) -> None:
        super().__init__()
        self.pool: Any = pool
        self.output_size = pool.output_size
        self.aside_px = LEARNED_ASIDE_PX

    def forward(
        self, features: dict[str, torch.Tensor], boxes: list[torch.Tensor], sizes: list[tuple[int, int]]
    ) -> torch.Tensor:
        """Return what boxes (n, 4) of each picture show of levels (pictures, width, h, w): (N, width, side, side)."""
        aside_px = 0.0 if self.training else self.aside_px
        cut: torch.Tensor = self.pool(features, [box - aside_px for box in boxes], sizes)
        return cut


class WholeBox(nn.Module):
    """Stands where a network without masks would give one: all of the box is the thing."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """Return logits (K, classes, 28, 28) that say yes, for boxes pooled to (K, width, 1, 1)."""
        return pooled.amax(1, keepdim=True).mul(0).add(SURE).expand(-1, self.classes, 28, 28)


def answering(model: MaskRCNN, spec: ModelSpec) -> MaskRCNN:
    """Return a trained network as it answers: where it has no masks, its boxes stand for them."""
    heads: Any = model.roi_heads
    if not spec.mask_head:
        heads.mask_roi_pool = MaskPool(pool(spec, 1))
        heads.mask_head, heads.mask_predictor = nn.Identity(), WholeBox(len(spec.classes) + 1)
    return model


def pool(spec: ModelSpec, side_px: int) -> MultiScaleRoIAlign:
    """Return what cuts boxes out of the pyramid's levels, side_px squared.

    torchvision reads the levels' strides off the first picture that a network ever sees, and takes its padding for
    picture: after one of 33 px every box of every later picture lay at half its size.
    """
    made = MultiScaleRoIAlign([str(level) for level in range(spec.levels)], output_size=side_px, sampling_ratio=2)
    finest, known = round(log2(FINEST_STRIDE_PX)), cast("Any", made)
    known.scales = [2.0 ** -(finest + level) for level in range(spec.levels)]
    known.map_levels = initLevelMapper(finest, finest + spec.levels - 1)
    return made


def core(model: MaskRCNN, batch: torch.Tensor) -> list[dict[str, torch.Tensor]]:
    """Run the network on (N, 3, H, W); per picture boxes (n, 4), labels, scores (n,), masks (n, 28, 28) 0..1."""
    images, _ = model.transform(batch, None)
    features = model.backbone(images.tensors)
    proposals, _ = model.rpn(images, features)
    found, _ = model.roi_heads(features, proposals, images.image_sizes)
    return [{**one, "masks": one["masks"].squeeze(1)} for one in found]


def count_parameters(model: nn.Module) -> int:
    """Return how many numbers training sets."""
    return sum(parameter.numel() for parameter in model.parameters())


def _trunk(spec: ModelSpec) -> BackboneWithFPN:
    """Return the backbone's stages under a feature pyramid."""
    if spec.backbone == "mobilenet_v3":
        features = mobilenet_v3_large(weights=None).features
        stages = MOBILENET_STAGES[: spec.levels]
        layers = {str(block): str(level) for level, (block, _) in enumerate(stages)}
        return BackboneWithFPN(features, layers, [channels for _, channels in stages], spec.fpn_width)
    body: Any = getattr(resnet, spec.backbone)(weights=None)
    first = int(body.inplanes) // 8  # channels of the first stage: 64, or 256 with bottlenecks
    layers = {f"layer{level + 1}": str(level) for level in range(spec.levels)}
    return BackboneWithFPN(body, layers, [first * 2**level for level in range(spec.levels)], spec.fpn_width)
