"""The whole core as one TorchScript file, for programs without Python (`deploy/cpp`).

Scripted, not traced: how many proposals and detections there are depends on the picture. TorchScript is deprecated in
favour of `torch.export`, but nothing else yet runs torchvision's operators from C++ with libtorch alone; the file is
made from the weights at any time, and no line depends on it.
"""

import warnings
from pathlib import Path

import torch
from torch import nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.image_list import ImageList

__all__ = ["ScriptedCore", "save_script"]


class ScriptedCore(nn.Module):
    """Pictures (N, 3, H, W) to one dict a picture: boxes (n, 4) px, labels and scores (n,), masks (n, 28, 28) 0..1."""

    def __init__(self, network: MaskRCNN) -> None:
        super().__init__()
        self.backbone = network.backbone
        self.rpn = network.rpn
        self.roi_heads = network.roi_heads

    def forward(self, pictures: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        """Do what `detector.model.core` does."""
        height, width = pictures.shape[2], pictures.shape[3]
        padded = nn.functional.pad(pictures, [0, -width % 32, 0, -height % 32])
        sizes = [(int(height), int(width)) for _ in range(pictures.shape[0])]
        features = self.backbone(padded)
        proposals, _ = self.rpn(ImageList(padded, sizes), features, None)
        found, _ = self.roi_heads(features, proposals, sizes, None)
        said: list[dict[str, torch.Tensor]] = []
        for one in found:
            said.append(  # noqa: PERF401 - TorchScript knows no other way
                {"boxes": one["boxes"], "labels": one["labels"], "scores": one["scores"], "masks": one["masks"][:, 0]}
            )
        return said


def save_script(network: MaskRCNN, path: Path) -> None:
    """Write a network's core as TorchScript; the network is left as it is, in evaluation mode."""
    core = ScriptedCore(network).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # see above
        scripted = torch.jit.freeze(torch.jit.script(core))
    scripted.save(str(path))
