"""What a run leaves: weights rounded as they are stored, measured as rounded, and a card that tells how they came."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import structlog
import torch
from torch import nn
from torchvision.models.detection import MaskRCNN

from detector.cards import FROM_SCRATCH, ancestor_of, data_words
from detector.dataset import Sample, to_targets
from detector.measure import measure
from detector.model import answering, build_model
from detector.registry import LoadedModel, ModelCard, round_weights, save_made
from detector.spec import ModelSpec
from detector.training.checkpoint import State
from detector.training.settings import TrainSettings
from detector.training.source import Source

__all__ = ["Run", "finish"]

log = structlog.get_logger(__name__)

MAY_CHANGE = {"steps", "minutes", "workers", "threads", "measures", "held_out_pictures"}
"""Settings of a run that goes on: how long, how fast, how often measured; all others make it another run."""


@dataclass(frozen=True, eq=False)
class Run:
    """A training run: what is trained, from what, how, where it goes, and which model it starts from (None: none)."""

    name: str
    spec: ModelSpec
    source: Source
    out: Path
    settings: TrainSettings
    command: str
    parent: LoadedModel | None = None

    @property
    def identity(self) -> dict[str, str]:
        """All that decides which weights come out, and under which terms, by name."""
        parent = None if self.parent is None else self.parent.card
        data = zip(self.source.data, self.source.shares, strict=True)
        return {
            "spec": self.spec.spec_sha256,
            "data": ", ".join(f"{share:.6g} of {data_words(one)}" for one, share in data),
            "validation": self.source.held_out,
            "parent": "none"
            if parent is None
            else f"{parent.model_id}; licence: {parent.licence}; commercial use: {parent.commercial_use}",
        } | {name: str(value) for name, value in asdict(self.settings).items() if name not in MAY_CHANGE}


def finish(run: Run, tensors: Mapping[str, torch.Tensor], state: State, held_out: Sequence[Sample]) -> ModelCard:
    """Round the weights, measure what was rounded, and write the model folder; return its card."""
    network = build_model(run.spec)
    network.load_state_dict(dict(tensors))
    weights = round_weights(network)
    metrics = {"validation_loss": _validation_loss(network, run.spec, held_out)}
    metrics |= measure(answering(network, run.spec), run.spec, held_out, margin_px=run.source.margin_px)
    log.info("measured", step=state.step, **{key: round(value, 4) for key, value in metrics.items()})
    ran = {key: value for key, value in asdict(run.settings).items() if value is not None}
    return save_made(
        run.out,
        network,
        weights,
        name=run.name,
        licence=_licence(run),
        spec=run.spec,
        training_data=run.source.data,
        ancestry=FROM_SCRATCH if run.parent is None else f"trained from {run.parent.card.model_id}",
        parents=() if run.parent is None else (ancestor_of(run.parent.card),),
        settings=ran | {"steps_taken": state.step, "minutes_taken": round(state.seconds / 60, 1)},
        command=run.command,
        metrics=metrics,
        measured_on=run.source.held_out,
        trained_with=f"torch {torch.__version__.split('+')[0]}, torchvision {version('torchvision').split('+')[0]}",
    )


def _licence(run: Run) -> str:
    """Return the terms of the weights: our own where nothing forbids it, else those of what they come from."""
    known = [] if run.parent is None else [(run.parent.card.licence, run.parent.card.commercial_use)]
    known += [(source.licence, bool(source.commercial_use)) for source in run.source.data]
    bound = list(dict.fromkeys(licence for licence, commercial in known if not commercial))
    return "; ".join(bound) or "Apache-2.0"


@torch.no_grad()
def _validation_loss(network: MaskRCNN, spec: ModelSpec, samples: Sequence[Sample]) -> float:
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
