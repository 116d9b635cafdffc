"""Turns an OpenVINO export into one that computes in 8-bit integers, by NNCF, on simulated training pictures.

Each part is quantised as a graph of its own: the whole network, with its loops over proposals, no quantiser takes.
"""

import importlib
import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog
import torch

from detector.dataset import BOARD_SIDES_PX, SECTION_PX, TRAINED, simulate
from detector.engines.between import Rules, Tensors
from detector.engines.openvino_engine import Lane
from detector.registry import LoadedModel
from taktwatch.errors import ConfigError

__all__ = ["quantise"]

PICTURES = 120
TRUNK = "trunk"
SEED = 0x1278

log = structlog.get_logger()


class Listener(Lane):
    """Keeps what each part is given."""

    def __init__(self, compiled: Sequence[Any], rules: Rules) -> None:
        super().__init__(compiled, rules)
        self.given: list[list[npt.NDArray[np.float32]]] = [[] for _ in compiled]

    def _run(self, part: int, numbers: torch.Tensor) -> Tensors:
        """Run a part and keep a copy of its input."""
        self.given[part].append(np.array(numbers.numpy()))
        return super()._run(part, numbers)


def quantise(model: LoadedModel, parts: Sequence[Path], into: Path) -> None:
    """Write the parts, trunk first, into a folder under their own names. Raises `ConfigError` where NNCF is missing."""
    try:
        nncf: Any = importlib.import_module("nncf")
        ranges: Any = importlib.import_module("nncf.quantization.range_estimator")
    except ImportError as error:
        raise ConfigError(
            "computing in 8 bits wants the package nncf once, which is not installed; "
            "pip install 'taktwatch[int8]', or set detector.engine to openvino"
        ) from error
    openvino: Any = importlib.import_module("openvino")
    log.info("quantising to 8 bits, once: half a minute or so", model=model.card.model_id, pictures=PICTURES)
    core = openvino.Core()
    graphs = [core.read_model(path) for path in parts]
    exact = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    listener = Listener(
        [core.compile_model(graph, "CPU", exact) for graph in graphs], Rules.of(model.network, model.spec.levels)
    )
    for picture in _pictures(model):
        listener.infer([picture])
    nncf.set_log_level(logging.ERROR)
    with redirect_stdout(io.StringIO()):  # its progress bars
        for path, graph, given in zip(parts, graphs, listener.given, strict=True):
            made = nncf.quantize(
                graph,
                nncf.Dataset(given),
                subset_size=len(given),
                preset=nncf.QuantizationPreset.MIXED,
                ignored_scope=nncf.IgnoredScope(names=_first_convolution(graph) if path.stem == TRUNK else []),
                advanced_parameters=nncf.AdvancedQuantizationParameters(
                    activations_range_estimator_params=ranges.RangeEstimatorParametersSet.MINMAX  # nothing is cut off
                ),
            )
            openvino.save_model(made, into / path.name, compress_to_fp16=False)


def _first_convolution(graph: Any) -> list[str]:
    """Name the convolution that sees the picture itself: in 8 bits it alone made half of all the difference."""
    operations = graph.get_ordered_ops()
    return [one.get_friendly_name() for one in operations if one.get_type_name() == "Convolution"][:1]


def _pictures(model: LoadedModel) -> Iterator[npt.NDArray[np.float32]]:
    """Draw pictures of products that training drew from."""
    side = BOARD_SIDES_PX[0]
    size = SECTION_PX if model.spec.view == "section" else (side, side)
    for number in range(PICTURES):
        rng = np.random.default_rng([SEED, number])
        yield simulate(model.spec, int(rng.integers(*TRAINED)), rng, size).channels
