"""A picture file too large to be decoded at once: read by rows, inspected strip by strip, one answer.

At most one strip of the picture and one of its golden template are held, besides what their formats need.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from detector.large import together
from detector.steps import Inspection
from taktwatch.config import LineConfig
from taktwatch.errors import BadPicture
from taktwatch.rows import Band, Rows, open_rows, pieces
from taktwatch.strips import Box, cut_panel

if TYPE_CHECKING:
    from detector.inspect import Inspector

__all__ = ["STRIP_PX", "PanelFile", "inspect_panel"]

STRIP_PX = 12_000_000


@dataclass(frozen=True, slots=True)
class PanelFile:
    """A large picture, and its golden template where it has one of its own (None: the product's)."""

    path: Path
    template: Path | None


def inspect_panel(
    inspector: "Inspector", product_name: str, panel: PanelFile, *, strip_px: int = STRIP_PX
) -> Inspection:
    """Inspect a picture in strips of at most `strip_px` pixels; detections are in its own coordinates.

    Raises `BadPicture` where the picture or its template is damaged, too large, or they differ in size; what
    `Inspector.prepare` raises.
    """
    config, product = inspector.config, inspector.config.product(product_name)
    template = panel.template or product.template
    with _opened(panel.path, config) as rows, _opened(template, config) if template else nullcontext() as golden:
        if golden is not None and (golden.width, golden.height) != (rows.width, rows.height):
            raise BadPicture(
                f"{panel.path}: {rows.width}x{rows.height} px, its template {template} {golden.width}x{golden.height}; "
                "take both with the same camera settings"
            )
        boxes = cut_panel(rows.width, rows.height, strip_px, config.ingest.panel_overlap_px)
        beside: Iterable[Band | None] = [None] * len(boxes) if golden is None else pieces(golden, boxes)
        said: list[tuple[Box, tuple[int, int], Inspection]] = []
        for box, strip, part in zip(boxes, pieces(rows, boxes), beside, strict=True):
            ready = inspector.prepare(product_name, _rgb(strip), None if part is None else _rgb(part), origin=box[:2])
            said += [(box, box[:2], done) for done in inspector.inspect_batch([ready])]
        return together(said, (rows.height, rows.width), margin_px=product.box_margin_um / product.um_per_px)


def _opened(path: Path, config: LineConfig) -> AbstractContextManager[Rows]:
    return open_rows(path, max_px=config.ingest.max_panel_px, max_side=config.ingest.max_side_px)


def _rgb(band: Band) -> npt.NDArray[np.uint8]:
    """Return a strip as the detector takes pictures, RGB (h, w, 3)."""
    return np.asarray(cv2.cvtColor(band, cv2.COLOR_GRAY2RGB) if band.ndim == 2 else band, np.uint8)  # noqa: PLR2004
