"""ONNX Runtime: on the CPU, or on a CUDA device where the installed runtime has a provider for it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from detector.engines import Channels, RawDetections, by_size, in_order
from detector.engines.between import Rules, Tensors, detect
from detector.engines.exported import PARTS, Export, runtime
from detector.engines.processor import processor
from detector.registry import LoadedModel
from detector.spec import ModelSpec
from taktwatch.errors import ModelError
from taktwatch.records import ModelRef

__all__ = ["OnnxEngine", "opened"]

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
OPTIONS = {CPU: {}, CUDA: {"use_tf32": "0"}}  # float32 is what results name
Provider = tuple[str, dict[str, str]]


class OnnxEngine:
    """Runs an export. `threads` 0 leaves the runtime's choice; what lies between the parts runs on the CPU."""

    def __init__(
        self,
        model: LoadedModel,
        export: Export,
        *,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        threads: int = 0,
    ) -> None:
        onnxruntime: Any = runtime("onnx")
        there = onnxruntime.get_available_providers()
        if device == "cuda" and CUDA not in there:
            raise ModelError(
                "detector.device is cuda, but this onnxruntime has no CUDA provider; "
                "install onnxruntime-gpu, or set it to auto or cpu"
            )
        used = [name for name in (CUDA, CPU) if name in there and (name == CPU or device != "cpu")]
        self.providers: list[Provider] = [(name, OPTIONS[name]) for name in used]
        self.sessions = [opened(export.part(name), self.providers, threads) for name in PARTS]
        if device == "cuda" and self.sessions[0].get_providers()[0] != CUDA:  # it goes on without a word otherwise
            raise ModelError(
                "detector.device is cuda, but onnxruntime cannot use its CUDA provider here (driver, CUDA or cuDNN of "
                "another version?); set it to auto or cpu"
            )
        self.names = [session.get_inputs()[0].name for session in self.sessions]
        self.model, self.export = model, export
        self.version: str = export.card.runtime
        self.rules = Rules.of(model.network, model.spec.levels)

    @property
    def spec(self) -> ModelSpec:
        """What the model is made of."""
        return self.model.spec

    @property
    def ref(self) -> ModelRef:
        """How results name the model and what it ran on."""
        return ModelRef(
            name=self.model.card.name,
            model_id=self.model.card.model_id,
            weights_sha256=self.model.card.weights_sha256,
            engine=f"onnxruntime {self.version}",
            precision="float32",
            device=cuda_name() if self.sessions[0].get_providers()[0] == CUDA else processor(),
        )

    @torch.inference_mode()
    def infer(self, batch: Sequence[Channels]) -> list[RawDetections]:
        """Inspect pictures, each (3, H, W); those of one size together."""
        groups = by_size(batch)
        stacked = (torch.from_numpy(np.stack([batch[place] for place in places])) for places in groups)
        return in_order(groups, [detect(self, self.rules, pictures) for pictures in stacked])

    def trunk(self, pictures: torch.Tensor) -> Tensors:
        """Run the convolutions."""
        return self._run(0, pictures)

    def boxes(self, cells: torch.Tensor) -> Tensors:
        """Run the box head."""
        return self._run(1, cells)

    def masks(self, cells: torch.Tensor) -> torch.Tensor:
        """Run the mask head."""
        return self._run(2, cells)[0]

    def _run(self, part: int, numbers: torch.Tensor) -> Tensors:
        """Run a part."""
        return self._on(self.sessions, part, numbers)

    def _on(self, sessions: Sequence[Any], part: int, numbers: torch.Tensor) -> Tensors:
        """Run a part in one of its sessions."""
        outputs = sessions[part].run(None, {self.names[part]: np.ascontiguousarray(numbers.numpy())})
        return [torch.from_numpy(array) for array in outputs]


def opened(path: Path, providers: Sequence[Provider], threads: int) -> Any:
    """Return a session of a graph; `threads` 0 leaves the runtime's choice."""
    onnxruntime: Any = runtime("onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others want the cores too
    return onnxruntime.InferenceSession(path, options, providers=list(providers))


def cuda_name() -> str:
    """Return what the first CUDA device is called, as far as torch sees it."""
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cuda"
