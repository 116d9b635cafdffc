"""How a run goes: what can be set, and how the learning rate follows the progress."""

import math
from dataclasses import dataclass
from typing import Literal

from taktwatch.errors import BadInput
from taktwatch.simulator import STYLES, Style

__all__ = ["Precision", "TrainSettings", "find_style", "one_cycle"]

Precision = Literal["float32", "bfloat16"]

WARM_UP = 0.1
START_SHARE, END_SHARE = 0.04, 0.001


@dataclass(frozen=True)
class TrainSettings:
    """How a run goes. It ends after `steps` or after `minutes`, whichever is first; the learning rate follows.

    With `minutes` None the run is the same for the same seed on the same machine (in bfloat16 on a CPU that other
    programs use, too, sums are shared out in another way now and then); with a time budget the number of
    steps depends on its speed, and the card says how many there were. `average`: the share that the moving average of
    the weights keeps at a step; what is measured and saved is the average. `trunk_share`: what the trunk gets of the
    learning rate; `frozen_stages`: so many stages of it stay as they are (both for runs that start from
    a model). `style`: how the simulator draws, where it is learned from.
    """

    seed: int = 1
    steps: int = 3000
    minutes: float | None = None
    batch: int = 8
    crop_height_px: int = 320
    crop_width_px: int = 320
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    average: float = 0.998
    trunk_share: float = 1.0
    frozen_stages: int = 0
    workers: int = 2
    threads: int = 2
    held_out_pictures: int = 40
    measures: int = 6
    precision: Precision = "float32"
    style: Style = "plain"


def find_style(name: str) -> Style:
    """Return the simulator's style of a name. Raises `BadInput`."""
    for style in STYLES:
        if style == name:
            return style
    raise BadInput(f"no style {name!r}; there are: {', '.join(STYLES)}")


def one_cycle(progress: float) -> float:
    """Return the learning rate's share of its peak: a short warm-up, then a cosine down to almost nothing.

    >>> [round(one_cycle(at), 3) for at in (0.0, 0.1, 0.55, 1.0)]
    [0.04, 1.0, 0.5, 0.001]
    """
    if progress < WARM_UP:
        low, high, at = START_SHARE, 1.0, progress / WARM_UP
    else:
        low, high, at = 1.0, END_SHARE, min((progress - WARM_UP) / (1 - WARM_UP), 1.0)
    return low + (high - low) * (1 - math.cos(math.pi * at)) / 2
