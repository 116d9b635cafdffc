"""TensorRT within ONNX Runtime, before its CUDA and CPU providers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import structlog
import torch

from detector.engines import Channels, RawDetections, by_size, in_order
from detector.engines.between import Tensors
from detector.engines.exported import PARTS, Export, runtime
from detector.engines.onnx_engine import OnnxEngine, opened
from detector.engines.tensorrt import part_profiles, provider_options
from detector.failsafe import is_engine_failure, words_of
from detector.registry import LoadedModel
from taktwatch.errors import ConfigError
from taktwatch.records import ModelRef

__all__ = ["TensorRtEngine", "refuse_without_tensorrt"]

TENSORRT = "TensorrtExecutionProvider"
Precision = Literal["float32", "float16"]

log = structlog.get_logger()


def refuse_without_tensorrt() -> None:
    """Raise `ConfigError` where the installed ONNX Runtime knows no TensorRT."""
    onnxruntime: Any = runtime("onnx")
    if TENSORRT not in onnxruntime.get_available_providers():
        raise ConfigError(
            "this onnxruntime has no TensorRT provider; install onnxruntime-gpu in place of onnxruntime, and NVIDIA's "
            "TensorRT libraries beside it (pip install tensorrt), or set detector.engine to onnx"
        )


class TensorRtEngine(OnnxEngine):
    """Runs an export compiled by TensorRT for pictures of up to `most_px` a side, `together` at once.

    Compiled engines are kept beside the export. Shapes that they were not compiled for run on CUDA or the CPU, as
    everything does where TensorRT cannot be used: then it says so in the log, and calls itself what it is.
    """

    def __init__(
        self,
        model: LoadedModel,
        export: Export,
        *,
        precision: Precision,
        together: int,
        most_px: int,
        device: Literal["auto", "cuda"] = "auto",
        threads: int = 0,
    ) -> None:
        super().__init__(model, export, device=device, threads=threads)
        self.precision, self.together = precision, together
        self.profiles = part_profiles(self.rules, model.spec.fpn_width, together=together, most_px=most_px)
        self.compiled: Sequence[Any] = self._compiled(export, threads)

    def _compiled(self, export: Export, threads: int) -> list[Any]:
        """Return the parts on TensorRT; none where it cannot be used. The first time takes minutes."""
        cache, sessions = export.folder / "tensorrt", []
        try:
            for name, given, profile in zip(PARTS, self.names, self.profiles, strict=True):
                options = provider_options(given, profile, cache, half=self.precision == "float16")
                Path(options["trt_engine_cache_path"]).mkdir(parents=True, exist_ok=True)
                sessions.append(opened(export.part(name), [(TENSORRT, options), *self.providers], threads))
        except OSError as error:
            raise ConfigError(
                f"{cache} cannot be written: {error.strerror}; set detector.engines_dir to a folder that can"
            ) from error
        except Exception as error:
            if not is_engine_failure(error):
                raise
            return self._without(words_of(error))
        if any(session.get_providers()[0] != TENSORRT for session in sessions):
            return self._without("onnxruntime cannot load it (libnvinfer of another version, or none?)")
        return sessions

    def _without(self, why: str) -> list[Any]:
        """Say that it goes on without TensorRT, and on what."""
        log.warning("TensorRT cannot be used here", why=why, goes_on_with=super().ref.device, engine=super().ref.engine)
        return []

    @property
    def ref(self) -> ModelRef:
        """How results name the model and what it ran on."""
        ref = super().ref
        if not self.compiled:
            return ref
        return msgspec.structs.replace(ref, engine=f"onnxruntime-tensorrt {self.version}", precision=self.precision)

    def infer(self, batch: Sequence[Channels]) -> list[RawDetections]:
        """Inspect pictures, each (3, H, W); those of one size together, as many as it is compiled for."""
        groups = [
            places[first : first + self.together]
            for places in by_size(batch)
            for first in range(0, len(places), self.together)
        ]
        return in_order(groups, [super(TensorRtEngine, self).infer([batch[at] for at in places]) for places in groups])

    def _run(self, part: int, numbers: torch.Tensor) -> Tensors:
        """Run a part, on TensorRT where it was compiled for such numbers."""
        fits = self.compiled and self.profiles[part].fits(tuple(numbers.shape))
        return self._on(self.compiled if fits else self.sessions, part, numbers)
