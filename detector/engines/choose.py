"""Which engine runs a model: the one that is named, if it was proven to say what the reference says."""

import time
from pathlib import Path
from typing import Literal, assert_never

import numpy as np
from pydantic import ValidationError

from detector.engines import Engine
from detector.engines.export import export_parts
from detector.engines.exported import Export
from detector.engines.onnx_engine import OnnxEngine
from detector.engines.openvino_engine import OpenVinoEngine
from detector.engines.torch_engine import TorchEngine
from detector.parity import Parity, shortfalls
from detector.registry import LoadedModel
from taktwatch.config import DetectorConfig
from taktwatch.errors import ConfigError, ModelError

__all__ = ["ENGINES", "EngineName", "build_engine", "known_engine", "open_engine", "parity_file"]

EngineName = Literal["torch", "openvino", "openvino-bf16", "openvino-int8", "onnx"]
ENGINES: tuple[EngineName, ...] = ("torch", "openvino", "openvino-bf16", "openvino-int8", "onnx")

TRIAL_PX = 320
TRIALS = 5


def open_engine(model: LoadedModel, settings: DetectorConfig) -> Engine:
    """Return the engine that a line runs. torch needs no proof; the others want `taktwatch models verify` once.

    Raises `ModelError` for one that was not proven with these weights on this device, `ConfigError` for one that is not
    installed.
    """
    if settings.engine == "auto":
        return _fastest(model, settings)
    engine = build_engine(model, settings.engine, settings)
    if settings.engine != "torch":
        _refuse_unproven(engine, settings.engine)
    return engine


def build_engine(model: LoadedModel, name: EngineName, settings: DetectorConfig) -> Engine:
    """Return an engine, proven or not; its export is made where there is none. Raises `ConfigError`, `ModelError`."""
    threads = settings.threads
    match name:
        case "torch":
            return TorchEngine(model, device=settings.device, threads=threads)
        case "openvino":
            return OpenVinoEngine(model, export_parts(model, "openvino", settings.engines_dir), threads=threads)
        case "openvino-bf16":
            export = export_parts(model, "openvino", settings.engines_dir)
            return OpenVinoEngine(model, export, precision="bfloat16", threads=threads)
        case "openvino-int8":
            export = export_parts(model, "openvino-int8", settings.engines_dir)
            return OpenVinoEngine(model, export, precision="int8", threads=threads)
        case "onnx":
            export = export_parts(model, "onnx", settings.engines_dir)
            return OnnxEngine(model, export, device=settings.device, threads=threads)
        case _:
            assert_never(name)


def known_engine(name: str) -> EngineName:
    """Return the engine of that name. Raises `ConfigError`."""
    for known in ENGINES:
        if known == name:
            return known
    raise ConfigError(f"no engine is called {name!r}; there are: {', '.join(ENGINES)}")


def parity_file(engine: Engine, name: EngineName) -> tuple[Path, str] | None:
    """Return where an engine's proof lies, and the hash of the export it is about; None for torch, which has none."""
    export: Export | None = getattr(engine, "export", None)
    return None if export is None else (export.folder / f"parity-{name}.json", export.sha256)


def _refuse_unproven(engine: Engine, name: EngineName) -> None:
    """Raise `ModelError` unless the engine was proven with these weights on this device."""
    ref = engine.ref
    how = f"run `taktwatch models verify {ref.name} --engine {name}`, or set detector.engine to torch"
    place = parity_file(engine, name)
    if place is None:
        return
    path, sha256 = place
    try:
        proof = Parity.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        raise ModelError(f"engine {name} was not yet compared with the reference for {ref.model_id}; {how}") from None
    measured = (proof.model_id, proof.engine, proof.precision, proof.device, proof.export_sha256)
    if measured != (ref.model_id, ref.engine, ref.precision, ref.device, sha256):
        raise ModelError(
            f"engine {name} was compared as {proof.engine} on {proof.device}, "
            f"this is {ref.engine} on {ref.device}, or another export; {how}"
        )
    if words := shortfalls(proof):
        raise ModelError(f"engine {name} does not say what the reference says of {ref.model_id}: {words[0]}; {how}")


def _fastest(model: LoadedModel, settings: DetectorConfig) -> Engine:
    """Try the proven engines in turn on one picture and return the fastest; torch where it has a CUDA device."""
    torch_engine = TorchEngine(model, device=settings.device, threads=settings.threads)
    candidates: list[Engine] = [torch_engine]
    if torch_engine.device.type != "cuda":
        for name in ENGINES[1:]:
            try:
                candidates.append(open_engine(model, settings.model_copy(update={"engine": name})))
            except (ConfigError, ModelError):
                continue
    picture = np.random.default_rng(0).standard_normal((3, TRIAL_PX, TRIAL_PX)).astype(np.float32)
    times: list[list[float]] = [[] for _ in candidates]
    for _ in range(TRIALS if len(candidates) > 1 else 0):
        for own, engine in zip(times, candidates, strict=True):
            began = time.perf_counter()
            engine.infer([picture])
            own.append(time.perf_counter() - began)
    best = min(range(len(candidates)), key=lambda at: min(times[at], default=0.0))
    return candidates[best]
