"""Layer sections, edge-on under a microscope: copper layers in glass-fibre laminate, and corrosion in them."""

from functools import lru_cache

import cv2
import numpy as np

from taktwatch.simulator.laminate import draw_laminate
from taktwatch.simulator.look import Rgb, Style
from taktwatch.simulator.lookalikes import darkened, deep_scratches, delaminations, faded, voids
from taktwatch.simulator.noise import Field, smooth_noise
from taktwatch.simulator.stack import Layer, Site, draw_build, draw_layers, draw_sites
from taktwatch.simulator.truth import LayerTruth, Picture, SimulatedPicture, Truth

__all__ = ["section"]

COPPERS: tuple[Rgb, ...] = ((222, 150, 108), (236, 172, 128), (208, 132, 90), (228, 184, 150))
OXIDES: tuple[Rgb, ...] = ((58, 36, 28), (38, 44, 36), (74, 50, 34), (44, 30, 34))
VERDIGRIS: Rgb = (74, 128, 108)
DRIFT_PX = 96  # another section of the product shows another piece of its laminate
MASKED_SHARE = 0.75  # of products whose section shows solder mask on its outer layers
LEAST_SHARE = 0.002
LOOKALIKE_SHARES = (0.5, 0.4, 0.5)  # of varied sections that have voids, delamination, deep scratches
SURFACE_PX = 1.0  # a site this near to a face of the envelope breaks through it


def section(
    layout_seed: int,
    board_seed: int,
    *,
    size: tuple[int, int] = (384, 512),
    sites: int | None = None,
    defect_probability: float = 0.2,
    style: Style = "plain",
) -> SimulatedPicture:
    """Photograph one section of a product; `size` is (height, width) in px, 96 at least.

    `layout_seed` (0 or more) fixes stack and materials, `board_seed` (0 or more) what varies between sections. `sites`
    None: with `defect_probability` there are one to four corrosion sites; otherwise as many as asked for, as far as
    each finds a place. Truths are one `copper_layer` per layer, its original envelope, and one `corrosion` per site.
    The `varied` style tilts and bends layers more, takes contrast away, and shows what looks like corrosion and is
    none: voids, delamination, deep scratches. There is no style of sections that is held out.

    >>> [layer.name for layer in section(1, 2, size=(128, 128), sites=0).layers]
    ['L1', 'L2']
    """
    # Separate streams: the section without its corrosion is the same section, in the same light.
    if style == "held-out":
        raise ValueError("no style of sections is held out; there are plain and varied")
    chance, laying, eating, filming, ageing = np.random.default_rng([0x5EC7, layout_seed, board_seed]).spawn(5)
    if sites is None:
        sites = int(chance.integers(1, 5)) if chance.random() < defect_probability else 0
    unrest = float(ageing.uniform(1, 4)) if style == "varied" else 1.0
    layers = draw_layers(draw_build(layout_seed, size[0]), size, laying, unrest=unrest)
    eaten = draw_sites(layers, sites, eating)
    truths = tuple(Truth("copper_layer", layer.envelope) for layer in layers)
    truths += tuple(Truth("corrosion", site.mask) for site in eaten)
    known = tuple(_known(layer, [site for site in eaten if site.layer == index]) for index, layer in enumerate(layers))
    picture = _polished(layout_seed, layers, eaten, filming)
    if style == "varied":
        picture = _aged(picture, layers, ageing)
    return SimulatedPicture(_sensed(_scratched(picture, filming), filming), None, truths, known)


def _known(layer: Layer, sites: list[Site]) -> LayerTruth:
    """Measure on the masks what is true about a layer."""
    envelope = layer.envelope
    corroded = np.zeros_like(envelope)
    for site in sites:
        corroded |= site.mask
    near = (layer.depth < SURFACE_PX) | (layer.depth >= layer.thickness - SURFACE_PX)
    eaten = np.count_nonzero(corroded, axis=0)
    thickness = float(np.count_nonzero(envelope, axis=0).mean()) * layer.slant
    deepest = min(float(eaten.max()) * layer.slant, thickness)
    return LayerTruth(layer.name, envelope, corroded, deepest, thickness, bool((corroded & near).any()))


