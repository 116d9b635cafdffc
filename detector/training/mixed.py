"""Several sources as one: which of them a sample comes from is drawn by their shares, again alike for the same seed."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from detector.dataset import Sample, Target
from detector.training.source import Source
from taktwatch.errors import BadInput

__all__ = ["MixedSamples", "MixedSource", "shares_of"]


class MixedSource:
    """Learns from all sources by their shares (N,), 0 to 1; what is measured is the first one's validation."""

    def __init__(self, sources: Sequence[Source], shares: Sequence[float], seed: int) -> None:
        self.sources, self.shares, self.seed = sources, shares, seed
        self.data = tuple(data for source in sources for data in source.data)
        self.margin_px, self.held_out = sources[0].margin_px, sources[0].held_out

    def samples(self, length: int) -> Dataset[tuple[torch.Tensor, Target]]:
        """Return so many varied training samples; the same index gives the same sample."""
        return MixedSamples([source.samples(length) for source in self.sources], self.shares, self.seed, length)

    def validation(self) -> Sequence[Sample]:
        """Return the pictures that the first source holds out."""
        return self.sources[0].validation()


class MixedSamples(Dataset[tuple[torch.Tensor, Target]]):
    """`length` samples, each one of `parts`' at the same index; which one is drawn from (seed, index) by `shares`."""

    def __init__(
        self, parts: Sequence[Dataset[tuple[torch.Tensor, Target]]], shares: Sequence[float], seed: int, length: int
    ) -> None:
        self.parts, self.shares, self.seed, self.length = parts, shares, seed, length

    def __len__(self) -> int:
        """Return the number of samples."""
        return self.length

    def __getitem__(self, index: int) -> tuple[torch.Tensor, Target]:
        """Make one sample."""
        if index >= self.length:
            raise IndexError(index)
        chosen = np.random.default_rng([0x3117, self.seed, index]).choice(len(self.parts), p=self.shares)
        return self.parts[int(chosen)][index]


def shares_of(asked: Sequence[float | None], pictures: Sequence[int]) -> list[float]:
    """Return each set's share of the samples, 1 in all: as asked, or (all None) by its pictures. Raises `BadInput`.

    >>> shares_of([None, None], [300, 100]), shares_of([1.0, 4.0], [300, 100])
    ([0.75, 0.25], [0.2, 0.8])
    """
    given = [share for share in asked if share is not None]
    if given and len(given) < len(asked):
        raise BadInput(f"{len(asked)} data sets and {len(given)} shares; give each one its --share, or none")
    if any(share <= 0 for share in given):
        raise BadInput(f"a share of {min(given):g} is none; shares are above 0")
    weights = given or list(pictures)
    return [float(weight / sum(weights)) for weight in weights]
