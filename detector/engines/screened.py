"""Screen first: an engine that looks only where a picture differs from its template, through another engine.

Where nothing differs the network is not asked; where much does, it sees the whole picture. How many defects that
misses is measured (`detector.evaluation.screening`) before a line may use it.
"""

from collections.abc import Sequence

import numpy as np

from detector.engines import Around, Channels, Engine, RawDetections
from detector.metrics import SCREENED
from detector.screen import Sheet, boxes_of, carried_back, lay_out, strength

__all__ = ["ScreenedEngine"]


class ScreenedEngine(Around):
    """Runs `engine` on a sheet of crops around differences above `threshold` (see `detector.screen.strength`).

    `sha256` names the measurement that the threshold is from; results name it behind the engine.
    """

    def __init__(self, engine: Engine, threshold: float, sha256: str) -> None:
        super().__init__(engine, f"screen {sha256[:12]}")
        self.threshold = threshold

    def layout(self, channels: Channels) -> Sheet | None:
        """Return what the network is to see of a picture (3, H, W); None: all of it."""
        size = channels.shape[1], channels.shape[2]
        return lay_out(boxes_of(strength(channels), self.threshold), size)

    def infer(self, batch: Sequence[Channels]) -> list[RawDetections]:
        """Inspect pictures, each (3, H, W); only those that differ, or their sheets, go through the network."""
        layouts = [self.layout(channels) for channels in batch]
        for sheet in layouts:
            seen = "whole" if sheet is None else "crops" if sheet.crops else "nothing"
            SCREENED.labels(self.ref.name, seen).inc()
        shown = [
            channels if sheet is None else sheet.drawn(channels)
            for channels, sheet in zip(batch, layouts, strict=True)
            if sheet is None or sheet.crops
        ]
        found = iter(self.engine.infer(shown) if shown else [])
        done = []
        for channels, sheet in zip(batch, layouts, strict=True):
            if sheet is None:
                done.append(next(found))
            else:
                raw = next(found) if sheet.crops else NOTHING
                size = channels.shape[1], channels.shape[2]
                done.append(carried_back(raw, sheet, size, box_nms=self.spec.box_nms))
        return done


NOTHING = RawDetections(
    boxes=np.zeros((0, 4), np.float32),
    labels=np.zeros(0, np.int64),
    scores=np.zeros(0, np.float32),
    masks=np.zeros((0, 28, 28), np.float32),
)
