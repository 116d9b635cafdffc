"""Trains a model on simulated pictures: seeded, resumable, on time; leaves a model folder with its card."""

import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import structlog
import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load as load_tensors
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import DataLoader
from torchvision.models.detection import MaskRCNN

from detector.dataset import HELD_OUT, SECTION_PX, Sample, SimulatedSamples, Target, collate, simulate, to_targets
from detector.measure import measure
from detector.model import build_model, count_parameters
from detector.registry import DataSource, ModelCard, pack_weights, save_model
from detector.spec import ModelSpec, find_spec
from taktwatch import clock
from taktwatch.errors import ModelError

__all__ = ["TrainSettings", "new_optimizer", "one_cycle", "train", "train_simulated"]

Batch = tuple[list[torch.Tensor], list[Target]]

log = structlog.get_logger(__name__)

WARM_UP = 0.1
START_SHARE, END_SHARE = 0.04, 0.001
CLIP = 5.0
LOG_EVERY = 20
SAVE_EVERY = 100
MEASURES = 6  # times validated in a run
SIMULATOR = DataSource(
    name="taktwatch simulator (pictures drawn from random seeds; nothing read or measured from a real board)",
    licence="Apache-2.0",
    commercial_use=True,
)


@dataclass(frozen=True)
class TrainSettings:
    """How a run goes. It ends after `steps` or after `minutes`, whichever is first; the learning rate follows.

    With `minutes` None the run is the same for the same seed on the same machine; with a time budget the number of
    steps depends on its speed, and the card says how many there were.
    """

    seed: int = 1
    steps: int = 3000
    minutes: float | None = None
    batch: int = 8
    crop_height_px: int = 320
    crop_width_px: int = 320
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    workers: int = 2
    threads: int = 2
    held_out_pictures: int = 40
    precision: Literal["float32", "bfloat16"] = "float32"


class State(msgspec.Struct):
    """Where a run is: what a resumed run goes on from."""

    step: int = 0
    seconds: float = 0.0


def train_simulated(
    spec_name: str,
    out: Path,
    *,
    seed: int = 1,
    steps: int = 3000,
    minutes: float | None = None,
    batch: int = 8,
    workers: int = 2,
    threads: int = 2,
    precision: Literal["float32", "bfloat16"] = "bfloat16",
) -> Path:
    """Train a shipped spec on the simulator and return its folder `out`; a run that was cut off goes on.

    Raises `ModelError` for an unknown spec.
    """
    spec = find_spec(spec_name)
    size = (320, 320) if spec.view == "board" else SECTION_PX
    settings = TrainSettings(
        seed=seed,
        steps=steps,
        minutes=minutes,
        batch=batch,
        crop_height_px=size[0],
        crop_width_px=size[1],
        workers=workers,
        threads=threads,
        precision=precision,
    )
    limit = "" if minutes is None else f" --minutes {minutes:g}"
    command = f"taktwatch train {spec_name} --seed {seed} --steps {steps} --batch {batch}{limit}"
    return train(name=spec_name, spec=spec, out=out, settings=settings, command=command)


