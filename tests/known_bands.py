"""Bands of known thickness, tilt and curvature at sub-pixel places, and notches of known depth in them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from detector.masks import Roi

__all__ = ["HEIGHT", "SHAPES", "WIDTH", "Band", "arc", "straight"]

HEIGHT, WIDTH = 400, 500


@dataclass(frozen=True)
class Band:
    """A band: `along` (H, W) px along its middle line and `across` (H, W) px from it, at each pixel's middle."""

    along: np.ndarray
    across: np.ndarray
    thickness: float

    @property
    def mask(self) -> np.ndarray:
        return np.abs(self.across) < self.thickness / 2

    @property
    def shares(self) -> np.ndarray:
        """How much of each pixel lies in it, 0 to 1; exact where it runs along the rows."""
        return np.clip(0.5 + self.thickness / 2 - np.abs(self.across), 0, 1)

    @property
    def roi(self) -> Roi:
        return Roi(self.mask, 0, 0)

    def notch(self, start: float, length: float, depth: float, *, upper: bool = True) -> Roi:
        """Return corrosion that reaches in from a face."""
        there = (self.along >= start) & (self.along < start + length)
        face = self.across < depth - self.thickness / 2 if upper else self.across > self.thickness / 2 - depth
        return Roi(self.mask & there & face, 0, 0)

    def eaten(self, start: float, length: float, depth: float, *, upper: bool = True) -> np.ndarray:
        """Return how much of each pixel such a notch takes away, 0 to 1."""
        there = (self.along >= start) & (self.along < start + length)
        inwards = self.across if upper else -self.across
        return np.where(there, np.minimum(self.shares, np.clip(0.5 + depth - self.thickness / 2 - inwards, 0, 1)), 0.0)

    def cavity(self, start: float, length: float, depth: float) -> Roi:
        """Return corrosion in the middle."""
        there = (self.along >= start) & (self.along < start + length)
        return Roi(there & (np.abs(self.across) < depth / 2), 0, 0)


def grid() -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of each pixel's middle."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return x + 0.5, y + 0.5


def straight(at: float, thickness: float, degrees: float = 0.0) -> Band:
    """Return a band that runs through the picture's middle, `at` px below it, turned clockwise."""
    x, y = grid()
    x, y = x - WIDTH / 2, y - HEIGHT / 2 - at
    turn = np.radians(degrees)
    return Band(x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn), thickness)


def arc(at: float, thickness: float, radius: float) -> Band:
    """Return a band bent around a point below the picture's middle; its highest place is `at` px below the middle."""
    x, y = grid()
    x, y = x - WIDTH / 2, y - HEIGHT / 2 - at - radius
    return Band(np.arctan2(x, -y) * radius, radius - np.hypot(x, y), thickness)


SHAPES: dict[str, Callable[[np.random.Generator], Band]] = {
    "slightly tilted": lambda rng: straight(rng.uniform(-40, 40), rng.uniform(8, 40), rng.uniform(0.2, 5)),
    "tilted": lambda rng: straight(rng.uniform(-20, 20), rng.uniform(8, 40), rng.uniform(-35, 35)),
    "steep": lambda rng: straight(rng.uniform(-20, 20), rng.uniform(8, 40), rng.uniform(55, 88)),
    "bent": lambda rng: arc(rng.uniform(-60, -20), rng.uniform(8, 40), rng.uniform(350, 900)),
}
"""Bands drawn at random: any thickness from 8 to 40 px, at any fraction of a pixel."""
