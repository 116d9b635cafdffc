"""Starting from another model: what is taken, what is re-made, what stays as it is, and how the card tells it."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_model import TINY, card

from detector.model import build_model
from detector.registry import DataSource, LoadedModel, load_model, pack_weights, save_model
from detector.spec import ModelSpec
from detector.training.command import Start
from detector.training.finish import Run
from detector.training.loop import train
from detector.training.settings import TrainSettings
from detector.training.source import SimulatedSource
from detector.training.transfer import FIRST, freeze, hold_norms, parameter_groups, start_from
from taktwatch.errors import ModelError
from taktwatch.simulator import BOARD_DEFECTS

SPEC = TINY.model_copy(update={"classes": BOARD_DEFECTS})
RESEARCH = DataSource(name="DeepPCB", licence="research only", commercial_use=False)
SETTINGS = TrainSettings(
    steps=2, batch=1, crop_height_px=96, crop_width_px=96, workers=0, threads=1, held_out_pictures=1, measures=1
)


def parent(folder: Path, **changes: Any) -> LoadedModel:
    spec: ModelSpec = SPEC.model_copy(update=changes)
    torch.manual_seed(9)
    weights = pack_weights(build_model(spec))
    known = card(spec).model_copy(
        update={"weights_sha256": hashlib.sha256(weights).hexdigest(), "training_data": (RESEARCH,)}
    )
    save_model(folder, known, weights)
    return load_model(folder)


def fresh(spec: ModelSpec = SPEC) -> Any:
    torch.manual_seed(1)
    return build_model(spec)


def test_the_same_classes_keep_their_heads_and_others_get_new_ones(tmp_path: Path) -> None:
    same = parent(tmp_path / "same")
    network = fresh()
    assert start_from(network, SPEC, same).anew == ()
    assert torch.equal(network.state_dict()[FIRST], same.network.state_dict()[FIRST])
    other = parent(tmp_path / "other", classes=tuple(reversed(BOARD_DEFECTS)))
    assert {name.rpartition(".")[0] for name in start_from(fresh(), SPEC, other).anew} == {
        "roi_heads.box_predictor.cls_score",
        "roi_heads.box_predictor.bbox_pred",
        "roi_heads.mask_predictor.mask_fcn_logits",
    }


def test_a_colour_model_becomes_a_template_model_that_sees_the_picture_as_before(tmp_path: Path) -> None:
    colour = parent(tmp_path / "colour", input="rgb")
    network = fresh()
    assert FIRST in start_from(network, SPEC, colour).anew
    grey = torch.randn(1, 1, 32, 32)
    old, new = colour.network.backbone.body["conv1"], network.backbone.body["conv1"]
    with torch.inference_mode():
        before = old(grey.expand(-1, 3, -1, -1))
        after = new(torch.cat([grey, torch.randn(1, 1, 32, 32), grey], 1))
    assert torch.allclose(before, after, atol=1e-5)


def test_another_backbone_and_a_lost_template_are_refused(tmp_path: Path) -> None:
    larger = SPEC.model_copy(update={"backbone": "resnet50"})
    with pytest.raises(ModelError, match="is a resnet18 of 2 levels, the spec wants a resnet50"):
        start_from(fresh(larger), larger, parent(tmp_path / "b"))
    colour = SPEC.model_copy(update={"input": "rgb"})
    with pytest.raises(ModelError, match="sees template input and cannot become a rgb model"):
        start_from(fresh(colour), colour, parent(tmp_path / "c"))


def test_freezing_needs_a_model_to_start_from() -> None:
    with pytest.raises(ModelError, match="--from"):
        Start(None, freeze=2).into(SETTINGS)


def test_frozen_stages_and_norms_stay_and_the_trunk_learns_slowly() -> None:
    network = fresh()
    freeze(network, 2)
    body = network.backbone.body
    assert not any(value.requires_grad for name in ("conv1", "bn1", "layer1") for value in body[name].parameters())
    assert all(value.requires_grad for value in body["layer2"].parameters())
    fast, slow = parameter_groups(network, 0.1)
    assert (fast["share"], slow["share"]) == (1.0, 0.1)
    assert len(slow["params"]) == sum(1 for _ in body["layer2"].parameters())
    network.train()
    hold_norms(network)
    assert not body["layer2"][0].bn1.training


def test_a_run_that_starts_from_a_model_keeps_what_is_frozen_and_names_its_parent(tmp_path: Path) -> None:
    old = parent(tmp_path / "old")
    settings = TrainSettings(**vars(SETTINGS) | {"frozen_stages": 2, "trunk_share": 0.1})
    run = Run("young", SPEC, SimulatedSource(SPEC, settings), tmp_path / "young", settings, "c", old)
    young = load_model(train(run))
    before, after = old.network.state_dict(), young.network.state_dict()
    assert torch.equal(before[FIRST], after[FIRST])
    assert torch.equal(before["backbone.body.bn1.running_mean"], after["backbone.body.bn1.running_mean"])
    changed = "backbone.body.layer2.0.conv1.weight"
    assert not torch.equal(before[changed], after[changed])
    assert np.abs((before[changed] - after[changed]).numpy()).max() < 0.01
    assert young.card.ancestry == f"trained from {old.card.model_id}"
    assert young.card.parents[0].training_data == (RESEARCH,)
    assert young.card.licence == old.card.licence
    assert not young.card.commercial_use
