"""What a picture is between the steps of its inspection: prepared, seen by the network, inspected. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from detector.doubts import Reason
from detector.engines import RawDetections
from detector.inputs import Inputs
from detector.pieces.cropping import Crop
from detector.scale import SAME_SCALE, Scale, Zoom
from taktwatch.records import Detection, Doubt, LayerProfile, ModelRef, Registration, Verdict

__all__ = ["NO_INPUTS", "Inspection", "Picture", "Prepared", "Seen"]

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False, slots=True)
class Prepared:
    """A picture ready for the network, and by which product's rules it will be judged.

    `origin`: where it lies on a larger picture, in whose coordinates reasons name places; `template_origin` the same of
    its template, for the product's polygons. A `large` picture, with its template, has no inputs: its tiles have.
    `doubts` are what the picture alone already raises, `template_sha256` names what it is compared with. `crop`: of
    which picture this is the part that is looked at; findings are told in that one's px (None: it is the picture).
    `zoom`: of its camera against the product's; the template it is compared with is in its scale already.
    """

    product: str
    scale: Scale
    inputs: Inputs
    timings_us: Mapping[str, int]
    origin: tuple[int, int] = (0, 0)
    template_origin: tuple[int, int] = (0, 0)
    large: tuple[Picture, Picture | None] | None = None
    doubts: tuple[Reason, ...] = ()
    template_sha256: str | None = None
    crop: Crop | None = None
    zoom: Zoom = SAME_SCALE

    @property
    def um_per_px(self) -> float:
        """The mean scale."""
        return self.scale.mean

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what is looked at, in px."""
        if self.large is not None:
            return self.large[0].shape[0], self.large[0].shape[1]
        return self.inputs.channels.shape[1], self.inputs.channels.shape[2]

    @property
    def whole(self) -> Crop:
        """What is looked at, as a part of the picture."""
        height, width = self.size
        return self.crop or Crop((0, 0, width, height), (height, width))

    def timed(self, stage: str, microseconds: int) -> "Prepared":
        """Return this with the time of a stage before it."""
        return replace(self, timings_us={stage: microseconds, **self.timings_us})


NO_INPUTS = Inputs(np.zeros((3, 0, 0), np.float32))
"""Of a picture that goes through the network in tiles."""


@dataclass(frozen=True, eq=False, slots=True)
class Seen:
    """What the network found in one picture, which model on what it was, and its share of the batch's time."""

    raw: RawDetections
    model: ModelRef
    infer_us: int


@dataclass(frozen=True, slots=True)
class Inspection:
    """What the detector says of one picture; timings in microseconds by stage."""

    verdict: Verdict
    reasons: tuple[str, ...]
    doubts: tuple[Doubt, ...]
    detections: tuple[Detection, ...]
    layers: tuple[LayerProfile, ...]
    model: ModelRef
    registration: Registration | None
    timings_us: dict[str, int]
