"""The core in C++: built against the torch wheel, it finds what Python finds on the same pictures."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from servers.require import missing

from detector.engines.export import export_parts
from detector.engines.torch_engine import TorchEngine
from detector.inputs import rgb_inputs, template_inputs
from detector.registry import load_model
from taktwatch.simulator import board, section

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "deploy" / "cpp"
SCORE, BOX_PX, MASK = 1e-4, 0.02, 2  # the same numbers by other kernels


def tool(name: str) -> str:
    """Return a program's path."""
    return shutil.which(name) or missing("compiler", f"apt-get install {name}")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the program."""
    cmake, build = tool("cmake"), tmp_path_factory.mktemp("cpp")
    tool("g++")
    tool("make")
    where = f"-DTORCH={torch.__path__[0]}"
    for command in (
        [cmake, "-S", str(SOURCE), "-B", str(build), where],
        [cmake, "--build", str(build), "--parallel", "2"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "taktwatch_core"


@pytest.fixture(scope="module")
def operators() -> Path:
    """Torchvision's operators, as its wheel brings them."""
    found = sorted(Path(torchvision.__path__[0]).glob("_C*.so"))
    assert found, "this torchvision brings no operators"
    return found[0]


def said(done: subprocess.CompletedProcess[str]) -> list[list[dict]]:
    return [json.loads(line)["detections"] for line in done.stdout.splitlines()]


def same(found: list[dict], picture: np.ndarray, engine: TorchEngine) -> int:
    """Compare a line with what Python finds; return how many detections there were."""
    expected = engine.infer([picture])[0]
    assert [one["label"] for one in found] == expected.labels.tolist()
    assert np.allclose([one["score"] for one in found], expected.scores, atol=SCORE)
    assert np.allclose(np.array([one["box"] for one in found]).reshape(-1, 4), expected.boxes, atol=BOX_PX)
    for one, mask in zip(found, expected.masks, strict=True):
        cells = np.frombuffer(bytes.fromhex(one["mask"]), np.uint8).reshape(28, 28)
        assert np.abs(cells.astype(float) - mask * 255).max() <= MASK
    return len(found)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_core_in_cpp_finds_what_python_finds_on_boards(program: Path, operators: Path, tmp_path: Path) -> None:
    model = load_model(ROOT / "models" / "board-sim")
    core = export_parts(model, "torchscript", tmp_path).folder / "core.pt"
    shown = [
        board(7, seed, size=size, defects=("open", "short", "spur"))
        for seed, size in enumerate([(320, 416), (300, 330)])
    ]
    pictures = [template_inputs(one.picture, one.template).channels for one in shown]
    files = [tmp_path / f"{index}.npy" for index in range(len(pictures))]
    for path, picture in zip(files, pictures, strict=True):
        np.save(path, picture)
    done = subprocess.run([program, core, operators, *files], capture_output=True, text=True, check=True)
    engine = TorchEngine(model, device="cpu", threads=1)
    counts = [same(found, picture, engine) for found, picture in zip(said(done), pictures, strict=True)]
    assert min(counts) > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_core_in_cpp_reads_section_pictures_and_goes_on_after_a_bad_one(
    program: Path, operators: Path, tmp_path: Path
) -> None:
    model = load_model(ROOT / "models" / "section-sim")
    core = export_parts(model, "torchscript", tmp_path).folder / "core.pt"
    picture = section(21, 4, size=(192, 256)).picture
    good, short, other = tmp_path / "good.ppm", tmp_path / "short.ppm", tmp_path / "other.txt"
    good.write_bytes(b"P6\n256 192\n255\n" + picture.tobytes())
    short.write_bytes(good.read_bytes()[:-100])
    other.write_text("hello")
    done = subprocess.run([program, core, operators, short, other, good], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "short.ppm: ends before its last pixel" in done.stderr
    assert "other.txt: neither .npy nor PPM" in done.stderr
    (found,) = said(done)
    assert same(found, rgb_inputs(picture).channels, TorchEngine(model, device="cpu", threads=1)) > 0
