"""What is true of a picture and what a model said of it: the records that every figure is computed from."""

import msgspec
import numpy as np
import numpy.typing as npt

from taktwatch.records import Rle, Verdict

__all__ = ["Box", "Found", "Outcome", "TrueDefect", "found_boxes", "true_boxes"]

Floats = npt.NDArray[np.float64]
Box = tuple[float, float, float, float]


class TrueDefect(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that is really there: box as annotated (x0, y0, x1, y1), ends exclusive, and its mask.

    `sized`: the mask shows the thing itself, so that its area is its size; not so where only a box is known.
    """

    label: str = msgspec.field(name="class")
    box_px: Box
    mask: Rle
    area_px: int
    sized: bool = True


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One detection; its box is the grown one of its mask, or the network's own where it learned annotators' boxes.

    `reported`: it passes the product's thresholds.
    """

    label: str = msgspec.field(name="class")
    score: float
    box_px: Box
    mask: Rle
    area_px: int
    reported: bool


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One picture: truth and answer. `defective`: the product's rules fail it when told the truth.

    `doubts` names what kept it from being judged or from passing.
    """

    name: str
    board: str
    size: tuple[int, int]
    um_per_px: float
    truths: tuple[TrueDefect, ...]
    found: tuple[Found, ...]
    defective: bool
    verdict: Verdict
    doubts: tuple[str, ...] = ()


def true_boxes(truths: tuple[TrueDefect, ...]) -> Floats:
    """Return boxes as float (N, 4)."""
    return np.array([truth.box_px for truth in truths], np.float64).reshape(-1, 4)


def found_boxes(found: tuple[Found, ...] | list[Found]) -> Floats:
    """Return boxes as float (N, 4)."""
    return np.array([one.box_px for one in found], np.float64).reshape(-1, 4)
