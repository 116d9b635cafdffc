"""OpenVINO on the CPU. A picture alone runs on all cores; several run side by side, each on its share of them."""

import queue
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import torch

from detector.engines import Channels, RawDetections
from detector.engines.between import Rules, Tensors, detect
from detector.engines.exported import PARTS, Export, runtime
from detector.registry import LoadedModel
from detector.spec import ModelSpec
from taktwatch.errors import ConfigError
from taktwatch.records import ModelRef

__all__ = ["OpenVinoEngine"]

Precision = Literal["float32", "bfloat16", "int8"]


class Lane:
    """Inspects one picture at a time. The heads stay in float32: bfloat16 cannot name a pixel beyond the 256th."""

    def __init__(self, compiled: Sequence[Any], rules: Rules) -> None:
        self.requests = [model.create_infer_request() for model in compiled]
        self.rules = rules

    @torch.inference_mode()
    def infer(self, picture: Channels) -> RawDetections:
        """Inspect one picture (3, H, W)."""
        (found,) = detect(self, self.rules, torch.from_numpy(picture[None]))
        return found

    def trunk(self, pictures: torch.Tensor) -> Tensors:
        """Run the convolutions."""
        return self._run(0, [pictures])

    def boxes(self, features: Tensors, rois: Tensors) -> Tensors:
        """Run the box head."""
        return self._run(1, [*features, *rois])

    def masks(self, features: Tensors, rois: Tensors) -> torch.Tensor:
        """Run the mask head."""
        return self._run(2, [*features, *rois])[0]

    def _run(self, part: int, inputs: Tensors) -> Tensors:
        """Run a part; what it returns is overwritten by its next run."""
        arrays = [np.ascontiguousarray(tensor.numpy()) for tensor in inputs]
        results = self.requests[part].infer(arrays, share_inputs=True, share_outputs=True)
        return [torch.from_numpy(array) for array in results.values()]


class OpenVinoEngine:
    """Runs an export. `threads` 0 leaves OpenVINO's choice; bfloat16 wants a CPU that computes in it.

    int8 is what a quantised export computes in; where it does not, the trunk takes bfloat16 if the CPU does.
    """

    def __init__(
        self, model: LoadedModel, export: Export, *, precision: Precision = "float32", threads: int = 0
    ) -> None:
        openvino: Any = runtime("openvino")
        core = openvino.Core()
        short = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bfloat16" and not short:
            raise ConfigError("this CPU does not compute in bfloat16; set detector.engine to openvino")
        self.model, self.export, self.precision = model, export, precision
        self.version: str = export.card.runtime
        self.device = " ".join(core.get_property("CPU", "FULL_DEVICE_NAME").split())
        rules = Rules.of(model.network, model.spec.levels)
        self.hint = "bf16" if short and precision != "float32" else "f32"
        graphs = [core.read_model(export.part(name)) for name in PARTS]
        alone = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads:
            alone["INFERENCE_NUM_THREADS"] = str(threads)
        self.alone = Lane(self._compiled(core, graphs, alone), rules)
        beside = self._compiled(core, graphs, alone | {"PERFORMANCE_HINT": "THROUGHPUT"})
        count = int(beside[0].get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self.lanes: queue.SimpleQueue[Lane] = queue.SimpleQueue()
        for _ in range(count):
            self.lanes.put(Lane(beside, rules))
        self.pool = ThreadPoolExecutor(count, "openvino")

    def _compiled(self, core: Any, graphs: Sequence[Any], settings: dict[str, str]) -> list[Any]:
        """Compile the parts; the precision is the trunk's."""
        trunk = settings | {"INFERENCE_PRECISION_HINT": self.hint}
        return [core.compile_model(graph, "CPU", settings if at else trunk) for at, graph in enumerate(graphs)]

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
            engine=f"openvino {self.version}",
            precision=self.precision,
            device=self.device,
        )

    def infer(self, batch: Sequence[Channels]) -> list[RawDetections]:
        """Inspect pictures, each (3, H, W); each goes through the network by itself."""
        if len(batch) == 1:
            return [self.alone.infer(batch[0])]
        return list(self.pool.map(self._beside, batch))

    def _beside(self, picture: Channels) -> RawDetections:
        """Inspect one picture on a free lane."""
        lane = self.lanes.get()
        try:
            return lane.infer(picture)
        finally:
            self.lanes.put(lane)
