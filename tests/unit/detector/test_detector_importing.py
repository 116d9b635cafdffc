"""Checkpoints from elsewhere: torchvision's own come in, with their origin; code and other networks are refused."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models.detection import FasterRCNN, MaskRCNN, maskrcnn_resnet50_fpn, maskrcnn_resnet50_fpn_v2
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from detector.importing import import_checkpoint
from detector.inputs import rgb_inputs
from detector.registry import load_model
from taktwatch.errors import ModelError

SAID: dict[str, Any] = {"licence": "BSD-3-Clause", "source": "torchvision", "commercial_use": None}


@pytest.fixture(scope="module")
def resnet50() -> MaskRCNN:
    torch.manual_seed(1)
    return maskrcnn_resnet50_fpn(weights=None, weights_backbone=None).eval()


def test_torchvisions_mask_rcnn_comes_in_and_sees_what_it_saw(resnet50: MaskRCNN, tmp_path: Path) -> None:
    file = tmp_path / "coco.pth"
    torch.save(resnet50.state_dict(), file)
    card = import_checkpoint(file, tmp_path / "models", name="coco-50", **SAID)
    assert (card.spec.backbone, len(card.spec.classes), card.spec.classes[0]) == ("resnet50", 90, "person")
    assert not card.commercial_use
    assert card.ancestry.startswith("unknown: imported from torchvision, file coco.pth (SHA-256 ")
    ours: Any = load_model(tmp_path / "models" / "coco-50").network.backbone.body
    theirs: Any = resnet50.backbone.body
    picture = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8)
    y = torch.from_numpy(rgb_inputs(picture.numpy()).channels)[None]
    mean, spread = (torch.tensor(resnet50.transform.image_mean), torch.tensor(resnet50.transform.image_std))
    x = ((picture / 255 - mean) / spread).permute(2, 0, 1)[None]
    with torch.inference_mode():
        seen, wanted = ours.bn1(ours.conv1(y)), theirs.bn1(theirs.conv1(x))
    inside = (..., slice(4, -4), slice(4, -4))
    assert torch.allclose(seen[inside], wanted[inside], atol=0.02)
    assert float(wanted[inside].abs().max()) > 1


def test_wrapped_and_numbered_checkpoints_of_resnet101_and_without_masks_come_in(tmp_path: Path) -> None:
    trunk = resnet_fpn_backbone(backbone_name="resnet101", weights=None, trainable_layers=5)
    file = tmp_path / "last.safetensors"
    tensors = {f"module.{name}": value for name, value in FasterRCNN(trunk, 4).state_dict().items()}
    save_file(tensors, file)
    card = import_checkpoint(
        file, tmp_path / "models", name="own-101", licence="ours", source="our lab", commercial_use=True
    )
    assert card.spec.backbone == "resnet101"
    assert card.spec.classes == ("class-1", "class-2", "class-3")
    assert card.spec.mask_head == ()
    assert card.commercial_use
    with pytest.raises(ModelError, match="choose another --name"):
        import_checkpoint(file, tmp_path / "models", name="own-101", **SAID)


class Trap:
    """Runs a command where somebody unpickles it carelessly."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path: Path) -> None:
    mark, file = tmp_path / "ran", tmp_path / "evil.pth"
    torch.save({"model": {"a": torch.zeros(1)}, "hook": Trap(mark)}, file)
    with pytest.raises(ModelError, match="loading it could run code"):
        import_checkpoint(file, tmp_path / "models", name="evil", **SAID)
    assert not mark.exists()


def test_what_is_no_checkpoint_or_another_network_is_refused_by_name(resnet50: MaskRCNN, tmp_path: Path) -> None:
    text = tmp_path / "notes.pth"
    text.write_text("hello")
    other = tmp_path / "linear.pth"
    torch.save(nn.Linear(2, 2).state_dict(), other)
    odd = tmp_path / "odd.pth"
    tensors = resnet50.state_dict()
    tensors["roi_heads.mask_predictor.mask_fcn_logits.bias"] = torch.zeros(7)
    torch.save(tensors, odd)
    for file, words in (
        (text, "notes.pth"),
        (tmp_path / "gone.pth", "cannot be read"),
        (other, "not a Mask R-CNN or Faster R-CNN of torchvision"),
        (odd, r"mask_fcn_logits.bias is \(7,\), not \(91,\)"),
    ):
        with pytest.raises(ModelError, match=words):
            import_checkpoint(file, tmp_path / "models", name="no", **SAID)
    assert not (tmp_path / "models").exists()


def test_torchvisions_second_form_is_refused_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "v2.pth"
    with torch.device("meta"):
        names = maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None).state_dict()
    torch.save({name: torch.zeros(()).expand(value.shape) for name, value in names.items()}, file)
    with pytest.raises(ModelError, match=r"v2.pth: .*maskrcnn_resnet50_fpn_v2.* take the first"):
        import_checkpoint(file, tmp_path / "models", name="no", **SAID)
