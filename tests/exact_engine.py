"""An engine whose findings are known beforehand: whatever differs from the template, wherever tiles cut it."""

from collections.abc import Sequence

import cv2
import numpy as np
from tiny_model import TINY

from detector.engines import Channels, RawDetections
from taktwatch.records import ModelRef

__all__ = ["Differences", "Levels", "marked"]

REF = ModelRef(name="t", model_id="0", weights_sha256="0", engine="test", precision="float32", device="cpu")
DIFFERENT = 1.0  # of the template's contrast


class Differences:
    """An engine that finds what differs from the template by its threshold: exact, whatever tile it is shown in."""

    spec = TINY
    ref = REF

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.most = 0

    def infer(self, batch: Sequence[Channels]) -> list[RawDetections]:
        """Find differences."""
        self.most = max(self.most, len(batch))
        self.shapes += [one.shape for one in batch]
        return [self.look(one[2]) for one in batch]

    @staticmethod
    def look(difference: np.ndarray) -> RawDetections:
        differs = cv2.morphologyEx((difference > DIFFERENT).astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
        _, _, stats, _ = cv2.connectedComponentsWithStats(differs, connectivity=8)
        boxes = [(x, y, x + w, y + h) for x, y, w, h, area in stats[1:] if area >= 50]
        return RawDetections(
            boxes=np.array(boxes, np.float32).reshape(-1, 4),
            labels=np.ones(len(boxes), np.int64),
            scores=np.linspace(0.9, 0.8, len(boxes), dtype=np.float32),
            masks=np.ones((len(boxes), 28, 28), np.float32),
        )


class Levels:
    """An engine for sections: what is bright is copper, what is of middling brightness corrosion."""

    spec = TINY.model_copy(update={"view": "section", "input": "rgb", "classes": ("copper_layer", "corrosion")})
    ref = REF

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def infer(self, batch: Sequence[Channels]) -> list[RawDetections]:
        """Find what is bright."""
        self.shapes += [one.shape for one in batch]
        return [self.look(one[0]) for one in batch]

    @staticmethod
    def look(level: np.ndarray) -> RawDetections:
        found = []
        for label, there in ((1, level > 0), (2, (level > 0) & (level < 1))):
            seen = there.astype(np.uint8)
            count, which, stats, _ = cv2.connectedComponentsWithStats(seen, connectivity=8)
            for index in range(1, count):
                x, y, w, h, area = stats[index]
                if area >= 20:
                    part = (which[y : y + h, x : x + w] == index).astype(np.float32)
                    found.append(
                        (label, (x, y, x + w, y + h), cv2.resize(part, (28, 28), interpolation=cv2.INTER_AREA))
                    )
        return RawDetections(
            boxes=np.array([box for _, box, _ in found], np.float32).reshape(-1, 4),
            labels=np.array([label for label, _, _ in found], np.int64),
            scores=np.full(len(found), 0.9, np.float32),
            masks=np.array([mask for _, _, mask in found], np.float32).reshape(-1, 28, 28),
        )


def marked(template: np.ndarray, marks: Sequence[tuple[int, int, int, int]]) -> np.ndarray:
    """Return a picture with bright boxes in it that no template shows."""
    picture = template.copy()
    for x0, y0, x1, y1 in marks:
        picture[y0:y1, x0:x1] = 255 - picture[y0:y1, x0:x1] // 4
    return picture
