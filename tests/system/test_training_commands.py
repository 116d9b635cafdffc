"""The commands of the page on models, run: train, import, train from it, add, activate. One step each."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models.detection import maskrcnn_resnet50_fpn

from detector.registry import read_card
from detector.spec import SPECS
from taktwatch.pictures import encode_png
from taktwatch.simulator import BoardLook, board

ROOT = Path(__file__).parents[2]
LINE = """
[products.demo-board]
model = "mine"
um_per_px = 20.8
classes = { open = {}, short = {} }
[detector]
models_dir = "models"
device = "cpu"
threads = 1
"""
REGISTRY = {"import", "list", "add", "show", "activate"}
QUICK = {
    "train": ["--steps", "1", "--batch", "1", "--workers", "0", "--threads", "1"],
    "activate": ["--boards", "2"],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with line.toml, a checkpoint as torchvision makes it, and three boards in DeepPCB's format."""
    folder = tmp_path_factory.mktemp("line")
    (folder / "line.toml").write_text(LINE)
    torch.manual_seed(1)
    torch.save(
        maskrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict(),
        folder / "maskrcnn_resnet50_fpn_coco.pth",
    )
    (folder / "DIR").mkdir()
    classes = SPECS["board-deeppcb"].classes
    for seed in range(3):
        shot = board(seed, 1, size=(192, 192), look=BoardLook(camera="binary"), defects=("open", "spur"))
        assert shot.template is not None
        name = f"{seed:05}000"
        (folder / "DIR" / f"{name}_test.png").write_bytes(encode_png(shot.picture))
        (folder / "DIR" / f"{name}_temp.png").write_bytes(encode_png(shot.template))
        lines = []
        for truth in shot.truths:
            rows, cols = np.nonzero(truth.mask)
            ends = (cols.min(), rows.min(), cols.max() + 1, rows.max() + 1)
            lines.append(" ".join(map(str, (*ends, classes.index(truth.label) + 1))))
        (folder / "DIR" / f"{name}.txt").write_text("\n".join(lines))
    return folder


def taktwatch(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "taktwatch", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        timeout=170,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "160"},
    )


def commands() -> list[list[str]]:
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)
    lines = [line[2:] for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.startswith("$ ")]
    return [shlex.split(line)[1:] for line in lines]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_commands_of_the_page_on_models_run_in_their_order(place: Path) -> None:
    mine = [
        words
        for words in commands()
        if words[0] == "train" or words[1] in {"import", "list", "add", "show", "activate"}
    ]
    assert [words[0] for words in mine].count("train") == 2
    for words in mine:
        done = taktwatch(place, *words, *QUICK.get(words[0] if words[0] == "train" else words[1], []))
        assert done.returncode == 0, f"{words}\n{done.stdout[-800:]}\n{done.stderr[-3000:]}"
    large = read_card(place / "runs" / "large")
    assert large.parents[0].model_id == read_card(place / "models" / "coco-50").model_id
    assert not large.commercial_use
    assert (place / "runs" / "mine" / "training.html").exists()
    refused = taktwatch(place, "models", "import", "line.toml", "--name", "x", "--licence", "y", "--source", "z")
    assert refused.returncode == 2
    assert "line.toml" in refused.stderr
    assert "Traceback" not in refused.stderr
    (place / "commercial.toml").write_text("commercial = true\n" + LINE)
    words = ["mine", "--product", "demo-board", "--author", "kim", "--reason", "r", "--config", "commercial.toml"]
    refused = taktwatch(place, "models", "activate", *words)
    assert refused.returncode == 2
    assert "which is commercial" in " ".join(refused.stderr.split())
