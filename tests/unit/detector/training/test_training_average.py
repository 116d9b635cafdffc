"""The moving average of weights."""

import torch
from torch import nn

from detector.training.average import AveragedWeights


def test_the_average_follows_quickly_at_first_and_slowly_later() -> None:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 0.0)
    average = AveragedWeights(layer, 0.9)
    nn.init.constant_(layer.weight, 1.0)
    average.update(layer, 1)
    assert torch.isclose(average.tensors["weight"], torch.tensor(1 - 2 / 11)).all()
    late = AveragedWeights(layer, 0.9)
    nn.init.constant_(layer.weight, 2.0)
    late.update(layer, 1000)
    assert torch.isclose(late.tensors["weight"], torch.tensor(1.1)).all()


def test_what_is_counted_is_copied() -> None:
    norm = nn.BatchNorm1d(2)
    average = AveragedWeights(norm, 0.9)
    norm(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    average.update(norm, 1)
    assert int(average.tensors["num_batches_tracked"]) == 1
