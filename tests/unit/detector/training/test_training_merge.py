"""A model between two: which may be merged, what its weights are, and what its card says of where they came from."""

import hashlib
from pathlib import Path

import pytest
import torch
from tiny_model import TINY, card

from detector.cards import ancestor_of
from detector.model import build_model
from detector.registry import DataSource, LoadedModel, ModelCard, load_model, pack_weights, save_model
from detector.spec import ModelSpec
from detector.training.merge import merge_models
from taktwatch.errors import ModelError
from taktwatch.simulator import BOARD_DEFECTS

MINE = DataSource(name="boards of ours", licence="for our line alone", commercial_use=False)


def saved(
    folder: Path, seed: int, parent: ModelCard | None = None, spec: ModelSpec = TINY, **changes: object
) -> LoadedModel:
    torch.manual_seed(seed)
    weights = pack_weights(build_model(spec))
    told = {"weights_sha256": hashlib.sha256(weights).hexdigest(), "training_data": (MINE,), **changes}
    if parent is not None:
        told["parents"] = (ancestor_of(parent),)
    save_model(folder, card(spec).model_copy(update=told), weights)
    return load_model(folder)


def test_the_weights_lie_between_those_of_a_model_and_of_one_trained_on_from_it(tmp_path: Path) -> None:
    before = saved(tmp_path / "before", 1)
    after = saved(tmp_path / "after", 2, before.card)
    merge_models(before, after, tmp_path / "between", share=0.25, style="plain")
    between = load_model(tmp_path / "between")
    name = "roi_heads.box_predictor.cls_score.weight"
    one, other, mean = (model.network.state_dict()[name] for model in (before, after, between))
    torch.testing.assert_close(mean, 0.75 * one + 0.25 * other, atol=1e-3, rtol=1e-3)
    assert [parent.model_id for parent in between.card.parents] == [before.card.model_id, after.card.model_id]
    assert between.card.training_data == (MINE,)
    assert not between.card.commercial_use


def test_two_models_of_one_parent_are_related_and_strangers_are_not(tmp_path: Path) -> None:
    parent = saved(tmp_path / "parent", 1)
    one, other = saved(tmp_path / "one", 2, parent.card), saved(tmp_path / "other", 3, parent.card)
    merge_models(one, other, tmp_path / "between", share=0.5, style="plain")
    stranger = saved(tmp_path / "stranger", 4)
    with pytest.raises(ModelError, match="were trained apart"):
        merge_models(one, stranger, tmp_path / "nothing", share=0.5, style="plain")
    assert not (tmp_path / "nothing").exists()


def test_networks_of_different_specs_and_names_that_are_taken_are_refused(tmp_path: Path) -> None:
    one = saved(tmp_path / "one", 1)
    wider = TINY.model_copy(update={"detections": 11})
    other = LoadedModel(card(wider), build_model(wider))
    with pytest.raises(ModelError, match="not of one spec"):
        merge_models(one, other, tmp_path / "between", share=0.5, style="plain")
    with pytest.raises(ModelError, match="is there already; choose another --name"):
        merge_models(one, one, tmp_path / "one", share=0.5, style="plain")


@pytest.mark.slow
def test_a_model_between_two_of_the_simulator_is_measured_on_its_boards(tmp_path: Path) -> None:
    spec = TINY.model_copy(update={"classes": BOARD_DEFECTS})
    one = saved(tmp_path / "one", 1, spec=spec, training_data=card(spec).training_data)
    made = merge_models(one, one, tmp_path / "between", share=0.5, style="varied")
    assert made.metrics["truths"] > 0
    assert made.weights_sha256 == one.card.weights_sha256
    assert made.command.endswith("--share 0.5 --style varied --name between")
