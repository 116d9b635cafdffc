"""Real pictures with truth as a place where samples come from: checked and prepared once, whole boards held out."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from detector.dataset import Sample, Target
from detector.evaluation.labelled import Dataset, Item
from detector.registry import DataSource
from detector.spec import ModelSpec
from detector.training.cache import Shots, keep_pictures, sample_of
from detector.training.colour import ColourSamples
from detector.training.pairs import PairSamples
from detector.training.settings import TrainSettings
from taktwatch.errors import BadInput

__all__ = ["LabelledSource", "hold_out_boards"]

ANNOTATED_MARGIN_PX = {"deeppcb": 10}
"""By so much annotators' boxes are larger than the defects' masks, by the kind of data set."""


class LabelledSource:
    """A data set whose pictures lie prepared in `folder`; validation is on the `boards` that training never sees.

    Raises `BadInput` for what is wrong with it, before anything is trained.
    """

    shares = (1.0,)

    def __init__(
        self,
        dataset: Dataset,
        spec: ModelSpec,
        settings: TrainSettings,
        *,
        boards: Sequence[str],
        licence: str,
        commercial_use: bool,
        folder: Path,
        on_picture: Callable[[], None],
    ) -> None:
        if dataset.view != spec.view:
            raise BadInput(f"{dataset.name} shows a {dataset.view} view, the spec is for {spec.view} views")
        folder.mkdir(parents=True, exist_ok=True)
        self.spec, self.settings = spec, settings
        self.margin_px = ANNOTATED_MARGIN_PX.get(dataset.kind, 0)
        kept = [[item for item in dataset.items if (item.board in boards) is held] for held in (False, True)]
        self.learned, self.measured = (
            _keep(folder / name, items, spec, on_picture)
            for name, items in zip(("learned", "held-out"), kept, strict=True)
        )
        if not any(shot.things for shot in self.learned.shots):
            raise BadInput(f"{dataset.name}: nothing to learn; no picture that is not held out has a truth")
        self.held_out = f"{len(self.measured)} pictures of boards that training never saw: {', '.join(sorted(boards))}"
        self.data = (
            DataSource(
                name=f"{Path(dataset.name).name or dataset.name} ({dataset.kind}, {len(self.learned)} pictures)",
                licence=licence,
                commercial_use=commercial_use,
                sha256=dataset.sha256,
            ),
        )

    def samples(self, length: int) -> TorchDataset[tuple[torch.Tensor, Target]]:
        """Return so many varied training samples; the same index gives the same sample."""
        crop = (self.settings.crop_height_px, self.settings.crop_width_px)
        make = PairSamples if self.spec.input == "template" else ColourSamples
        return make(self.spec, self.learned, self.settings.seed, length, crop)

    def validation(self) -> list[Sample]:
        """Return the pictures of the boards held out, whole."""
        return [sample_of(self.measured, index) for index in range(len(self.measured))]


def hold_out_boards(items: Sequence[Item], *, named: Sequence[str], share: float, seed: int) -> list[str]:
    """Return the boards to hold out: those named, else drawn by chance until `share` of the pictures is reached.

    Raises `BadInput` for a board that is not there, and where no board would be left on one side.
    """
    sizes: dict[str, int] = {}
    for item in items:
        sizes[item.board] = sizes.get(item.board, 0) + 1
    if strangers := sorted(set(named) - sizes.keys()):
        raise BadInput(f"no board {strangers[0]!r} in the data set; there are: {', '.join(sorted(sizes))}")
    chosen = list(named)
    if not named:
        order = sorted(sizes)
        np.random.default_rng([seed, len(items)]).shuffle(order)
        for board in order:
            if chosen and sum(sizes[one] for one in (*chosen, board)) > share * len(items):
                continue
            chosen.append(board)
            if sum(sizes[one] for one in chosen) >= share * len(items):
                break
    if len(chosen) >= len(sizes):
        raise BadInput(
            f"{len(sizes)} board(s) in the data set, {len(chosen)} to be held out: none is left to learn from"
        )
    return sorted(chosen)


def _keep(path: Path, items: Sequence[Item], spec: ModelSpec, on_picture: Callable[[], None]) -> Shots:
    return keep_pictures(path, items, kind=spec.input, classes=spec.classes, on_picture=on_picture)
