"""Models on disk: a folder with `card.json`, `MODEL_CARD.md` and `weights.safetensors`. Nothing is ever unpickled.

Model = weights + settings + licence. A folder that lacks one of them, or whose bytes are not what its card says, is
refused.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torchvision.models.detection import MaskRCNN

from detector.cards import Ancestor, DataSource, ModelCard, card_page
from detector.model import answering, build_model, count_parameters
from detector.scores import FILE as CALIBRATION
from detector.screening import FILE as SCREEN
from detector.spec import ModelSpec
from taktwatch import clock
from taktwatch.errors import ModelError

__all__ = [
    "EXPORTS",
    "PROOFS",
    "Ancestor",
    "DataSource",
    "LoadedModel",
    "ModelCard",
    "add_model",
    "list_models",
    "load_model",
    "pack_weights",
    "read_card",
    "refuse_taken",
    "round_weights",
    "save_made",
    "save_model",
]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
CARD, PAGE, WEIGHTS = "card.json", "MODEL_CARD.md", "weights.safetensors"
PROOFS = "proofs.json"
"""What `detector.proving.proofs` keeps beside a model."""
EXPORTS = "exports"
"""Where `detector.engines.export` keeps what no other machine would make to the bit; a folder a runtime."""


@dataclass(frozen=True, eq=False, slots=True)
class LoadedModel:
    """A network in float32 and evaluation mode, its card, and the folder it was read from."""

    card: ModelCard
    network: MaskRCNN
    folder: Path | None = None

    @property
    def spec(self) -> ModelSpec:
        """The settings the network was built from."""
        return self.card.spec


def refuse_taken(folder: Path) -> None:
    """Raise `ModelError` where a new model would overwrite something."""
    if folder.exists():
        raise ModelError(f"{folder} is there already; choose another --name")


def save_made(
    folder: Path,
    network: MaskRCNN,
    weights: bytes,
    *,
    name: str,
    licence: str,
    spec: ModelSpec,
    training_data: tuple[DataSource, ...],
    ancestry: str,
    parents: tuple[Ancestor, ...] = (),
    settings: dict[str, int | float | str],
    command: str,
    metrics: Mapping[str, float],
    measured_on: str,
    trained_with: str,
) -> ModelCard:
    """Write the folder of a model that was made just now, and return its card; `weights` are the network's, packed.

    A figure that is none, as of a class that no picture shows, is left out.
    """
    card = ModelCard(
        name=name,
        licence=licence,
        spec=spec,
        spec_sha256=spec.spec_sha256,
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        parameters=count_parameters(network),
        training_data=training_data,
        ancestry=ancestry,
        parents=parents,
        settings=settings,
        command=command,
        metrics={figure: round(value, 5) for figure, value in metrics.items() if isfinite(value)},
        measured_on=measured_on,
        trained_with=trained_with,
        trained_at=clock.now().isoformat(timespec="seconds"),
    )
    save_model(folder, card, weights)
    return card


def save_model(folder: Path, card: ModelCard, weights: bytes) -> None:
    """Write a model folder; the card goes last, so that a folder with a card is whole."""
    if hashlib.sha256(weights).hexdigest() != card.weights_sha256:
        raise ModelError(f"the card of {card.name!r} names other weights than those to be saved")
    folder.mkdir(parents=True, exist_ok=True)
    for old in (CARD, CALIBRATION, PROOFS, SCREEN):
        (folder / old).unlink(missing_ok=True)
    shutil.rmtree(folder / EXPORTS, ignore_errors=True)
    (folder / WEIGHTS).write_bytes(weights)
    (folder / PAGE).write_text(card_page(card), encoding="utf-8")
    (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")


def pack_weights(network: MaskRCNN) -> bytes:
    """Return the weights as safetensors, floating numbers rounded to float16."""
    state = network.state_dict()
    packed = {
        name: (value.half() if value.is_floating_point() else value).contiguous() for name, value in state.items()
    }
    return bytes(save_tensors(packed))


def round_weights(network: MaskRCNN) -> bytes:
    """Return the weights as they are stored, and let the network have them so: what is measured is what is stored."""
    packed = pack_weights(network)
    wanted = network.state_dict()
    network.load_state_dict({key: value.to(wanted[key].dtype) for key, value in load_tensors(packed).items()})
    return packed


def read_card(folder: Path) -> ModelCard:
    """Read and check a card. Raises `ModelError`."""
    path = folder / CARD
    try:
        tables: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ModelError(f"no model in {folder}: {CARD} is missing; train one with `taktwatch train`") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    if not isinstance(tables, dict) or not tables.get("licence"):
        raise ModelError(f"{path}: a card without licence; a model is weights, settings and licence")
    try:
        card = ModelCard.model_validate(tables)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{path}: {where}: {first['msg']}") from error
    if card.spec.spec_sha256 != card.spec_sha256:
        raise ModelError(f"{path}: the settings do not hash to spec_sha256; the card was edited by hand")
    return card


def load_model(folder: Path) -> LoadedModel:
    """Load a model for inference on the CPU. Raises `ModelError` saying what is wrong with the folder."""
    card = read_card(folder)
    path = folder / WEIGHTS
    try:
        body = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}; copy the whole model folder") from error
    try:
        tensors = load_tensors(body)
    except SafetensorError as error:
        raise ModelError(f"{path}: corrupt weights file: {error}") from error
    network = build_model(card.spec)
    _check_shapes(network, tensors, path)
    if hashlib.sha256(body).hexdigest() != card.weights_sha256:
        raise ModelError(
            f"{path}: not the weights its card names (SHA-256 differs); take card and weights from one folder"
        )
    wanted = network.state_dict()
    network.load_state_dict({name: value.to(wanted[name].dtype) for name, value in tensors.items()})
    network.eval().requires_grad_(requires_grad=False)
    return LoadedModel(card, answering(network, card.spec), folder)


def add_model(folder: Path, models_dir: Path, name: str) -> ModelCard:
    """Take a model folder from elsewhere into the models folder, whole and checked. Raises `ModelError`."""
    loaded = load_model(folder)
    if not NAME.fullmatch(name):
        raise ModelError(f"{name!r} is no name for a model: letters, digits, dots, dashes")
    target = models_dir / name
    refuse_taken(target)
    partial = models_dir / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for file in (WEIGHTS, PAGE, CALIBRATION, PROOFS, SCREEN, CARD):
        if (folder / file).exists():
            shutil.copyfile(folder / file, partial / file)
    if (folder / EXPORTS).is_dir():
        shutil.copytree(folder / EXPORTS, partial / EXPORTS)
    partial.rename(target)
    return loaded.card


def list_models(models_dir: Path) -> list[ModelCard]:
    """Return the cards of all models in a folder of folders, by name. Raises `ModelError` at a damaged one."""
    return [read_card(path.parent) for path in sorted(models_dir.glob(f"*/{CARD}"))]


def _check_shapes(network: MaskRCNN, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Refuse weights whose names or shapes are not those of the spec."""
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in tensors.items()}
    if wanted != given:
        odd = sorted(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name))
        first = odd[0]
        raise ModelError(
            f"{path}: weights for another spec: {first} is {given.get(first, 'absent')}, "
            f"the card's spec wants {wanted.get(first, 'no such tensor')} ({len(odd)} differ)"
        )
