"""What a run leaves: weights rounded as they are stored, measured as rounded, and a card that tells how they came."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import structlog
import torch
from safetensors.torch import load as load_tensors
from torch import nn
from torchvision.models.detection import MaskRCNN

from detector.dataset import Sample, to_targets
from detector.measure import measure
from detector.model import answering, build_model, count_parameters
from detector.registry import ModelCard, pack_weights, save_model
from detector.spec import ModelSpec
from detector.training.checkpoint import State
from detector.training.settings import TrainSettings
from detector.training.source import Source
from taktwatch import clock

__all__ = ["Run", "finish"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, eq=False)
class Run:
    """A training run: what is trained, from what, how, and where it goes."""

    name: str
    spec: ModelSpec
    source: Source
    out: Path
    settings: TrainSettings
    command: str


def finish(run: Run, tensors: Mapping[str, torch.Tensor], state: State, held_out: Sequence[Sample]) -> Path:
    """Round the weights, measure what was rounded, and write the model folder."""
    network = build_model(run.spec)
    network.load_state_dict(dict(tensors))
    weights = pack_weights(network)
    wanted = network.state_dict()
    network.load_state_dict({key: value.to(wanted[key].dtype) for key, value in load_tensors(weights).items()})
    metrics = {"validation_loss": _validation_loss(network, run.spec, held_out)}
    metrics |= measure(answering(network, run.spec), run.spec, held_out, margin_px=run.source.margin_px)
    log.info("measured", step=state.step, **{key: round(value, 4) for key, value in metrics.items()})
    commercial = all(source.commercial_use for source in run.source.data)
    ran = {key: value for key, value in asdict(run.settings).items() if value is not None}
    card = ModelCard(
        name=run.name,
        licence="Apache-2.0" if commercial else "; ".join(source.licence for source in run.source.data),
        spec=run.spec,
        spec_sha256=run.spec.spec_sha256,
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        parameters=count_parameters(network),
        training_data=run.source.data,
        ancestry="none: trained from random weights",
        settings=ran | {"steps_taken": state.step, "minutes_taken": round(state.seconds / 60, 1)},
        command=run.command,
        metrics={key: round(value, 5) for key, value in metrics.items()},
        measured_on=run.source.held_out,
        trained_with=f"torch {torch.__version__.split('+')[0]}, torchvision {version('torchvision').split('+')[0]}",
        trained_at=clock.now().isoformat(timespec="seconds"),
    )
    save_model(run.out, card, weights)
    return run.out


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
