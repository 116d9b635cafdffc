"""Turns artwork into pictures: colours, etching tolerance, illumination, lens, sensor, and the three camera styles."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from taktwatch.simulator.artwork import BLEED_PX, Artwork, draw_artwork
from taktwatch.simulator.look import BoardLook, Rgb
from taktwatch.simulator.noise import Field, smooth_noise
from taktwatch.simulator.oddities import compressed, drifted, dusty, stained
from taktwatch.simulator.truth import BoolMask, Picture

__all__ = ["Chances", "Pose", "draw_pose", "golden_picture", "photograph", "to_picture"]

Pose: TypeAlias = npt.NDArray[np.float64]
Finishes: TypeAlias = tuple[Picture, Picture]

EDGE_SIGMA_PX, HELD_OUT_SIGMA_PX = 1.1, 1.5
EDGE_SLOPE = 1 / (EDGE_SIGMA_PX * np.sqrt(2 * np.pi))  # of a blurred edge where it is one half, per px
RELIEF = 26.0  # grey levels that a full step of copper adds to, or takes from, the light at its edge
HALF = 127  # of uint8
LEAST_SIGMA_PX = 0.3  # a narrower blur changes nothing


@dataclass(frozen=True, eq=False, slots=True)
class Chances:
    """Where a picture's chances are drawn from.

    etching, ageing: the board's own, the same whenever it is pictured. filming: lens, sensor and specks of this
    picture; dust: what has settled since the last one.
    """

    etching: np.random.Generator
    ageing: np.random.Generator
    filming: np.random.Generator
    dust: np.random.Generator


@lru_cache(maxsize=8)
def golden_picture(layout_seed: int, size: tuple[int, int], look: BoardLook) -> Picture:
    """Show the artwork itself: centred, evenly lit, without noise; uint8 RGB (H, W, 3), read-only."""
    art = draw_artwork(layout_seed, size, look.style)
    cover = _blurred(art.copper, 0.7)
    binary = look.camera == "binary"
    picture = _binary(cover) if binary else _mono(_shade(_finishes(layout_seed, size, look), cover), look)
    picture = np.ascontiguousarray(picture[BLEED_PX:-BLEED_PX, BLEED_PX:-BLEED_PX])
    picture.setflags(write=False)
    return picture


def draw_pose(size: tuple[int, int], look: BoardLook, rng: np.random.Generator) -> Pose:
    """Draw how a board lies under the camera: a 2x3 map from artwork px (bleed included) to picture px (H, W)."""
    angle = rng.uniform(-look.max_rotation_deg, look.max_rotation_deg)
    shift = rng.uniform(-look.max_shift_px, look.max_shift_px, 2)
    centre = (size[1] / 2 + BLEED_PX, size[0] / 2 + BLEED_PX)
    pose = np.asarray(cv2.getRotationMatrix2D(centre, float(angle), 1.0), np.float64)
    pose[:, 2] += shift - BLEED_PX
    return pose


def to_picture(mask: BoolMask, pose: Pose, size: tuple[int, int]) -> BoolMask:
    """Carry a mask from the artwork into the picture (H, W)."""
    carried = cv2.warpAffine(mask.astype(np.uint8) * 255, pose, (size[1], size[0]))
    return np.asarray(carried > HALF)


def photograph(
    layout_seed: int,
    size: tuple[int, int],
    *,
    art: Artwork,
    look: BoardLook,
    pose: Pose,
    chances: Chances,
) -> Picture:
    """Photograph one board whose copper and holes are as given; uint8 RGB (H, W, 3)."""
    cover, rng = _etched(art.copper, look, chances.etching), chances.filming
    if look.camera == "binary":
        seen = _lens(_warped(cover, pose, size), look, rng)
        # The threshold turns sensor noise into edges that flicker by a pixel here and there.
        noise = rng.standard_normal(size, dtype=np.float32) * np.float32(look.noise_sd)
        return dusty(_speckled(_binary(_u8(cv2.add(seen, noise, dtype=cv2.CV_8U))), look, rng), look, chances.dust)
    finishes = _finishes(layout_seed, size, look)
    if look.oddities.drill_off_px:
        finishes = _bored(_surfaces(layout_seed, size, look), art.drill)
    aged = stained(_shade(drifted(finishes, look, chances.ageing), cover), look, chances.ageing)
    picture = dusty(_lens(_warped(aged, pose, size), look, rng), look, chances.dust)
    return compressed(_mono(_sensed(_speckled(picture, look, rng), look, rng), look), look)


def _etched(copper: BoolMask, look: BoardLook, rng: np.random.Generator) -> Field:
    """Let copper's edges wander as etching does; share of copper per pixel, float32 0..1."""
    height, width = copper.shape
    other = look.style == "held-out"
    cover = _blurred(copper, HELD_OUT_SIGMA_PX if other else EDGE_SIGMA_PX)
    wander = smooth_noise((height, width), 12 if other else 28, rng) * (0.4 * look.etch_px * EDGE_SLOPE)
    ragged = smooth_noise((height, width), 5 if other else 3, rng) * (0.35 * look.roughness * EDGE_SLOPE)
    bias = rng.uniform(-0.5, 0.5) * look.etch_px * EDGE_SLOPE
    if look.style != "plain":
        # What is away from any edge stays as it is.
        moved = cover + (wander + ragged + bias) * 4 * cover * (1 - cover)
        return np.asarray(np.clip((moved - 0.5) * 2.0 + 0.5, 0, 1), np.float32)
    cover += wander
    cover += ragged
    return np.asarray(np.clip((cover + np.float32(bias - 0.5)) * np.float32(2.0) + np.float32(0.5), 0, 1))


