"""Draws what was found onto a copy of the picture. Pure."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from detector.judge import LAYER
from taktwatch.records import Detection
from taktwatch.rle import decode_roi

__all__ = ["draw_overlay"]

Picture = npt.NDArray[np.uint8]
Rgb = tuple[int, int, int]

DEFECT: Rgb = (255, 48, 48)
LAYER_COLOUR: Rgb = (64, 200, 255)
PAPER: Rgb = (0, 0, 0)
LETTER_PX = 12


def draw_overlay(picture: Picture, detections: Sequence[Detection]) -> Picture:
    """Return the RGB picture (H, W, 3) with each detection's outline, box, class and score.

    >>> draw_overlay(np.zeros((8, 8, 3), np.uint8), ()).any()
    np.False_
    """
    canvas = picture.copy()
    for found in detections:
        colour = LAYER_COLOUR if found.label == LAYER else DEFECT
        roi, x0, y0 = decode_roi(found.mask)
        if not roi.size:
            continue
        seen = roi.astype(np.uint8)
        contours, _ = cv2.findContours(seen, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE, offset=(x0, y0))
        cv2.drawContours(canvas, contours, -1, colour, 1)
    for found in detections:
        colour = LAYER_COLOUR if found.label == LAYER else DEFECT
        left, top, right, bottom = (round(end) for end in found.box_px)
        if found.label != LAYER:
            cv2.rectangle(canvas, (left - 3, top - 3), (right + 2, bottom + 2), colour, 1)
        _write(canvas, f"{found.label} {found.score:.2f}", (left - 3, top - 6), colour)
    return canvas


def _write(canvas: Picture, text: str, at: tuple[int, int], colour: Rgb) -> None:
    """Write on a dark strip, inside the picture."""
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, LETTER_PX / 30
    (width, height), base = cv2.getTextSize(text, font, scale, 1)
    x = min(max(at[0], 0), max(canvas.shape[1] - width, 0))
    y = min(max(at[1], height + base), canvas.shape[0] - 1)
    cv2.rectangle(canvas, (x, y - height - 1), (x + width, y + base - 2), PAPER, -1)
    cv2.putText(canvas, text, (x, y), font, scale, colour, 1, cv2.LINE_AA)
