"""`taktwatch product new` and `taktwatch calibrate` from the command line, and what a user may get wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from taktwatch.pictures import encode_png
from taktwatch.simulator import board

ROOT = Path(__file__).parents[3]


def taktwatch(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "taktwatch", *map(str, words)],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "HOME": str(cwd)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def good(tmp_path: Path) -> Path:
    folder = tmp_path / "good"
    folder.mkdir()
    for seed in range(3):
        picture = board(11, seed, size=(256, 256), defects=()).picture
        (folder / f"b{seed}.png").write_bytes(encode_png(picture))
    return folder


def test_a_product_is_built_and_its_folder_can_be_named_in_line_toml(good: Path, tmp_path: Path) -> None:
    done = taktwatch("product", "new", "demo-board", "--from", good, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'folder = "products/demo-board"' in done.stdout
    card = json.loads((tmp_path / "products/demo-board/product.json").read_text())
    assert card["um_per_px"] == 20.8
    assert card["version"] == 1


def test_a_product_without_scale_and_a_folder_without_pictures_are_one_clear_line(good: Path, tmp_path: Path) -> None:
    unknown = taktwatch("product", "new", "thing", "--from", good, cwd=tmp_path)
    (tmp_path / "empty").mkdir()
    empty = taktwatch("product", "new", "thing", "--from", "empty", "--um-per-px", "20", cwd=tmp_path)
    assert unknown.returncode == empty.returncode == 2
    assert unknown.stderr.strip() == (
        "taktwatch: what scale? line.toml has no product 'thing'; give --um-per-px or --calibration"
    )
    assert empty.stderr.startswith("taktwatch: no picture in empty; put pictures of good boards there")
    assert not (tmp_path / "products").exists()


def test_the_board_is_drawn_and_calibrating_without_pictures_says_what_is_missing(tmp_path: Path) -> None:
    drawn = taktwatch("calibrate", "--print", "board.png", "--square-mm", "1.5", cwd=tmp_path)
    assert drawn.returncode == 0, drawn.stderr
    assert "a square measures 1.5 mm" in drawn.stdout
    assert (tmp_path / "board.png").stat().st_size > 1000
    missing = taktwatch("calibrate", cwd=tmp_path)
    assert missing.returncode == 2
    assert missing.stderr.startswith("taktwatch: no picture of the calibration board")
    few = taktwatch("calibrate", "board.png", "board.png", "--square-mm", "1.5", cwd=tmp_path)
    assert few.returncode == 2
    assert "2 pictures of the board, at least 3" in few.stderr


def test_a_calibration_gives_the_product_its_scale(good: Path, tmp_path: Path) -> None:
    taktwatch("calibrate", "--print", "board.png", cwd=tmp_path)
    done = taktwatch("calibrate", "board.png", "board.png", "board.png", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert abs(json.loads(done.stdout)["um_per_px_x"] - 20.0) < 0.01  # 2 mm on 100 px
    made = taktwatch(
        "product", "new", "thing", "--from", good, "--calibration", "calibration.json", "--json", cwd=tmp_path
    )
    assert made.returncode == 0, made.stderr
    assert abs(json.loads(made.stdout)["um_per_px"] - 20.0) < 0.01


def test_a_calibration_out_of_date_is_refused(good: Path, tmp_path: Path) -> None:
    taktwatch("calibrate", "--print", "board.png", cwd=tmp_path)
    taktwatch("calibrate", "board.png", "board.png", "board.png", cwd=tmp_path)
    path = tmp_path / "calibration.json"
    old = json.loads(path.read_text()) | {"expires_at": "2020-01-01T00:00:00Z"}
    path.write_text(json.dumps(old))
    refused = taktwatch("product", "new", "thing", "--from", good, "--calibration", path, cwd=tmp_path)
    assert refused.returncode == 2
    assert "is out of date since 2020-01-01; calibrate again" in refused.stderr


def test_what_is_built_and_calibrated_is_what_pictures_are_judged_by(good: Path, tmp_path: Path) -> None:
    taktwatch("calibrate", "--print", "board.png", cwd=tmp_path)
    taktwatch("calibrate", "board.png", "board.png", "board.png", cwd=tmp_path)
    made = taktwatch("product", "new", "thing", "--from", good, "--calibration", "calibration.json", cwd=tmp_path)
    assert 'folder = "products/thing" and um_per_px = 20' in made.stdout
    (tmp_path / "line.toml").write_text(
        f"""
        detector = {{ models_dir = "{ROOT / "models"}", threads = 1, engine = "torch" }}
        [products.thing]
        model = "board-sim"
        folder = "products/thing"
        um_per_px = 20
        classes = {{ open = {{}}, short = {{}} }}
        """
    )
    pictures = {"fine.png": board(11, 9, size=(256, 256), defects=()).picture}
    pictures["dark.png"] = pictures["fine.png"] // 2
    for name, picture in pictures.items():
        (tmp_path / name).write_bytes(encode_png(picture))
    done = taktwatch("inspect", *pictures, "--product", "thing", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    fine, dark = (json.loads(line) for line in done.stdout.splitlines())
    card = json.loads((tmp_path / "products/thing/product.json").read_text())
    assert {answer["template_sha256"] for answer in (fine, dark)} == {card["template_sha256"]}
    assert "light" not in fine.get("doubts", [])
    assert (dark["verdict"], dark["doubts"][0]) == ("review", "light")
    assert dark["reasons"][0].startswith("too dark")
