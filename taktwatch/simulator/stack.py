"""The geometry of a layer section: where each copper layer runs, and where corrosion has eaten into it."""

# ruff: noqa: PLR2004 - chances and proportions read best where something is drawn from them

from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from taktwatch.simulator.noise import Field
from taktwatch.simulator.truth import BoolMask

__all__ = ["Build", "Layer", "Origin", "Site", "draw_build", "draw_layers", "draw_sites"]

Origin: TypeAlias = Literal["upper", "lower", "inside"]

EDGE_MARGIN_PX = 12  # sites keep this far from the ends of the picture
APART_PX = 10  # between two sites of one layer
WHOLE_PX = 3.0  # copper left above and below a site that starts inside
TRIES = 20
LEAST_AREA_PX = 40
MOST_TILT = 0.08


@dataclass(frozen=True, slots=True)
class Build:
    """A product's stack: the upper face of each layer in px from the top, its thickness in px, which face is rough."""

    upper_px: tuple[float, ...]
    thickness_px: tuple[float, ...]
    rough_above: tuple[bool, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Layer:
    """One layer as laminated. `depth` is float32 (H, W): px below its upper face; `thickness` (W,) px per column.

    `slant` is the cosine of its tilt: extent down a column times `slant` is extent across the layer.
    """

    name: str
    depth: Field
    thickness: Field
    slant: float

    @property
    def envelope(self) -> BoolMask:
        """Copper and corrosion together, bool (H, W)."""
        return np.asarray((self.depth >= 0) & (self.depth < self.thickness))


@dataclass(frozen=True, eq=False, slots=True)
class Site:
    """One corrosion site: the index of its layer, the face it starts from, and its mask, bool (H, W)."""

    layer: int
    origin: Origin
    mask: BoolMask


def draw_build(layout_seed: int, height: int) -> Build:
    """Draw how many layers a product has, how thick they are, and where they lie in a picture `height` px high."""
    rng = np.random.default_rng([0x57AC, layout_seed])
    count = int(rng.integers(2, 6)) if height >= 240 else 2
    top = height * rng.uniform(0.1, 0.17)
    pitch = (height - 2 * top) / (count - 0.55)
    upper = top + np.arange(count) * pitch + rng.uniform(-0.06, 0.06, count) * pitch
    inner = rng.uniform(0.22, 0.42) * pitch
    thickness = np.clip(inner * rng.uniform(0.85, 1.15, count), 12, min(44, 0.6 * pitch))
    thickness[[0, -1]] = np.clip(thickness[[0, -1]] * rng.uniform(1.0, 1.35), 12, min(48, 0.6 * pitch))
    rough = rng.random(count) < 0.5
    return Build(tuple(upper.tolist()), tuple(thickness.tolist()), tuple(rough.tolist()))


def draw_layers(
    build: Build, size: tuple[int, int], rng: np.random.Generator, *, unrest: float = 1.0
) -> tuple[Layer, ...]:
    """Lay the stack under the microscope: shifted, tilted, slightly wavy, with rough faces.

    `unrest` is how much more it is tilted than usual (to 4.5 degrees at most), and half as much how much wavier.
    """
    height, width = size
    x = np.arange(width, dtype=np.float64)
    tilt = rng.normal(0, 0.012)
    if unrest > 1:
        tilt = float(np.clip(tilt * unrest, -MOST_TILT, MOST_TILT))
    shift = rng.uniform(-0.02, 0.02) * height
    waves = [(rng.uniform(0.3, 1.8), rng.uniform(140, 600), rng.uniform(0, 2 * np.pi)) for _ in range(2)]
    common = shift + np.tan(tilt) * (x - width / 2)
    for swing, length, phase in waves:
        common = common + max(1.0, unrest / 2) * swing * np.sin(2 * np.pi * x / length + phase)
    layers = []
    for index, (upper, thick) in enumerate(zip(build.upper_px, build.thickness_px, strict=True)):
        own = rng.uniform(0.2, 1.0) * np.sin(2 * np.pi * x / rng.uniform(90, 300) + rng.uniform(0, 6.3))
        face = upper + common + own
        thickness = thick * rng.uniform(0.95, 1.05) + 0.5 * _ripple(width, 40, rng)
        tooth = rng.uniform(0.4, 0.9) * _ripple(width, 3, rng)
        if build.rough_above[index]:
            face, thickness = face + tooth, thickness - tooth
        else:
            thickness = thickness + tooth
        depth = np.arange(height, dtype=np.float32)[:, None] - face.astype(np.float32)[None, :]
        layers.append(Layer(f"L{index + 1}", depth, thickness.astype(np.float32), float(np.cos(tilt))))
    return tuple(layers)


def draw_sites(layers: tuple[Layer, ...], count: int, rng: np.random.Generator) -> tuple[Site, ...]:
    """Let corrosion eat into the layers at `count` sites, no two of them over one another in the same layer.

    A site that finds no room within some tries is left out.
    """
    width = len(layers[0].thickness)
    taken = np.zeros((len(layers), width), np.bool_)
    taken[:, :EDGE_MARGIN_PX] = taken[:, -EDGE_MARGIN_PX:] = True
    sites: list[Site] = []
    for _ in range(count):
        for _ in range(TRIES):
            index = int(rng.integers(0, len(layers)))
            site = Site(index, *_eat(layers[index], rng))
            columns = site.mask.any(axis=0)
            if np.count_nonzero(site.mask) < LEAST_AREA_PX or (columns & taken[index]).any():
                continue
            taken[index] |= np.convolve(columns, np.ones(2 * APART_PX + 1), "same") > 0
            sites.append(site)
            break
    return tuple(sites)


def _eat(layer: Layer, rng: np.random.Generator) -> tuple[Origin, BoolMask]:
    """Draw one ragged pit or cavity in a layer: where it starts, and its mask."""
    height, width = layer.depth.shape
    middle = float(rng.uniform(EDGE_MARGIN_PX, width - EDGE_MARGIN_PX))
    thick = float(layer.thickness[int(middle)])
    half = min(float(np.exp(rng.normal(2.6, 0.55))), width / 5)
    share = float(rng.uniform(0.15, 0.85)) if rng.random() < 0.85 else 1.15
    chance = rng.random()
    origin: Origin = "upper" if chance < 0.4 else "lower" if chance < 0.8 else "inside"
    across = (np.arange(width, dtype=np.float32)[None, :] - middle) / half
    match origin:
        case "upper":
            down = layer.depth / (share * thick)
        case "lower":
            down = (layer.thickness - layer.depth) / (share * thick)
        case "inside":
            reach = max(min(share, 0.7) * thick / 2, 2.5)
            start = thick / 2 + rng.uniform(-0.15, 0.15) * thick
            down = (layer.depth - start) / reach
    small = (height // 5 + 3, width // 5 + 3)
    grain = cv2.resize(rng.standard_normal(small, dtype=np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    inside = across * across + down * down < (1 + 0.22 * np.clip(grain, -2, 2)) ** 2
    mask = inside & layer.envelope
    if origin == "inside":
        mask &= (layer.depth >= WHOLE_PX) & (layer.depth < layer.thickness - WHOLE_PX)
    return origin, _largest(mask)


def _largest(mask: BoolMask) -> BoolMask:
    """Keep the largest piece: a site is one patch."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count < 2:
        return mask
    return np.asarray(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])))


def _ripple(width: int, scale_px: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Noise along the layer that changes over `scale_px`; (W,), within +-2."""
    knots = np.clip(rng.standard_normal(width // scale_px + 3), -2, 2)
    return np.interp(np.arange(width) / scale_px, np.arange(len(knots)), knots)
