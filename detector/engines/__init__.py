"""What runs the model's core: pictures as numbers in; boxes, classes, scores and 28x28 masks out.

A new engine is one module with one class that does what `Engine` says, and one `case` in `open_engine`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import msgspec
import numpy as np
import numpy.typing as npt

from detector.spec import ModelSpec
from taktwatch.records import ModelRef

__all__ = ["Around", "BringsAhead", "Channels", "Engine", "RawDetections", "by_size", "in_order"]

Channels = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False, slots=True)
class RawDetections:
    """What the network found in one picture, best score first.

    boxes: float32 (N, 4) as x0, y0, x1, y1 in picture px; labels: int64 (N,) from 1; scores: float32 (N,) 0..1;
    masks: float32 (N, 28, 28), probabilities over each box.
    """

    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    masks: npt.NDArray[np.float32]


class Engine(Protocol):
    """Runs one model. Not thread-safe: one thread at a time calls `infer`."""

    @property
    def spec(self) -> ModelSpec:
        """What the model is made of."""

    @property
    def ref(self) -> ModelRef:
        """How results name the model and what it ran on."""

    def infer(self, batch: Sequence[Channels]) -> list[RawDetections]:
        """Inspect pictures, each (3, H, W), of any sizes. A picture alone gives what it gives in any batch."""


class Around:
    """What is alike in engines around another one: the model is that of `engine`, named with `manner` behind it."""

    def __init__(self, engine: Engine, manner: str) -> None:
        self.engine, self.manner = engine, manner

    @property
    def spec(self) -> ModelSpec:
        """What the model is made of."""
        return self.engine.spec

    @property
    def ref(self) -> ModelRef:
        """How results name the model and what it runs on now."""
        ref = self.engine.ref
        return msgspec.structs.replace(ref, engine=f"{ref.engine} + {self.manner}")


@runtime_checkable
class BringsAhead(Protocol):
    """An engine whose device is far from the pictures."""

    def bring(self, picture: Channels) -> None:
        """Start to bring a picture (3, H, W) there that it will be asked about soon, unchanged; any thread."""


def by_size(batch: Sequence[Channels]) -> list[list[int]]:
    """Return the places of pictures (3, H, W) that are of one size, the largest size first.

    >>> small, large = np.zeros((3, 8, 8), np.float32), np.zeros((3, 8, 16), np.float32)
    >>> by_size([small, large, small])
    [[1], [0, 2]]
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, picture in enumerate(batch):
        groups.setdefault(picture.shape, []).append(place)
    return sorted(groups.values(), key=lambda places: -batch[places[0]].size)


def in_order(groups: Sequence[Sequence[int]], found: Iterable[Sequence[RawDetections]]) -> list[RawDetections]:
    """Put what was found in groups of pictures back into the order of the batch."""
    placed = {
        place: one for places, each in zip(groups, found, strict=True) for place, one in zip(places, each, strict=True)
    }
    return [placed[place] for place in range(len(placed))]
