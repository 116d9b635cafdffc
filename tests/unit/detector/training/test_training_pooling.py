"""The shared pooling gives torchvision's numbers and gradients, to the bit."""

import numpy as np
import pytest
import torch
from tiny_model import TINY

from detector.engines.lanes import lanes
from detector.model import pool
from detector.spec import ModelSpec
from detector.training.pooling import SharedPool

SIZE = (96, 128)


def features(spec: ModelSpec, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Levels of a pyramid over four pictures."""
    torch.manual_seed(3)
    sides = [[side // (4 * 2**level) for side in SIZE] for level in range(spec.levels)]
    return {
        str(level): torch.randn(4, spec.fpn_width, *side, dtype=dtype).requires_grad_()
        for level, side in enumerate(sides)
    }


def boxes() -> list[torch.Tensor]:
    """Boxes of all sizes in pictures of 96 x 128 px, none in the third."""
    chance = np.random.default_rng(1)
    found = []
    for count in (5, 40, 0, 17):
        at = chance.uniform((0, 0), (100, 70), (count, 2))
        sides = 2 ** chance.uniform(2, 7, (count, 2))
        found.append(torch.from_numpy(np.hstack([at, at + sides]).astype(np.float32)))
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("levels", [2, 3])
def test_what_is_pooled_and_its_gradient_are_torchvisions(dtype: torch.dtype, levels: int) -> None:
    spec = TINY.model_copy(update={"levels": levels, "anchors_px": (16,) * (levels + 1)})
    found = []
    for made in (pool(spec, 7), SharedPool(pool(spec, 7), lanes(2, "test"))):
        seen = features(spec, dtype)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
            cut = made(seen, boxes(), [SIZE] * 4)
        (cut.float() ** 2).sum().backward()
        found.append((cut, *(level.grad for level in seen.values())))
    for one, other in zip(*found, strict=True):
        assert one is not None
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
