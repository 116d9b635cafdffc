"""Detections of a batch as one table of numbers, so that they come home from a device in one copy, waited for once."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from detector.engines import RawDetections

__all__ = ["MASK_PX", "Kept", "packed", "unpacked"]

MASK_PX = 28
BOX, LABEL, SCORE, MASK = slice(0, 4), 4, 5, slice(6, None)  # columns of the table

Kept = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Boxes (n, 4), labels and scores (n,) of one picture."""


def packed(kept: Sequence[Kept], masks: torch.Tensor) -> torch.Tensor:
    """Lay a batch's detections and their masks (n, 28, 28) side by side, float32 (n, 790), picture after picture."""
    boxes, labels, scores = (torch.cat(column) for column in zip(*kept, strict=True))
    columns = (boxes, labels[:, None], scores[:, None], masks.flatten(1))
    return torch.cat([column.float() for column in columns], 1)


def unpacked(rows: npt.NDArray[np.float32], counts: Sequence[int]) -> list[RawDetections]:
    """Take a table apart again: `counts` detections of each picture."""
    ends = np.cumsum(counts, dtype=np.int64)
    return [_picture(share) for share in np.split(rows, ends[:-1])]


def _picture(rows: npt.NDArray[np.float32]) -> RawDetections:
    """Take one picture's rows apart, each array in memory of its own."""
    return RawDetections(
        boxes=rows[:, BOX].copy(),
        labels=rows[:, LABEL].astype(np.int64),
        scores=rows[:, SCORE].copy(),
        masks=rows[:, MASK].reshape(-1, MASK_PX, MASK_PX).copy(),
    )
