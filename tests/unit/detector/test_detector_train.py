"""Training code: deterministic samples, a run that learns, stops in time and goes on where it was cut off."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_model import TINY

from detector.dataset import HELD_OUT, TRAINED, SimulatedSamples, simulate, to_targets
from detector.registry import load_model, read_card
from detector.spec import SPECS
from detector.training import checkpoint
from detector.training import loop as code
from detector.training.average import AveragedWeights
from detector.training.command import Start, train_simulated
from detector.training.finish import Run
from detector.training.loop import train
from detector.training.settings import TrainSettings, one_cycle
from detector.training.source import SIMULATOR, SimulatedSource
from taktwatch.errors import ModelError
from taktwatch.simulator import BOARD_DEFECTS

SPEC = TINY.model_copy(update={"classes": BOARD_DEFECTS})
SETTINGS = TrainSettings(
    seed=3, steps=4, batch=2, crop_height_px=128, crop_width_px=128, workers=0, threads=1, held_out_pictures=1
)


def tiny_run(out: Path, settings: TrainSettings = SETTINGS) -> Run:
    return Run("tiny", SPEC, SimulatedSource(SPEC, settings), out, settings, "taktwatch train tiny")


def test_a_sample_is_the_same_again_for_its_seed_and_index() -> None:
    one, again, other = (SimulatedSamples(SPECS["board-sim"], seed, 4, (128, 128))[2] for seed in (1, 1, 2))
    assert torch.equal(one[0], again[0])
    assert torch.equal(one[1]["masks"], again[1]["masks"])
    assert not torch.equal(one[0], other[0])


def test_a_style_is_learned_from_and_told_by_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, varied = (
        SimulatedSource(SPEC, replace(SETTINGS, style=style)).samples(2)[1][0] for style in ("plain", "varied")
    )
    assert not torch.equal(plain, varied)
    with_style = replace(SETTINGS, style="varied", steps=1)
    monkeypatch.setitem(SPECS, "tiny", SPEC)
    card = read_card(train_simulated("tiny", tmp_path / "run", with_style, Start()))
    assert card.settings["style"] == "varied"
    assert card.command.endswith("--style varied")


def test_section_samples_have_layers_and_corrosion() -> None:
    samples = SimulatedSamples(SPECS["section-sim"], 1, 8, (384, 384))
    labels = {int(label) for index in range(8) for label in samples[index][1]["labels"]}
    assert labels == {1, 2}
    assert samples[0][0].shape == (3, 384, 384)


def test_targets_are_tight_boxes_grown_inside_the_picture() -> None:
    sample = simulate(SPECS["board-sim"], TRAINED[0], np.random.default_rng(4), (384, 384))
    targets = to_targets(sample, 6)
    assert len(targets["boxes"]) == len(sample.masks) > 0
    for box, mask in zip(targets["boxes"].numpy(), sample.masks, strict=True):
        rows, cols = np.nonzero(mask)
        assert box.tolist() == [cols.min() - 6, rows.min() - 6, cols.max() + 7, rows.max() + 7]


def test_validation_products_are_never_trained_on() -> None:
    assert TRAINED[1] <= HELD_OUT


def test_a_run_leaves_a_model_that_loads_and_says_where_it_is_from(tmp_path: Path) -> None:
    folder = train(tiny_run(tmp_path / "tiny"))
    loaded = load_model(folder)
    assert loaded.card.settings["steps_taken"] == 4
    assert loaded.card.command == "taktwatch train tiny"
    assert loaded.card.training_data[0].licence == "Apache-2.0"
    assert np.isfinite(loaded.card.metrics["validation_loss"])


def test_a_run_that_is_cut_off_goes_on_and_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole = train(tiny_run(tmp_path / "whole"))
    shutdown = tmp_path / "cut"
    half_way(shutdown)
    assert not (shutdown / "card.json").exists()
    resumed = train(tiny_run(shutdown))
    one, other = load_model(whole), load_model(resumed)
    assert one.card.weights_sha256 == other.card.weights_sha256


def half_way(folder: Path) -> None:
    """Run two of the four steps as a run does, save the checkpoint, and stop there."""
    torch.set_num_threads(1)
    torch.manual_seed(SETTINGS.seed)
    network = code.build_model(SPEC).to(memory_format=torch.channels_last)
    optimizer = code.new_optimizer(network, SETTINGS)
    average = AveragedWeights(network, SETTINGS.average)
    state = checkpoint.State(identity=tiny_run(folder).identity)
    network.train()
    for batch in code.batches(tiny_run(folder), 0):
        for group in optimizer.param_groups:
            group["lr"] = SETTINGS.learning_rate * one_cycle(state.step / SETTINGS.steps)
        code.step(network, optimizer, batch, SETTINGS, state.step)
        state.step += 1
        average.update(network, state.step)
        if state.step == 2:
            break
    checkpoint.save(folder / "checkpoint", network, average, optimizer, state)


def test_a_run_that_is_done_goes_on_where_it_is_given_more_steps(tmp_path: Path) -> None:
    train(tiny_run(tmp_path / "tiny", replace(SETTINGS, steps=1)))
    more = train(tiny_run(tmp_path / "tiny", replace(SETTINGS, steps=2, minutes=9.0, threads=2)))
    assert read_card(more).settings["steps_taken"] == 2


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of one step, done."""
    run = tiny_run(tmp_path_factory.mktemp("finished") / "tiny", replace(SETTINGS, steps=1))
    train(run)
    return run


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"settings": replace(SETTINGS, steps=1, seed=4)}, "seed was 3, is 4"),
        ({"settings": replace(SETTINGS, steps=1, batch=1)}, "batch was 2, is 1"),
        ({"spec": SPEC.model_copy(update={"box_nms": 0.5})}, f"spec was {SPEC.spec_sha256}, is "),
        ({"licence": "research only"}, r"data was .* Apache-2.0; .*, is .* research only; commercial use: no"),
        ({"parent": "another"}, "parent was none, is another-"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_and_its_card_stays(
    finished: Run, other: dict[str, Any], words: str
) -> None:
    first = finished
    before = (first.out / "card.json").read_bytes()
    run = replace(first, **{key: value for key, value in other.items() if key in {"settings", "spec"}})
    source = SimulatedSource(run.spec, run.settings)
    if "licence" in other:
        bound = SIMULATOR.model_copy(update={"licence": other["licence"], "commercial_use": False})
        source.data = (bound,)
    if "parent" in other:
        parent = load_model(first.out)
        run = replace(run, parent=replace(parent, card=parent.card.model_copy(update={"name": other["parent"]})))
    with pytest.raises(ModelError, match=f"holds another run .*{words}.*: train into another folder"):
        train(replace(run, source=source))
    assert (first.out / "card.json").read_bytes() == before


def test_a_checkpoint_that_does_not_say_whose_it_is_is_refused(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "tiny")
    state = run.out / "checkpoint" / "state.json"
    state.parent.mkdir(parents=True)
    state.write_text('{"step": 1, "seconds": 1.0}')
    with pytest.raises(ModelError, match=r"of an older version, .* or delete .*checkpoint to begin anew"):
        train(run)


def test_a_run_ends_after_its_minutes(tmp_path: Path) -> None:
    settings = TrainSettings(
        seed=3,
        steps=10_000,
        minutes=0.02,
        batch=1,
        crop_height_px=96,
        crop_width_px=96,
        workers=0,
        threads=1,
        held_out_pictures=1,
    )
    folder = train(tiny_run(tmp_path / "tiny", settings))
    assert load_model(folder).card.settings["steps_taken"] < 1000
