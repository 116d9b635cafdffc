"""The network cut into three parts that are pure arithmetic: trunk, box head, mask head.

What lies between them (choosing proposals, suppressing doubles) depends on the numbers themselves and is in `between`.
A part has no loop and no branch, so every exporter takes it, with any batch and any picture size, and so does a
quantiser.
"""

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.detection import MaskRCNN
from torchvision.ops import roi_align

__all__ = ["BoxPart", "MaskPart", "Trunk", "cut"]

SAMPLES = 2  # points a side per cell of a pooled box, as `build_model` says


class Trunk(nn.Module):
    """Pictures (N, 3, H, W), sides multiples of the stride, to what the heads and the proposals need.

    Gives the features of each level, coarser by twos from stride 4: (N, width, H/4, W/4) ...; then the objectness of
    each level and of the pooled one: (N, A, h, w); then their box deltas: (N, 4 A, h, w). Batch norms are folded.
    """

    def __init__(self, network: MaskRCNN) -> None:
        super().__init__()
        proposer: Any = network.rpn
        self.backbone = folded(network.backbone)
        self.head = copy.deepcopy(proposer.head)

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run the convolutions."""
        features = list(self.backbone(pictures).values())
        objectness, deltas = self.head(features)
        return (*features[:-1], *objectness, *deltas)


class Pooled(nn.Module):
    """Cuts boxes out of the levels' features: first as many features, then as many lists of boxes (K, 5).

    A box is the index of its picture, then x0, y0, x1, y1 in picture px. What is cut comes level after level.
    """

    def __init__(self, levels: int, side: int) -> None:
        super().__init__()
        self.scales = [1 / (4 * 2**level) for level in range(levels)]
        self.side = side

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return (K, width, side, side)."""
        levels = len(self.scales)
        return torch.cat(
            [
                roi_align(feature, rois, [self.side, self.side], scale, SAMPLES)
                for feature, rois, scale in zip(inputs[:levels], inputs[levels:], self.scales, strict=True)
            ]
        )


class BoxPart(nn.Module):
    """Features and proposals by level to class scores (K, classes + 1), 0 to 1, and box deltas (K, 4 (classes + 1))."""

    def __init__(self, network: MaskRCNN, levels: int) -> None:
        super().__init__()
        heads: Any = network.roi_heads
        self.pool = Pooled(levels, heads.box_roi_pool.output_size[0])
        self.head = copy.deepcopy(heads.box_head)
        self.predictor = copy.deepcopy(heads.box_predictor)

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the box head."""
        logits, deltas = self.predictor(self.head(self.pool(*inputs)))
        return logits.softmax(-1), deltas


class MaskPart(nn.Module):
    """Features and boxes by level to masks (K, classes + 1, 28, 28), 0 to 1."""

    def __init__(self, network: MaskRCNN, levels: int) -> None:
        super().__init__()
        heads: Any = network.roi_heads
        self.pool = Pooled(levels, heads.mask_roi_pool.output_size[0])
        self.head = copy.deepcopy(heads.mask_head)
        self.predictor = copy.deepcopy(heads.mask_predictor)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Run the mask head."""
        masks: torch.Tensor = self.predictor(self.head(self.pool(*inputs)))
        return masks.sigmoid()


def cut(network: MaskRCNN, levels: int) -> tuple[Trunk, BoxPart, MaskPart]:
    """Cut a network in evaluation mode into its parts; the network itself is left as it is."""
    parts = Trunk(network), BoxPart(network, levels), MaskPart(network, levels)
    for part in parts:
        part.eval().requires_grad_(requires_grad=False)
    return parts


def folded(network: nn.Module) -> nn.Module:
    """Return a copy in which each batch norm that follows a convolution is part of that convolution."""
    result = copy.deepcopy(network).eval()
    for module in list(result.modules()):
        before: tuple[str, nn.Module] | None = None
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d) and before is not None and isinstance(before[1], nn.Conv2d):
                module.add_module(before[0], fuse_conv_bn_eval(before[1], child))
                module.add_module(name, nn.Identity())
            before = name, child
    return result
