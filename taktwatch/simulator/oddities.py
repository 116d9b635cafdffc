"""What good boards show besides their artwork and is no defect: dust, blotches, other lots, holes off centre.

A network that never saw these on good boards calls them defects; each has a stated size in the product's look.
"""

# ruff: noqa: PLR2004 - chances and proportions read best where something is drawn from them

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from taktwatch.simulator.artwork import Artwork
from taktwatch.simulator.look import BoardLook
from taktwatch.simulator.noise import smooth_noise
from taktwatch.simulator.truth import BoolMask, Picture

__all__ = ["GRAIN_PX", "RING_PX", "compressed", "drifted", "drilled", "dusty", "stained"]

GRAIN_PX = 3
"""No grain of dust is wider."""
RING_PX = 2
"""As much copper stays around a hole that is off its centre."""


def drilled(art: Artwork, look: BoardLook, rng: np.random.Generator) -> Artwork:
    """Move the holes of one board together, except those that would break out of their copper."""
    if not look.oddities.drill_off_px:
        return art
    angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0, look.oddities.drill_off_px)
    dx, dy = round(far * np.cos(angle)), round(far * np.sin(angle))
    if dx == dy == 0:
        return art
    filled = art.copper | art.drill
    count, labels, stats, _ = cv2.connectedComponentsWithStats(art.drill.astype(np.uint8), connectivity=8)
    copper, drill = art.copper.copy(), art.drill.copy()
    for index in range(1, count):
        x, y, wide, high = (int(value) for value in stats[index, :4])
        reach = max(abs(dx), abs(dy)) + RING_PX + 1
        rows, cols = slice(y - reach, y + high + reach), slice(x - reach, x + wide + reach)
        if rows.start < 0 or cols.start < 0 or rows.stop > drill.shape[0] or cols.stop > drill.shape[1]:
            continue
        old = labels[rows, cols] == index
        new = np.roll(old, (dy, dx), (0, 1))
        if (_grown(new | old) & ~filled[rows, cols]).any():
            continue
        copper[rows, cols] = (copper[rows, cols] | old) & ~new
        drill[rows, cols] = (drill[rows, cols] & ~old) | new
    return replace(art, copper=copper, drill=drill)


def drifted(finishes: tuple[Picture, Picture], look: BoardLook, rng: np.random.Generator) -> tuple[Picture, Picture]:
    """Give bare board and copper another lot's colours."""
    levels = look.oddities.drift_levels
    if not levels:
        return finishes
    lots = rng.uniform(-levels, levels, (2, 3))
    bare, plated = (_shifted(picture, lot) for picture, lot in zip(finishes, lots, strict=True))
    return bare, plated


def stained(picture: Picture, look: BoardLook, rng: np.random.Generator) -> Picture:
    """Let blotches lie over the board: flux, fingerprints, resin that cured unevenly; no sharp edges."""
    levels = look.oddities.stain_levels
    if not levels:
        return picture
    shape = (picture.shape[0], picture.shape[1])
    blotches = smooth_noise(shape, int(rng.integers(14, 60)), rng) * np.float32(levels)
    where = np.clip(smooth_noise(shape, 90, rng) + np.float32(0.3), 0, 1)
    change = cv2.merge([blotches * where] * 3)
    return np.asarray(cv2.add(picture, change, dtype=cv2.CV_8U), np.uint8)


def dusty(picture: Picture, look: BoardLook, rng: np.random.Generator) -> Picture:
    """Let grains of dust lie on the board, in place: bright or dark, at most `GRAIN_PX` across."""
    if not look.oddities.dust:
        return picture
    height, width = picture.shape[:2]
    for _ in range(int(rng.poisson(look.oddities.dust * height * width / 640**2))):
        x, y = int(rng.integers(2, width - 2)), int(rng.integers(2, height - 2))
        grain = np.zeros((GRAIN_PX, GRAIN_PX), np.bool_)
        rows, cols = rng.integers(1, GRAIN_PX + 1, 2)
        grain[:rows, :cols] = True
        if rows * cols > 4:
            grain[rng.integers(0, rows), rng.integers(0, cols)] = False
        spot = picture[y - 1 : y + 2, x - 1 : x + 2]
        bright = 255 * int(rng.integers(0, 2))
        if look.camera == "binary":
            spot[grain] = bright
        else:
            share = float(rng.uniform(0.3, 0.9))
            spot[grain] = np.clip((1 - share) * spot[grain] + share * bright, 0, 255).astype(np.uint8)
    return picture


def compressed(picture: Picture, look: BoardLook) -> Picture:
    """Pack a picture as JPEG and unpack it, where the look's sensor says so."""
    if not look.sensor.jpeg:
        return picture
    packed = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, look.sensor.jpeg])[1]
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)


def _shifted(picture: Picture, lot: npt.NDArray[np.float64]) -> Picture:
    return np.clip(picture + np.round(lot).astype(np.int16), 0, 255).astype(np.uint8)


def _grown(mask: BoolMask) -> BoolMask:
    kernel = np.ones((2 * RING_PX + 1, 2 * RING_PX + 1), np.uint8)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel) > 0)