@lru_cache(maxsize=8)
def _finishes(layout_seed: int, size: tuple[int, int], look: BoardLook) -> Finishes:
    """Paint the board as if it had no copper at all, and as if all of it were copper, with the artwork's holes."""
    return _bored(_surfaces(layout_seed, size, look), draw_artwork(layout_seed, size, look.style).drill)


def _bored(surfaces: tuple[Picture, Picture, Picture], drill: BoolMask) -> Finishes:
    """Bore holes into surfaces."""
    bare, plated, depth = surfaces
    hole = _blurred(drill, 0.9)
    return _mixed(bare, depth, hole), _mixed(plated, depth, hole)


@lru_cache(maxsize=8)
def _surfaces(layout_seed: int, size: tuple[int, int], look: BoardLook) -> tuple[Picture, Picture, Picture]:
    """Paint bare board, copper, and the inside of holes, each all over; uint8 RGB, of the artwork's shape."""
    art = draw_artwork(layout_seed, size, look.style)
    rng = np.random.default_rng([0xF1, layout_seed])
    shape = art.copper.shape
    weave = _weave(shape, rng)
    grain = smooth_noise(shape, 2, rng)
    cloud = smooth_noise(shape, 60, rng)
    laminate = _painted(look.laminate, 9 * weave + 3 * cloud)
    if look.solder_mask is None:
        plated = _painted(look.metal, 7 * grain + 4 * cloud)
        bare = laminate
    else:
        tint = tuple(
            int(dark + look.trace_contrast * (light - dark))
            for dark, light in zip(look.solder_mask, look.trace_tint, strict=True)
        )
        under_mask = _painted((tint[0], tint[1], tint[2]), 2.5 * grain + 3 * cloud)
        opening = _blurred(art.opening, 0.8)
        bare = _mixed(_painted(look.solder_mask, 2.5 * weave + 2 * cloud + 1.5 * grain), laminate, opening)
        plated = _mixed(under_mask, _painted(look.metal, 7 * grain + 5 * cloud), opening)
        silk = _blurred(art.silk, 0.8) * np.float32(0.93)
        ink = _painted(look.silk, 3 * grain)
        bare, plated = _mixed(bare, ink, silk), _mixed(plated, ink, silk)
    return bare, plated, _painted((20, 19, 18), 2 * grain)


def _shade(finishes: Finishes, cover: Field) -> Picture:
    """Colour a board by how much copper each pixel has; edges of copper catch or lose light as steps do."""
    bare, plated = finishes
    picture = _mixed(bare, plated, cover)
    soft = cv2.GaussianBlur(cover, (0, 0), 1.2)
    slope = np.zeros_like(soft)
    slope[1:-1, 1:-1] = (soft[2:, 2:] - soft[:-2, :-2]) * np.float32(RELIEF)
    light = np.clip(slope, 0, None).astype(np.uint8)
    dark = np.clip(-slope, 0, None).astype(np.uint8)
    return _u8(cv2.subtract(cv2.add(picture, cv2.merge([light] * 3)), cv2.merge([dark] * 3)))


def _weave(shape: tuple[int, int], rng: np.random.Generator) -> Field:
    """Glass cloth under resin: a faint, irregular weave; float32 (H, W), about +-1."""
    y = np.arange(shape[0], dtype=np.float32)[:, None]
    x = np.arange(shape[1], dtype=np.float32)[None, :]
    pitch = rng.uniform(9, 16)
    warp, weft = np.sin(2 * np.pi * x / pitch), np.sin(2 * np.pi * y / (pitch * rng.uniform(0.8, 1.25)))
    return np.asarray((warp * weft + 0.5 * smooth_noise(shape, 5, rng)).astype(np.float32) * np.float32(0.8))


