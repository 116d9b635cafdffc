"""Samples from real pairs: whole boards held out, crops that hold defects, names that change with copper."""

import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from detector.evaluation.datasets import open_dataset
from detector.evaluation.labelled import Dataset
from detector.inputs import template_inputs
from detector.masks import Roi
from detector.spec import SPECS
from detector.training import pairs
from detector.training.cache import Shots, Thing, keep_pictures, sample_of
from detector.training.labelled import LabelledSource, hold_out_boards
from detector.training.pairs import OPPOSITES, PairSamples
from detector.training.settings import TrainSettings
from taktwatch.errors import BadInput
from taktwatch.pictures import encode_png
from taktwatch.simulator import BoardLook, board

SPEC = SPECS["board-deeppcb"]
IDS = ("00041000", "00041001", "12300000", "12300001", "20085000")
SIZE = (256, 256)


def write(folder: Path, name: str, seed: int) -> None:
    """Write a simulated board as DeepPCB's files are: two pictures and a line per defect."""
    shot = board(seed, 1, size=SIZE, look=BoardLook(camera="binary"), defects=("open", "spur", "pin_hole"))
    assert shot.template is not None
    (folder / f"{name}_test.png").write_bytes(encode_png(shot.picture))
    (folder / f"{name}_temp.png").write_bytes(encode_png(shot.template))
    lines = []
    for truth in shot.truths:
        rows, cols = np.nonzero(truth.mask)
        ends = (max(cols.min() - 9, 0), max(rows.min() - 9, 0), min(cols.max() + 9, 256), min(rows.max() + 9, 256))
        lines.append(" ".join(map(str, (*ends, SPEC.classes.index(truth.label) + 1))))
    (folder / f"{name}.txt").write_text("\n".join(lines))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("pairs")
    for seed, name in enumerate(IDS):
        write(folder, name, seed)
    return open_dataset(str(folder))


@pytest.fixture
def shots(dataset: Dataset, tmp_path: Path) -> Shots:
    return keep_pictures(
        tmp_path / "kept", dataset.items, kind="template", classes=SPEC.classes, on_picture=lambda: None
    )


def make(shots: Shots, count: int = 12, crop: int = 160) -> PairSamples:
    return PairSamples(SPEC, shots, 3, count, (crop, crop))


def test_whole_boards_are_held_out(dataset: Dataset, tmp_path: Path) -> None:
    done = Counter[str]()
    source = LabelledSource(
        dataset,
        SPEC,
        TrainSettings(),
        boards=["12300"],
        licence="ours",
        commercial_use=True,
        folder=tmp_path,
        on_picture=lambda: done.update(["picture"]),
    )
    assert [shot.board for shot in source.measured.shots] == ["12300", "12300"]
    assert {shot.board for shot in source.learned.shots} == {"00041", "20085"}
    assert done["picture"] == len(IDS)
    assert "12300" in source.held_out
    assert source.data[0].sha256 == dataset.sha256
    assert len(source.validation()) == 2


def test_boards_are_drawn_until_the_share_is_reached(dataset: Dataset) -> None:
    for seed in range(5):
        drawn = hold_out_boards(dataset.items, named=(), share=0.2, seed=seed)
        assert drawn == hold_out_boards(dataset.items, named=(), share=0.2, seed=seed)
        assert len(drawn) == 1


def test_an_unknown_board_and_a_set_without_anything_to_learn_from_are_refused(dataset: Dataset) -> None:
    with pytest.raises(BadInput, match=r"no board '77'.*00041, 12300, 20085"):
        hold_out_boards(dataset.items, named=["77"], share=0.1, seed=1)
    with pytest.raises(BadInput, match="none is left to learn from"):
        hold_out_boards(dataset.items[:2], named=(), share=0.1, seed=1)


def test_a_class_the_model_does_not_know_is_refused_before_training(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="unknown class 'open'; the model knows scratch"):
        keep_pictures(tmp_path / "kept", dataset.items, kind="template", classes=["scratch"], on_picture=lambda: None)


