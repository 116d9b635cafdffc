"""A moving average of the weights: at the end of a short run it is better than the weights themselves."""

import torch
from torch import nn

__all__ = ["AveragedWeights"]


class AveragedWeights:
    """The exponential moving average of a network's tensors, its batch norms' statistics included.

    After n updates the newest weights count 1 - min(decay, (1 + n) / (10 + n)): early on the average forgets fast.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, taken: int) -> None:
        """Take in the weights after so many steps."""
        keep = min(self.decay, (1 + taken) / (10 + taken))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self.tensors[name].lerp_(value, 1 - keep)
            else:
                self.tensors[name].copy_(value)
