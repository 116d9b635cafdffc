"""`taktwatch models` from the command line, on a small model with random weights."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_model import TINY, card

from detector.model import build_model
from detector.registry import pack_weights, save_model
from taktwatch.pictures import encode_png
from taktwatch.simulator import BOARD_DEFECTS, board

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = TINY.model_copy(update={"classes": BOARD_DEFECTS})
    torch.manual_seed(5)
    weights = pack_weights(build_model(spec))
    known = card(spec).model_copy(update={"weights_sha256": hashlib.sha256(weights).hexdigest()})
    top = tmp_path_factory.mktemp("line")
    save_model(top / "models" / "tiny", known, weights)
    (top / "line.toml").write_text('[detector]\nmodels_dir = "models"\nengines_dir = "engines"\nthreads = 1\n')
    return top


def models(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "taktwatch", "models", *arguments, "--config", "line.toml"],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        timeout=150,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "120"},
    )


@pytest.mark.slow
def test_an_engine_is_verified_and_what_was_measured_is_shown(folder: Path) -> None:
    done = models(
        folder, "verify", "tiny", "--engine", "onnx", "--engine", "torch", "--boards", "3", "--ship", "--json"
    )
    assert done.returncode == 1, done.stderr
    measured, of_torch = map(json.loads, done.stdout.splitlines())
    assert of_torch["engine"].startswith("torch")
    assert json.loads((folder / "models" / "tiny" / "proofs.json").read_text()) == []
    assert measured["boards"] == 3
    assert measured["score"] < 1e-3
    itself = models(folder, "verify", "tiny", "--engine", "torch", "--boards", "3")
    assert itself.returncode == 0, itself.stderr
    assert "the reference's own arithmetic" in itself.stdout
    shown = models(folder, "show", "tiny")
    assert shown.returncode == 0, shown.stderr
    assert "compared on 3 boards, 3000 are wanted" in " ".join(shown.stdout.split())


@pytest.mark.slow
def test_models_are_listed_with_their_licence(folder: Path) -> None:
    done = models(folder, "list")
    assert done.returncode == 0, done.stderr
    assert "tiny" in done.stdout
    assert "Apache-2.0" in done.stdout


@pytest.mark.slow
def test_engines_are_timed_against_plain_torchvision(folder: Path) -> None:
    done = models(folder, "bench", "tiny", "--engine", "torch", "--rounds", "1", "--batch", "1", "--json")
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)
    assert (first["name"], second["name"]) == ("torchvision eager", "torch")
    assert first["ratio"] == 1
    assert second["p50_ms"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("verify", "tiny", "--engine", "abacus"), "no engine is called 'abacus'; there are: torch, torch-fp16"),
        (("export", "tiny", "--engine", "torch"), "nothing exports for 'torch'; there are: openvino"),
        (("show", "absent"), "no model in"),
    ],
)
def test_a_mistake_is_one_line(folder: Path, arguments: tuple[str, ...], words: str) -> None:
    done = models(folder, *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert words in line


@pytest.mark.slow
def test_scores_are_calibrated_and_results_name_the_calibration(folder: Path) -> None:
    product = "[products.p]\nmodel = 'tiny'\num_per_px = 20\nexpected_defect_rate = 0.1\n"
    classes = "\n".join(f"{label} = {{}}" for label in BOARD_DEFECTS)
    plain = (folder / "line.toml").read_text()
    (folder / "line.toml").write_text(f"{plain}{product}[products.p.classes]\n{classes}\n")
    boards = "sim:board?layouts=4&boards=2&height=160&width=160&most=1&first=5500000"
    done = models(folder, "calibrate", "tiny", "--product", "p", "--dataset", boards, "--json")
    assert done.returncode == 0, done.stderr
    (made,) = json.loads(done.stdout)
    assert (made["domain"], made["dataset"], made["precision"]) == ("p", boards, "float32")
    assert json.loads((folder / "models" / "tiny" / "calibration.json").read_text()) == [made]
    seen = board(5_500_000, 1, size=(160, 160))
    for name, picture in (("a_test.png", seen.picture), ("a_temp.png", seen.template)):
        (folder / name).write_bytes(encode_png(picture))
    command = [sys.executable, "-m", "taktwatch", "inspect", "a_test.png", "--product", "p", "--json"]
    inspected = subprocess.run(
        [*command, "--config", "line.toml"],
        capture_output=True,
        text=True,
        cwd=folder,
        check=True,
        timeout=150,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    assert json.loads(inspected.stdout)["model"]["calibration_sha256"] == made["sha256"]
    allgood = models(folder, "calibrate", "tiny", "--product", "p", "--dataset", f"{boards}&defective=0")
    assert allgood.returncode == 2
    assert "no defective boards to calibrate on" in allgood.stderr
    kept = models(folder, "calibrate", "tiny", "--product", "p", "--dataset", f"{boards}&style=held-out")
    assert kept.returncode == 2
    assert "held out for testing" in kept.stderr
