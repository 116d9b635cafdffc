"""Glass-fibre laminate cut across: bundles seen end-on as lenses of dots, bundles seen along as streaks, in resin."""

import cv2
import numpy as np

from taktwatch.simulator.noise import Field, smooth_noise
from taktwatch.simulator.truth import Picture

__all__ = ["draw_laminate"]

RESINS = ((128, 112, 62), (104, 108, 72), (142, 124, 84), (112, 96, 70), (96, 104, 88))


def draw_laminate(rng: np.random.Generator, size: tuple[int, int]) -> Picture:
    """Draw laminate that fills a picture; uint8 RGB (H, W, 3)."""
    height, width = size
    resin = np.array(RESINS[int(rng.integers(0, len(RESINS)))], np.float32)
    glass = resin + np.array([34, 38, 40], np.float32) * np.float32(rng.uniform(0.7, 1.4))
    ply = float(rng.uniform(34, 60))
    pitch = float(rng.uniform(90, 170))
    fibre = float(rng.uniform(1.6, 2.6))
    share = np.zeros(size, np.float32)
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.arange(width, dtype=np.float32)[None, :]
    dots = _fibre_ends(size, fibre, rng)
    for row in range(int(height / ply) + 2):
        middle, phase = row * ply, rng.uniform(0, 2 * np.pi)
        swing = np.sin(np.pi * 2 * x / pitch + phase).astype(np.float32)
        along = np.exp(-(((y - middle - 0.22 * ply * swing) / (0.17 * ply)) ** 4))
        streaks = _streaks(size, rng)
        share = np.maximum(share, along * (0.55 + 0.35 * streaks))
        # The crossing bundles lie in the hollows of the one that runs along.
        lens = np.abs(np.cos(np.pi * x / pitch + phase / 2 - np.pi / 4)) ** 0.7
        end_on = np.abs(y - middle + 0.24 * ply * swing) < 0.2 * ply * lens
        share = np.maximum(share, end_on * (0.15 + 0.8 * dots))
    share = np.clip(share, 0, 1)[..., None]
    cloud = (4 * smooth_noise(size, 40, rng) + 3 * smooth_noise(size, 2, rng))[..., None]
    return np.asarray(np.clip(resin + (glass - resin) * share + cloud, 0, 255), np.uint8)


def _streaks(size: tuple[int, int], rng: np.random.Generator) -> Field:
    """Fibres seen along: noise drawn out sideways, float32 (H, W) 0..1."""
    small = rng.random((size[0] // 2 + 2, size[1] // 70 + 3), dtype=np.float32)
    return np.asarray(cv2.resize(small, (size[1], size[0]), interpolation=cv2.INTER_LINEAR), np.float32)


def _fibre_ends(size: tuple[int, int], radius_px: float, rng: np.random.Generator) -> Field:
    """Fibres seen end-on: discs packed in a jittered grid, float32 (H, W) 0..1."""
    height, width = size
    step = 2 * radius_px + 1.0
    rows, cols = np.mgrid[0 : height / step, 0 : width / step]
    centres = np.stack([(cols + (rows % 2) / 2) * step, rows * step * 0.9], axis=-1).reshape(-1, 2)
    centres = centres + rng.normal(0, 0.12 * step, centres.shape)
    sheet = np.zeros(size, np.uint8)
    for centre, level in zip((centres * 16).astype(int).tolist(), rng.integers(150, 256, len(centres)), strict=True):
        cv2.circle(sheet, centre, int(radius_px * 16), int(level), -1, cv2.LINE_AA, 4)
    return np.asarray(sheet, np.float32) / np.float32(255)