def _polished(layout_seed: int, layers: tuple[Layer, ...], sites: tuple[Site, ...], rng: np.random.Generator) -> Field:
    """Render the polished section, float32 (H, W, 3)."""
    height, width = layers[0].depth.shape
    size = (height, width)
    style = np.random.default_rng([0x57E, layout_seed])
    copper = COPPERS[int(style.integers(0, len(COPPERS)))]
    picture = _ground(layout_seed, size, layers, rng)
    metal = _metal(copper, size, rng)
    for layer in layers:
        cover = np.clip(layer.depth + 0.5, 0, 1) * np.clip(layer.thickness - layer.depth + 0.5, 0, 1)
        _lay(picture, metal, cover)
        # A polished edge is rounded: a thin dark line where metal meets resin.
        seam = np.exp(-((layer.depth + 0.7) ** 2)) + np.exp(-((layer.depth - layer.thickness - 0.7) ** 2))
        band = _rows(seam)
        picture[band] *= (1 - np.float32(0.35) * seam[band])[..., None]
    (rusting,) = rng.spawn(1)
    for site in sites:
        cover = cv2.GaussianBlur(site.mask.astype(np.float32), (0, 0), 0.7) * np.float32(rusting.uniform(0.82, 1.0))
        x, y, wide, high = cv2.boundingRect((cover > 0).astype(np.uint8))
        window = slice(y, y + high), slice(x, x + wide)
        _lay(picture[window], _oxide((high, wide), rusting), cover[window])
    return picture


def _aged(picture: Field, layers: tuple[Layer, ...], rng: np.random.Generator) -> Field:
    """Add what looks like corrosion, and take contrast away."""
    size = (picture.shape[0], picture.shape[1])
    holed, loose, scratched = rng.random(3) < LOOKALIKE_SHARES
    if holed:
        darkened(picture, voids(layers, int(rng.integers(1, 8)), rng), rng)
    if loose:
        darkened(picture, delaminations(layers, int(rng.integers(1, 4)), rng), rng)
    if scratched:
        picture = picture * (1 - deep_scratches(size, int(rng.integers(1, 5)), rng))[..., None]
    return faded(picture, float(rng.uniform(0.6, 1.05)))


def _ground(layout_seed: int, size: tuple[int, int], layers: tuple[Layer, ...], rng: np.random.Generator) -> Field:
    """Paint laminate between the outer layers, solder mask and mounting resin outside; float32 (H, W, 3)."""
    height, width = size
    style = np.random.default_rng([0x97D, layout_seed])
    mask = np.array([(34, 88, 56), (24, 72, 96), (60, 66, 40), (40, 40, 44)][int(style.integers(0, 4))], np.float32)
    resin = np.array([style.uniform(28, 70)] * 3, np.float32) + style.uniform(-6, 6, 3).astype(np.float32)
    mask_px = float(style.uniform(8, 26)) * (style.random() < MASKED_SHARE)
    y, x = int(rng.integers(0, DRIFT_PX)), int(rng.integers(0, DRIFT_PX))
    laminate = _laminate(layout_seed, (height + DRIFT_PX, width + DRIFT_PX))
    picture = laminate[y : y + height, x : x + width].astype(np.float32)
    above = -layers[0].depth
    below = layers[-1].depth - layers[-1].thickness
    for outside in (above, below):
        mottled = smooth_noise(size, 9, rng)[..., None]
        _lay(picture, mask + 4 * mottled, np.clip(outside + 0.5, 0, 1))
        _lay(picture, resin + 3 * mottled, np.clip(outside - mask_px + 0.5, 0, 1))
    return picture


