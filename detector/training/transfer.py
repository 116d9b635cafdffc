"""Starting from another model: what fits is taken, heads for other classes and the first convolution are re-made."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torchvision.models.detection import MaskRCNN

from detector.registry import LoadedModel
from detector.spec import ModelSpec
from taktwatch.errors import ModelError

__all__ = ["Taken", "freeze", "hold_norms", "parameter_groups", "start_from"]

HEADS = ("roi_heads.box_predictor.", "roi_heads.mask_predictor.mask_fcn_logits.")
"""What has one part for each class."""
FIRST = "backbone.body.conv1.weight"
SHARES = (0.5, 0.0, 0.5)
"""Of picture, template and difference, in the re-made first convolution."""
STAGES = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")
LEAST_TAKEN = 0.5  # share of the tensors of the trunk; fewer fit a network that is another one


@dataclass(frozen=True, slots=True)
class Taken:
    """Names of tensors that came from the parent, and of those that start anew."""

    kept: tuple[str, ...]
    anew: tuple[str, ...]


@torch.no_grad()
def start_from(network: MaskRCNN, spec: ModelSpec, parent: LoadedModel) -> Taken:
    """Put the parent's weights into the network wherever they fit.

    Heads keep theirs only for the same classes in the same order. Where a colour model becomes a template model, the
    first convolution sees the picture and the difference in grey, half each, and starts blind to the template. Raises
    `ModelError` where the trunk is of another kind.
    """
    wanted, given = network.state_dict(), parent.network.state_dict()
    same_classes = spec.classes == parent.spec.classes
    kept = [
        name
        for name, value in wanted.items()
        if name in given and given[name].shape == value.shape and (same_classes or not name.startswith(HEADS))
    ]
    trunk = [name for name in wanted if name.startswith("backbone.body.")]
    if sum(name in kept for name in trunk) < LEAST_TAKEN * len(trunk):
        raise ModelError(
            f"{parent.card.model_id} is a {parent.spec.backbone} of {parent.spec.levels} levels, the spec wants a "
            f"{spec.backbone} of {spec.levels}: hardly anything fits; start from a model of the same backbone"
        )
    tensors = {name: given[name] for name in kept}
    if spec.input != parent.spec.input:
        if spec.input != "template" or spec.backbone == "mobilenet_v3":
            raise ModelError(
                f"{parent.card.model_id} sees {parent.spec.input} input and cannot become a {spec.input} model of "
                f"{spec.backbone}; start from one that sees {spec.input}"
            )
        grey = given[FIRST].sum(1, keepdim=True)
        tensors[FIRST] = torch.cat([share * grey for share in SHARES], 1)
        kept.remove(FIRST)
    network.load_state_dict(wanted | tensors)
    return Taken(tuple(kept), tuple(sorted(wanted.keys() - set(kept))))


def freeze(network: MaskRCNN, stages: int) -> None:
    """Keep the first so many stages of a ResNet trunk as they are: 1 the stem, 2 to 5 its four layers as well."""
    body: Any = network.backbone.body
    names = STAGES[: stages + 1] if stages else ()
    for name in names:
        body[name].requires_grad_(requires_grad=False)


def hold_norms(network: MaskRCNN) -> None:
    """Keep the statistics of the trunk's batch norms: small batches of other pictures would spoil the parent's."""
    for module in network.backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def parameter_groups(network: MaskRCNN, trunk_share: float) -> list[dict[str, Any]]:
    """Return what is trained, the trunk apart: `share` is its part of the learning rate."""
    trunk: Any = network.backbone.body
    slow = [value for value in trunk.parameters() if value.requires_grad]
    known = {id(value) for value in trunk.parameters()}
    fast = [value for value in network.parameters() if value.requires_grad and id(value) not in known]
    groups = [{"params": fast, "share": 1.0}, {"params": slow, "share": trunk_share}]
    return [group for group in groups if group["params"]]