def test_kept_pictures_are_what_the_detector_prepares(dataset: Dataset, shots: Shots) -> None:
    labelled = dataset.items[0].load()
    assert labelled.template is not None
    expected = template_inputs(labelled.picture, labelled.template).channels
    kept = sample_of(shots, 0)
    assert np.abs(kept.channels - expected).mean() < 0.01  # levels are whole numbers, none is whiter than white
    assert np.abs(kept.channels - expected).max() < 0.2
    assert len(kept.masks) == len(labelled.truths) > 0


def test_a_sample_is_the_same_again_and_in_another_process(shots: Shots) -> None:
    samples = make(shots)
    again = pickle.loads(pickle.dumps(samples))  # noqa: S301 - as workers get it
    for index in range(4):
        assert torch.equal(samples[index][0], again[index][0])
        assert torch.equal(samples[index][1]["masks"], again[index][1]["masks"])
    assert not torch.equal(samples[0][0], samples[1][0])


def test_most_crops_hold_a_defect_and_boxes_are_grown_by_the_margin(shots: Shots) -> None:
    samples = PairSamples(SPECS["board-sim"], shots, 3, 24, (160, 160))
    held = 0
    for index in range(24):
        channels, target = samples[index]
        assert channels.shape == (3, 160, 160)
        held += bool(len(target["labels"]))
        for box, mask in zip(target["boxes"].numpy(), target["masks"].numpy(), strict=True):
            rows, cols = np.nonzero(mask)
            assert box[0] == max(cols.min() - 6, 0)
            assert box[3] == min(rows.max() + 7, 160)
    assert held >= 18


def test_annotated_boxes_follow_whatever_is_done_to_a_crop(shots: Shots, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "PASTED", 1.0)
    full = Shots(shots.path, [replace(shot, things=tuple(filled(one) for one in shot.things)) for shot in shots.shots])
    seen = 0
    for index in range(24):
        _, target = make(full, 24)[index]
        for box, mask in zip(target["boxes"].numpy(), target["masks"].numpy(), strict=True):
            rows, cols = np.nonzero(mask)
            assert box.tolist() == [cols.min(), rows.min(), cols.max() + 1, rows.max() + 1]
            seen += 1
    assert seen >= 24


def filled(thing: Thing) -> Thing:
    """Return the thing with a mask as large as its annotated box."""
    x0, y0, x1, y1 = map(int, thing.box)
    return replace(thing, roi=Roi(np.ones((y1 - y0, x1 - x0), bool), x0, y0))


def test_differences_lie_where_the_masks_say(shots: Shots, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "SHIFTED", 0.0)
    monkeypatch.setattr(pairs, "PASTED", 1.0)
    inside, outside = [], []
    for index in range(16):
        channels, target = make(shots, 16)[index]
        near = cv2.dilate(target["masks"].numpy().max(axis=0, initial=0), np.ones((7, 7), np.uint8)).astype(bool)
        difference = channels[2].numpy()
        if near.any():
            inside.append(difference[target["masks"].numpy().any(axis=0)].mean())
        outside.append(difference[~near].mean())
    assert np.mean(inside) > 10 * np.mean(outside)


def test_where_copper_and_laminate_change_places_defects_change_names(shots: Shots) -> None:
    view = pairs.cropped(shots.shots[0], shots.planes(0), SIZE, np.random.default_rng(1))
    before, labels = view.planes.copy(), list(view.labels)
    pairs.invert(view, pairs.opposites(SPEC.classes))
    assert np.array_equal(view.planes, 255 - before)
    assert [SPEC.label(label) for label in view.labels] == [OPPOSITES[SPEC.label(label)] for label in labels]


def test_a_pasted_defect_brings_its_template_and_covers_no_other(shots: Shots) -> None:
    rng = np.random.default_rng(2)
    view = pairs.cropped(shots.shots[0], shots.planes(0), SIZE, rng)
    there = [mask.copy() for mask in view.masks]
    where, thing = pairs.patches(shots)[-1]
    for _ in range(20):
        pairs.paste(view, shots.shots[where], shots.planes(where), thing, rng)
    assert len(view.masks) > len(there)
    stack = np.stack(view.masks).astype(int)
    assert stack.sum(axis=0).max() == 1
    for old, new in zip(there, view.masks, strict=False):
        assert np.array_equal(old, new)
