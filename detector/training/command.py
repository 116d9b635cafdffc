"""`taktwatch train`: opens what is to be learned from, checks it, and trains."""

import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from rich.progress import Progress

from detector.dataset import HELD_OUT, SECTION_PX
from detector.evaluation.datasets import open_dataset
from detector.evaluation.simulated import parse_simulated
from detector.registry import LoadedModel, load_model
from detector.spec import ModelSpec, find_spec
from detector.training.finish import Run
from detector.training.labelled import LabelledSource, hold_out_boards
from detector.training.loop import train
from detector.training.mixed import MixedSource, shares_of
from detector.training.settings import TrainSettings
from detector.training.source import SIMULATOR, SimulatedSource
from taktwatch.errors import BadInput, ModelError
from taktwatch.simulator import Style

__all__ = ["Data", "Start", "mixed_sets", "train_labelled", "train_simulated"]


@dataclass(frozen=True)
class Data:
    """A data set to learn from, what its licence allows, and which of its boards are held out for validation.

    `share`: how much of what is learned comes from it, relative to the others (None: as many as it has pictures).
    """

    where: str
    licence: str
    commercial_use: bool = False
    validate_boards: Sequence[str] = ()
    validate_share: float = 0.1
    share: float | None = None

    @property
    def simulated(self) -> bool:
        """Whether it is drawn."""
        return self.where.startswith("sim:")


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


def mixed_sets(where: Sequence[str], shares: Sequence[float], licences: Sequence[str], like: Data) -> list[Data]:
    """Return data sets with their shares and, where they are folders, their licences, each in their order.

    One licence alone is that of all; the rest is as in `like`. Raises `BadInput` for more shares or licences than sets.

    >>> [one.licence for one in mixed_sets(["a", "sim:board?first=0", "b"], [], ["MIT", "CC0"], Data("", ""))]
    ['MIT', '', 'CC0']
    """
    folders = [one for one in where if not Data(one, "").simulated]
    if len(licences) > max(len(folders), 1) or len(shares) > len(where):
        raise BadInput(
            f"{len(where)} data sets ({len(folders)} folders), {len(shares)} shares, {len(licences)} licences; "
            "give each set one share, and each folder one licence"
        )
    told = dict(zip(folders, list(licences) * (len(folders) if len(licences) == 1 else 1), strict=False))
    return [
        replace(like, where=one, licence=told.get(one, ""), share=share) for one, share in zip_longest(where, shares)
    ]


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
    style = () if settings.style == "plain" else ("--style", settings.style)
    command = shlex.join(["taktwatch", "train", "--spec", spec_name, *_words(settings, start), *style])
    source = SimulatedSource(spec, settings)
    return train(Run(out.name, spec, source, out, settings, command, start.parent()))


def train_labelled(
    spec_name: str, out: Path, settings: TrainSettings, data: Data | Sequence[Data], start: Start
) -> Path:
    """Train a spec on one or several data sets and return its folder `out`; a run that was cut off goes on.

    Several are mixed by their shares; the first is validated on, and its boards alone are held out. A COCO folder with
    classes of its own, where it is the first, gives them to the model. Raises `ModelError` for an unknown spec or a
    model it cannot start from, `BadInput` for a data set that is not whole, or whose licence is not known.
    """
    spec = find_spec(spec_name)
    sets = [data] if isinstance(data, Data) else list(data)
    for one in sets:
        _refuse_unfit(one)
    if settings.style != "plain":
        raise BadInput(
            f"--style is how the simulator draws, and {sets[0].where} is learned from; name a style in sim:..."
        )
    settings = start.into(_sized(spec, settings))
    parent = start.parent()
    datasets = [open_dataset(one.where) for one in sets]
    if datasets[0].kind == "coco" and not set(datasets[0].labels) <= set(spec.classes):
        spec = spec.model_copy(update={"classes": datasets[0].labels})
    shares = shares_of([one.share for one in sets], [len(dataset.items) for dataset in datasets])
    first = sets[0]
    boards = hold_out_boards(
        datasets[0].items, named=first.validate_boards, share=first.validate_share, seed=settings.seed
    )
    validated = ["--validate-boards", ",".join(boards)]
    if first.simulated and not first.validate_boards:  # drawn again by the seed; hundreds of names say no more
        validated = ["--validate-share", f"{first.validate_share:g}"]
    words = [*_named(sets, shares), "--spec", spec_name, *_words(settings, start), *validated]
    command = shlex.join(["taktwatch", "train", *words])
    with tempfile.TemporaryDirectory(prefix="taktwatch-train-") as scratch:
        with Progress() as bars:
            task = bars.add_task("preparing pictures", total=sum(len(dataset.items) for dataset in datasets))
            sources = [
                LabelledSource(
                    dataset,
                    spec,
                    settings,
                    boards=boards if number == 0 else (),
                    licence=SIMULATOR.licence if one.simulated else one.licence,
                    commercial_use=one.simulated or one.commercial_use,
                    folder=Path(scratch) / str(number),
                    on_picture=lambda: bars.advance(task),
                )
                for number, (one, dataset) in enumerate(zip(sets, datasets, strict=True))
            ]
        source = sources[0] if len(sources) == 1 else MixedSource(sources, shares, settings.seed)
        return train(Run(out.name, spec, source, out, settings, command, parent))


def _refuse_unfit(data: Data) -> None:
    """Raise `BadInput` for data that nobody said the licence of, or that is kept for testing."""
    if data.simulated:
        _refuse_kept(data.where)
    elif not data.licence.strip():
        raise BadInput(
            f"{data.where}: under which licence? A model carries the terms of what it learned from: give "
            "--data-licence TEXT, and --commercial-use where it allows that"
        )


def _named(sets: Sequence[Data], shares: Sequence[float]) -> list[str]:
    """Return the data sets, and their terms, as options of the command line."""
    words = []
    for one, share in zip(sets, shares, strict=True):
        words += ["--dataset", one.where] + (["--share", f"{share:g}"] if len(sets) > 1 else [])
    folders = [one for one in sets if not one.simulated]
    for one in folders:
        words += ["--data-licence", one.licence]
    return words + (["--commercial-use"] if folders and all(one.commercial_use for one in folders) else [])


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


def _words(settings: TrainSettings, start: Start) -> list[str]:
    """Return the settings as options of the command line; the number of threads decides how sums are rounded."""
    words = ["--seed", str(settings.seed), "--steps", str(settings.steps), "--batch", str(settings.batch)]
    words += ["--threads", str(settings.threads)]
    if settings.minutes is not None:
        words += ["--minutes", f"{settings.minutes:g}"]
    if start.model is not None:
        words += ["--from", str(start.model), "--freeze", str(start.freeze), "--trunk-rate", f"{start.trunk_share:g}"]
    return words
