"""The training loop: seeded, resumable, on time, wherever samples come from; leaves a model folder with its card."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import structlog
import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn
from torch.utils.data import DataLoader
from torchvision.models.detection import MaskRCNN

from detector.dataset import Target, collate
from detector.engines.processor import computes_in_bfloat16
from detector.model import build_model, count_parameters
from detector.training.average import AveragedWeights
from detector.training.checkpoint import State, resume, save
from detector.training.finish import Run, finish
from detector.training.history import History
from detector.training.pooling import share_pooling
from detector.training.settings import Precision, TrainSettings, one_cycle
from detector.training.transfer import freeze, hold_norms, parameter_groups, start_from

__all__ = ["batches", "fastest_precision", "new_optimizer", "step", "train"]

Batch = tuple[list[torch.Tensor], list[Target]]

log = structlog.get_logger(__name__)

CLIP = 5.0
LOG_EVERY = 20
SAVE_EVERY = 100


def train(run: Run) -> Path:
    """Train from scratch, or go on from the last checkpoint in `run.out`; return the model folder `run.out`.

    Raises `ModelError` where the checkpoint is that of another run.
    """
    settings = run.settings
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = build_model(run.spec)
    if run.parent is not None:
        taken = start_from(network, run.spec, run.parent)
        log.info("starting from", model=run.parent.card.model_id, kept=len(taken.kept), anew=list(taken.anew))
    network = network.to(device).to(memory_format=torch.channels_last)
    if device.type == "cpu":
        share_pooling(network)
    optimizer = new_optimizer(network, settings)
    average = AveragedWeights(network, settings.average)
    state = resume(run.out / "checkpoint", run.identity, network, average, optimizer)
    held_out = run.source.validation()
    log.info("training", model=run.name, parameters=count_parameters(network), step=state.step, steps=settings.steps)
    before, begun, next_measure = state.seconds, time.monotonic(), 1 / settings.measures
    sums: list[dict[str, float]] = []
    history = History(run.out, run.name, resumed_at=state.step)
    network.train()
    if run.parent is not None:
        hold_norms(network)
    with _bar() as bar:
        task = bar.add_task(run.name, total=1.0)
        for batch in batches(run, state.step):
            progress = _progress(state, settings)
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * group["share"] * one_cycle(progress)
            sums.append(step(network, optimizer, batch, settings, state.step))
            state.step += 1
            average.update(network, state.step)
            state.seconds = before + time.monotonic() - begun
            progress = _progress(state, settings)
            if state.step % LOG_EVERY == 0:
                losses = {key: round(float(np.mean([one[key] for one in sums])), 4) for key in sums[0]}
                history.step(state.step, losses)
                log.info("step", step=state.step, seconds=round(state.seconds), progress=round(progress, 3), **losses)
                bar.update(task, completed=progress, description=f"{run.name} loss {sum(losses.values()):.3f}")
                sums.clear()
            if state.step % SAVE_EVERY == 0:
                save(run.out / "checkpoint", network, average, optimizer, state)
            if progress >= 1:
                break
            if progress >= next_measure:
                next_measure += 1 / settings.measures
                history.measured(state.step, finish(run, average.tensors, state, held_out).metrics)
    save(run.out / "checkpoint", network, average, optimizer, state)
    history.measured(state.step, finish(run, average.tensors, state, held_out).metrics)
    return run.out


def fastest_precision() -> Precision:
    """Return what training is fastest in on this machine: bfloat16 where CUDA device or CPU compute in it."""
    if torch.cuda.is_available():
        computes = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        computes = computes_in_bfloat16()
    return "bfloat16" if computes else "float32"


def new_optimizer(network: MaskRCNN, settings: TrainSettings) -> torch.optim.AdamW:
    """Freeze what is to stay, and return the optimizer of a run at its start."""
    freeze(network, settings.frozen_stages)
    groups = parameter_groups(network, settings.trunk_share)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay)


def step(
    network: MaskRCNN, optimizer: torch.optim.Optimizer, batch: Batch, settings: TrainSettings, number: int
) -> dict[str, float]:
    """Take one step and return the losses by name; with bfloat16 the weights stay in float32."""
    torch.manual_seed(settings.seed * settings.steps + number)  # proposals are sampled: a resumed run samples the same
    device = next(network.parameters()).device
    pictures = [one.to(device, non_blocking=True) for one in batch[0]]
    targets = [{key: value.to(device, non_blocking=True) for key, value in one.items()} for one in batch[1]]
    with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
        losses: dict[str, torch.Tensor] = network(pictures, targets)
    total = torch.stack([loss.float() for loss in losses.values()]).sum()
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    nn.utils.clip_grad_norm_(network.parameters(), CLIP)
    optimizer.step()
    return {name.removeprefix("loss_"): float(loss.detach()) for name, loss in losses.items()}


def batches(run: Run, first_step: int) -> Iterator[Batch]:
    """Yield the batches of the run from a step on; sample i is the same whoever makes it."""
    settings = run.settings
    length = settings.steps * settings.batch
    loader: DataLoader[tuple[torch.Tensor, Target]] = DataLoader(
        run.source.samples(length),
        batch_size=settings.batch,
        sampler=range(first_step * settings.batch, length),
        num_workers=settings.workers,
        collate_fn=collate,
        prefetch_factor=4 if settings.workers else None,
        # Forked workers would inherit the locks of OpenCV's and torch's threads.
        multiprocessing_context="spawn" if settings.workers else None,
    )
    yield from loader


def _progress(state: State, settings: TrainSettings) -> float:
    """Return how much of the run is done, 0 to 1, by steps or by time."""
    by_time = state.seconds / (60 * settings.minutes) if settings.minutes else 0.0
    return max(state.step / settings.steps, by_time)


def _bar() -> Progress:
    """Return the progress bar of a run."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn()
    )
