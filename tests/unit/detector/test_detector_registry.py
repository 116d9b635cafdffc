"""Model folders: what is saved comes back, and what is not whole is refused with its reason."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from tiny_model import TINY, card

from detector.cards import FROM_SCRATCH
from detector.model import build_model
from detector.registry import list_models, load_model, pack_weights, read_card, round_weights, save_made, save_model
from detector.tables import print_models
from taktwatch.errors import ModelError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    weights = pack_weights(build_model(TINY))
    known = card(TINY).model_copy(update={"weights_sha256": hashlib.sha256(weights).hexdigest()})
    save_model(tmp_path / "tiny", known, weights)
    return tmp_path / "tiny"


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "card.json"
    tables = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in tables.items() if value is not None}))


def test_a_saved_model_comes_back_rounded_to_float16(folder: Path) -> None:
    torch.manual_seed(1)
    before, after = build_model(TINY).state_dict(), load_model(folder).network.state_dict()
    assert before.keys() == after.keys()
    for name, value in before.items():
        expected = value.half().to(value.dtype) if value.is_floating_point() else value
        assert torch.equal(after[name], expected), name
    assert not load_model(folder).network.training


def test_a_model_made_now_has_a_card_of_its_weights_and_no_figure_that_is_none(tmp_path: Path) -> None:
    network = build_model(TINY)
    made = save_made(
        tmp_path / "made",
        network,
        round_weights(network),
        name="made",
        licence="Apache-2.0",
        spec=TINY,
        training_data=card(TINY).training_data,
        ancestry=FROM_SCRATCH,
        settings={},
        command="none",
        metrics={"ap33": 0.123456, "ap33/open": float("nan")},
        measured_on="a class that no picture shows",
        trained_with="torch",
    )
    loaded = load_model(tmp_path / "made")
    assert loaded.card == made
    assert made.metrics == {"ap33": 0.12346}
    assert made.parameters == sum(value.numel() for value in network.parameters())
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], value), name


def test_models_are_listed_by_their_cards(folder: Path) -> None:
    assert [one.name for one in list_models(folder.parent)] == ["tiny"]
    assert read_card(folder).commercial_use


def test_names_of_models_are_printed_in_full_however_narrow_the_console(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = read_card(folder)
    names = [f"board-of-a-customer-{number}" for number in range(2)]
    print_models(Console(width=80), [card.model_copy(update={"name": name}) for name in names])
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)
    assert card.licence in printed
    assert "…" not in printed


def test_the_card_is_also_written_for_people(folder: Path) -> None:
    page = (folder / "MODEL_CARD.md").read_text()
    assert "Licence: Apache-2.0" in page
    assert "taktwatch simulator" in page


def test_a_folder_without_a_model_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"card\.json is missing; train one with `taktwatch train`"):
        load_model(tmp_path)


def test_a_card_without_licence_is_refused(folder: Path) -> None:
    edit(folder, licence=None)
    with pytest.raises(ModelError, match="a card without licence"):
        load_model(folder)


def test_settings_edited_by_hand_are_refused(folder: Path) -> None:
    edit(folder, spec=TINY.model_copy(update={"proposals": 21}).model_dump())
    with pytest.raises(ModelError, match="the settings do not hash to spec_sha256"):
        load_model(folder)


def test_weights_for_another_spec_are_refused(folder: Path) -> None:
    other = TINY.model_copy(update={"box_head": 16})
    edit(folder, spec=other.model_dump(), spec_sha256=other.spec_sha256)
    with pytest.raises(ModelError, match=r"weights for another spec: roi_heads\.box_head"):
        load_model(folder)


def test_a_corrupt_weights_file_is_refused(folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="corrupt weights file"):
        load_model(folder)


def test_one_changed_bit_in_the_weights_is_refused(folder: Path) -> None:
    path = folder / "weights.safetensors"
    body = bytearray(path.read_bytes())
    body[-1] ^= 1
    path.write_bytes(body)
    with pytest.raises(ModelError, match="not the weights its card names"):
        load_model(folder)


def test_missing_weights_and_an_unreadable_card_are_refused(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match="copy the whole model folder"):
        load_model(folder)
    (folder / "card.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(folder)


def test_a_card_for_other_weights_is_not_saved(folder: Path) -> None:
    with pytest.raises(ModelError, match="names other weights"):
        save_model(folder.parent / "two", card(TINY), b"")
