"""The benchmark of engines says what it did not run, and why."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from tiny_model import TINY, card

from detector.model import build_model
from detector.proving.bench import Pace, eager, simulated
from detector.registry import LoadedModel
from taktwatch.config import DetectorConfig

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    torch.manual_seed(5)
    return LoadedModel(card(TINY), build_model(TINY).eval().requires_grad_(requires_grad=False))


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", list(sys.path))  # the program makes its root known
    spec = importlib.util.spec_from_file_location("benchmark_of_engines", ROOT / "benchmarks" / "engines.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_without_a_cuda_device_each_engine_there_has_a_row_that_says_not_run(
    benchmark: ModuleType, model: LoadedModel, tmp_path: Path
) -> None:
    settings = DetectorConfig(device="cuda", engines_dir=tmp_path)
    engines, absent = benchmark.on_device(model, settings, benchmark.GPU)
    assert engines == {}
    pace = Pace("torch", *[1.0] * 10)
    page = benchmark.put("# Benchmarks\n", benchmark.section([pace], absent, "here", "alike", 8))
    rows = [line for line in page.splitlines() if "not run" in line]
    assert [row.split(" | ")[0] for row in rows] == [f"| {title}" for title in benchmark.GPU.values()]
    heads = next(line for line in page.splitlines() if line.startswith("| engine"))
    assert {row.count("|") for row in rows} == {heads.count("|")}
    assert all("no CUDA device here" in row for row in rows)
    assert benchmark.put(page, benchmark.section([pace], {}, "here", "alike", 8)).count("not run") == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_on_a_cuda_device_torchvision_runs_there_too(model: LoadedModel) -> None:
    picture = simulated(model.spec)[0]
    (found,) = eager(model, picture.shape[1:], "cuda")([picture])
    assert found[0]["boxes"].device.type == "cuda"