def _painted(colour: Rgb, change: Field) -> Picture:
    """Paint a sheet in one colour, lightened and darkened by `change` grey levels (H, W)."""
    planes = [np.clip(change + np.float32(value), 0, 255).astype(np.uint8) for value in colour]
    return _u8(cv2.merge(planes))


def _mixed(below: Picture, above: Picture, share: Field) -> Picture:
    """Lay `above` over `below` by the share of it per pixel, 0..1."""
    share = np.ascontiguousarray(share, np.float32)
    return _u8(cv2.blendLinear(above, below, share, np.float32(1) - share))


def _warped(sheet: npt.NDArray[np.uint8] | Field, pose: Pose, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Lay a sheet under the camera; uint8, with the sheet's planes."""
    if sheet.dtype == np.float32:
        sheet = (sheet * np.float32(255)).astype(np.uint8)
    warped = cv2.warpAffine(sheet, pose, (size[1], size[0]), borderMode=cv2.BORDER_REFLECT_101)
    return _u8(warped)


def _lens(picture: npt.NDArray[np.uint8], look: BoardLook, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Blur as the lens does, each board in slightly different focus."""
    sigma = look.blur_px * rng.uniform(0.75, 1.3)
    return _u8(cv2.GaussianBlur(picture, (0, 0), sigma)) if sigma > LEAST_SIGMA_PX else picture


def _sensed(picture: Picture, look: BoardLook, rng: np.random.Generator) -> Picture:
    """Light the board unevenly and read it with a noisy sensor."""
    height, width = picture.shape[:2]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    slant = rng.uniform(-1, 1, 2) * look.gradient
    corner = rng.uniform(0.2, 1.0) * look.gradient
    gain = np.float32(1 + rng.uniform(-0.7, 0.7) * look.gradient) * (
        1 + np.float32(slant[0]) * x + np.float32(slant[1]) * y - np.float32(corner / 2) * (x * x + y * y)
    )
    balance = 1 + rng.uniform(-0.25, 0.25, 3) * look.gradient
    noise = rng.standard_normal((height, width), dtype=np.float32) * np.float32(look.noise_sd)
    planes = []
    for index, plane in enumerate(cv2.split(picture)):
        lit = cv2.multiply(plane, gain, scale=float(balance[index]), dtype=cv2.CV_32F)
        # One draw of noise serves all planes, turned around for each: their noise is uncorrelated.
        turned = noise if index == 0 else noise[::-1] if index == 1 else noise[:, ::-1]
        if look.sensor.shot:
            turned = turned * (1 + np.float32(look.sensor.shot) * (np.sqrt(lit / np.float32(HALF)) - 1))
        planes.append(cv2.add(lit, np.ascontiguousarray(turned), dtype=cv2.CV_8U))
    if look.sensor.rows_sd:
        rows = rng.standard_normal((height, 1), dtype=np.float32) * np.float32(look.sensor.rows_sd)
        planes = [_u8(cv2.add(plane, np.repeat(rows, width, 1), dtype=cv2.CV_8U)) for plane in planes]
    return _u8(cv2.merge(planes))


def _speckled(picture: Picture, look: BoardLook, rng: np.random.Generator) -> Picture:
    """Dust: a few specks of 1 to 2 px, far below the size of any defect."""
    height, width = picture.shape[:2]
    for _ in range(int(rng.poisson(look.specks * height * width / 640**2))):
        y, x = int(rng.integers(0, height - 2)), int(rng.integers(0, width - 2))
        speck = picture[y : y + int(rng.integers(1, 3)), x : x + int(rng.integers(1, 3))]
        if look.camera == "binary":
            speck[...] = 255 - speck
        else:
            speck[...] = cv2.addWeighted(speck, 0.6, np.full_like(speck, 255 * rng.integers(0, 2)), 0.4, 0)
    return picture


def _binary(cover: Field | npt.NDArray[np.uint8]) -> Picture:
    """Threshold: copper black on white, in all three planes."""
    middle = HALF if cover.dtype == np.uint8 else 0.5
    plane = np.where(cover > middle, 0, 255).astype(np.uint8)
    return _u8(cv2.merge([plane] * 3))


def _mono(picture: Picture, look: BoardLook) -> Picture:
    """Give a grey camera's picture: one luminance in all three planes."""
    if look.camera != "grey":
        return picture
    plane = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return _u8(cv2.merge([plane] * 3))


def _blurred(mask: BoolMask, sigma_px: float) -> Field:
    """Soften a mask; float32 0..1."""
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma_px), np.float32)


def _u8(picture: object) -> npt.NDArray[np.uint8]:
    return np.asarray(picture, np.uint8)
