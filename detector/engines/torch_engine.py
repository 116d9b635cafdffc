"""The torch engine: on the CPU or a CUDA device in float32, or on a CUDA device with automatic mixed precision."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from detector.engines import Channels, RawDetections, by_size, in_order
from detector.engines.ahead import Ahead
from detector.engines.between import Rules, Tensors, detect
from detector.engines.parts import cut
from detector.engines.processor import processor
from detector.engines.shortcuts import Run, Shortcuts, captured, timed_on_cuda
from detector.registry import LoadedModel
from detector.spec import ModelSpec
from taktwatch.errors import ConfigError, ModelError
from taktwatch.records import ModelRef

__all__ = ["TorchEngine"]


class TorchEngine:
    """Runs a loaded model, batch norms folded, channels last; the model itself is left as it is.

    `device` "auto" takes CUDA where there is one; `threads` 0 leaves torch's choice. float16 wants CUDA; float32 there
    is float32 throughout, not the TF32 that cuDNN takes by itself.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        precision: Literal["float32", "float16"] = "float32",
        threads: int = 0,
    ) -> None:
        has_cuda = torch.cuda.is_available()
        if device == "cuda" and not has_cuda:
            raise ModelError("detector.device is cuda, but torch sees no CUDA device; set it to auto or cpu")
        if precision == "float16" and (device == "cpu" or not has_cuda):
            raise ConfigError(
                "torch computes in float16 on a CUDA device alone, and there is none to use here; "
                "set detector.engine to torch"
            )
        if threads:
            torch.set_num_threads(threads)
        self.device = torch.device("cpu" if device == "cpu" or not has_cuda else "cuda")
        self.model, self.precision = model, precision
        self.rules = Rules.of(model.network, model.spec.levels).on(self.device)
        self.parts = [part.to(self.device).to(memory_format=torch.channels_last) for part in cut(model.network)]
        self.convolve: Run = self.parts[0]
        self.ahead: Ahead | None = None
        if self.device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = False
            self.convolve = Shortcuts(self.parts[0], captured, timed_on_cuda)
            self.ahead = Ahead(self.device)

    @property
    def spec(self) -> ModelSpec:
        """What the model is made of."""
        return self.model.spec

    @property
    def ref(self) -> ModelRef:
        """How results name the model and what it ran on."""
        cuda = self.device.type == "cuda"
        return ModelRef(
            name=self.model.card.name,
            model_id=self.model.card.model_id,
            weights_sha256=self.model.card.weights_sha256,
            engine=f"torch {torch.__version__.split('+')[0]}",
            precision=self.precision,
            device=torch.cuda.get_device_name(self.device) if cuda else processor(),
        )

    def bring(self, picture: Channels) -> None:
        """Start to bring a picture to a CUDA device; nothing on the CPU."""
        if self.ahead is not None:
            self.ahead.bring(picture)

    @torch.inference_mode()
    def infer(self, batch: Sequence[Channels]) -> list[RawDetections]:
        """Inspect pictures, each (3, H, W); those of one size together."""
        groups = by_size(batch)
        return in_order(groups, [self._together([batch[place] for place in places]) for places in groups])

    def _together(self, batch: Sequence[Channels]) -> list[RawDetections]:
        """Inspect pictures of one size."""
        pictures = torch.from_numpy(np.stack(batch)) if self.ahead is None else self.ahead.take(batch)
        pictures = pictures.to(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.float16, enabled=self.precision == "float16"):
            return detect(self, self.rules, pictures)

    def trunk(self, pictures: torch.Tensor) -> Tensors:
        """Run the convolutions."""
        return self.convolve(pictures)

    def boxes(self, cells: torch.Tensor) -> Tensors:
        """Run the box head."""
        outputs: Tensors = self.parts[1](cells)
        return outputs

    def masks(self, cells: torch.Tensor) -> torch.Tensor:
        """Run the mask head."""
        masks: torch.Tensor = self.parts[2](cells)
        return masks
