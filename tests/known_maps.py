"""Boards photographed through a map that is known: what registration finds is held against it."""

from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from taktwatch.simulator import BOARD_DEFECTS, board, golden, product_look
from taktwatch.simulator.look import Camera

SIDE = 640
BLEED = 88  # px of board drawn around the template, so that a shifted picture shows board and not its mirror image
SHIFT_PX, TURN_DEG, SCALE_SHARE, TILT = 40.0, 3.0, 0.02, 1e-5

Map = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Case:
    """A grey picture (H, W), the template it is to be registered to, and the 3x3 map from template to picture."""

    name: str
    picture: npt.NDArray[np.uint8]
    template: npt.NDArray[np.uint8]
    true: Map


def drawn_map(rng: np.random.Generator, *, reach: float = 1.0, tilt: float = TILT) -> Map:
    """Draw shift, turn, scale and tilt about the middle, uniform within `reach` times the capture range."""
    turn = np.radians(rng.uniform(-TURN_DEG, TURN_DEG) * reach)
    zoom = 1 + rng.uniform(-SCALE_SHARE, SCALE_SHARE) * reach
    dx, dy = rng.uniform(-SHIFT_PX, SHIFT_PX, 2) * reach
    similar = np.array(
        [
            [zoom * np.cos(turn), -zoom * np.sin(turn), dx],
            [zoom * np.sin(turn), zoom * np.cos(turn), dy],
            [*rng.uniform(-tilt, tilt, 2), 1],
        ]
    )
    middle = np.array([[1, 0, (SIDE - 1) / 2], [0, 1, (SIDE - 1) / 2], [0, 0, 1]])
    return middle @ similar @ np.linalg.inv(middle)


@cache
def template_of(layout: int, camera: Camera) -> npt.NDArray[np.uint8]:
    """Show the middle of a larger golden board, grey."""
    whole = golden(layout, size=(SIDE + 2 * BLEED,) * 2, look=product_look(layout, camera))
    return cv2.cvtColor(np.ascontiguousarray(whole[BLEED:-BLEED, BLEED:-BLEED]), cv2.COLOR_RGB2GRAY)


def known_case(layout: int, camera: Camera, seed: int, true: Map | None = None, *, defects: int | None = None) -> Case:
    """Photograph another board of the product, with faults, light and noise of its own, through a known map."""
    rng = np.random.default_rng([0x3A9, layout, seed])
    true = drawn_map(rng) if true is None else true
    look = product_look(layout, camera)
    still = replace(look, max_shift_px=0.0, max_rotation_deg=0.0, noise_sd=0.0)
    faults = rng.choice(BOARD_DEFECTS, int(rng.integers(0, 6)) if defects is None else defects).tolist()
    seen = board(layout, seed, size=(SIDE + 2 * BLEED,) * 2, defects=faults, look=still).picture
    corner = np.array([[1, 0, -BLEED], [0, 1, -BLEED], [0, 0, 1]])
    moved = cv2.warpPerspective(seen, true @ corner, (SIDE, SIDE), flags=cv2.INTER_CUBIC)
    grey = cv2.cvtColor(moved, cv2.COLOR_RGB2GRAY)
    if camera == "binary":
        grey = np.where(grey > 127, 255, 0).astype(np.uint8)
    else:
        noise = rng.standard_normal(grey.shape, dtype=np.float32) * np.float32(look.noise_sd)
        grey = np.clip(np.rint(grey + noise), 0, 255).astype(np.uint8)
    return Case(f"{camera} {layout}/{seed}", grey, template_of(layout, camera), true)


def cut(grey: npt.NDArray[np.uint8], rim: float, true: Map) -> npt.NDArray[np.uint8]:
    """Leave only bare ground of a picture (SIDE squared) beyond a rim, x = `rim` px of its template."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)
    back = np.linalg.inv(true)
    across = (back[0, 0] * x + back[0, 1] * y + back[0, 2]) / (back[2, 0] * x + back[2, 1] * y + back[2, 2])
    return np.where(across > rim, np.uint8(np.percentile(grey, 95)), grey).astype(np.uint8)


def residual_px(found: npt.NDArray[np.float64], true: Map, size: tuple[int, int] = (SIDE, SIDE)) -> float:
    """RMS distance, over the picture (H, W), between where two maps (2x3 or 3x3) take the template."""
    y, x = np.mgrid[0 : size[0] : 16, 0 : size[1] : 16].astype(np.float64)
    points = np.stack([x.ravel(), y.ravel()], 1)[None]

    def carried(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        whole = np.vstack([matrix, [0, 0, 1]]) if len(matrix) == 2 else matrix
        return cv2.perspectiveTransform(points, whole)[0]

    inside = np.all((carried(true) >= 0) & (carried(true) < size[::-1]), axis=1)
    away = carried(found) - carried(true)
    return float(np.sqrt((away[inside] ** 2).sum(axis=1).mean()))
