"""Pours of the held-out style: solid with thermal bridges, honeycombs, waves, dots."""

# ruff: noqa: PLR2004 - chances and proportions read best where something is drawn from them

import cv2
import numpy as np
import numpy.typing as npt

from taktwatch.simulator.pen import Pen

__all__ = ["patterned_pour"]

Sheet = npt.NDArray[np.uint8]

LEAST_ISLAND_PX, LEAST_DOT_PX = 1500, 120  # smaller pieces of a pour, of a pattern of dots, are left out
WIDEST_CLEARANCE_PX = 30
KINDS = ("none", "solid", "bridged", "honeycomb", "waves", "dots")
CHANCES = (0.35, 0.1, 0.2, 0.12, 0.12, 0.11)


def patterned_pour(pen: Pen, gap_px: int, trace_px: int, rng: np.random.Generator) -> Sheet:
    """Pour copper around what is drawn, uint8 (H, W): clear of it, or here and there joined by bridges."""
    kind = str(rng.choice(KINDS, p=CHANCES))
    if kind == "none":
        return np.zeros(pen.shape, np.uint8)
    y, x = np.mgrid[: pen.shape[0], : pen.shape[1]].astype(np.float32)
    angle = float(rng.uniform(0, np.pi))
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    line = float(rng.uniform(7, 13))
    pitch = line + float(rng.uniform(9, 26))
    match kind:
        case "honeycomb":
            filled = _honeycomb(along, across, 2 * pitch, line)
        case "waves":
            filled = ((across + 0.3 * pitch * np.sin(2 * np.pi * along / (4 * pitch))) % pitch) < line
        case "dots":
            row = np.floor(across / pitch)
            filled = np.hypot((along + row % 2 * pitch / 2) % pitch - pitch / 2, across % pitch - pitch / 2) < line
        case _:
            filled = np.ones(pen.shape, np.bool_)
    # A pour ends somewhere: along a wavering line, or not at all.
    edge = rng.uniform(-0.2, 1.3) * max(pen.shape) + 20 * np.sin(across / rng.uniform(30, 90))
    sheet = (np.asarray(filled & (along % max(pen.shape) < edge)) * 255).astype(np.uint8)
    clear = min(gap_px * rng.uniform(0.9, 1.5), WIDEST_CLEARANCE_PX)
    free = (np.maximum(pen.copper, pen.drill) <= 127).astype(np.uint8)
    sheet[cv2.distanceTransform(free, cv2.DIST_L2, 5) <= clear] = 0
    least = LEAST_DOT_PX if kind in {"dots", "honeycomb", "waves"} else LEAST_ISLAND_PX
    count, labels, stats, _ = cv2.connectedComponentsWithStats(sheet, connectivity=4)
    sheet[(stats[:count, cv2.CC_STAT_AREA] < least)[labels]] = 0
    if kind == "bridged":
        _bridge(sheet, pen, clear, max(7, trace_px), rng)
    return sheet


def _honeycomb(
    x: npt.NDArray[np.float32], y: npt.NDArray[np.float32], pitch: float, line: float
) -> npt.NDArray[np.bool_]:
    """Walls of `line` px between six-sided cells `pitch` px apart: far from the nearest two lattices' middles."""
    high = pitch * np.sqrt(3)
    offsets = []
    for shift in (0.0, 0.5):
        dx = (x + shift * pitch) % pitch - pitch / 2
        dy = (y + shift * high) % high - high / 2
        # Distance to a middle as hexagons count it: 1 at the middle of a side.
        offsets.append(np.maximum(np.abs(dx), np.abs(dx) / 2 + np.abs(dy) * np.sqrt(3) / 2))
    return np.asarray(np.minimum(*offsets) > (pitch - line) / 2)


def _bridge(sheet: Sheet, pen: Pen, clear_px: float, width_px: int, rng: np.random.Generator) -> None:
    """Join some drilled pads to the pour around them with three spokes each."""
    count, _, _, middles = cv2.connectedComponentsWithStats((pen.drill > 127).astype(np.uint8))
    for index in range(1, count):
        if rng.random() > 0.4:
            continue
        x, y = middles[index]
        net = int(pen.nets[min(int(y), sheet.shape[0] - 1), min(int(x), sheet.shape[1] - 1)])
        if net == 0:
            continue
        own = pen.nets == net
        # Only a pad by itself is joined: a trace that leaves it belongs to a signal.
        size = float(np.sqrt(np.count_nonzero(own)))
        if size > 80:
            continue
        reach = 0.62 * size + clear_px + 6
        first = rng.uniform(0, 2 * np.pi)
        for spoke in range(3):
            angle = first + spoke * 2 * np.pi / 3
            end = (int(x + reach * np.cos(angle)), int(y + reach * np.sin(angle)))
            probe = np.zeros_like(sheet)
            cv2.line(probe, (int(x), int(y)), end, 255, width_px)
            reaches = sheet[min(max(end[1], 0), sheet.shape[0] - 1), min(max(end[0], 0), sheet.shape[1] - 1)] > 0
            if reaches and not ((pen.nets > 0) & ~own & (cv2.dilate(probe, np.ones((9, 9), np.uint8)) > 0)).any():
                sheet[probe > 0] = 255
