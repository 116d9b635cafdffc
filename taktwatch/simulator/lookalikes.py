"""What looks like corrosion in a section and is none: voids in the laminate, delamination along a face, deep scratches.

None of it lies in a layer's envelope but scratches, which cross everything and take no copper away.
"""

# ruff: noqa: PLR2004 - chances and proportions read best where something is drawn from them

from collections.abc import Sequence

import cv2
import numpy as np

from taktwatch.simulator.noise import Field, smooth_noise
from taktwatch.simulator.stack import Layer
from taktwatch.simulator.truth import BoolMask

__all__ = ["darkened", "deep_scratches", "delaminations", "faded", "voids"]

DARK = np.array([34, 32, 30], np.float32)


def voids(layers: Sequence[Layer], count: int, rng: np.random.Generator) -> BoolMask:
    """Draw bubbles in the laminate, bool (H, W): round or drawn out, some against a layer, none in one."""
    height, width = layers[0].depth.shape
    sheet = np.zeros((height, width), np.uint8)
    for _ in range(count):
        at = int(rng.uniform(0, width)), int(rng.uniform(0, height))
        axes = int(rng.uniform(3, 15)), int(rng.uniform(2, 7))
        cv2.ellipse(sheet, at, axes, float(rng.normal(0, 15)), 0, 360, 255, -1, cv2.LINE_AA)
    between = (layers[0].depth >= 0) & (layers[-1].depth < layers[-1].thickness)
    return np.asarray((sheet > 127) & between & ~_metal(layers))


def delaminations(layers: Sequence[Layer], count: int, rng: np.random.Generator) -> BoolMask:
    """Let laminate come off a layer's face, bool (H, W): a gap of up to 5 px that closes towards its ends."""
    width = layers[0].depth.shape[1]
    gaps = np.zeros(layers[0].depth.shape, np.bool_)
    for _ in range(count):
        layer = layers[int(rng.integers(0, len(layers)))]
        half, middle, most = rng.uniform(20, 120), rng.uniform(0, width), rng.uniform(1.5, 5.0)
        share = np.clip(1 - ((np.arange(width) - middle) / half) ** 2, 0, None).astype(np.float32)
        open_px = np.float32(most) * np.sqrt(share)
        above = rng.random() < 0.5
        away = -layer.depth if above else layer.depth - layer.thickness
        gaps |= (away > 0) & (away <= open_px)
    return np.asarray(gaps & ~_metal(layers))


def deep_scratches(size: tuple[int, int], count: int, rng: np.random.Generator) -> Field:
    """Draw scratches of 1 to 4 px through metal and laminate alike; how dark, float32 (H, W) 0..1."""
    height, width = size
    sheet = np.zeros(size, np.uint8)
    for _ in range(count):
        at, angle = rng.uniform(0, 1, 2) * (width, height), rng.uniform(0, np.pi)
        along = np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(60, 500)
        ends = np.round(np.stack([at - along / 2, at + along / 2]) * 16).astype(int)
        one = np.zeros(size, np.uint8)
        cv2.line(one, ends[0].tolist(), ends[1].tolist(), 255, int(rng.integers(1, 5)), cv2.LINE_AA, 4)
        sheet = np.maximum(sheet, (one * rng.uniform(0.2, 0.55)).astype(np.uint8))
    return np.asarray(sheet, np.float32) / np.float32(255)


def darkened(picture: Field, where: BoolMask, rng: np.random.Generator) -> None:
    """Show the inside of a gap or a bubble, in place: dark, uneven, with a soft edge."""
    share = cv2.GaussianBlur(where.astype(np.float32), (0, 0), 0.6) * np.float32(rng.uniform(0.75, 0.95))
    inside = DARK + 8 * smooth_noise((where.shape[0], where.shape[1]), 4, rng)[..., None]
    picture += (inside - picture) * share[..., None]


def faded(picture: Field, share: float) -> Field:
    """Take contrast away: `share` of it is left, around the picture's mean."""
    mean = picture.mean(axis=(0, 1), keepdims=True)
    return np.asarray(mean + np.float32(share) * (picture - mean), np.float32)


def _metal(layers: Sequence[Layer]) -> BoolMask:
    return np.asarray(np.any([layer.envelope for layer in layers], axis=0))
