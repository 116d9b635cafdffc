"""A model between two: the mean of their weights, where one was trained on from the other or both from a third.

Fine-tuning gains on what it learns from and loses elsewhere; the mean of the weights before and after keeps most of
both (Wortsman et al. 2022, arXiv 2109.01903). Weights that were trained apart have no such mean: it finds nothing.
"""

import shlex
from collections.abc import Iterator
from pathlib import Path

import torch

from detector.cards import Ancestor, ancestor_of
from detector.measure import measure
from detector.model import answering, build_model
from detector.registry import LoadedModel, ModelCard, refuse_taken, round_weights, save_made
from detector.training.settings import TrainSettings
from detector.training.source import SIMULATOR, SimulatedSource
from taktwatch.errors import ModelError
from taktwatch.simulator import Style

__all__ = ["merge_models"]


def merge_models(first: LoadedModel, second: LoadedModel, out: Path, *, share: float, style: Style) -> ModelCard:
    """Write a model of the weights (1 - share) * first + share * second, 0 < share < 1, to `out`; return its card.

    Where both learned from the simulator alone it is measured as training measures, on boards of `style`. Raises
    `ModelError` for networks of different specs, for models that are not related, and for a folder that is there.
    """
    one, other = first.card, second.card
    refuse_taken(out)
    if one.spec != other.spec:
        raise ModelError(f"{one.model_id} and {other.model_id} are not of one spec: their weights have no mean")
    if not set(_line_of(ancestor_of(one))) & set(_line_of(ancestor_of(other))):
        raise ModelError(
            f"{one.model_id} and {other.model_id} were trained apart: the mean of their weights would find nothing; "
            "train one --from the other first"
        )
    network = build_model(one.spec)
    theirs = second.network.state_dict()
    network.load_state_dict(
        {
            name: mean_of(mine, theirs[name], share) if mine.is_floating_point() else theirs[name]
            for name, mine in first.network.state_dict().items()
        }
    )
    weights = round_weights(network)
    metrics: dict[str, float] = {}
    measured_on = f"nothing yet: `taktwatch evaluate {out.name} --dataset ...` does"
    if {source.name for source in (*one.training_data, *other.training_data)} == {SIMULATOR.name}:
        source = SimulatedSource(one.spec, TrainSettings(style=style))
        metrics = measure(answering(network, one.spec), one.spec, source.validation())
        measured_on = source.held_out
    words = ["taktwatch", "models", "merge", one.model_id, other.model_id, "--share", f"{share:g}", "--style", style]
    return save_made(
        out,
        network,
        weights,
        name=out.name,
        licence="; ".join(dict.fromkeys((one.licence, other.licence))),
        spec=one.spec,
        training_data=tuple(dict.fromkeys((*one.training_data, *other.training_data))),
        ancestry=f"weights between {one.model_id} and {other.model_id}, {share:g} of the way",
        parents=(ancestor_of(one), ancestor_of(other)),
        settings={"share": share},
        command=shlex.join([*words, "--name", out.name]),
        metrics=metrics,
        measured_on=measured_on,
        trained_with=other.trained_with,
    )


def mean_of(one: torch.Tensor, other: torch.Tensor, share: float) -> torch.Tensor:
    """Return the numbers between two tensors, computed in float64: rounding is for whoever stores them.

    >>> mean_of(torch.tensor([1.0]), torch.tensor([3.0]), 0.25).tolist()
    [1.5]
    """
    return (1 - share) * one.double() + share * other.double()


def _line_of(model: Ancestor) -> Iterator[str]:
    """Yield the hashes of a model's weights and of all that it descends from."""
    yield model.weights_sha256
    for parent in model.parents:
        yield from _line_of(parent)
