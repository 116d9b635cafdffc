"""Which engine runs a model: the one that is named, if it was proven to say what the reference says."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, assert_never, get_args

import numpy as np
import structlog

from detector.engines import Engine
from detector.engines.export import export_parts
from detector.engines.onnx_engine import OnnxEngine
from detector.engines.openvino_engine import OpenVinoEngine
from detector.engines.tensorrt_engine import TensorRtEngine, refuse_without_tensorrt
from detector.engines.torch_engine import TorchEngine
from detector.failsafe import is_engine_failure, words_of
from detector.proving.parity import shortfalls
from detector.proving.proofs import find_proof, made_before, may_be_proven, name_of, subject_of
from detector.registry import LoadedModel
from detector.scores import is_calibrated
from taktwatch.config import DetectorConfig, EngineName
from taktwatch.errors import ConfigError, ModelError
from taktwatch.records import ModelRef

__all__ = [
    "ENGINES",
    "STARTS_THREADS_LATER",
    "build_engine",
    "known_engine",
    "open_engine",
    "open_like",
    "refuse_unproven",
]

ENGINES: tuple[EngineName, ...] = get_args(EngineName)
STARTS_THREADS_LATER: tuple[EngineName, ...] = ("torch", "openvino", "openvino-bf16", "openvino-int8")
"""Engines that start the threads in which they inspect with their first picture, not as they are opened."""

TRIAL_PX = 320
TRIALS = 4

log = structlog.get_logger()


def open_engine(model: LoadedModel, settings: DetectorConfig) -> Engine:
    """Return the engine that a line runs. All but torch in float32 want `taktwatch models verify` once.

    Raises `ModelError` for one that was not proven with these weights on this device, `ConfigError` for one that is not
    installed.
    """
    if settings.engine == "auto":
        return _fastest(model, settings)
    engine = build_engine(model, settings.engine, settings)
    refuse_unproven(model, engine, settings.engines_dir)
    return engine


def open_like(model: LoadedModel, settings: DetectorConfig, at_work: ModelRef) -> Engine | None:
    """Return the engine that another model is at work on; None where it may not run this one. Nothing races."""
    name = known_engine(name_of(at_work))
    if name != "torch" and not may_be_proven(model, name, settings.engines_dir):
        return None
    try:
        engine = open_engine(model, settings.model_copy(update={"engine": name}))
    except (ConfigError, ModelError):
        return None
    return engine if is_calibrated(model.folder, engine.ref) else None


def build_engine(model: LoadedModel, name: EngineName, settings: DetectorConfig) -> Engine:
    """Return an engine, proven or not; its export is made where there is none. Raises `ConfigError`, `ModelError`."""
    threads = settings.threads
    match name:
        case "torch":
            return TorchEngine(model, device=settings.device, threads=threads)
        case "torch-fp16":
            return TorchEngine(model, device=settings.device, precision="float16", threads=threads)
        case "openvino" | "openvino-bf16":
            export, short = export_parts(model, "openvino", settings.engines_dir), name == "openvino-bf16"
            return OpenVinoEngine(model, export, precision="bfloat16" if short else "float32", threads=threads)
        case "openvino-int8":
            export = export_parts(model, "openvino-int8", settings.engines_dir)
            return OpenVinoEngine(model, export, precision="int8", threads=threads)
        case "onnx":
            export = export_parts(model, "onnx", settings.engines_dir)
            return OnnxEngine(model, export, device=settings.device, threads=threads)
        case "onnx-tensorrt" | "onnx-tensorrt-fp16":
            return _tensorrt(model, "float16" if name.endswith("fp16") else "float32", settings)
        case _:
            assert_never(name)


def _tensorrt(model: LoadedModel, precision: Literal["float32", "float16"], settings: DetectorConfig) -> Engine:
    """Return the engine compiled for the line's batches, and for pictures that are not cut into tiles."""
    device = settings.device
    if device == "cpu":
        raise ConfigError("TensorRT runs on a CUDA device, and detector.device is cpu; set detector.engine to onnx")
    refuse_without_tensorrt()
    return TensorRtEngine(
        model,
        export_parts(model, "onnx", settings.engines_dir),
        precision=precision,
        together=settings.max_batch,
        most_px=2 * settings.tile_px,
        device=device,
        threads=settings.threads,
    )


