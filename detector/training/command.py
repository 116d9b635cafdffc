"""`taktwatch train`: opens what is to be learned from, checks it, and trains."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.progress import Progress

from detector.dataset import SECTION_PX
from detector.evaluation.datasets import open_dataset
from detector.spec import ModelSpec, find_spec
from detector.train import train
from detector.training.finish import Run
from detector.training.labelled import LabelledSource, hold_out_boards
from detector.training.settings import TrainSettings
from detector.training.source import SimulatedSource
from taktwatch.errors import BadInput

__all__ = ["Folder", "train_labelled", "train_simulated"]


@dataclass(frozen=True)
class Folder:
    """A data set to learn from, what its licence allows, and which of its boards are held out for validation."""

    path: str
    licence: str
    commercial_use: bool = False
    validate_boards: Sequence[str] = ()
    validate_share: float = 0.1


def train_simulated(spec_name: str, out: Path, settings: TrainSettings) -> Path:
    """Train a spec on the simulator and return its folder `out`; a run that was cut off goes on.

    Raises `ModelError` for an unknown spec.
    """
    spec = find_spec(spec_name)
    settings = _sized(spec, settings)
    command = f"taktwatch train --spec {spec_name} {_words(settings)}"
    return train(Run(spec_name, spec, SimulatedSource(spec, settings), out, settings, command))


def train_labelled(spec_name: str, out: Path, settings: TrainSettings, data: Folder) -> Path:
    """Train a spec on a data set and return its folder `out`; a run that was cut off goes on.

    Raises `ModelError` for an unknown spec, `BadInput` for a data set that is not whole, or whose licence is not known.
    """
    spec = find_spec(spec_name)
    if not data.licence.strip():
        raise BadInput(
            f"{data.path}: under which licence? A model carries the terms of what it learned from: give --data-licence "
            "TEXT, and --commercial-use where it allows that"
        )
    settings = _sized(spec, settings)
    dataset = open_dataset(data.path)
    boards = hold_out_boards(dataset.items, named=data.validate_boards, share=data.validate_share, seed=settings.seed)
    command = f"taktwatch train --dataset {data.path} --spec {spec_name} {_words(settings)}"
    command += f" --validate-boards {','.join(boards)}"
    with tempfile.TemporaryDirectory(prefix="taktwatch-train-") as scratch:
        with Progress() as bars:
            task = bars.add_task("preparing pictures", total=len(dataset.items))
            source = LabelledSource(
                dataset,
                spec,
                settings,
                boards=boards,
                licence=data.licence,
                commercial_use=data.commercial_use,
                folder=Path(scratch),
                on_picture=lambda: bars.advance(task),
            )
        return train(Run(out.name, spec, source, out, settings, command))


def _sized(spec: ModelSpec, settings: TrainSettings) -> TrainSettings:
    """Return the settings with the size of crops that suits a view."""
    height, width = (320, 320) if spec.view == "board" else SECTION_PX
    return replace(settings, crop_height_px=height, crop_width_px=width)


def _words(settings: TrainSettings) -> str:
    """Return the settings as options of the command line."""
    limit = "" if settings.minutes is None else f" --minutes {settings.minutes:g}"
    return f"--seed {settings.seed} --steps {settings.steps} --batch {settings.batch}{limit}"
