"""The shapes that etching faults, scratches and splashes leave: ragged blobs, strokes, scribbles and curls."""

# ruff: noqa: PLR2004 - chances and proportions read best where something is drawn from them

import cv2
import numpy as np

from taktwatch.simulator.pen import Points
from taktwatch.simulator.truth import BoolMask

__all__ = ["bent", "blob", "crossing", "stroke"]

SHIFT = 4
ANGLES = np.arange(16) * (np.pi / 16)
KINDS = ("lump", "lump", "lump", "stroke", "stroke", "curl", "corner", "scribble")


def blob(shape: tuple[int, int], at: Points, size_px: float, rng: np.random.Generator) -> BoolMask:
    """Draw a spot of about `size_px` across around `at` (x, y): a lump, a stroke, a stray hair's curl, a scribble."""
    kind = str(rng.choice(KINDS))
    if kind == "lump" or size_px < 7:
        return _lump(shape, at, size_px, rng)
    match kind:
        case "scribble":
            path = np.cumsum(rng.normal(0, 1.0, (int(rng.integers(4, 10)), 2)), axis=0)
        case "corner":
            turns = np.cumsum(rng.choice([-1, 1], 3) * rng.uniform(0.3, 2.4)) + rng.uniform(0, 2 * np.pi)
            lengths = rng.uniform(0.3, 1.0, 3) * (np.arange(3) < rng.integers(2, 4))
            path = np.cumsum(lengths[:, None] * np.stack([np.cos(turns), np.sin(turns)], axis=1), axis=0)
        case _:
            bend = rng.uniform(0, 0.8) if kind == "stroke" else rng.uniform(2, 6)
            heading = rng.uniform(0, 2 * np.pi) + bend * np.linspace(-0.5, 0.5, 9)
            path = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0)
    path -= (path.max(axis=0) + path.min(axis=0)) / 2
    path *= size_px * rng.uniform(0.9, 1.5) / max(float(np.ptp(path, axis=0).max()), 1e-6)
    return stroke(shape, at + path, max(4, round(size_px * rng.uniform(0.2, 0.45))))


def stroke(shape: tuple[int, int], path: Points, width_px: int) -> BoolMask:
    """Draw a stroke of `width_px` along `path` (N, 2) as a mask of `shape`."""
    sheet = np.zeros(shape, np.uint8)
    fixed = np.round(path * (1 << SHIFT)).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(sheet, [fixed], False, 255, width_px, cv2.LINE_AA, SHIFT)
    return sheet > 127


def crossing(inside: BoolMask, centre: Points, longest_px: int, rng: np.random.Generator) -> Points | None:
    """Find a straight way (2, 2) through `centre` from one edge of `inside` to another, a bit beyond.

    The shortest way, or one up to twice as long: cuts are seldom square. None where all are longer than `longest_px`
    or leave the window.
    """
    steps = np.arange(longest_px + 1, dtype=np.float64)
    rays = np.concatenate([ANGLES, ANGLES + np.pi]) + rng.uniform(0, np.pi / 16)
    ahead = np.stack([np.cos(rays), np.sin(rays)], axis=1)
    x = np.round(centre[0] + ahead[:, :1] * steps).astype(int)
    y = np.round(centre[1] + ahead[:, 1:] * steps).astype(int)
    within = (x >= 0) & (y >= 0) & (x < inside.shape[1]) & (y < inside.shape[0])
    left = ~inside[np.clip(y, 0, inside.shape[0] - 1), np.clip(x, 0, inside.shape[1] - 1)] & within
    reach = np.where(left.any(axis=1), np.argmax(left, axis=1), 10 * longest_px)
    lengths = reach[: len(ANGLES)] + reach[len(ANGLES) :]
    limit = min(float(longest_px), float(lengths.min()) * rng.choice([1.0, 1.15, 1.5, 2.2]) + 1)
    fitting = np.flatnonzero(lengths <= limit)
    if not fitting.size:
        return None
    chosen = int(rng.choice(fitting))
    back = chosen + len(ANGLES)
    return np.array([centre + ahead[back] * (reach[back] + 1), centre + ahead[chosen] * (reach[chosen] + 1)])


def bent(chord: Points, size_px: float, rng: np.random.Generator) -> Points:
    """Bend the way along a chord by about `size_px`: bowed and unsteady; a short one bends less."""
    ahead = chord[1] - chord[0]
    length = max(float(np.linalg.norm(ahead)), 1.0)
    size_px = min(size_px, 0.2 * length)
    aside = np.array([-ahead[1], ahead[0]]) / length
    shares = np.linspace(0, 1, 7)
    swing = rng.normal(0, size_px / 4, 7) + 4 * shares * (1 - shares) * rng.normal(0, size_px)
    return np.asarray(chord[0] + shares[:, None] * ahead + swing[:, None] * aside)


def _lump(shape: tuple[int, int], at: Points, size_px: float, rng: np.random.Generator) -> BoolMask:
    """Draw a rounded, uneven, somewhat stretched spot; one in four is a near perfect disc or box."""
    if rng.random() < 0.25:
        return _stamp(shape, at, size_px, rng)
    angles = np.arange(24) * (2 * np.pi / 24)
    radius = np.full(24, size_px / 2)
    for wave in range(2, 6):
        radius *= 1 + rng.uniform(0, 0.45 / wave) * np.cos(wave * angles + rng.uniform(0, 2 * np.pi))
    stretch, turn = rng.uniform(0.45, 1.0), rng.uniform(0, np.pi)
    flat = np.stack([radius * np.cos(angles), stretch * radius * np.sin(angles)], axis=1)
    turned = flat @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return _polygon(shape, at + turned)


def _stamp(shape: tuple[int, int], at: Points, size_px: float, rng: np.random.Generator) -> BoolMask:
    """Draw a disc or an upright box of `size_px`."""
    corners = 32 if rng.random() < 0.5 else 4
    angles = (np.arange(corners) + 0.5) * 2 * np.pi / corners
    radius = size_px / 2 if corners > 4 else size_px / np.sqrt(2)
    stretch = 1.0 if corners > 4 else rng.uniform(0.35, 1.0)
    flat = radius * np.stack([np.cos(angles), stretch * np.sin(angles)], axis=1)
    return _polygon(shape, at + (flat if rng.random() < 0.5 else flat[:, ::-1]))


def _polygon(shape: tuple[int, int], outline: Points) -> BoolMask:
    """Fill an outline (N, 2)."""
    sheet = np.zeros(shape, np.uint8)
    fixed = np.round(outline * (1 << SHIFT)).astype(np.int32).reshape(-1, 1, 2)
    cv2.fillPoly(sheet, [fixed], 255, cv2.LINE_AA, SHIFT)
    return sheet > 127
