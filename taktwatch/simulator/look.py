"""How a product is drawn and looks to its camera: style, colours, finish, and how much pictures of it vary."""

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

import numpy as np

__all__ = ["STYLES", "BoardLook", "Camera", "Oddities", "Rgb", "Sensor", "Style", "product_look"]

Camera: TypeAlias = Literal["colour", "grey", "binary"]
Style: TypeAlias = Literal["plain", "varied", "held-out"]
STYLES: tuple[Style, ...] = get_args(Style)
Rgb: TypeAlias = tuple[int, int, int]

SOLDER_MASKS: tuple[Rgb, ...] = (
    (18, 84, 48),  # greens, by far the most common
    (12, 98, 62),
    (30, 92, 38),
    (8, 66, 44),
    (16, 52, 116),  # blues
    (10, 70, 140),
    (140, 22, 26),  # reds
    (112, 12, 30),
    (26, 27, 30),  # blacks
    (34, 32, 38),
    (78, 34, 104),  # purple
    (206, 208, 202),  # white
)
MASK_WEIGHTS = np.array([6, 5, 4, 4, 3, 3, 2, 2, 2, 1.5, 1, 1])
ENIG_SHARE = 0.55
ALIGNED_SHARE = 0.75  # of binarised products: the others are aligned by their holders alone
WHITE = 400  # a mask whose R + G + B is more than this is white
COLOURLESS = 20  # a mask whose largest and least of R, G, B differ by less is grey
ENIG: Rgb = (226, 188, 98)
TIN: Rgb = (204, 206, 204)
LAMINATE: Rgb = (150, 142, 92)
BARE_PANELS: tuple[tuple[Rgb, Rgb], ...] = (  # copper, laminate
    ((222, 146, 98), (92, 84, 50)),
    ((206, 132, 88), (58, 66, 40)),
    ((52, 44, 38), (206, 198, 150)),
)


# Colours that no other style has.
HELD_OUT_MASKS: tuple[Rgb, ...] = (
    (176, 146, 18),
    (10, 96, 104),
    (196, 92, 20),
    (92, 60, 36),
    (58, 78, 96),
    (150, 150, 60),
)
HELD_OUT_METALS: tuple[Rgb, ...] = ((214, 142, 104), (188, 194, 202), (240, 214, 140))
HELD_OUT_SILKS: tuple[Rgb, ...] = ((238, 222, 90), (250, 250, 250), (24, 24, 26))
HELD_OUT_LAMINATES: tuple[Rgb, ...] = ((172, 160, 128), (96, 88, 62))
LEAST_LUMINANCE = 45  # grey levels between metal and laminate: boards are compared in grey


@dataclass(frozen=True, slots=True)
class Oddities:
    """What good boards may show besides, far from any defect; each board within these.

    stain_levels: blotches, grey levels of their standard deviation. drift_levels: another lot's resin and metal, grey
    levels per colour. drill_off_px: all holes off centre by up to so much, those aside whose ring would break. dust:
    mean number of grains of 1 to 3 px across per 640 x 640 picture; the least defect is 5 px across.
    """

    stain_levels: float = 0.0
    drift_levels: float = 0.0
    drill_off_px: float = 0.0
    dust: float = 0.0


@dataclass(frozen=True, slots=True)
class Sensor:
    """Another camera's ways.

    shot: how much of the noise grows with the root of the light, 0..1; rows_sd: levels by which rows differ; jpeg:
    quality 1..100 at which the picture was compressed, 0 for not at all.
    """

    shot: float = 0.0
    rows_sd: float = 0.0
    jpeg: int = 0


@dataclass(frozen=True, slots=True)
class BoardLook:
    """What the camera makes of a board.

    style: whose hand draws it. `plain`: as the first weights were trained; where etching is coarse its noise stains
    even areas, too, up to islands and holes that are in no truth. `varied`: the same artwork, edges alone move, and
    good boards show oddities. `held-out`: artwork, colours and cameras for testing alone; no training draws them.
    camera: `colour`; `grey` (one luminance in all three channels); `binary` (copper black on white, thresholded).
    solder_mask, metal, silk, laminate: RGB 0..255; solder_mask None is a bare panel before the mask (no silk either).
    trace_contrast: how much lighter the mask is over copper, 0..1 of the way to `trace_tint`.
    max_shift_px, max_rotation_deg: each board's pose is uniform within +- these.
    etch_px: how far copper edges wander, about +- this; roughness: fine raggedness of edges, 0..1.
    blur_px: Gaussian sigma of the lens; noise_sd: sensor noise in grey levels 0..255.
    gradient: relative brightness change over the picture and into its corners, 0..1.
    specks: mean number of harmless dust specks (1 to 2 px) per 640 x 640 picture.
    """

    style: Style = "plain"
    camera: Camera = "colour"
    solder_mask: Rgb | None = (18, 84, 48)
    metal: Rgb = ENIG
    silk: Rgb = (232, 232, 224)
    laminate: Rgb = LAMINATE
    trace_contrast: float = 0.32
    trace_tint: Rgb = (196, 206, 120)
    max_shift_px: float = 6.0
    max_rotation_deg: float = 0.5
    etch_px: float = 0.7
    roughness: float = 0.25
    blur_px: float = 0.7
    noise_sd: float = 3.0
    gradient: float = 0.15
    specks: float = 6.0
    oddities: Oddities = Oddities()
    sensor: Sensor = Sensor()


