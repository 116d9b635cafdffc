"""The artwork of a product: which copper, openings, holes and print its boards have. A seed makes it again."""

# ruff: noqa: PLR2004 - chances and proportions read best where something is drawn from them

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from taktwatch.simulator.held_out import draw_held_out
from taktwatch.simulator.look import Style
from taktwatch.simulator.pen import Pen, Shape, octagon
from taktwatch.simulator.planes import pour
from taktwatch.simulator.recipes import RECIPES
from taktwatch.simulator.routing import Region, Rules, draw_rules, wander
from taktwatch.simulator.truth import BoolMask

__all__ = ["BLEED_PX", "Artwork", "draw_artwork"]

BLEED_PX = 16  # drawn beyond the picture on every side, so that a shifted board shows board
MAX_TILT_DEG = 8.0
RECIPE_WEIGHTS = np.array([5.0, 2.5, 2.5, 1.2, 2.5, 1.2, 1.6, 2.0, 0.9, 1.5])


@dataclass(frozen=True, eq=False, slots=True)
class Artwork:
    """What the board should be. Masks are bool (H + 2 BLEED_PX, W + 2 BLEED_PX), read-only.

    copper: conductors less drill holes. opening: free of solder mask. drill: holes. silk: legend print.
    """

    copper: BoolMask
    opening: BoolMask
    drill: BoolMask
    silk: BoolMask


@lru_cache(maxsize=16)
def draw_artwork(layout_seed: int, size: tuple[int, int], style: Style = "plain") -> Artwork:
    """Draw the artwork of a product for pictures of `size` (height, width) px; `plain` and `varied` draw the same.

    >>> draw_artwork(1, (64, 96)).copper.shape
    (96, 128)
    """
    if style == "held-out":
        pen = draw_held_out(
            np.random.default_rng([0x4E1D, 0xA27, layout_seed]), (size[0] + 2 * BLEED_PX, size[1] + 2 * BLEED_PX)
        )
        sheets = [pen.copper, pen.opening, pen.drill, pen.silk]
    else:
        sheets = _sheets(layout_seed, size)
    plated, opening, drill, silk = (sheet > 127 for sheet in sheets)
    masks = (_without_slivers(plated & ~drill), opening, drill, silk & ~opening & ~drill)
    for mask in masks:
        mask.setflags(write=False)
    return Artwork(*masks)


def _sheets(layout_seed: int, size: tuple[int, int]) -> list[npt.NDArray[np.uint8]]:
    """Draw copper, openings, holes and print, uint8 (H + 2 BLEED_PX, W + 2 BLEED_PX), 255 where drawn."""
    rng = np.random.default_rng([0xA27, layout_seed])
    rules = draw_rules(rng)
    tilt = float(rng.uniform(-MAX_TILT_DEG, MAX_TILT_DEG)) if rng.random() < 0.15 else 0.0
    spare = int(np.sin(np.radians(abs(tilt))) * max(size) / 2) + 1 if tilt else 0
    bleed = BLEED_PX + spare
    height, width = size[0] + 2 * bleed, size[1] + 2 * bleed
    pen = Pen((height, width), rules.gap)
    regions = _split(Region(0, 0, width, height), rng, int(rng.integers(0, 4)))
    weights = RECIPE_WEIGHTS * rng.uniform(0.1, 1.0, len(RECIPES)) ** 2
    for region in regions:
        if rng.random() < 0.12:
            continue
        RECIPES[rng.choice(len(RECIPES), p=weights / weights.sum())](pen, rules, region, rng)
    _fill_with_traces(pen, rules, rng)
    copper = np.maximum(pen.copper, pour(pen, rules, rng))
    sheets = [copper, pen.opening, pen.drill, pen.silk]
    if tilt:
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), tilt, 1.0)
        sheets = [np.asarray(cv2.warpAffine(sheet, turn, (width, height)), np.uint8) for sheet in sheets]
    if spare:
        sheets = [sheet[spare:-spare, spare:-spare] for sheet in sheets]
    return sheets


def _split(region: Region, rng: np.random.Generator, depth: int) -> list[Region]:
    """Cut a region in two, again and again, until pieces are small or chance says stop."""
    long_side = max(region.width, region.height)
    if depth == 0 or long_side < 220:
        return [region]
    share = rng.uniform(0.3, 0.7)
    if region.width >= region.height:
        middle = region.x0 + int(region.width * share)
        parts = (
            Region(region.x0, region.y0, middle, region.y1),
            Region(middle, region.y0, region.x1, region.y1),
        )
    else:
        middle = region.y0 + int(region.height * share)
        parts = (
            Region(region.x0, region.y0, region.x1, middle),
            Region(region.x0, middle, region.x1, region.y1),
        )
    return [piece for part in parts for piece in _split(part, rng, depth - 1)]


def _fill_with_traces(pen: Pen, rules: Rules, rng: np.random.Generator) -> None:
    """Route loose traces through what is still free."""
    height, width = pen.shape
    tries = int(rng.integers(0, 26) * height * width / 640**2) + 1
    for _ in range(tries):
        start = np.array([rng.uniform(0, width), rng.uniform(0, height)])
        if pen.fits(Shape(octagon(float(start[0]), float(start[1]), 8, 8)), 0):
            # Supply lines are broader than signals.
            width = rules.trace if rng.random() < 0.7 else int(rng.uniform(rules.trace, 60))
            wander(pen, rules, rng, start, int(rng.integers(0, 8)), net=pen.new_net(), width=width)


def _without_slivers(copper: BoolMask) -> BoolMask:
    """Remove copper thinner than a fab could etch, crumbs, and gaps too narrow to see."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    sheet = cv2.morphologyEx(copper.astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    sheet = cv2.morphologyEx(sheet, cv2.MORPH_OPEN, kernel)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(sheet, connectivity=8)
    big = stats[:, cv2.CC_STAT_AREA] >= 80
    big[0] = False
    return np.asarray(big[:count][labels], np.bool_)