def train(*, name: str, spec: ModelSpec, out: Path, settings: TrainSettings, command: str) -> Path:
    """Train `spec` from scratch, or go on from the last checkpoint in `out`; return the model folder `out`."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    network = build_model(spec).to(memory_format=torch.channels_last)
    optimizer = new_optimizer(network, settings)
    state = _resume(out / "checkpoint", network, optimizer)
    held_out = _held_out(spec, settings)
    finish = partial(_finish, name=name, spec=spec, out=out, settings=settings, command=command)
    log.info("training", model=name, parameters=count_parameters(network), step=state.step, steps=settings.steps)
    before, begun, next_measure = state.seconds, time.monotonic(), 1 / MEASURES
    sums: list[dict[str, float]] = []
    network.train()
    with _bar() as bar:
        task = bar.add_task(name, total=1.0)
        for batch in _batches(spec, settings, state.step):
            progress = _progress(state, settings)
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * one_cycle(progress)
            sums.append(_step(network, optimizer, batch, settings, state.step))
            state.step += 1
            state.seconds = before + time.monotonic() - begun
            progress = _progress(state, settings)
            if state.step % LOG_EVERY == 0:
                losses = {key: round(float(np.mean([one[key] for one in sums])), 4) for key in sums[0]}
                log.info("step", step=state.step, seconds=round(state.seconds), progress=round(progress, 3), **losses)
                bar.update(task, completed=progress, description=f"{name} loss {sum(losses.values()):.3f}")
                sums.clear()
            if state.step % SAVE_EVERY == 0:
                _save(out / "checkpoint", network, optimizer, state)
            if progress >= 1:
                break
            if progress >= next_measure:
                next_measure += 1 / MEASURES
                finish(network, state, held_out)
    _save(out / "checkpoint", network, optimizer, state)
    return finish(network, state, held_out)


def new_optimizer(network: MaskRCNN, settings: TrainSettings) -> torch.optim.AdamW:
    """Return the optimizer of a run at its start."""
    return torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)


def one_cycle(progress: float) -> float:
    """Return the learning rate's share of its peak: a short warm-up, then a cosine down to almost nothing.

    >>> [round(one_cycle(at), 3) for at in (0.0, 0.1, 0.55, 1.0)]
    [0.04, 1.0, 0.5, 0.001]
    """
    if progress < WARM_UP:
        low, high, at = START_SHARE, 1.0, progress / WARM_UP
    else:
        low, high, at = 1.0, END_SHARE, min((progress - WARM_UP) / (1 - WARM_UP), 1.0)
    return low + (high - low) * (1 - math.cos(math.pi * at)) / 2


def _progress(state: State, settings: TrainSettings) -> float:
    """Return how much of the run is done, 0 to 1, by steps or by time."""
    by_time = state.seconds / (60 * settings.minutes) if settings.minutes else 0.0
    return max(state.step / settings.steps, by_time)


def _step(
    network: MaskRCNN, optimizer: torch.optim.Optimizer, batch: Batch, settings: TrainSettings, step: int
) -> dict[str, float]:
    """Take one step and return the losses by name; with bfloat16 the weights stay in float32."""
    torch.manual_seed(settings.seed * settings.steps + step)  # proposals are sampled: a resumed run samples the same
    with torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bfloat16"):
        losses: dict[str, torch.Tensor] = network(*batch)
    total = torch.stack([loss.float() for loss in losses.values()]).sum()
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    nn.utils.clip_grad_norm_(network.parameters(), CLIP)
    optimizer.step()
    return {name.removeprefix("loss_"): float(loss.detach()) for name, loss in losses.items()}


def _batches(spec: ModelSpec, settings: TrainSettings, first_step: int) -> Iterator[Batch]:
    """Yield the batches of the run from a step on; sample i is the same whoever makes it."""
    length = settings.steps * settings.batch
    crop = (settings.crop_height_px, settings.crop_width_px)
    samples = SimulatedSamples(spec, settings.seed, length, crop)
    loader: DataLoader[tuple[torch.Tensor, Target]] = DataLoader(
        samples,
        batch_size=settings.batch,
        sampler=range(first_step * settings.batch, length),
        num_workers=settings.workers,
        collate_fn=collate,
        prefetch_factor=4 if settings.workers else None,
        # Forked workers would inherit the locks of OpenCV's and torch's threads.
        multiprocessing_context="spawn" if settings.workers else None,
    )
    yield from loader


def _held_out(spec: ModelSpec, settings: TrainSettings) -> list[Sample]:
    """Make the validation pictures: products that training never sees."""
    size = (640, 640) if spec.view == "board" else SECTION_PX
    return [
        simulate(spec, HELD_OUT + index, np.random.default_rng([HELD_OUT, index]), size)
        for index in range(settings.held_out_pictures)
    ]


@torch.no_grad()
def _validation_loss(network: MaskRCNN, spec: ModelSpec, samples: list[Sample]) -> float:
    """Return the mean total loss on held-out pictures, normalisation layers in evaluation mode."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    totals = []
    for sample in samples:
        losses = network([torch.from_numpy(sample.channels)], [to_targets(sample, spec.target_margin_px)])
        totals.append(sum(float(loss) for loss in losses.values()))
    return float(np.mean(totals))


def _finish(
    network: MaskRCNN,
    state: State,
    held_out: list[Sample],
    *,
    name: str,
    spec: ModelSpec,
    out: Path,
    settings: TrainSettings,
    command: str,
) -> Path:
    """Round the weights, measure what was rounded, and write the model folder."""
    weights = pack_weights(network)
    rounded = build_model(spec)
    wanted = rounded.state_dict()
    rounded.load_state_dict({key: value.to(wanted[key].dtype) for key, value in load_tensors(weights).items()})
    metrics = {"validation_loss": _validation_loss(rounded, spec, held_out)} | measure(rounded, spec, held_out)
    log.info("measured", step=state.step, **{key: round(value, 4) for key, value in metrics.items()})
    ran = {key: value for key, value in asdict(settings).items() if value is not None}
    card = ModelCard(
        name=name,
        licence="Apache-2.0",
        spec=spec,
        spec_sha256=spec.spec_sha256,
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        parameters=count_parameters(rounded),
        training_data=(SIMULATOR,),
        ancestry="none: trained from random weights",
        settings=ran | {"steps_taken": state.step, "minutes_taken": round(state.seconds / 60, 1)},
        command=command,
        metrics={key: round(value, 5) for key, value in metrics.items()},
        trained_with=f"torch {torch.__version__.split('+')[0]}, torchvision {version('torchvision').split('+')[0]}",
        trained_at=clock.now().isoformat(timespec="seconds"),
    )
    save_model(out, card, weights)
    return out


def _save(folder: Path, network: MaskRCNN, optimizer: torch.optim.Optimizer, state: State) -> None:
    """Save weights, optimizer and position; the position goes last and names whole files."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = dict(network.state_dict())
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in slots.items()}
    path = folder / f"step-{state.step}.safetensors"
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    (folder / "state.json").write_bytes(msgspec.json.encode(state))
    for old in folder.glob("step-*.safetensors"):
        if old != path:
            old.unlink()


def _resume(folder: Path, network: MaskRCNN, optimizer: torch.optim.Optimizer) -> State:
    """Go on from the checkpoint in `folder`, or start. Raises `ModelError` where it belongs to another spec."""
    if not (folder / "state.json").exists():
        return State()
    state = msgspec.json.decode((folder / "state.json").read_bytes(), type=State)
    tensors = load_file(folder / f"step-{state.step}.safetensors")
    slots: dict[int, dict[str, torch.Tensor]] = {}
    for key in [key for key in tensors if key.startswith("optimizer.")]:
        _, index, slot = key.split(".")
        slots.setdefault(int(index), {})[slot] = tensors.pop(key)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(f"{folder} holds a run of another spec; train into another folder") from error
    optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
    return state


def _bar() -> Progress:
    """Return the progress bar of a run."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn()
    )
