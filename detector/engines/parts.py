"""The network cut into three parts that are pure arithmetic: trunk, box head, mask head.

What lies between them (choosing proposals, cutting them out, suppressing doubles) depends on the numbers themselves and
is in `between` and `pooling`.
A part has no loop and no branch, so every exporter takes it, with any batch and any picture size, and so does a
quantiser.
"""

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.detection import MaskRCNN

__all__ = ["BoxPart", "MaskPart", "Trunk", "cut"]


class Trunk(nn.Module):
    """Pictures (N, 3, H, W), sides multiples of the stride, to what the heads and the proposals need.

    Gives the features of each level, coarser by twos from stride 4, channels last: (N, H/4, W/4, width) ...; then the
    objectness of each level and of the pooled one: (N, A, h, w); then their box deltas: (N, 4 A, h, w). Batch norms are
    folded.
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
        return (*(level.permute(0, 2, 3, 1) for level in features[:-1]), *objectness, *deltas)


class BoxPart(nn.Module):
    """Cut boxes (K, side, side, width) to class scores (K, classes + 1), 0 to 1, and deltas (K, 4 (classes + 1))."""

    def __init__(self, network: MaskRCNN) -> None:
        super().__init__()
        heads: Any = network.roi_heads
        side = heads.box_roi_pool.output_size[0]
        self.head = copy.deepcopy(heads.box_head)
        self.predictor = copy.deepcopy(heads.box_predictor)
        first = self.head.fc6  # it was trained on channels first
        by_channel = first.weight.data.view(len(first.weight), -1, side, side)
        first.weight.data = by_channel.permute(0, 2, 3, 1).reshape(len(first.weight), -1).contiguous()

    def forward(self, cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the box head."""
        logits, deltas = self.predictor(self.head(cells))
        return logits.softmax(-1), deltas


class MaskPart(nn.Module):
    """Cut boxes (K, side, side, width) to masks (K, classes + 1, 2 side, 2 side), 0 to 1."""

    def __init__(self, network: MaskRCNN) -> None:
        super().__init__()
        heads: Any = network.roi_heads
        self.head = copy.deepcopy(heads.mask_head)
        self.predictor = copy.deepcopy(heads.mask_predictor)

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        """Run the mask head."""
        masks: torch.Tensor = self.predictor(self.head(cells.permute(0, 3, 1, 2)))
        return masks.sigmoid()


def cut(network: MaskRCNN) -> tuple[Trunk, BoxPart, MaskPart]:
    """Cut a network in evaluation mode into its parts; the network itself is left as it is."""
    parts = Trunk(network), BoxPart(network), MaskPart(network)
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
