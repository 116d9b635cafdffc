"""Blind sheets: shuffled, without names; read by people and by a model, they become the table of a study."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_model import TINY, card

from detector.evaluation.console import print_study
from detector.evaluation.datasets import open_dataset
from detector.evaluation.labelled import Dataset
from detector.evaluation.msa import analyse
from detector.evaluation.reading import Key, make_sheets, read_table
from detector.evaluation.runner import Runner
from detector.model import build_model
from detector.registry import pack_weights, save_model
from taktwatch.cli import app
from taktwatch.config import parse_config
from taktwatch.errors import BadInput, ConfigError
from taktwatch.simulator import BOARD_DEFECTS

WHERE = "sim:board?layouts=4&boards=2&height=96&width=96&defective=0.5"
SPEC = TINY.model_copy(update={"classes": BOARD_DEFECTS})


def study(out: Path, *, trials: int = 2) -> Key:
    return make_sheets(WHERE, out, ["anna", "ben"], parts=6, trials=trials, seed=7)


def fill(out: Path, key: Key, words: dict[str, str]) -> None:
    """Everybody writes the same word for a part."""
    for sheet in key.sheets:
        lines = [f"{number},{words[part]}\n" for number, part in enumerate(sheet.parts, 1)]
        (out / sheet.folder / "sheet.csv").write_text("reading,rating\n" + "".join(lines))


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(5)
    weights = pack_weights(build_model(SPEC))
    save_model(
        folder / "tiny", card(SPEC).model_copy(update={"weights_sha256": hashlib.sha256(weights).hexdigest()}), weights
    )
    product = {"model": "tiny", "um_per_px": 20.0, "classes": {label: {"score": 0.18} for label in BOARD_DEFECTS}}
    detector = {"models_dir": str(folder), "engines_dir": str(folder / "e"), "device": "cpu", "threads": 1}
    return Runner(parse_config({"products": {"p": product}, "detector": detector}, "test", {}), folder / "tiny", "p")


def test_sheets_are_shuffled_each_in_its_own_way_and_name_nothing(tmp_path: Path) -> None:
    key = study(tmp_path)
    assert len({sheet.parts for sheet in key.sheets}) == 4
    assert len({frozenset(sheet.parts) for sheet in key.sheets}) == 1
    files = {path.name for path in (tmp_path / "anna-1").iterdir()}
    numbers = [f"{number:03}" for number in range(1, 7)]
    assert files == {"sheet.csv"} | {f"{n}.png" for n in numbers} | {f"{n}-golden.png" for n in numbers}
    items = {item.name: item for item in open_dataset(WHERE).items}
    for sheet in key.sheets:
        for number, part in enumerate(sheet.parts, 1):
            shown = cv2.imread(str(tmp_path / sheet.folder / f"{number:03}.png"))
            assert shown is not None
            assert np.array_equal(shown[..., ::-1], items[part].load().picture)
    assert study(tmp_path / "again") == key


def test_the_model_reads_every_part_as_often_as_people_do(tmp_path: Path, runner: Runner) -> None:
    key = study(tmp_path)
    items = {item.name: item for item in open_dataset(WHERE).items}
    truth = {part: "bad" if items[part].load().truths else "good" for part in key.sheets[0].parts}
    fill(tmp_path, key, truth)
    table = read_table(tmp_path, lambda _: runner)
    found = analyse(table.read_text(), "table.csv").agreement
    assert found is not None
    assert (found.parts, found.appraisers) == (6, ("anna", "ben", "tiny"))
    model = next(own for own in found.within if own.appraiser == "tiny")
    assert model.parts.events == 6  # it says the same again
    right = {pair.first: pair.equal for pair in found.against_reference}
    assert right["anna"] == right["ben"] == 1
    said = {part: "good" if runner.inspect(items[part]).verdict == "pass" else "bad" for part in truth}
    assert right["tiny"] == pytest.approx(np.mean([said[part] == truth[part] for part in truth]))


def test_one_trial_says_nothing_of_agreement_with_oneself(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console  # noqa: PLC0415 - it takes the output as it is captured here

    text = "part,appraiser,trial,rating\n1,a,1,good\n2,a,1,bad\n1,b,1,good\n2,b,1,bad\n"
    found = analyse(text, "t.csv")
    assert found.agreement is not None
    assert found.agreement.within == ()
    print_study(Console(width=120), found)
    printed = capsys.readouterr().out
    assert "again" not in printed
    assert "Everybody read once" in printed


@pytest.mark.parametrize(
    ("sheet", "words"),
    [
        ("reading,rating\n1,good\n2,\n", "sheet.csv, line 3: '' is no rating; write good or bad"),
        ("reading,rating\n1,good\n1,bad\n", "line 3: reading '1' is not one of 1 to 6, each once"),
        ("reading,rating\n7,good\n", "line 2: reading '7' is not one of 1 to 6"),
        ("reading,rating\n1,good\n", "1 of 6 readings"),
    ],
)
def test_a_sheet_that_is_not_filled_in_is_named(tmp_path: Path, sheet: str, words: str) -> None:
    key = study(tmp_path, trials=1)
    fill(tmp_path, key, dict.fromkeys(key.sheets[0].parts, "good"))
    (tmp_path / "ben-1" / "sheet.csv").write_text(sheet)

    def never(_: Dataset) -> Runner:
        raise AssertionError("the sheets are read before the model")

    with pytest.raises(BadInput, match=f"ben-1.*{words}"):
        read_table(tmp_path, never)


def test_what_is_no_study_is_refused(tmp_path: Path, runner: Runner) -> None:
    with pytest.raises(ConfigError, match=r"key.json: no key of a study .*msa-sheet"):
        read_table(tmp_path, lambda _: runner)
    with pytest.raises(BadInput, match="8 pictures, 9 parts asked for"):
        make_sheets(WHERE, tmp_path, ["anna"], parts=9, trials=1, seed=0)
    with pytest.raises(BadInput, match=r"appraiser '../ben': give each once"):
        make_sheets(WHERE, tmp_path, ["anna", "../ben"], parts=2, trials=1, seed=0)
    study(tmp_path)
    with pytest.raises(BadInput, match="holds a study"):
        study(tmp_path)


def test_another_data_set_than_the_sheets_show_is_refused(tmp_path: Path, runner: Runner) -> None:
    key = study(tmp_path, trials=1)
    fill(tmp_path, key, dict.fromkeys(key.sheets[0].parts, "good"))
    path = tmp_path / "key.json"
    path.write_text(path.read_text().replace("defective=0.5", "defective=0.6"))
    with pytest.raises(BadInput, match="is not what the sheets were made of"):
        read_table(tmp_path, lambda _: runner)


def test_the_command_line_makes_sheets_and_gathers_them(tmp_path: Path, runner: Runner) -> None:
    out, line = tmp_path / "study", tmp_path / "line.toml"
    words = ["--appraiser", "anna", "--parts", "3", "--trials", "1", "--out", str(out)]
    app(["msa-sheet", WHERE, *words], standalone_mode=False)
    (out / "anna-1" / "sheet.csv").write_text("reading,rating\n3,Good\n1,bad\n2,good\n")
    line.write_text(
        f'[products.p]\nmodel = "tiny"\num_per_px = 20.0\nclasses = {{ open = {{}} , short = {{}}, mousebite = {{}}, '
        f"spur = {{}}, spurious_copper = {{}}, pin_hole = {{}} }}\n[detector]\nmodels_dir = "
        f'"{runner.model_path.parent}"\ndevice = "cpu"\nthreads = 1\n'
    )
    app(["msa-read", "tiny", "--study", str(out), "--config", str(line)], standalone_mode=False)
    found = analyse((out / "table.csv").read_text(), "table.csv").agreement
    assert found is not None
    assert (found.appraisers, found.categories) == (("anna", "tiny"), ("bad", "good"))
