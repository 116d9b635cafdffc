"""`taktwatch train`: opens what is to be learned from, checks it, and trains."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.progress import Progress

from detector.dataset import HELD_OUT, SECTION_PX
from detector.evaluation.datasets import open_dataset
from detector.evaluation.simulated import parse_simulated
from detector.registry import LoadedModel, load_model
from detector.spec import ModelSpec, find_spec
from detector.train import train
from detector.training.finish import Run
from detector.training.labelled import LabelledSource, hold_out_boards
from detector.training.settings import TrainSettings
from detector.training.source import SIMULATOR, SimulatedSource
from taktwatch.errors import BadInput, ModelError
from taktwatch.simulator import Style

__all__ = ["Data", "Start", "train_labelled", "train_simulated"]


@dataclass(frozen=True)
class Data:
    """A data set to learn from, what its licence allows, and which of its boards are held out for validation."""

    where: str
    licence: str
    commercial_use: bool = False
    validate_boards: Sequence[str] = ()
    validate_share: float = 0.1


@dataclass(frozen=True)
class Start:
    """The folder of the model whose weights a run starts from (None: random ones), and what of it stays as it is."""

    model: Path | None = None
    freeze: int = 0
    trunk_share: float = 0.1

    def parent(self) -> LoadedModel | None:
        """Load it. Raises `ModelError`."""
        return None if self.model is None else load_model(self.model)

    def into(self, settings: TrainSettings) -> TrainSettings:
        """Return the settings of a run that starts from it."""
        if self.model is None:
            if self.freeze:
                raise ModelError("--freeze keeps stages of the model that --from names; there is none")
            return settings
        return replace(settings, frozen_stages=self.freeze, trunk_share=self.trunk_share)


def train_simulated(spec_name: str, out: Path, settings: TrainSettings, start: Start) -> Path:
    """Train a spec on the simulator and return its folder `out`; a run that was cut off goes on.

    Raises `ModelError` for an unknown spec or a model it cannot start from, `BadInput` for the style held out.
    """
    spec = find_spec(spec_name)
    if spec.target_margin_px is None:
        raise ModelError(
            f"{spec_name} learns boxes as annotators draw them, and the simulator draws masks; name a --dataset "
            "that has them, or another spec"
        )
    _refuse_held_out(settings.style, f"--style {settings.style}")
    settings = start.into(_sized(spec, settings))
    command = f"taktwatch train --spec {spec_name} {_words(settings, start)}"
    command += "" if settings.style == "plain" else f" --style {settings.style}"
    source = SimulatedSource(spec, settings)
    return train(Run(out.name, spec, source, out, settings, command, start.parent()))


def train_labelled(spec_name: str, out: Path, settings: TrainSettings, data: Data, start: Start) -> Path:
    """Train a spec on a data set and return its folder `out`; a run that was cut off goes on.

    A COCO folder with classes of its own gives them to the model. Raises `ModelError` for an unknown spec or a model it
    cannot start from, `BadInput` for a data set that is not whole, or whose licence is not known.
    """
    spec = find_spec(spec_name)
    simulated = data.where.startswith("sim:")
    if not simulated and not data.licence.strip():
        raise BadInput(
            f"{data.where}: under which licence? A model carries the terms of what it learned from: give "
            "--data-licence TEXT, and --commercial-use where it allows that"
        )
    if simulated:
        _refuse_kept(data.where)
    if settings.style != "plain":
        raise BadInput(f"--style is how the simulator draws, and {data.where} is learned from; name a style in sim:...")
    settings = start.into(_sized(spec, settings))
    parent = start.parent()
    dataset = open_dataset(data.where)
    if dataset.kind == "coco" and not set(dataset.labels) <= set(spec.classes):
        spec = spec.model_copy(update={"classes": dataset.labels})
    boards = hold_out_boards(dataset.items, named=data.validate_boards, share=data.validate_share, seed=settings.seed)
    command = f"taktwatch train --dataset '{data.where}' --spec {spec_name} {_words(settings, start)}"
    command += f" --validate-boards {','.join(boards)}" if not simulated else ""
    with tempfile.TemporaryDirectory(prefix="taktwatch-train-") as scratch:
        with Progress() as bars:
            task = bars.add_task("preparing pictures", total=len(dataset.items))
            source = LabelledSource(
                dataset,
                spec,
                settings,
                boards=boards,
                licence=SIMULATOR.licence if simulated else data.licence,
                commercial_use=simulated or data.commercial_use,
                folder=Path(scratch),
                on_picture=lambda: bars.advance(task),
            )
        return train(Run(out.name, spec, source, out, settings, command, parent))


def _refuse_kept(where: str) -> None:
    """Raise `BadInput` for simulated products that validation and evaluation are to see first."""
    asked = parse_simulated(where)
    _refuse_held_out(asked.style, where)
    if asked.first + asked.layouts > HELD_OUT:
        raise BadInput(
            f"{where}: layouts from {HELD_OUT:,} on are kept for validation and evaluation; give first=0 or so"
        )


def _refuse_held_out(style: Style, where: str) -> None:
    """Raise `BadInput` for the style that no model may learn from."""
    if style == "held-out":
        raise BadInput(f"{where}: this style is held out for testing; train with plain or varied")


def _sized(spec: ModelSpec, settings: TrainSettings) -> TrainSettings:
    """Return the settings with the size of crops that suits a view."""
    height, width = (320, 320) if spec.view == "board" else SECTION_PX
    return replace(settings, crop_height_px=height, crop_width_px=width)


def _words(settings: TrainSettings, start: Start) -> str:
    """Return the settings as options of the command line."""
    origin = "" if start.model is None else f" --from {start.model} --freeze {start.freeze}"
    limit = "" if settings.minutes is None else f" --minutes {settings.minutes:g}"
    return f"--seed {settings.seed} --steps {settings.steps} --batch {settings.batch}{limit}{origin}"
