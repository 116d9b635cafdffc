"""Second look: a picture that leaves the network in doubt is shown to it once more, turned around.

A network that learned from boards in every position gives a board that lies the other way round nearly the same answer,
and where it is not sure, another one: the mean of both is worth more than either (test-time augmentation, as in
Krizhevsky et al. 2012, here only where it can matter).
"""

from collections.abc import Sequence

import numpy as np

from detector.engines import Around, BringsAhead, Channels, Engine, RawDetections
from detector.evaluate import box_iou
from detector.metrics import SECOND_LOOKS
from detector.spec import ModelSpec
from taktwatch.config import ProductConfig

__all__ = ["SecondLook", "agreed", "in_doubt", "looking_twice", "turned_back"]

DOUBT, SURE = 0.3, 0.95  # scores between them are doubtful
SAME_IOU = 0.5  # from which boxes of one class, one of either look, are of the same thing


class SecondLook(Around):
    """Runs `engine`, and again on those pictures in which it is in doubt."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, "second look")

    def bring(self, picture: Channels) -> None:
        """Start to bring a picture (3, H, W) to a device that is far: the first look is at the picture as it is."""
        if isinstance(self.engine, BringsAhead):
            self.engine.bring(picture)

    def infer(self, batch: Sequence[Channels]) -> list[RawDetections]:
        """Inspect pictures, each (3, H, W), of any sizes."""
        done = list(self.engine.infer(batch))
        doubtful = [place for place, raw in enumerate(done) if in_doubt(raw)]
        if doubtful:
            turned = self.engine.infer([np.ascontiguousarray(batch[place][:, ::-1, ::-1]) for place in doubtful])
            for place, raw in zip(doubtful, turned, strict=True):
                height, width = batch[place].shape[1:]
                done[place] = agreed(done[place], turned_back(raw, (height, width)), self.spec)
        SECOND_LOOKS.labels(self.ref.name).inc(len(doubtful))
        return done


def looking_twice(engine: Engine, product: ProductConfig) -> Engine:
    """Return an engine as a product wants it: with a second look, or as it is."""
    return SecondLook(engine) if product.second_look else engine


def in_doubt(raw: RawDetections) -> bool:
    """Whether anything was found that may be there, and may not."""
    return bool(((raw.scores >= DOUBT) & (raw.scores < SURE)).any())


def turned_back(raw: RawDetections, size: tuple[int, int]) -> RawDetections:
    """Return what was found in a picture of `size` (height, width) turned by 180 degrees, as it lies in the picture."""
    height, width = size
    boxes = np.array([width, height, width, height], np.float32) - raw.boxes[:, [2, 3, 0, 1]]
    return RawDetections(boxes, raw.labels, raw.scores, np.ascontiguousarray(raw.masks[:, ::-1, ::-1]))


def agreed(one: RawDetections, other: RawDetections, spec: ModelSpec) -> RawDetections:
    """Return what two looks at one picture say together, best score first.

    Things seen by both have the mean of their scores, and boxes and masks between both, nearer to the better score;
    what one look alone saw has half its score, and is left out below the network's floor.
    """
    same = (box_iou(one.boxes.astype(np.float64), other.boxes.astype(np.float64)) >= SAME_IOU) & (
        one.labels[:, None] == other.labels
    )
    partners = np.full(len(one.scores), -1)
    for index, alike in enumerate(same):
        free = np.flatnonzero(alike)
        if free.size:
            partners[index] = free[0]  # the best: scores fall
            same[:, free[0]] = False
    seen = np.flatnonzero(partners >= 0)
    met = partners[seen]
    left_out = np.setdiff1d(np.arange(len(other.scores)), met)
    boxes, masks, scores = one.boxes.copy(), one.masks.copy(), one.scores / 2
    scores[seen] += other.scores[met] / 2
    share = (other.scores[met] / (one.scores[seen] + other.scores[met])).astype(np.float32)
    boxes[seen] += share[:, None] * (other.boxes[met] - boxes[seen])
    masks[seen] += share[:, None, None] * (other.masks[met] - masks[seen])
    together = RawDetections(
        np.concatenate([boxes, other.boxes[left_out]]),
        np.concatenate([one.labels, other.labels[left_out]]),
        np.concatenate([scores, other.scores[left_out] / 2]),
        np.concatenate([masks, other.masks[left_out]]),
    )
    order = np.argsort(-together.scores, kind="stable")
    order = order[together.scores[order] > spec.score_floor][: spec.detections]
    return RawDetections(together.boxes[order], together.labels[order], together.scores[order], together.masks[order])
