"""A walk along a section's layers, shown: drawn onto the picture, and plotted layer by layer along its length. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from detector.evaluation.charts import Axis, Curve, chart
from detector.judge import LAYER
from detector.layers.straighten import Course
from detector.layers.walker import SURFACE_PX, Walk, Walked, walk
from detector.masks import Roi
from taktwatch.records import Detection, LayerProfile
from taktwatch.rle import decode_roi

__all__ = ["draw_walk", "profile_plot", "walk_of"]

Picture = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Rgb = tuple[int, int, int]

MIDDLE: Rgb = (255, 220, 0)
FACE: Rgb = (64, 200, 255)
EATEN: Rgb = (255, 48, 48)
LEFT_OUT: Rgb = (150, 150, 150)
SUBPIXEL_BITS = 4  # OpenCV draws in sixteenths of a px
EVERY_PX = 24
TICKS = 5


def walk_of(detections: Sequence[Detection], um_per_px: float, layers: Sequence[LayerProfile] = ()) -> Walk:
    """Walk again along what a result says was found; in um per px down the picture.

    A result's masks have whole pixels, its `layers` were measured between them: those figures stand.
    """
    metal = [Roi(*decode_roi(found.mask)) for found in detections if found.label == LAYER]
    sites = [Roi(*decode_roi(found.mask)) for found in detections if found.label != LAYER]
    walked = walk(metal, sites, um_per_px, detections[0].mask.size if detections else None)
    if len(layers) != len(walked.layers):
        return walked
    told = [replace(layer, profile=profile) for layer, profile in zip(walked.layers, layers, strict=True)]
    return replace(walked, layers=tuple(told))


def draw_walk(picture: Picture, walked: Walk) -> Picture:
    """Return the RGB picture (H, W, 3) with each layer's faces and middle, what is eaten across, and what is left out.

    >>> draw_walk(np.zeros((8, 8, 3), np.uint8), Walk((), ())).any()
    np.False_
    """
    canvas = picture.copy()
    for layer in walked.layers:
        for course in layer.courses:
            upper, lower, middle = (
                _turned(line, layer) for line in (course.upper, course.lower, np.stack([course.x, course.y], axis=1))
            )
            samples = course.corroded.shape[1]
            for step in np.flatnonzero(course.corroded.any(axis=1)).tolist():
                there = np.flatnonzero(course.corroded[step])[[0, -1]] + np.array([0, 1])
                _line(canvas, upper[step] + there[:, None] / samples * (lower[step] - upper[step]), EATEN)
            for step in range(EVERY_PX // 2, len(middle), EVERY_PX):
                _line(canvas, np.stack([upper[step], lower[step]]), LEFT_OUT if course.left_out[step] else FACE)
            for line, colour in ((upper, FACE), (lower, FACE), (middle, MIDDLE)):
                for start, end in _stretches(course.left_out):
                    _line(canvas, line[start : end + 1], LEFT_OUT if course.left_out[start] else colour)
    return canvas


def profile_plot(layer: Walked, um_per_px: float) -> str:
    """Return an SVG of one layer along its length: its thickness, the copper left, and how deep each side is eaten."""
    profile = layer.profile
    length = max(sum(course.x.size for course in layer.courses) * um_per_px, 1e-9)
    high = 1.1 * max(float(course.thickness.max()) for course in layer.courses) * um_per_px
    starts = np.cumsum([0, *(course.x.size for course in layer.courses)])
    curves = []
    for number, (title, of) in enumerate(SHOWN.items()):
        for index, (start, course) in enumerate(zip(starts, layer.courses, strict=False)):
            kept = np.flatnonzero(~course.left_out)
            places = (start + kept) * um_per_px
            values = of(course)[kept] * um_per_px
            points = list(zip(places.tolist(), values.tolist(), strict=True))
            curves.append(Curve(title if index == 0 else "", points, colour=number))
    described = (
        f"{profile.thickness_um:.1f} um thick, corroded {profile.corroded_length_share:.1%} of its length, "
        f"at most {profile.deepest_um:.1f} um deep, {profile.residual_um:.1f} um left, {profile.breaks} breaks"
    )
    drawn = chart(
        profile.layer,
        described,
        Axis("along the layer, um", 0.0, length, _ticks(length)),
        Axis("across it, um", 0.0, high, _ticks(high)),
        curves,
    )
    return drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="12" ', 1)


def _thickness(course: Course) -> Floats:
    return course.thickness


def _copper(course: Course) -> Floats:
    return course.thickness - course.eaten


def _from_above(course: Course) -> Floats:
    return course.depth(upper=True, within_px=SURFACE_PX)


def _from_below(course: Course) -> Floats:
    return course.depth(upper=False, within_px=SURFACE_PX)


SHOWN = {
    "thickness of the layer": _thickness,
    "copper left": _copper,
    "depth from the upper face": _from_above,
    "depth from the lower face": _from_below,
}


def _ticks(high: float) -> list[float]:
    """Return round numbers from 0 to a value.

    >>> _ticks(430)
    [0, 100, 200, 300, 400]
    """
    step = 10.0 ** np.floor(np.log10(high / TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if high / (step * factor) <= TICKS)
    return [round(float(tick), 6) if tick % 1 else int(tick) for tick in np.arange(0, high, step)]


def _turned(line: Floats, layer: Walked) -> Floats:
    """Return places (S, 2) as x and y of the picture."""
    return line[:, ::-1] if layer.transposed else line


def _stretches(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return (start, end) of stretches of equal flags."""
    edges = [0, *(np.flatnonzero(np.diff(flags)) + 1).tolist(), flags.size]
    return list(pairwise(edges))


def _line(canvas: Picture, places: Floats, colour: Rgb) -> None:
    """Draw a line through places, whose pixels' corners are whole numbers."""
    fixed = np.rint((places - 0.5) * 2**SUBPIXEL_BITS).astype(np.int32)
    cv2.polylines(canvas, [fixed], isClosed=False, color=colour, thickness=1, lineType=cv2.LINE_AA, shift=SUBPIXEL_BITS)