def product_look(layout_seed: int, camera: Camera = "colour", style: Style = "plain") -> BoardLook:
    """Give the look of one product under a camera, drawn in a style; the same seed gives the same look.

    A `binary` product is registered before it is thresholded: most of its boards lie within 1.5 px of the template.

    >>> product_look(7) == product_look(7)
    True
    """
    look = _plain(layout_seed, camera)
    match style:
        case "plain":
            return look
        case "varied":
            return _varied(look, np.random.default_rng([0x0DD, layout_seed]))
        case "held-out":
            return _held_out(look, np.random.default_rng([0x4E1D, layout_seed]))


def _plain(layout_seed: int, camera: Camera) -> BoardLook:
    rng = np.random.default_rng([0x100C, layout_seed])
    mask: Rgb | None = SOLDER_MASKS[rng.choice(len(SOLDER_MASKS), p=MASK_WEIGHTS / MASK_WEIGHTS.sum())]
    metal = ENIG if rng.random() < ENIG_SHARE else TIN
    bare = rng.random() < (0.4 if camera == "grey" else 0.06)
    contrast = float(rng.uniform(0.22, 0.42))
    silk = (236, 236, 230)
    laminate = LAMINATE
    if bare:
        # Lit from above copper is bright on dark laminate; lit from below it is dark on bright laminate.
        mask, (metal, laminate) = None, BARE_PANELS[int(rng.choice(len(BARE_PANELS), p=(0.4, 0.3, 0.3)))]
    elif mask is not None and sum(mask) > WHITE:
        silk, contrast = (40, 40, 44), 0.45
    base = BoardLook(
        camera=camera,
        solder_mask=mask,
        metal=metal,
        silk=silk,
        laminate=laminate,
        trace_contrast=contrast,
        trace_tint=(150, 140, 108) if mask is not None and sum(mask) > WHITE else _tint(mask),
        etch_px=float(rng.uniform(0.3, 0.9)),
        roughness=float(rng.uniform(0.1, 0.4)),
        blur_px=float(rng.uniform(0.45, 1.0)),
        noise_sd=float(rng.uniform(1.5, 5.0)),
        gradient=float(rng.uniform(0.05, 0.25)),
        specks=float(rng.uniform(0, 14)),
    )
    if camera != "binary":
        return base
    return BoardLook(
        camera=camera,
        max_shift_px=1.5 if rng.random() < ALIGNED_SHARE else 5.0,
        max_rotation_deg=float(rng.uniform(0.0, 0.15)),
        etch_px=base.etch_px * float(rng.uniform(0.5, 1.6)),
        roughness=float(rng.uniform(0.1, 0.8)),
        blur_px=base.blur_px,
        noise_sd=float(rng.uniform(0, 18)),
        specks=float(rng.uniform(0, 6)),
    )


def _varied(look: BoardLook, rng: np.random.Generator) -> BoardLook:
    """Let good boards of some products be blotchy, dusty, of other lots, or drilled off centre."""
    stain, drift, off, dust = rng.random(4) < (0.5, 0.5, 0.4, 0.6)
    oddities = Oddities(
        stain_levels=float(rng.uniform(1, 6)) * stain,
        drift_levels=float(rng.uniform(2, 12)) * drift,
        drill_off_px=float(rng.uniform(1, 3.5)) * off,
        dust=float(rng.uniform(2, 20)) * dust,
    )
    return replace(look, style="varied", oddities=oddities)


def _held_out(look: BoardLook, rng: np.random.Generator) -> BoardLook:
    """Give colours and a sensor that no other style has; poses and light vary as elsewhere."""
    sensor = Sensor(shot=float(rng.uniform(0.4, 1.0)), rows_sd=float(rng.uniform(0, 2)), jpeg=int(rng.integers(80, 98)))
    if look.camera == "binary":
        return replace(look, style="held-out", sensor=sensor)
    mask = None if look.solder_mask is None else HELD_OUT_MASKS[int(rng.integers(len(HELD_OUT_MASKS)))]
    metal = HELD_OUT_METALS[int(rng.integers(len(HELD_OUT_METALS)))]
    dark_enough = [one for one in HELD_OUT_LAMINATES if _luminance(metal) - _luminance(one) >= LEAST_LUMINANCE]
    return replace(
        look,
        style="held-out",
        solder_mask=mask,
        metal=metal if mask is not None else look.metal,
        silk=HELD_OUT_SILKS[int(rng.integers(len(HELD_OUT_SILKS)))],
        laminate=dark_enough[int(rng.integers(len(dark_enough)))] if mask is not None else look.laminate,
        trace_contrast=float(rng.uniform(0.25, 0.45)),
        trace_tint=_tint(mask),
        sensor=sensor,
    )


def _luminance(colour: Rgb) -> float:
    """Return how bright a colour is in grey, 0 to 255 (ITU-R BT.601)."""
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _tint(mask: Rgb | None) -> Rgb:
    """Tell what colour a solder mask tends to where copper shines through it."""
    if mask is None or max(mask) - min(mask) < COLOURLESS:
        return (150, 138, 112)
    bright = tuple(min(255, int(60 + 1.35 * value)) for value in mask)
    return (min(255, bright[0] + 45), min(255, bright[1] + 30), bright[2])
