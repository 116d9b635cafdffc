"""Checkpoints of torchvision's Mask and Faster R-CNN (ResNet-50 or 101, FPN) become model folders, once.

Files are read with `weights_only=True`: a pickle that would run code is refused. What comes out is safetensors and a
card that says where it came from and what nobody said about it.
"""

import hashlib
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torchvision.models.detection import MaskRCNN, MaskRCNN_ResNet50_FPN_Weights

from detector.model import build_model
from detector.registry import DataSource, ModelCard, pack_weights, refuse_taken, save_made
from detector.spec import STANDARD, ModelSpec
from taktwatch.errors import ModelError

__all__ = ["import_checkpoint"]

Tensors = dict[str, torch.Tensor]

THIRD_STAGE_BLOCKS = {6: "resnet50", 23: "resnet101"}
SECOND_FORM = "backbone.fpn.inner_blocks.0.1.weight"
"""A norm in the pyramid: torchvision's `..._fpn_v2` networks (Li et al. 2021) have it, the first ones have none."""
WRAPPERS = ("model", "state_dict", "model_state_dict")
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""What torchvision's models take from and divide a picture of 0 to 1 by; `rgb_inputs` gives 4 x - 2 instead."""


def import_checkpoint(
    file: Path, models_dir: Path, *, name: str, licence: str, source: str, commercial_use: bool | None
) -> ModelCard:
    """Turn a checkpoint into a model folder under `models_dir` and return its card.

    `commercial_use` speaks for the data and for all weights it started from; None: unknown, a commercial line refuses
    it. Raises `ModelError` for a file with code in it, for another network, for a name that is taken.
    """
    folder = models_dir / name
    refuse_taken(folder)
    tensors = _unwrapped(_read(file), file)
    spec = _spec_of(tensors, file)
    network = build_model(spec)
    _fill(network, tensors, file)
    _take_our_scale(network)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    return save_made(
        folder,
        network,
        pack_weights(network),
        name=name,
        licence=licence,
        spec=spec,
        training_data=(DataSource(name=f"what {source} learned from", licence=licence, commercial_use=commercial_use),),
        ancestry=f"{'unknown' if commercial_use is None else 'none named'}: imported from {source}, "
        f"file {file.name} (SHA-256 {sha256})",
        settings={},
        command=f"taktwatch models import {file.name} --name {name}",
        metrics={},
        measured_on="nothing: an imported model was measured elsewhere",
        trained_with="unknown",
    )


def _read(file: Path) -> Any:
    """Read a file without running anything in it. Raises `ModelError`."""
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{file}: refused: more than tensors is in it, and loading it could run code; save its state_dict() alone "
            "(torch.save(model.state_dict(), FILE)) where it came from"
        ) from error
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ModelError(f"{file}: no checkpoint of torch or safetensors: {str(error).splitlines()[0]}") from error


def _unwrapped(read: Any, file: Path) -> Tensors:
    """Return the tensors by name, out of what trainers wrap around them."""
    for key in WRAPPERS:
        if isinstance(read, Mapping) and isinstance(read.get(key), Mapping):
            read = read[key]
    if not isinstance(read, Mapping) or not all(isinstance(value, torch.Tensor) for value in read.values()):
        raise ModelError(f"{file}: holds no state_dict: names and tensors, as torch.save(model.state_dict(), FILE) has")
    return {str(name).removeprefix("module."): value for name, value in read.items()}


def _spec_of(tensors: Tensors, file: Path) -> ModelSpec:
    """Read off the tensors' names what network they are of. Raises `ModelError` for one that is not known."""
    blocks = {found[1] for name in tensors if (found := re.match(r"backbone\.body\.layer3\.(\d+)\.conv3\.", name))}
    if SECOND_FORM in tensors:
        raise ModelError(
            f"{file}: torchvision's second form (maskrcnn_resnet50_fpn_v2, fasterrcnn_resnet50_fpn_v2: convolutions in "
            "the box head, norms in the pyramid), which is not built here; take the first (maskrcnn_resnet50_fpn, "
            "fasterrcnn_resnet50_fpn; weights COCO_V1 of that)"
        )
    backbone = THIRD_STAGE_BLOCKS.get(len(blocks))
    scores = tensors.get("roi_heads.box_predictor.cls_score.weight")
    if backbone is None or scores is None:
        raise ModelError(
            f"{file}: not a Mask R-CNN or Faster R-CNN of torchvision with ResNet-50-FPN or ResNet-101-FPN "
            "(its state_dict has backbone.body.layer1 to 4, backbone.fpn, rpn, roi_heads)"
        )
    count = scores.shape[0] - 1
    parts = STANDARD | {"proposals": 1000, "target_margin_px": 0}
    if not any(name.startswith("roi_heads.mask_predictor") for name in tensors):
        parts["mask_head"] = ()
    return ModelSpec(view="board", input="rgb", classes=_names(count), backbone=backbone, **parts)


def _names(count: int) -> tuple[str, ...]:
    """Return COCO's names where there are as many as COCO has, else numbers.

    >>> _names(90)[:2], _names(2)
    (('person', 'bicycle'), ('class-1', 'class-2'))
    """
    coco = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"][1:]
    if count != len(coco):
        return tuple(f"class-{number}" for number in range(1, count + 1))
    return tuple(f"unused-{number}" if name == "N/A" else name for number, name in enumerate(coco, 1))


def _fill(network: MaskRCNN, tensors: Tensors, file: Path) -> None:
    """Put the tensors into the network. Raises `ModelError` naming the first that does not fit."""
    wanted = network.state_dict()
    counted = {name: value for name, value in wanted.items() if name.endswith("num_batches_tracked")}
    given = counted | tensors  # frozen norms do not count
    odd = sorted(
        name
        for name in wanted.keys() | given.keys()
        if name not in wanted or name not in given or wanted[name].shape != given[name].shape
    )
    if odd:
        first = odd[0]
        here = tuple(given[first].shape) if first in given else "absent"
        there = tuple(wanted[first].shape) if first in wanted else "no such tensor"
        raise ModelError(f"{file}: not torchvision's standard form: {first} is {here}, not {there} ({len(odd)} differ)")
    if bad := sorted(name for name, value in tensors.items() if not torch.isfinite(value.float()).all()):
        raise ModelError(f"{file}: {bad[0]} holds numbers that are none; the file is damaged")
    network.load_state_dict(given)


@torch.no_grad()
def _take_our_scale(network: MaskRCNN) -> None:
    """Let the first convolution take pictures as `rgb_inputs` gives them: y = 4 x - 2 for x of 0 to 1.

    It was trained on (x - mean) / spread, which is y / (4 spread) + (0.5 - mean) / spread: the factor goes into its
    weights, the constant into the mean of the norm that follows it. Only the padded rim differs a little.
    """
    body: Any = network.backbone.body
    mean, spread = torch.tensor(MEAN), torch.tensor(SPREAD)
    kernel = body.conv1.weight
    body.bn1.running_mean -= (kernel.sum((2, 3)) * ((0.5 - mean) / spread)).sum(1)
    kernel /= (4 * spread)[:, None, None]
