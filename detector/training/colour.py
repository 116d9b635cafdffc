"""Training samples from colour pictures without templates: crops that hold something, varied by torchvision."""

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from detector.dataset import Sample, Target, to_targets
from detector.inputs import rgb_inputs
from detector.spec import ModelSpec
from detector.training.cache import Shots
from detector.training.pairs import cropped

__all__ = ["ColourSamples"]

VARY = v2.Compose(
    [
        v2.RandomHorizontalFlip(),
        v2.RandomVerticalFlip(),
        v2.RandomApply([v2.ColorJitter(brightness=0.25, contrast=0.25, saturation=0.25, hue=0.03)], 0.8),
        v2.RandomGrayscale(0.1),
        v2.RandomApply([v2.GaussianBlur(3, (0.3, 1.0))], 0.1),
    ]
)


class ColourSamples(Dataset[tuple[torch.Tensor, Target]]):
    """`length` varied crops of `crop_px` (height, width); item i is made from (seed, i) alone."""

    def __init__(self, spec: ModelSpec, shots: Shots, seed: int, length: int, crop_px: tuple[int, int]) -> None:
        self.spec, self.shots, self.seed, self.length, self.crop_px = spec, shots, seed, length, crop_px

    def __len__(self) -> int:
        """Return the number of samples."""
        return self.length

    def __getitem__(self, index: int) -> tuple[torch.Tensor, Target]:
        """Make one sample."""
        if index >= self.length:
            raise IndexError(index)
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self.seed, index])
        at = int(rng.integers(len(self.shots)))
        view = cropped(self.shots.shots[at], self.shots.planes(at), self.crop_px, rng)
        masks = np.stack(view.masks) if view.masks else np.zeros((0, *view.planes.shape[1:]), bool)
        with torch.random.fork_rng(devices=[]):  # torchvision draws from torch's own generator
            torch.manual_seed(int(rng.integers(2**62)))
            picture, drawn = VARY(
                tv_tensors.Image(torch.from_numpy(view.planes)), tv_tensors.Mask(torch.from_numpy(masks))
            )
        channels = rgb_inputs(picture.permute(1, 2, 0).numpy()).channels
        sample = Sample(channels, drawn.numpy(), np.array(view.labels, np.int64))
        return torch.from_numpy(sample.channels), to_targets(sample, self.spec.target_margin_px)
