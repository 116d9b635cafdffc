"""OpenVINO on the CPU. A picture alone runs on all cores; several run side by side, each on its share of them."""

import os
import queue
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch

from detector.engines import Channels, RawDetections, by_size, in_order
from detector.engines.between import Rules, Tensors, detect
from detector.engines.exported import PARTS, Export, runtime
from detector.engines.lanes import lanes
from detector.engines.processor import processor
from detector.registry import LoadedModel
from detector.spec import ModelSpec
from taktwatch.errors import ConfigError
from taktwatch.records import ModelRef

__all__ = ["OpenVinoEngine"]

Precision = Literal["float32", "bfloat16", "int8"]

GROUP_PX = 128 * 1024
"""Small pictures go through the network together up to so many pixels: they stay in the cache of a core."""


def settle_types(openvino: Any) -> None:
    """Let OpenVINO's Python module build its tables of types now, in one thread.

    Two threads that are the first to hand it an array wait for each other for ever: one builds a table and lets go of
    the interpreter meanwhile, the other holds the interpreter and waits for the table.
    """
    openvino.Type.f32.to_dtype()
    _ = openvino.Tensor(np.zeros(1, np.float32), shared_memory=True).data


class Lane:
    """Inspects one batch at a time, with requests of its own."""

    def __init__(self, compiled: Sequence[Any], rules: Rules) -> None:
        self.requests = [model.create_infer_request() for model in compiled]
        self.tensor: Any = runtime("openvino").Tensor
        self.rules = rules

    @torch.inference_mode()
    def infer(self, batch: Sequence[Channels]) -> list[RawDetections]:
        """Inspect pictures of one size, each (3, H, W)."""
        return detect(self, self.rules, torch.from_numpy(np.stack(batch) if len(batch) > 1 else batch[0][None]))

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
        """Run a part; what it returns is overwritten by its next run."""
        request = self.requests[part]
        given = self.tensor(np.ascontiguousarray(numbers.numpy()), shared_memory=True)
        request.set_input_tensor(given)
        request.start_async()  # `infer` does the same, and a third of a millisecond of looking at what it was given
        request.wait()
        return [torch.from_numpy(tensor.data) for tensor in request.output_tensors]


class OpenVinoEngine:
    """Runs an export. `threads` 0 leaves OpenVINO's choice; bfloat16 wants a CPU that computes in it.

    int8 is what a quantised export computes in; where it does not, it takes bfloat16 if the CPU does.
    """

    def __init__(
        self, model: LoadedModel, export: Export, *, precision: Precision = "float32", threads: int = 0
    ) -> None:
        openvino: Any = runtime("openvino")
        core = openvino.Core()
        short = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bfloat16" and not short:
            raise ConfigError("this CPU does not compute in bfloat16; set detector.engine to openvino")
        settle_types(openvino)
        self.model, self.export, self.precision = model, export, precision
        self.version: str = export.card.runtime
        rules = Rules.of(model.network, model.spec.levels)
        hint = "bf16" if short and precision != "float32" else "f32"
        self.cores = cores = threads or len(os.sched_getaffinity(0))
        shared = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": str(cores)}
        graphs = [core.read_model(export.part(name)) for name in PARTS]

        def compiled(streams: int) -> list[Any]:
            settings = shared | {"NUM_STREAMS": str(streams)}
            return [core.compile_model(graph, "CPU", settings) for graph in graphs]

        self.compiled, self.rules, self.alone = compiled, rules, Lane(compiled(1), rules)

    @cached_property
    def free(self) -> "queue.SimpleQueue[Lane]":
        """Lanes of one core each. Compiling them starts threads, of the priority of whoever inspects first."""
        beside, free = self.compiled(self.cores), queue.SimpleQueue[Lane]()
        for _ in range(self.cores):
            free.put(Lane(beside, self.rules))
        return free

    @cached_property
    def pool(self) -> ThreadPoolExecutor:
        """The threads that lanes are inspected in, likewise."""
        return lanes(self.cores, "openvino")

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
            device=processor(),
        )

    def infer(self, batch: Sequence[Channels]) -> list[RawDetections]:
        """Inspect pictures (3, H, W): one on all cores, several side by side, small ones of a size in groups."""
        free = self.free  # also for a picture alone: what is new is paid for by the first one, not by the first batch
        if len(batch) == 1:
            return self.pool.submit(self.alone.infer, batch).result()
        groups = []
        for places in by_size(batch):
            _, height, width = batch[places[0]].shape
            together = max(1, min(GROUP_PX // (height * width), -(-len(batch) // self.cores)))
            groups += [places[first : first + together] for first in range(0, len(places), together)]
        shown = [[batch[place] for place in places] for places in groups]
        return in_order(groups, self.pool.map(lambda group: beside(free, group), shown))


def beside(free: "queue.SimpleQueue[Lane]", batch: Sequence[Channels]) -> list[RawDetections]:
    """Inspect pictures on a free lane."""
    lane = free.get()
    try:
        return lane.infer(batch)
    finally:
        free.put(lane)
