"""TensorRT within ONNX Runtime: what it is told, when it is refused, and what runs where it cannot be used."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from tiny_model import TINY, card

from detector.engines.between import Rules
from detector.engines.processor import processor
from detector.engines.tensorrt import Profile, part_profiles, provider_options
from detector.engines.tensorrt_engine import TENSORRT
from detector.model import STRIDE_PX, build_model
from detector.proving.asking import reference
from detector.proving.choose import build_engine, open_engine
from detector.proving.parity import BOUNDS
from detector.proving.proofs import name_of
from detector.registry import LoadedModel
from taktwatch.config import DetectorConfig
from taktwatch.errors import ConfigError, ModelError

HERE = TENSORRT in onnxruntime.get_available_providers() and torch.cuda.is_available()


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    torch.manual_seed(5)
    return LoadedModel(card(TINY), build_model(TINY).eval().requires_grad_(requires_grad=False))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> DetectorConfig:
    return DetectorConfig(engines_dir=tmp_path_factory.mktemp("engines"), threads=1, max_batch=2, tile_px=256)


def picture(seed: int, height: int = 96, width: int = 128) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((3, height, width)).astype(np.float32)


def test_the_provider_is_told_every_shape_and_keeps_what_it_compiled() -> None:
    profile = Profile((1, 3, 32, 32), (4, 3, 640, 640), (4, 3, 2048, 2048))
    options = provider_options("pictures", profile, Path("/engines/m/onnx/tensorrt"), half=False)
    folder = options["trt_engine_cache_path"]
    assert options == {
        "trt_fp16_enable": "0",
        "trt_profile_min_shapes": "pictures:1x3x32x32",
        "trt_profile_opt_shapes": "pictures:4x3x640x640",
        "trt_profile_max_shapes": "pictures:4x3x2048x2048",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": folder,
    }
    assert Path(folder).parent == Path("/engines/m/onnx/tensorrt")


def test_what_is_compiled_for_other_shapes_or_numbers_is_kept_apart() -> None:
    profiles = [Profile((1,), (2,), (most,)) for most in (4, 8)]
    folders = {
        provider_options("cells", profile, Path("c"), half=half)["trt_engine_cache_path"]
        for profile in profiles
        for half in (False, True)
    }
    assert len(folders) == 4


@given(
    together=st.integers(1, 16),
    most_px=st.integers(1, 4096),
    pictures=st.integers(1, 16),
    side=st.integers(1, 4096),
    found=st.integers(1, 1000),
)
def test_all_that_a_batch_within_limits_can_bring_fits(
    together: int, most_px: int, pictures: int, side: int, found: int
) -> None:
    rules = Rules(2, (), 500, 200, 0.7, 0.05, 0.5, 100, 7, 14)
    trunk, boxes, masks = part_profiles(rules, 64, together=together, most_px=most_px)
    padded = -(-side // STRIDE_PX) * STRIDE_PX
    within = pictures <= together and side <= max(STRIDE_PX, most_px)
    assert not within or trunk.fits((pictures, 3, padded, padded))
    assert pictures <= together or not trunk.fits((pictures, 3, padded, padded))
    assert boxes.fits((found, 7, 7, 64)) == (found <= 200 * together)
    assert masks.fits((found, 14, 14, 64)) == (found <= 100 * together)
    for profile in (trunk, boxes, masks):
        assert profile.fits(profile.least)
        assert profile.fits(profile.usual)
        assert profile.fits(profile.most)


@pytest.mark.skipif(HERE, reason="there is TensorRT here")
@pytest.mark.parametrize("name", ["onnx-tensorrt", "onnx-tensorrt-fp16"])
def test_without_its_provider_it_is_refused_with_what_to_install(model: LoadedModel, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"no TensorRT provider; install onnxruntime-gpu .* set detector\.engine"):
        build_engine(model, name, DetectorConfig(engines_dir=tmp_path))
    with pytest.raises(ConfigError, match=r"detector\.device is cpu; set detector\.engine to onnx"):
        build_engine(model, name, DetectorConfig(engines_dir=tmp_path, device="cpu"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="what runs without a CUDA device is tested where there is none")
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_where_it_cannot_be_used_the_next_provider_runs_and_is_named_and_held_to_its_own_proof(
    model: LoadedModel, settings: DetectorConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, "CPUExecutionProvider"])
    with capture_logs() as logs:
        engine = build_engine(model, "onnx-tensorrt-fp16", settings)
    (said,) = logs
    assert (said["event"], said["goes_on_with"]) == ("TensorRT cannot be used here", processor())
    assert (engine.ref.precision, name_of(engine.ref)) == ("float32", "onnx")
    batch = [picture(seed) for seed in range(3)]  # one more than goes through together
    for seen, found in zip(batch, engine.infer(batch), strict=True):
        assert np.allclose(found.scores, reference(model, seen).scores, atol=1e-4)
    with pytest.raises(ModelError, match="engine onnx was not yet compared"):
        open_engine(model, settings.model_copy(update={"engine": "onnx-tensorrt"}))


@pytest.mark.skipif(not HERE, reason="there is no CUDA device with TensorRT here")
@pytest.mark.parametrize("name", ["onnx-tensorrt", "onnx-tensorrt-fp16"])
def test_compiled_it_stays_within_the_bounds_of_its_precision_at_any_size(
    model: LoadedModel, settings: DetectorConfig, name: str
) -> None:
    engine = build_engine(model, name, settings)
    assert name_of(engine.ref) == name
    for size in ((96, 128), (75, 101), (640, 96)):  # the last is longer than it is compiled for
        seen = picture(3, *size)
        (found,) = engine.infer([seen])
        difference = abs(float(found.scores[0]) - float(reference(model, seen).scores[0]))
        assert difference < BOUNDS[engine.ref.precision].score
