"""Models on disk: a folder with `card.json`, `MODEL_CARD.md` and `weights.safetensors`. Nothing is ever unpickled.

Model = weights + settings + licence. A folder that lacks one of them, or whose bytes are not what its card says, is
refused.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torchvision.models.detection import MaskRCNN

from detector.model import build_model
from detector.scores import FILE as CALIBRATION
from detector.spec import ModelSpec
from taktwatch.errors import ModelError

__all__ = [
    "DataSource",
    "LoadedModel",
    "ModelCard",
    "list_models",
    "load_model",
    "pack_weights",
    "read_card",
    "save_model",
]

CARD, PAGE, WEIGHTS = "card.json", "MODEL_CARD.md", "weights.safetensors"


class DataSource(BaseModel):
    """What a model learned from, and what its licence allows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    licence: str = Field(min_length=1)
    commercial_use: bool
    sha256: str | None = Field(default=None, description="of everything in the data set")


class ModelCard(BaseModel):
    """What is known of a model: all of it is in the folder, nothing has to be believed.

    `metrics` were measured with the weights as stored (rounded), on pictures of products unseen in training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    card_schema: int = 1
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    licence: str = Field(min_length=1)
    spec: ModelSpec
    spec_sha256: str
    weights_sha256: str
    parameters: int
    training_data: tuple[DataSource, ...] = Field(min_length=1)
    ancestry: str = Field(min_length=1)
    settings: dict[str, int | float | str]
    command: str
    metrics: dict[str, float]
    measured_on: str = "simulated pictures of products that training never saw"
    trained_with: str
    trained_at: str

    @property
    def model_id(self) -> str:
        """Weights and settings in one short name."""
        digest = hashlib.sha256(f"{self.weights_sha256}{self.spec_sha256}".encode()).hexdigest()
        return f"{self.name}-{digest[:12]}"

    @property
    def commercial_use(self) -> bool:
        """Whether everything the model learned from allows commercial use."""
        return all(source.commercial_use for source in self.training_data)


@dataclass(frozen=True, eq=False, slots=True)
class LoadedModel:
    """A network in float32 and evaluation mode, and its card."""

    card: ModelCard
    network: MaskRCNN

    @property
    def spec(self) -> ModelSpec:
        """The settings the network was built from."""
        return self.card.spec


def save_model(folder: Path, card: ModelCard, weights: bytes) -> None:
    """Write a model folder; the card goes last, so that a folder with a card is whole."""
    if hashlib.sha256(weights).hexdigest() != card.weights_sha256:
        raise ModelError(f"the card of {card.name!r} names other weights than those to be saved")
    folder.mkdir(parents=True, exist_ok=True)
    for old in (CARD, CALIBRATION):
        (folder / old).unlink(missing_ok=True)
    (folder / WEIGHTS).write_bytes(weights)
    (folder / PAGE).write_text(_page(card), encoding="utf-8")
    (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")


def pack_weights(network: MaskRCNN) -> bytes:
    """Return the weights as safetensors, floating numbers rounded to float16."""
    state = network.state_dict()
    packed = {
        name: (value.half() if value.is_floating_point() else value).contiguous() for name, value in state.items()
    }
    return bytes(save_tensors(packed))


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
    return LoadedModel(card, network)


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


def _page(card: ModelCard) -> str:
    """Write the card for people."""
    data = "\n".join(
        f"- {source.name}; licence: {source.licence}; commercial use: {'yes' if source.commercial_use else 'no'}"
        f"{'' if source.sha256 is None else f'; SHA-256 `{source.sha256}`'}"
        for source in card.training_data
    )
    metrics = "\n".join(f"| {name} | {value:.4g} |" for name, value in card.metrics.items())
    settings = "\n".join(f"| {name} | {value} |" for name, value in card.settings.items())
    spec = "\n".join(f"| {name} | {value} |" for name, value in card.spec.model_dump().items())
    return f"""# {card.name}

Mask R-CNN for the {card.spec.view} view; classes: {", ".join(card.spec.classes)}. {card.parameters:,} parameters.

- Model: `{card.model_id}`
- Licence: {card.licence}
- Starting weights: {card.ancestry}
- Weights SHA-256: `{card.weights_sha256}`
- Trained at {card.trained_at} with {card.trained_with}
- Command: `{card.command}`

## Learned from

{data}

## Measured

With the weights as stored, on {card.measured_on}.

| figure | value |
|---|---|
{metrics}

## Settings of the run

| setting | value |
|---|---|
{settings}

## Spec

| setting | value |
|---|---|
{spec}
"""
