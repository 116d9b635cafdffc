"""Noise that textures, etching and light are made of."""

from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["Field", "smooth_noise"]

Field: TypeAlias = npt.NDArray[np.float32]


def smooth_noise(shape: tuple[int, int], scale_px: int, rng: np.random.Generator) -> Field:
    """Noise of about unit variance that changes over `scale_px`; float32 (H, W), within +-2.5."""
    small = (shape[0] // scale_px + 3, shape[1] // scale_px + 3)
    noise = np.clip(rng.standard_normal(small, dtype=np.float32) * np.float32(1.3), -2.5, 2.5)
    return np.asarray(cv2.resize(noise, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR), np.float32)
