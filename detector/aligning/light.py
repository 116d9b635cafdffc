"""Takes the lamp out of a comparison: slow changes of brightness, gain and offset. Pure.

The lamp is slow, copper has edges. Dividing a picture by its own blur would eat large pours along with the lamp; so
the template says what is copper, and only the ratio of what both show is taken for light.
"""

import cv2
import numpy as np
import numpy.typing as npt

from detector.aligning.ranks import median, percentile

__all__ = ["dark_and_bright", "flattened", "lit_like"]

Grey = npt.NDArray[np.uint8]
Field = npt.NDArray[np.float32]
BoolMask = npt.NDArray[np.bool_]

NODE_PX = 16  # the lamp is described by one node per so many px
REACH_NODES = 4.0  # how far a node listens to its neighbours (sigma)
LEAST_GAIN, MOST_GAIN = 0.3, 3.0
OFFSET_SD = 10.0  # grey levels that a sensor's black may be off
NODE_SD = 4.0  # grey levels by which a node of a good board deviates
OUTLIER = 3.0  # robust spreads; a node beyond shows a defect or a misfit, not light
ROUNDS = 3


def dark_and_bright(grey: Grey | Field, sparse: int) -> tuple[float, float]:
    """Return the 1st and the 99th percentile of a picture (H, W), of one px in `sparse` along either axis.

    >>> dark_and_bright(np.repeat(np.array([[20, 200]], np.uint8), 4, axis=1).repeat(8, axis=0), 2)
    (20.0, 200.0)
    """
    some = grey[::sparse, ::sparse].astype(np.float32)
    return percentile(some, 1), percentile(some, 99)


def flattened(grey: Grey, block_px: int) -> Field:
    """Take the mean of the surroundings (about `block_px`) from a picture (H, W); float32, about zero.

    For comparing edges alone: large even areas become zero.

    >>> float(np.abs(flattened(np.full((64, 64), 90, np.uint8), 16)).max())
    0.0
    """
    height, width = grey.shape
    small = cv2.resize(grey, (max(width // block_px, 1), max(height // block_px, 1)), interpolation=cv2.INTER_AREA)
    slow = cv2.resize(cv2.GaussianBlur(small, (3, 3), 0), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.subtract(grey, slow, dtype=cv2.CV_32F), np.float32)


def lit_like(template: Grey, picture: Grey, *, use: BoolMask | None = None) -> Field:
    """Light a registered template (H, W) as the picture (H, W) is lit; float32, not clipped.

    The light is one offset and a smooth field of gain, found where both show the same: what deviates (defects,
    misfits) has no say, and dark parts have little. `use` (bool, H, W) says where to look at all.

    >>> board = np.full((128, 128), 100, np.uint8)
    >>> board[40:90, 30:100] = 200
    >>> darker = (board * 0.5).astype(np.uint8)
    >>> float(np.abs(lit_like(board, darker) - darker).max()) < 1
    True
    """
    height, width = picture.shape
    nodes = (max(width // NODE_PX, 1), max(height // NODE_PX, 1))
    seen, golden = (_shrunk(grey, nodes) for grey in (picture, template))
    shares = np.ones_like(seen) if use is None else _shrunk(use.astype(np.uint8), nodes)
    weight, offset, gain = shares, 0.0, np.ones_like(seen)
    for round_ in range(ROUNDS):
        if round_:  # what deviates from the light so far has no say
            away = np.abs(seen - np.float32(offset) - gain * golden)
            weight = shares * (away < OUTLIER * (1.4826 * median(away) + 1.0))
        power = _near(golden * golden * weight)
        gain = _gain(seen - np.float32(offset), golden, weight, power)
        # What the gain leaves over, fitted after it: bright parts on the lamp's dark side are not taken for an offset.
        offset += _offset(seen - np.float32(offset) - gain * golden, golden, weight)
        gain = _gain(seen - np.float32(offset), golden, weight, power)
    lit = np.asarray(cv2.resize(gain, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    lit *= template
    lit += np.float32(offset)
    return lit


def _offset(left: Field, golden: Field, weight: Field) -> float:
    """Return the offset of a straight line through the nodes; near 0 where they are all alike and cannot tell."""
    total = float(weight.sum())
    if total == 0:
        return 0.0
    mean_left, mean_golden = float((left * weight).sum()) / total, float((golden * weight).sum()) / total
    variance = float((weight * (golden - mean_golden) ** 2).sum())
    shared = float((weight * (golden - mean_golden) * (left - mean_left)).sum())
    if variance == 0 or mean_golden == 0:
        return 0.0
    offset = mean_left - shared / variance * mean_golden
    unsure = NODE_SD**2 * (1 / total + mean_golden**2 / variance) * 2 * np.pi * REACH_NODES**2
    return float(offset * OFFSET_SD**2 / (OFFSET_SD**2 + unsure))


def _near(nodes: Field) -> tuple[Field, float]:
    """Return what lies near each node, and the sum of all."""
    return np.asarray(cv2.GaussianBlur(nodes, (0, 0), REACH_NODES), np.float32), float(nodes.sum())


def _gain(seen: Field, golden: Field, weight: Field, power: tuple[Field, float]) -> Field:
    """Fit the gain near each node by least squares, drawn to the gain of all where little is to be seen.

    `power`: that of the template, weighted, near each node and in all.
    """
    (near_shared, shared), (near_power, total) = _near(seen * golden * weight), power
    overall = shared / max(total, 1.0)
    few = np.float32(NODE_SD**2)
    gain = (near_shared + few * np.float32(overall)) / (near_power + few)
    return np.asarray(np.clip(gain, LEAST_GAIN, MOST_GAIN), np.float32)


def _shrunk(grey: npt.NDArray[np.uint8], nodes: tuple[int, int]) -> Field:
    return np.asarray(cv2.resize(grey.astype(np.float32), nodes, interpolation=cv2.INTER_AREA), np.float32)
