"""Where samples come from, as the loop sees it; and the simulator as one such place."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch.utils.data import Dataset

from detector.dataset import HELD_OUT, SECTION_PX, Sample, SimulatedSamples, Target, simulate
from detector.registry import DataSource
from detector.spec import ModelSpec
from detector.training.settings import TrainSettings

__all__ = ["SIMULATOR", "SimulatedSource", "Source"]

SIMULATOR = DataSource(
    name="taktwatch simulator (pictures drawn from random seeds; nothing read or measured from a real board)",
    licence="Apache-2.0",
    commercial_use=True,
)


class Source(Protocol):
    """Pictures to learn from, and others to measure on."""

    @property
    def data(self) -> tuple[DataSource, ...]:
        """What it is and what its licence allows."""

    @property
    def shares(self) -> Sequence[float]:
        """Each data set's share of the samples, 1 in all."""

    @property
    def margin_px(self) -> int:
        """By how much its true boxes are larger than the things in them."""

    @property
    def held_out(self) -> str:
        """What validation looks at, in words."""

    def samples(self, length: int) -> Dataset[tuple[torch.Tensor, Target]]:
        """Return so many varied training samples; the same index gives the same sample."""

    def validation(self) -> Sequence[Sample]:
        """Return whole pictures of boards that training never sees."""


class SimulatedSource:
    """Boards or sections drawn from seeds."""

    data = (SIMULATOR,)
    shares = (1.0,)
    margin_px = 0
    held_out = "simulated pictures of products that training never saw"

    def __init__(self, spec: ModelSpec, settings: TrainSettings) -> None:
        self.spec, self.settings = spec, settings

    def samples(self, length: int) -> Dataset[tuple[torch.Tensor, Target]]:
        """Return so many varied training samples; the same index gives the same sample."""
        crop = (self.settings.crop_height_px, self.settings.crop_width_px)
        return SimulatedSamples(self.spec, self.settings.seed, length, crop, self.settings.style)

    def validation(self) -> list[Sample]:
        """Return whole pictures of products that training never sees."""
        size = (640, 640) if self.spec.view == "board" else SECTION_PX
        return [
            simulate(self.spec, HELD_OUT + index, np.random.default_rng([HELD_OUT, index]), size, self.settings.style)
            for index in range(self.settings.held_out_pictures)
        ]
