"""Mixes of data sets: samples come by the shares asked for, the first is validated on, the card names them all."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_model import TINY

from detector.registry import read_card
from detector.spec import SPECS
from detector.training.command import Data, Start, mixed_sets, train_labelled
from detector.training.mixed import MixedSamples, MixedSource, shares_of
from detector.training.settings import TrainSettings
from detector.training.source import SimulatedSource
from taktwatch.errors import BadInput
from taktwatch.simulator import BOARD_DEFECTS

SPEC = TINY.model_copy(update={"classes": BOARD_DEFECTS})
SETTINGS = TrainSettings(
    seed=3, steps=2, batch=1, crop_height_px=128, crop_width_px=128, workers=0, threads=1, held_out_pictures=1
)


def test_samples_come_by_their_shares_and_come_again() -> None:
    length = 400
    parts = [torch.utils.data.TensorDataset(torch.full((length,), float(number))) for number in range(2)]
    mixed = MixedSamples(parts, [0.8, 0.2], 7, length)
    drawn, again = ([float(mixed[index][0]) for index in range(length)] for _ in range(2))
    assert drawn == again
    assert 0.1 < sum(drawn) / length < 0.3
    with pytest.raises(IndexError):
        mixed[length]


def test_a_mixed_sample_is_that_of_its_source() -> None:
    sources = [SimulatedSource(SPEC, replace(SETTINGS, style=style)) for style in ("plain", "varied")]
    mixed = MixedSource(sources, [0.5, 0.5], 3).samples(6)
    alone = [source.samples(6) for source in sources]
    taken = {
        number for index in range(6) for number in range(2) if torch.equal(mixed[index][0], alone[number][index][0])
    }
    assert taken == {0, 1}


def test_two_simulated_sets_are_learned_from_and_named_by_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SPECS, "tiny", SPEC)
    words = "sim:board?layouts=3&boards=1&height=128&width=128&defective=1&first="
    sets = mixed_sets([f"{words}0", f"{words}100&style=varied"], [3, 1], (), Data("", "", validate_share=0.3))
    card = read_card(train_labelled("tiny", tmp_path / "out", SETTINGS, sets, Start()))
    assert len(card.training_data) == 2
    assert card.measured_on.startswith("1 pictures of boards that training never saw: layout-")
    assert f"--dataset '{words}0' --share 0.75 --dataset '{words}100&style=varied' --share 0.25" in card.command
    assert card.commercial_use


@pytest.mark.parametrize(
    ("where", "shares", "licences", "words"),
    [
        (["a"], [1, 2], [], "1 data sets .1 folders., 2 shares"),
        (["a", "b"], [], ["x", "y", "z"], "3 licences"),
    ],
)
def test_more_shares_or_licences_than_sets_are_refused(
    where: list[str], shares: list[float], licences: list[str], words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        mixed_sets(where, shares, licences, Data("", ""))


def test_shares_that_say_nothing_are_refused() -> None:
    with pytest.raises(BadInput, match="2 data sets and 1 shares"):
        shares_of([1.0, None], [10, 10])
    with pytest.raises(BadInput, match="above 0"):
        shares_of([1.0, 0.0], [10, 10])


def test_every_folder_wants_its_licence_and_one_is_that_of_all(tmp_path: Path) -> None:
    assert [one.licence for one in mixed_sets(["a", "b"], [], ["MIT"], Data("", ""))] == ["MIT", "MIT"]
    with pytest.raises(BadInput, match="b: under which licence"):
        train_labelled("board-sim", tmp_path / "out", SETTINGS, [Data("a", "MIT"), Data("b", "")], Start())
