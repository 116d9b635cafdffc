"""The command that a card tells: run as written, it repeats the run."""

import hashlib
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_model import TINY, card

from detector.model import build_model
from detector.registry import pack_weights, read_card, save_model
from detector.spec import SPECS
from detector.training.command import Data, Start, train_labelled
from detector.training.loop import fastest_precision
from detector.training.settings import TrainSettings
from taktwatch.cli import app
from taktwatch.pictures import encode_png
from taktwatch.simulator import BOARD_DEFECTS, BoardLook, board

SPEC = TINY.model_copy(update={"classes": BOARD_DEFECTS})
SETTINGS = TrainSettings(seed=3, steps=1, batch=1, workers=0, threads=1, precision=fastest_precision())
DRAWN = "sim:board?first=0&layouts=2&boards=1&height=128&width=128&defective=1"


def pairs(folder: Path) -> Path:
    """Two boards in DeepPCB's format."""
    folder.mkdir()
    for seed in (1, 2):
        shot = board(seed, 1, size=(128, 128), look=BoardLook(camera="binary"), defects=("open",))
        assert shot.template is not None
        name = f"{seed:05}000"
        (folder / f"{name}_test.png").write_bytes(encode_png(shot.picture))
        (folder / f"{name}_temp.png").write_bytes(encode_png(shot.template))
        rows, cols = np.nonzero(shot.truths[0].mask)
        (folder / f"{name}.txt").write_text(f"{cols.min()} {rows.min()} {cols.max() + 1} {rows.max() + 1} 1")
    return folder


def parent(folder: Path) -> Path:
    """A model to start from."""
    torch.manual_seed(9)
    weights = pack_weights(build_model(SPEC))
    save_model(folder, card(SPEC).model_copy(update={"weights_sha256": hashlib.sha256(weights).hexdigest()}), weights)
    return folder


def test_the_command_of_a_card_repeats_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPECS, "tiny", SPEC)
    ours = Data(str(pairs(tmp_path / "our boards")), "we alone, may sell", commercial_use=True, share=3)
    sets = [ours, Data(DRAWN, "", commercial_use=True, share=1)]
    start = Start(parent(tmp_path / "parent"), freeze=2, trunk_share=0.3)
    first = read_card(train_labelled("tiny", tmp_path / "first", SETTINGS, sets, start))
    words = shlex.split(first.command)
    assert words[0] == "taktwatch"
    app([*words[1:], "--out", str(tmp_path / "again"), "--workers", "0"], standalone_mode=False)
    again = read_card(tmp_path / "again")
    assert again.weights_sha256 == first.weights_sha256
    assert again.command == first.command
    assert again.training_data == first.training_data
    assert again.commercial_use
    assert again.parents == first.parents
    assert again.measured_on == first.measured_on
    told = first.settings.keys() - {"workers", "minutes_taken"}
    assert {key: again.settings[key] for key in told} == {key: first.settings[key] for key in told}


@pytest.mark.parametrize(
    ("has", "precision"), [({}, "float32"), ({"avx512_bf16": True}, "bfloat16"), ({"amx_bf16": True}, "bfloat16")]
)
def test_a_processor_without_bfloat16_trains_in_float32(
    monkeypatch: pytest.MonkeyPatch, has: dict[str, bool], precision: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    assert fastest_precision() == precision


def test_terms_that_forbid_stay_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPECS, "tiny", SPEC)
    ours = Data(str(pairs(tmp_path / "boards")), "research only", validate_share=0.5)
    command = read_card(train_labelled("tiny", tmp_path / "first", SETTINGS, ours, Start())).command
    assert "--data-licence 'research only'" in command
    assert "--commercial-use" not in command
