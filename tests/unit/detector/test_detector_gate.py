"""The licence gate: what a commercial line refuses, however far back in a model's ancestry it lies."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_model import TINY, card

from detector.activation import check_activation
from detector.cards import FROM_SCRATCH, Ancestor, DataSource, ModelCard, ancestor_of, card_page, licence_faults
from detector.inspect import Inspector
from detector.model import build_model
from detector.registry import add_model, load_model, pack_weights, save_model
from taktwatch.config import LineConfig
from taktwatch.errors import ConfigError, ModelError
from taktwatch.simulator import BOARD_DEFECTS

OURS = DataSource(name="our boards", licence="ours", commercial_use=True)
RESEARCH = DataSource(name="DeepPCB", licence="research only", commercial_use=False)
UNKNOWN = DataSource(name="a file", licence="?", commercial_use=None)
SPEC = TINY.model_copy(update={"classes": BOARD_DEFECTS})


def ancestor(*data: DataSource, **changes: Any) -> Ancestor:
    known: dict[str, Any] = {"model_id": "old-1", "weights_sha256": "1" * 64, "licence": "ours"}
    return Ancestor(**known | {"training_data": data, "ancestry": FROM_SCRATCH} | changes)


def model(**changes: Any) -> ModelCard:
    return card(SPEC).model_copy(update={"training_data": (OURS,), "ancestry": FROM_SCRATCH} | changes)


def line(models_dir: Path, **settings: Any) -> LineConfig:
    return LineConfig.model_validate(
        {
            "products": {"p": {"model": "tiny", "um_per_px": 20, "classes": {"open": {}}}},
            "detector": {"models_dir": str(models_dir), "device": "cpu", "threads": 1},
            **settings,
        }
    )


def put(folder: Path, known: ModelCard) -> Path:
    torch.manual_seed(1)
    weights = pack_weights(build_model(SPEC))
    save_model(folder, known.model_copy(update={"weights_sha256": hashlib.sha256(weights).hexdigest()}), weights)
    return folder


def test_ours_all_the_way_down_is_allowed() -> None:
    assert licence_faults(model()) == []
    assert licence_faults(model(ancestry="trained from old-1", parents=(ancestor(OURS),))) == []


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (model(training_data=(OURS, RESEARCH)), "learned from DeepPCB, whose licence forbids commercial use: research"),
        (model(training_data=(UNKNOWN,)), "nobody said whether it allows commercial use"),
        (model(ancestry="from a colleague"), "weights of unknown origin: from a colleague"),
        (model(ancestry="trained from old-1", parents=(ancestor(RESEARCH),)), "< old-1 learned from DeepPCB"),
        (
            model(
                ancestry="trained from mid",
                parents=(ancestor(OURS, ancestry="from old", parents=(ancestor(OURS, ancestry="the web"),)),),
            ),
            "< old-1 < old-1 started from weights of unknown origin: the web",
        ),
    ],
)
def test_what_is_forbidden_or_unknown_is_found_however_far_back(known: ModelCard, words: str) -> None:
    assert any(words in fault for fault in licence_faults(known))
    assert not known.commercial_use


def test_an_ancestor_keeps_everything_and_the_page_shows_it() -> None:
    child = model(ancestry="trained from it", parents=(ancestor_of(model(training_data=(RESEARCH,))),))
    assert child.parents[0].training_data == (RESEARCH,)
    assert ModelCard.model_validate_json(child.model_dump_json()) == child
    assert "DeepPCB; licence: research only; commercial use: no" in card_page(child)


def test_a_commercial_line_refuses_the_model_at_start_and_another_line_takes_it(tmp_path: Path) -> None:
    put(tmp_path / "tiny", model(training_data=(RESEARCH,)))
    assert Inspector(line(tmp_path)).engine("p").spec == SPEC
    with pytest.raises(ModelError, match=r"'tiny' may not run on line 'line-1', which is commercial: .*DeepPCB"):
        Inspector(line(tmp_path, commercial=True)).engine("p")


def test_activation_asks_for_licence_classes_and_the_engine_s_agreement(tmp_path: Path) -> None:
    put(tmp_path / "tiny", model())
    put(tmp_path / "research", model(name="research", training_data=(RESEARCH,)))
    config = line(tmp_path, commercial=True)
    compared: list[int] = []
    assert check_activation(config, "p", "tiny", boards=2, on_boards=compared.append).name == "tiny"
    assert sum(compared) == 2
    with pytest.raises(ModelError, match="which is commercial"):
        check_activation(config, "p", "research", boards=2, on_boards=lambda _: None)
    odd = config.model_copy(update={"products": {"p": config.products["p"].model_copy(update={"view": "section"})}})
    with pytest.raises(ConfigError, match="choose another model"):
        check_activation(odd, "p", "tiny", boards=2, on_boards=lambda _: None)


def test_activation_refuses_an_engine_that_was_changed_since(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "tiny", model())
    inner = Inspector.engine

    def bent(self: Inspector, name: str) -> Any:
        engine: Any = inner(self, name)
        with torch.no_grad():
            for weight in engine.engine.parts[1].parameters():
                weight.add_(0.3)
        return engine

    monkeypatch.setattr(Inspector, "engine", bent)
    with pytest.raises(ModelError, match="does not say what the reference says"):
        check_activation(line(tmp_path), "p", "tiny", boards=3, on_boards=lambda _: None)


def test_a_model_folder_is_taken_in_whole_and_not_twice(tmp_path: Path) -> None:
    folder = put(tmp_path / "elsewhere", model())
    added = add_model(folder, tmp_path / "models", "line-a")
    assert load_model(tmp_path / "models" / "line-a").card == added
    with pytest.raises(ModelError, match="is there already"):
        add_model(folder, tmp_path / "models", "line-a")
    with pytest.raises(ModelError, match="is no name for a model"):
        add_model(folder, tmp_path / "models", "../x")
    (folder / "weights.safetensors").write_bytes(b"0")
    with pytest.raises(ModelError, match="corrupt weights file"):
        add_model(folder, tmp_path / "models", "line-b")
    assert not (tmp_path / "models" / "line-b").exists()
