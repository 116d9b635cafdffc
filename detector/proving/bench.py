"""How fast engines are, side by side in one run: taken in turns, so that a drifting machine slows all of them alike."""

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from detector.dataset import HELD_OUT, SECTION_PX, simulate
from detector.engines import Channels
from detector.model import build_model
from detector.proving.choose import ENGINES, build_engine
from detector.registry import LoadedModel
from detector.spec import ModelSpec
from taktwatch.config import DetectorConfig, EngineName
from taktwatch.errors import ConfigError

__all__ = ["Pace", "Runner", "bench_model", "eager", "machine", "race", "simulated"]

Runner = Callable[[Sequence[Channels]], object]
"""Inspects a batch; what it returns is thrown away."""

Device = Literal["cpu", "cuda"]

WARM_UP = 2
PICTURES = 16
BOARD_PX = (640, 640)


@dataclass(frozen=True, slots=True)
class Pace:
    """One contender. Milliseconds of one picture alone, and of CPU time on it; pictures a second, alone and in batches.

    cores: how many were at work on the mean while batches were inspected, CPU time over time, of all on the machine.
    cpu_ratio: how many times less CPU time a picture of a batch took than the first contender's.
    ratio, batch_ratio: how many times faster than the first contender, the median of turns taken next to each other.
    """

    name: str
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_ms: float
    cores: float
    cpu_ratio: float
    alone_per_s: float
    batch_per_s: float
    ratio: float
    batch_ratio: float


def bench_model(
    settings: DetectorConfig,
    model: LoadedModel,
    names: Sequence[EngineName] | None,
    *,
    rounds: int,
    batch: int,
    on_round: Callable[[], None],
) -> list[Pace]:
    """Race engines (None: all that are installed and can run here) on simulated pictures against `eager`, the first.

    It runs on CUDA where the line's torch would.
    """
    pictures = simulated(model.spec)
    device: Device = "cuda" if settings.device != "cpu" and torch.cuda.is_available() else "cpu"
    runners = {"torchvision eager": eager(model, pictures[0].shape[1:], device)}
    for name in names or ENGINES:
        try:
            runners[name] = build_engine(model, name, settings).infer
        except ConfigError:
            if names:
                raise
    return race(runners, pictures, rounds=rounds, batch=batch, on_round=on_round)


def simulated(spec: ModelSpec) -> list[Channels]:
    """Draw pictures of unseen products of the line's usual size, as the network sees them."""
    size = BOARD_PX if spec.view == "board" else SECTION_PX
    return [
        simulate(spec, HELD_OUT + number, np.random.default_rng([HELD_OUT, number]), size).channels
        for number in range(PICTURES)
    ]


def race(
    runners: Mapping[str, Runner],
    pictures: Sequence[Channels],
    *,
    rounds: int,
    batch: int,
    on_round: Callable[[], None],
) -> list[Pace]:
    """Let each contender inspect the same picture alone and the same batch, in turns; every second round backwards.

    Ratios compare with the first, which inspects a batch one by one where that is its way. Warm-up is not counted.
    """
    names = list(runners)
    alone: dict[str, list[Taken]] = {name: [] for name in names}
    together: dict[str, list[Taken]] = {name: [] for name in names}
    for number in range(-WARM_UP, rounds):
        first = number * batch
        chosen = [pictures[(first + at) % len(pictures)] for at in range(batch)]
        for name in names if number % 2 else names[::-1]:
            one, many = _taken(runners[name], chosen[:1]), _taken(runners[name], chosen)
            if number >= 0:
                alone[name].append(one)
                together[name].append(many)
        on_round()
    return [_pace(name, alone, together, names[0]) for name in names]


def eager(model: LoadedModel, size: tuple[int, ...], device: Device = "cpu") -> Runner:
    """Return what a torchvision user writes: `model([x])` per picture, its own transform and pasting, same weights.

    `size` (height, width) of the pictures: the transform is told not to change it. On CUDA what it found stays there,
    and is waited for.
    """
    network: MaskRCNN = build_model(model.spec)
    network.load_state_dict(model.network.state_dict())
    network.eval()
    network.transform = GeneralizedRCNNTransform(min(size), max(size), [0.0] * 3, [1.0] * 3)
    network.to(device)

    def run(batch: Sequence[Channels]) -> object:
        with torch.inference_mode():
            found = [network([torch.from_numpy(one).to(device)]) for one in batch]
        if device == "cuda":
            torch.cuda.synchronize()
        return found

    return run


def machine() -> str:
    """Name the processor, its cores, and how busy they are besides."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].partition(":")[2].strip() if lines else name
    load = f", load average {os.getloadavg()[0]:.1f} before" if hasattr(os, "getloadavg") else ""
    return f"{name}, {len(os.sched_getaffinity(0))} cores{load}"


class Taken(NamedTuple):
    """What one picture took, a batch shared out: seconds, and seconds of CPU time in this process."""

    s: float
    cpu_s: float


def _taken(run: Runner, batch: Sequence[Channels]) -> Taken:
    """Time one call."""
    began, worked = time.perf_counter(), time.process_time()
    run(batch)
    return Taken((time.perf_counter() - began) / len(batch), (time.process_time() - worked) / len(batch))


def _pace(name: str, alone: Mapping[str, Sequence[Taken]], together: Mapping[str, Sequence[Taken]], first: str) -> Pace:
    """Sum one contender up."""
    own, base = np.array(alone[name]), np.array(alone[first])
    batches, base_batches = np.array(together[name]), np.array(together[first])
    p50, p95, p99 = (float(np.quantile(own[:, 0], share)) * 1000 for share in (0.5, 0.95, 0.99))
    return Pace(
        name=name,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        cpu_ms=float(own[:, 1].mean()) * 1000,
        cores=float(batches[:, 1].sum() / batches[:, 0].sum()),
        cpu_ratio=float(np.median(base_batches[:, 1] / batches[:, 1])),
        alone_per_s=1000 / p50,
        batch_per_s=1 / float(np.median(batches[:, 0])),
        ratio=float(np.median(base[:, 0] / own[:, 0])),
        batch_ratio=float(np.median(base_batches[:, 0] / batches[:, 0])),
    )