@lru_cache(maxsize=8)
def _laminate(layout_seed: int, size: tuple[int, int]) -> Picture:
    """Give a product's laminate, drawn once."""
    laminate = draw_laminate(np.random.default_rng([0x1A3, layout_seed]), size)
    laminate.setflags(write=False)
    return laminate


def _metal(colour: Rgb, size: tuple[int, int], rng: np.random.Generator) -> Field:
    """Etched copper: grains of slightly different brightness, float32 (H, W, 3)."""
    grain = 9 * smooth_noise(size, 6, rng) + 5 * smooth_noise(size, 2, rng) + 5 * smooth_noise(size, 50, rng)
    return np.asarray(np.array(colour, np.float32) + grain[..., None] * np.array([1.0, 0.9, 0.75], np.float32))


def _oxide(size: tuple[int, int], rng: np.random.Generator) -> Field:
    """Corrosion products: dark, porous, here and there green; float32 (H, W, 3)."""
    dark = np.array(OXIDES[int(rng.integers(0, len(OXIDES)))], np.float32)
    green = np.clip(smooth_noise(size, 7, rng) * 0.5 + rng.uniform(-0.5, 0.5), 0, 0.8)[..., None]
    oxide = dark + (np.array(VERDIGRIS, np.float32) - dark) * green
    return np.asarray(oxide + (14 * smooth_noise(size, 2, rng) + 8 * smooth_noise(size, 5, rng))[..., None], np.float32)


def _lay(picture: Field, above: Field, share: Field) -> None:
    """Lay `above` (H, W, 3) over the picture, in place, by the share of it per pixel, 0..1 (H, W)."""
    band = _rows(share)
    picture[band] += (above[band] - picture[band]) * share[band][..., None]


def _rows(share: Field) -> slice:
    """Give the rows in which there is anything at all."""
    rows = np.flatnonzero(share.max(axis=1) > LEAST_SHARE)
    return slice(int(rows[0]), int(rows[-1]) + 1) if rows.size else slice(0)


def _scratched(picture: Field, rng: np.random.Generator) -> Field:
    """Add polishing scratches and a few stains far smaller than a site."""
    height, width = picture.shape[:2]
    marks = np.zeros((height, width), np.uint8)
    angle = rng.uniform(0, np.pi)
    for _ in range(int(rng.integers(0, 7))):
        at = rng.uniform(0, 1, 2) * (width, height)
        along = np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(30, 300)
        ends = np.round((np.stack([at, at + along])) * 16).astype(int)
        strength = int(rng.integers(40, 130))
        cv2.line(marks, ends[0].tolist(), ends[1].tolist(), strength, 1, cv2.LINE_AA, 4)
        angle += rng.normal(0, 0.08)
    picture = picture + marks[..., None].astype(np.float32) * np.float32(rng.choice([-0.16, 0.16]))
    for _ in range(int(rng.poisson(5))):
        y, x = int(rng.integers(0, height - 2)), int(rng.integers(0, width - 2))
        picture[y : y + 2, x : x + int(rng.integers(1, 3))] *= np.float32(rng.uniform(0.5, 0.8))
    return np.asarray(picture, np.float32)


def _sensed(picture: Field, rng: np.random.Generator) -> Picture:
    """Light, focus and read the section: vignette, slant, blur, noise."""
    height, width = picture.shape[:2]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    slant = rng.uniform(-0.1, 0.1, 2).astype(np.float32)
    gain = 1 + slant[0] * x + slant[1] * y - np.float32(rng.uniform(0.02, 0.12)) * (x * x + y * y)
    gain = gain * np.float32(rng.uniform(0.85, 1.12))
    lit = cv2.GaussianBlur(picture * gain[..., None], (0, 0), float(rng.uniform(0.5, 0.95)))
    lit += rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(rng.uniform(1.5, 4.5))
    return np.asarray(np.clip(lit, 0, 255), np.uint8)