def known_engine(name: str) -> EngineName:
    """Return the engine of that name. Raises `ConfigError`."""
    for known in ENGINES:
        if known == name:
            return known
    raise ConfigError(f"no engine is called {name!r}; there are: {', '.join(ENGINES)}")


def refuse_unproven(model: LoadedModel, engine: Engine, engines_dir: Path) -> None:
    """Raise `ModelError` unless the engine, as it runs, was proven with these weights on this device, or needs none."""
    ref, subject, name = engine.ref, subject_of(engine, engines_dir), name_of(engine.ref)
    how = f"run `taktwatch models verify {ref.name} --engine {name}`, or set detector.engine to torch"
    if subject is None:
        return
    proof = find_proof(model, ref, subject)
    if proof is None and (older := made_before(subject, name)) is not None:
        raise ModelError(
            f"engine {name} was compared as {older.engine} on {older.device}, "
            f"this is {ref.engine} on {ref.device}, or another export; {how}"
        )
    if proof is None:
        raise ModelError(f"engine {name} was not yet compared with the reference for {ref.model_id}; {how}")
    if words := shortfalls(proof):
        raise ModelError(f"engine {name} does not say what the reference says of {ref.model_id}: {words[0]}; {how}")


def _fastest(model: LoadedModel, settings: DetectorConfig) -> Engine:
    """Try the proven engines in turn, on whatever device each runs, and return the fastest, saying why.

    An engine whose scores nobody calibrated is left out where the model's are calibrated: its thresholds would differ.
    """
    candidates: dict[EngineName, Engine] = {"torch": build_engine(model, "torch", settings)}
    left_out: dict[EngineName, str] = {}
    for name in ENGINES[1:]:
        if settings.device == "cuda" and name.startswith("openvino"):
            left_out[name] = "runs on the CPU, and detector.device is cuda"
            continue
        try:
            if not may_be_proven(model, name, settings.engines_dir):
                left_out[name] = "not proven here"
                continue
            engine = open_engine(model, settings.model_copy(update={"engine": name}))
        except (ConfigError, ModelError) as error:
            left_out[name] = str(error)
            continue
        if name_of(engine.ref) != name:
            left_out[name] = f"runs as {name_of(engine.ref)} here"
        elif is_calibrated(model.folder, engine.ref):
            candidates[name] = engine
        else:
            left_out[name] = "its scores are not calibrated"
    best_ms, failed = _trials(candidates, settings.max_batch) if len(candidates) > 1 else ({"torch": 0.0}, {})
    left_out |= failed
    chosen = min(candidates, key=lambda name: best_ms[name])
    log.info(
        "engine chosen",
        model=model.card.model_id,
        engine=chosen,
        why="the only one that may run here" if len(candidates) == 1 else "the fastest of those proven here",
        ms_a_picture={name: round(ms, 1) for name, ms in best_ms.items() if len(candidates) > 1 and name not in failed},
        left_out=left_out,
    )
    return candidates[chosen]


def _trials(
    candidates: Mapping[EngineName, Engine], batch: int
) -> tuple[dict[EngineName, float], dict[EngineName, str]]:
    """Return the least milliseconds a picture took on each, in batches, in turns, and why some failed (infinite).

    The first turn warms up.
    """
    noise = np.random.default_rng(0)
    pictures = [noise.standard_normal((3, TRIAL_PX, TRIAL_PX)).astype(np.float32) for _ in range(batch)]
    best_ms: dict[EngineName, float] = dict.fromkeys(candidates, float("inf"))
    failed: dict[EngineName, str] = {}
    for turn in range(TRIALS):
        for name in [one for one in candidates if one not in failed]:
            began = time.perf_counter()
            try:
                candidates[name].infer(pictures)
            except Exception as error:
                if not is_engine_failure(error):
                    raise
                failed[name], best_ms[name] = f"failed when it was tried: {words_of(error)}", float("inf")
                continue
            taken_ms = (time.perf_counter() - began) * 1000 / batch
            if turn:
                best_ms[name] = min(best_ms[name], taken_ms)
    return best_ms, failed
