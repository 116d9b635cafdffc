"""Samples from colour pictures with masks, as a COCO folder has them; and what a training run is refused for."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from detector.evaluation.datasets import open_dataset
from detector.registry import read_card
from detector.spec import SPECS, STANDARD, ModelSpec
from detector.training.cache import keep_pictures, sample_of
from detector.training.colour import ColourSamples
from detector.training.command import Data, Start, train_labelled, train_simulated
from detector.training.history import FILE, Line, page
from detector.training.settings import TrainSettings, find_style
from taktwatch.errors import BadInput
from taktwatch.pictures import encode_png

TINY_RUN = TrainSettings(steps=2, batch=1, workers=0, threads=1, measures=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four boards of 96x96 px with a bright square scratch each, in COCO's format."""
    images, annotations = [], []
    rng = np.random.default_rng(0)
    for number in range(4):
        picture = rng.integers(0, 90, (96, 96, 3), np.uint8)
        x, y = int(rng.integers(10, 60)), int(rng.integers(10, 60))
        picture[y : y + 20, x : x + 24] = (220, 180, 60)
        (tmp_path / f"{number}.png").write_bytes(encode_png(picture))
        images.append({"id": number, "file_name": f"{number}.png", "width": 96, "height": 96, "board": f"b{number}"})
        corners = [x, y, x + 24, y, x + 24, y + 20, x, y + 20]
        annotations.append({"id": number, "image_id": number, "category_id": 3, "segmentation": [corners]})
    description = {"images": images, "annotations": annotations, "categories": [{"id": 3, "name": "scratch"}]}
    (tmp_path / "coco.json").write_text(json.dumps(description))
    return tmp_path


def test_colour_samples_keep_masks_on_their_things_and_repeat(folder: Path) -> None:
    spec = ModelSpec(view="board", input="rgb", classes=("scratch",))
    items = open_dataset(str(folder)).items
    shots = keep_pictures(folder / "kept", items, kind="rgb", classes=spec.classes, on_picture=lambda: None)
    whole = sample_of(shots, 0)
    assert whole.channels.shape == (3, 96, 96)
    samples = ColourSamples(spec, shots, 1, 8, (80, 80))
    state = torch.random.get_rng_state()
    for index in range(8):
        channels, target = samples[index]
        assert torch.equal(channels, samples[index][0])
        mask = target["masks"][0].bool()
        brightness = channels.mean(0)
        assert float(brightness[mask].mean()) > float(brightness[~mask].mean()) + 0.5
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_coco_folder_trains_a_model_of_its_own_classes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {**STANDARD, "fpn_width": 8, "box_head": 8, "mask_head": (8,), "target_margin_px": 2}
    spec = ModelSpec(view="board", input="rgb", classes=("open",), **small)
    monkeypatch.setitem(SPECS, "tiny", spec)
    data = Data(str(folder), "ours", commercial_use=True, validate_boards=("b3",))
    out = train_labelled("tiny", tmp_path / "out", TINY_RUN, data, Start())
    card = read_card(out)
    assert card.spec.classes == ("scratch",)
    assert card.measured_on == "1 pictures of boards that training never saw: b3"
    assert card.training_data[0].sha256 == open_dataset(str(folder)).sha256
    assert card.commercial_use
    assert "<polyline" in (out / "training.html").read_text() or (out / FILE).exists()


def test_a_data_set_without_a_licence_and_layouts_kept_for_evaluation_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="under which licence"):
        train_labelled("board-sim", tmp_path / "out", TINY_RUN, Data(str(folder), " "), Start())
    with pytest.raises(BadInput, match="kept for validation and evaluation"):
        train_labelled("board-sim", tmp_path / "out", TINY_RUN, Data("sim:board?layouts=2", ""), Start())
    assert not (tmp_path / "out").exists()


def test_no_model_learns_from_the_style_held_out_for_testing(tmp_path: Path) -> None:
    out, drawn = tmp_path / "out", Data("sim:board?first=0&layouts=2", "")
    with pytest.raises(BadInput, match="--style held-out: this style is held out"):
        train_simulated("board-sim", out, replace(TINY_RUN, style="held-out"), Start())
    with pytest.raises(BadInput, match="this style is held out"):
        train_labelled("board-sim", out, TINY_RUN, replace(drawn, where=f"{drawn.where}&style=held-out"), Start())
    with pytest.raises(BadInput, match="name a style in sim"):
        train_labelled("board-sim", out, replace(TINY_RUN, style="varied"), drawn, Start())
    with pytest.raises(BadInput, match="no style 'odd'"):
        find_style("odd")
    assert not out.exists()


def test_templates_are_asked_for_by_name_where_the_model_compares(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"0\.png: no template, and the model compares with one"):
        train_labelled("board-sim", tmp_path / "out", TINY_RUN, Data(str(folder), "ours"), Start())


def test_the_page_draws_losses_and_figures() -> None:
    lines = [
        Line(20, losses={"mask": 1.0, "box": 0.5}),
        Line(40, losses={"mask": 0.5, "box": 0.2}),
        Line(40, figures={"validation_loss": 0.9, "ap33": 0.4}),
        Line(60, figures={"validation_loss": 0.7, "ap33": 0.6}),
    ]
    drawn = page("mine", lines)
    assert drawn.count("<svg") == 2
    assert drawn.count("<polyline") == 4
    assert drawn.count("<circle") >= 2
