"""From pictures to what the network sees. Pure."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from detector.light import lit_like
from detector.registration import register
from taktwatch.records import Registration

__all__ = ["Inputs", "rgb_inputs", "template_inputs"]

Picture = npt.NDArray[np.uint8]

LEAST_CONTRAST = 10.0  # grey levels; a picture of one tone is not blown up to noise


@dataclass(frozen=True, eq=False, slots=True)
class Inputs:
    """What the network sees: float32 (3, H, W), about zero mean and unit spread. `registration` for template models."""

    channels: npt.NDArray[np.float32]
    registration: Registration | None = None


def rgb_inputs(picture: Picture) -> Inputs:
    """Scale an RGB picture (H, W, 3) to -2 .. 2.

    >>> float(rgb_inputs(np.full((2, 2, 3), 255, np.uint8)).channels.max())
    2.0
    """
    scaled = picture.astype(np.float32) * np.float32(4 / 255) - np.float32(2)
    return Inputs(np.ascontiguousarray(scaled.transpose(2, 0, 1)))


def template_inputs(picture: Picture, template: Picture) -> Inputs:
    """Register the template (H, W, 3) to the picture (H, W, 3); give (picture, template, difference) in grey.

    The warped template is lit as the picture is (slow changes of brightness only), and all three are measured in the
    template's own contrast, so that a dark board under a lamp and a binarised one look alike to the network.
    """
    seen = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)
    golden = np.asarray(cv2.cvtColor(template, cv2.COLOR_RGB2GRAY), np.uint8)
    registration, warped = register(seen, golden)
    lit = lit_like(warped, seen)
    here = seen.astype(np.float32)
    mean, spread = float(lit.mean()), max(float(lit.std()), LEAST_CONTRAST)
    scale = np.float32(1 / spread)
    channels = np.stack([(here - mean) * scale, (lit - mean) * scale, np.abs(here - lit) * scale])
    return Inputs(channels.astype(np.float32), registration)
