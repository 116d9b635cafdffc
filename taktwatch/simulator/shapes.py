"""The shapes that etching faults, scratches and splashes leave: ragged blobs, strokes and curls."""

# ruff: noqa: PLR2004 - chances and proportions read best where something is drawn from them

import cv2
import numpy as np

from taktwatch.simulator.pen import Points
from taktwatch.simulator.truth import BoolMask

__all__ = ["blob", "stroke"]

SHIFT = 4


def blob(shape: tuple[int, int], at: Points, size_px: float, rng: np.random.Generator) -> BoolMask:
    """Draw a spot of about `size_px` across around `at` (x, y): a lump, a short stroke, or a curl like a stray hair."""
    kind = rng.random()
    if kind < 0.6 or size_px < 7:
        return _lump(shape, at, size_px, rng)
    angle = rng.uniform(0, 2 * np.pi)
    bend = rng.uniform(0, 0.8) if kind < 0.8 else rng.uniform(2, 6)
    steps = np.linspace(-0.5, 0.5, 9)
    heading = angle + bend * steps
    walk = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0)
    walk -= (walk.max(axis=0) + walk.min(axis=0)) / 2
    walk *= size_px * rng.uniform(0.9, 1.4) / np.ptp(walk, axis=0).max()
    return stroke(shape, at + walk, max(3, round(size_px * rng.uniform(0.2, 0.4))))


def stroke(shape: tuple[int, int], path: Points, width_px: int) -> BoolMask:
    """Draw a stroke of `width_px` along `path` (N, 2) as a mask of `shape`."""
    sheet = np.zeros(shape, np.uint8)
    fixed = np.round(path * (1 << SHIFT)).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(sheet, [fixed], False, 255, width_px, cv2.LINE_AA, SHIFT)
    return sheet > 127


def _lump(shape: tuple[int, int], at: Points, size_px: float, rng: np.random.Generator) -> BoolMask:
    """Draw a rounded, uneven, somewhat stretched spot."""
    angles = np.arange(24) * (2 * np.pi / 24)
    radius = np.full(24, size_px / 2)
    for wave in range(2, 6):
        radius *= 1 + rng.uniform(0, 0.45 / wave) * np.cos(wave * angles + rng.uniform(0, 2 * np.pi))
    stretch, turn = rng.uniform(0.6, 1.0), rng.uniform(0, np.pi)
    flat = np.stack([radius * np.cos(angles), stretch * radius * np.sin(angles)], axis=1)
    turned = flat @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    sheet = np.zeros(shape, np.uint8)
    fixed = np.round((at + turned) * (1 << SHIFT)).astype(np.int32).reshape(-1, 1, 2)
    cv2.fillPoly(sheet, [fixed], 255, cv2.LINE_AA, SHIFT)
    return sheet > 127
