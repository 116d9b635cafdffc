"""What a screen misses is measured on boards that its threshold was not chosen on."""

import hashlib
from pathlib import Path

import pytest
import torch
from tiny_model import TINY, card

from detector.evaluation.datasets import open_dataset
from detector.evaluation.screening import choose_threshold, measure_screen
from detector.model import build_model
from detector.registry import pack_weights, save_model
from detector.screening import read_screenings
from taktwatch.config import LineConfig, parse_config
from taktwatch.errors import BadInput
from taktwatch.simulator import BOARD_DEFECTS

SPEC = TINY.model_copy(update={"classes": BOARD_DEFECTS})
BOARDS = "sim:board?layouts=4&boards=3&height=320&width=320&most=2&camera=binary&first=7900000"


@pytest.fixture
def line(tmp_path: Path) -> LineConfig:
    torch.manual_seed(5)
    weights = pack_weights(build_model(SPEC))
    save_model(
        tmp_path / "one", card(SPEC).model_copy(update={"weights_sha256": hashlib.sha256(weights).hexdigest()}), weights
    )
    board = {"model": "one", "um_per_px": 20.0, "classes": {label: {"score": 0.2} for label in BOARD_DEFECTS}}
    tables = {
        "products": {"p": board},
        "detector": {"models_dir": str(tmp_path), "device": "cpu", "threads": 1},
    }
    return parse_config(tables, "test", {})


def test_measuring_counts_every_board_once_and_writes_what_it_found(line: LineConfig) -> None:
    data, done = open_dataset(BOARDS), []
    (made,) = measure_screen(line, "one", data, engines=["torch"], on_board=lambda: done.append(1))
    assert len(done) == 12
    assert made.pictures == 6
    assert made.chosen_on + made.defects == sum(len(item.load().truths) for item in data.items)
    assert made.unasked + made.whole <= made.pictures
    assert 0 < made.seen < 1
    assert made.uncovered + made.lost <= made.defects
    assert made.upper > 0
    folder = line.detector.models_dir / "one"
    assert read_screenings(folder, made.model_id) == [made]


def test_the_threshold_lies_below_the_faintest_defect_that_may_not_be_missed() -> None:
    peaks = [0.1 * step for step in range(1, 101)]
    assert choose_threshold(peaks, 0.01) == pytest.approx(0.08)
    assert choose_threshold(peaks, 0.08) == pytest.approx(0.24)  # two of a hundred may be missed while choosing
    assert choose_threshold([0.0], 0.01) > 0


def test_boards_without_defects_measure_nothing(line: LineConfig) -> None:
    with pytest.raises(BadInput, match="no defect on the boards"):
        measure_screen(line, "one", open_dataset(f"{BOARDS}&defective=0"), engines=["torch"])


def test_a_screen_is_measured_on_whole_boards_whatever_region_the_product_has(line: LineConfig) -> None:
    corner = line.products["p"].model_copy(update={"roi": ((0.0, 0.0), (40.0, 0.0), (40.0, 40.0))})
    (whole,) = measure_screen(line, "one", open_dataset(BOARDS), engines=["torch"])
    with_region = line.model_copy(update={"products": {"p": corner}})
    (made,) = measure_screen(with_region, "one", open_dataset(BOARDS), engines=["torch"])
    assert made == whole
