"""Boxes cut out of the pyramid while a network learns: torchvision takes one core for the gradient, here all work.

Pictures of a batch share nothing of it: each is one thread's, and what comes out is torchvision's to the bit.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import nn
from torchvision.models.detection import MaskRCNN
from torchvision.ops import MultiScaleRoIAlign

from detector.engines.lanes import lanes

__all__ = ["SharedPool", "share_pooling"]


class SharedPool(nn.Module):
    """`pool`, a pooling of the pyramid's levels, whose gradient `threads` work on."""

    def __init__(self, pool: MultiScaleRoIAlign, threads: ThreadPoolExecutor) -> None:
        super().__init__()
        self.pool: Any = pool
        self.threads = threads

    def forward(
        self, features: dict[str, torch.Tensor], boxes: list[torch.Tensor], _sizes: Sequence[tuple[int, int]]
    ) -> torch.Tensor:
        """Return what boxes (n, 4) of each picture show of levels (pictures, width, h, w): (N, width, side, side)."""
        pool = self.pool
        levels = [features[name] for name in pool.featmap_names]
        pictures = torch.cat([box.new_full((len(box), 1), number) for number, box in enumerate(boxes)])
        regions = torch.cat([pictures, torch.cat(boxes)], 1)
        chosen = pool.map_levels(boxes)
        found = levels[0].new_zeros(len(regions), levels[0].shape[1], *pool.output_size)
        for number, (level, scale) in enumerate(zip(levels, pool.scales, strict=True)):
            (which,) = torch.where(chosen == number)
            cut: torch.Tensor = Cut.apply(
                level.float(), regions[which].float(), scale, pool.output_size, pool.sampling_ratio, self.threads
            )
            found[which] = cut.to(found.dtype)
        return found


class Cut(torch.autograd.Function):
    """RoIAlign (He et al. 2017) of one level; the gradient of each picture is its own task."""

    @staticmethod
    def forward(  # noqa: PLR0917 - torch's own way
        ctx: Any,
        level: torch.Tensor,
        regions: torch.Tensor,
        scale: float,
        side: tuple[int, int],
        samples: int,
        threads: ThreadPoolExecutor,
    ) -> torch.Tensor:
        """Return what regions (n, 5), each the number of its picture and its box, in their order, show of a level."""
        ctx.save_for_backward(regions)
        ctx.known = level.shape, scale, side, samples, threads
        found: torch.Tensor = torch.ops.torchvision.roi_align(level, regions, scale, *side, samples, False)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None, None, None]:
        """Return the level's gradient."""
        (regions,), (gradient,) = ctx.saved_tensors, gradients
        (pictures, *shape), scale, side, samples, threads = ctx.known
        owners = regions[:, 0].long()
        counts = torch.bincount(owners, minlength=pictures).tolist()
        alone = regions.clone()
        alone[:, 0] = 0

        def of_one(gradient: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = torch.ops.torchvision._roi_align_backward(  # noqa: SLF001 - the operator has no other name
                gradient, regions, scale, *side, 1, *shape, samples, False
            )
            return made

        made = threads.map(of_one, gradient.contiguous().split(counts), alone.split(counts))
        return torch.cat(list(made)), None, None, None, None, None


def share_pooling(network: MaskRCNN) -> None:
    """Let all cores that torch has work on the gradient of a network's pooling, on the CPU."""
    heads: Any = network.roi_heads
    threads = lanes(torch.get_num_threads(), "pooling")
    heads.box_roi_pool = SharedPool(heads.box_roi_pool, threads)
    if heads.mask_roi_pool is not None:
        heads.mask_roi_pool.pool = SharedPool(heads.mask_roi_pool.pool, threads)
