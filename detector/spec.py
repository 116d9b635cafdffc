"""What a model is made of: settings that build the same network again, named by their hash."""

import hashlib
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from taktwatch.errors import ModelError
from taktwatch.simulator import BOARD_DEFECTS, SECTION_CLASSES

__all__ = ["SHIPPED", "SPECS", "STANDARD", "ModelSpec", "find_spec"]

Backbone = Literal["resnet18", "resnet50", "resnet101", "mobilenet_v3"]


class ModelSpec(BaseModel):
    """The parts of a Mask R-CNN and what it is fed.

    backbone, levels: the trunk and how many of its stages (strides 4, 8, 16, 32) feed the pyramid.
    anchors_px: one anchor side per pyramid level, and one more for the pooled top level.
    anchor_ratios: height over width of the anchors, each on every level.
    input: `template` models see (picture, golden template, absolute difference), `rgb` models the picture.
    target_margin_px: training boxes are the masks' tight boxes grown by this; boxes in results come from masks. None:
    boxes are learned, and measured by `taktwatch evaluate`, as the data set's annotators drew them.
    mask_head: widths of the mask head's convolutions; none: a Faster R-CNN, whose boxes stand for masks.
    mask_px: side of the mask the network gives per box.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    view: Literal["board", "section"]
    input: Literal["template", "rgb"]
    classes: tuple[str, ...] = Field(min_length=1)
    backbone: Backbone = "resnet18"
    levels: int = Field(default=3, ge=2, le=4)
    fpn_width: int = Field(default=64, ge=8)
    anchors_px: tuple[int, ...] = (16, 32, 64, 128)
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    box_head: int = Field(default=256, ge=8)
    mask_head: tuple[int, ...] = (64, 64, 64, 64)
    mask_px: Literal[28] = 28
    target_margin_px: int | None = Field(default=6, ge=0)
    proposals: int = Field(default=200, ge=1)
    detections: int = Field(default=100, ge=1)
    box_nms: float = Field(default=0.4, gt=0, lt=1)
    score_floor: float = Field(default=0.05, gt=0, lt=1)

    @model_validator(mode="after")
    def anchors_fit_levels(self) -> Self:
        """Refuse an anchor list that does not have one side per level and one for the pooled level."""
        if len(self.anchors_px) != self.levels + 1:
            raise ValueError(f"{self.levels} levels want {self.levels + 1} anchors, not {len(self.anchors_px)}")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("a class is listed twice")
        if self.target_margin_px is None and self.input != "template":
            raise ValueError("boxes as annotated (target_margin_px none) are learned from template input only")
        if not self.mask_head and self.target_margin_px:
            raise ValueError("without masks boxes are what is measured: target_margin_px must be 0")
        return self

    @property
    def spec_sha256(self) -> str:
        """Hash of all settings.

        >>> len(SPECS["board-sim"].spec_sha256)
        64
        """
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def label(self, index: int) -> str:
        """Return the class name of a network's label (1 is the first class; 0 is background)."""
        return self.classes[index - 1]


STANDARD: dict[str, Any] = {
    "levels": 4,
    "fpn_width": 256,
    "anchors_px": (32, 64, 128, 256, 512),
    "box_head": 1024,
    "mask_head": (256, 256, 256, 256),
    "box_nms": 0.5,
}
"""torchvision's own sizes: with these a spec takes its COCO checkpoints, and those of He et al. 2017 in its form."""

SPECS: dict[str, ModelSpec] = {
    "board-sim": ModelSpec(view="board", input="template", classes=BOARD_DEFECTS),
    "board-deeppcb": ModelSpec(view="board", input="template", classes=BOARD_DEFECTS, target_margin_px=None),
    "section-sim": ModelSpec(
        view="section",
        input="rgb",
        classes=SECTION_CLASSES,
        anchor_ratios=(0.08, 0.3, 1.0),
        target_margin_px=4,
    ),
    "board-faster": ModelSpec(
        view="board",
        input="template",
        classes=BOARD_DEFECTS,
        mask_head=(),
        target_margin_px=0,
        anchors_px=(8, 16, 32, 64),
    ),
    "mask-rcnn-resnet50": ModelSpec(view="board", input="rgb", classes=BOARD_DEFECTS, backbone="resnet50", **STANDARD),
    "mask-rcnn-resnet101": ModelSpec(
        view="board", input="rgb", classes=BOARD_DEFECTS, backbone="resnet101", **STANDARD
    ),
    "board-resnet50": ModelSpec(view="board", input="template", classes=BOARD_DEFECTS, backbone="resnet50", **STANDARD),
    "board-resnet101": ModelSpec(
        view="board", input="template", classes=BOARD_DEFECTS, backbone="resnet101", **STANDARD
    ),
}
"""The specs that can be trained by name."""

SHIPPED = ("board-sim", "section-sim")
"""Those whose models are in the repository."""


def find_spec(name: str) -> ModelSpec:
    """Return a spec. Raises `ModelError` naming those that exist."""
    try:
        return SPECS[name]
    except KeyError:
        raise ModelError(f"no spec is called {name!r}; there are: {', '.join(SPECS)}") from None
