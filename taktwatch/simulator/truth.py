"""What a simulated picture is, and what is true about it: frozen records, masks in picture coordinates."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["BOARD_DEFECTS", "SECTION_CLASSES", "BoolMask", "LayerTruth", "Picture", "SimulatedPicture", "Truth"]

BoolMask: TypeAlias = npt.NDArray[np.bool_]
Picture: TypeAlias = npt.NDArray[np.uint8]

BOARD_DEFECTS: tuple[str, ...] = ("open", "short", "mousebite", "spur", "spurious_copper", "pin_hole")
SECTION_CLASSES: tuple[str, ...] = ("copper_layer", "corrosion")


@dataclass(frozen=True, eq=False, slots=True)
class Truth:
    """One thing that is really there. `mask` is bool (H, W), exact, after the warp into the picture."""

    label: str
    mask: BoolMask


@dataclass(frozen=True, eq=False, slots=True)
class LayerTruth:
    """What is true about one copper layer of a section.

    `name` is "L1", "L2" ... from the top. `envelope` and `corroded` are bool (H, W): the layer as it was laminated
    (copper and corrosion), and the part of it that is gone. `thickness_px` is measured across the layer,
    `deepest_px` is the largest extent of corrosion across it (0 to `thickness_px`), `surface` says that a site
    breaks through to the upper or lower face of the envelope.
    """

    name: str
    envelope: BoolMask
    corroded: BoolMask
    deepest_px: float
    thickness_px: float
    surface: bool


@dataclass(frozen=True, eq=False, slots=True)
class SimulatedPicture:
    """A picture, uint8 RGB (H, W, 3), its golden template of the same shape (board view only), and its truths."""

    picture: Picture
    template: Picture | None
    truths: tuple[Truth, ...]
    layers: tuple[LayerTruth, ...] = ()
