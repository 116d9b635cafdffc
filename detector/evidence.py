"""Does the picture show what the network reports? What does not differ from the template there is no defect. Pure.

The counterpart of `detector.unexplained`: that looks for differences nobody found, this for findings without one. The
network sees the difference, too, and yet now and then calls an edge that wandered by part of a pixel a bite, or a grain
of dust a hole; a person who looks at picture and template sees nothing. And what both see is a finding, although the
score alone would not do.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from detector.aligning.light import dark_and_bright
from detector.aligning.ranks import median
from detector.engines import RawDetections
from detector.inputs import Pair
from detector.judge import Finding, once, passing, ranked
from detector.masks import Roi
from detector.scores import Scores
from detector.spec import ModelSpec

__all__ = ["least_levels", "reported", "shown", "shown_px"]

WANDER_PX = 1  # edges of good boards wander by as much
AROUND_PX = 3  # what is nearby
CONTRAST_SHARE = 0.15  # of the template's contrast nearby, from which a px differs
WHOLE_SHARE = 0.13  # of the whole template's contrast: what is nearby may be even
NOISES = 3.0  # robust spreads of the difference from which a px differs
SPARSE = 4  # one px in so many is enough to tell the last two
CLEARLY = 1.5  # so many times the least px are seen clearly
FAINTLY = 0.5  # and so many of them do where the network scores at least
HARDLY_A_DOUBT = 0.97

Grey = npt.NDArray[np.uint8]


def reported(
    raw: RawDetections, spec: ModelSpec, scores: Scores, size: tuple[int, int], pair: Pair | None
) -> list[Finding]:
    """Return the findings of a picture (height, width): what passes its class's threshold and is shown, one at a place.

    One witness that is the surer makes up for the other: what the network holds more likely than not (0.5) and the
    picture shows clearly is reported below a learnt threshold, too, and of what the network has hardly a doubt of half
    the px do. What line.toml states stays the threshold. Without a template (None) there is one witness.
    """
    least = scores.product.min_shown_px
    believed = passing(raw, spec, scores.believed(), *size)
    sure = ranked([one for one in believed if (one.raw or 0.0) >= scores.threshold(one.label)])
    if pair is None:
        return sure
    likely = ranked(believed)
    levels = least_levels(pair)
    px = {one: shown_px(pair, one.roi, levels) for one in dict.fromkeys([*sure, *likely])}
    clearly, faintly = int(np.ceil(CLEARLY * least)), int(np.ceil(FAINTLY * least))
    seen = [one for one in sure if px[one] >= (faintly if (one.raw or 0.0) >= HARDLY_A_DOUBT else least)]
    return once([*seen, *(one for one in likely if px[one] >= clearly)])


def shown(found: Sequence[Finding], pair: Pair | None, least_px: int) -> list[Finding]:
    """Leave out findings where fewer than `least_px` differ; without a template (None) nothing can be said.

    The product says how many (`min_shown_px`): a grain of dust of 3 x 3 px has 9.
    """
    if pair is None or not found:
        return list(found)
    levels = least_levels(pair)
    return [one for one in found if shown_px(pair, one.roi, levels) >= least_px]


def least_levels(pair: Pair) -> float:
    """Return the grey levels from which a px of this picture differs: beyond its noise, and a share of its contrast."""
    seen, golden = (grey[::SPARSE, ::SPARSE].astype(np.float32) for grey in (pair.seen, pair.lit))
    dark, bright = dark_and_bright(pair.lit, SPARSE)
    noise = 1.4826 * median(np.abs(seen - golden))
    return max(CONTRAST_SHARE * WHOLE_SHARE * (bright - dark), NOISES * noise)


def shown_px(pair: Pair, roi: Roi, levels: float) -> int:
    """Count the px in and right around a finding where picture and template differ by more than edges wander.

    A difference counts from `levels` grey levels on, and beside high contrast from a share of that.
    """
    height, width = pair.seen.shape
    rows, cols = roi.mask.shape
    margin = AROUND_PX + WANDER_PX
    top, left = max(roi.y0 - margin, 0), max(roi.x0 - margin, 0)
    bottom, right = min(roi.y0 + rows + margin, height), min(roi.x0 + cols + margin, width)
    here = slice(top, bottom), slice(left, right)
    seen, golden = pair.seen[here].astype(np.float32), pair.lit[here].astype(np.float32)
    inside = np.zeros(seen.shape, np.uint8)
    inside[roi.y0 - top : roi.y0 - top + rows, roi.x0 - left : roi.x0 - left + cols] = roi.mask
    wander, around = (np.ones((2 * reach + 1,) * 2, np.uint8) for reach in (WANDER_PX, AROUND_PX))
    beyond = np.maximum(seen - cv2.dilate(golden, wander), cv2.erode(golden, wander) - seen)
    contrast = np.asarray(cv2.dilate(golden, around) - cv2.erode(golden, around), np.float32)
    differs = beyond > np.maximum(CONTRAST_SHARE * contrast, levels)
    return int(np.count_nonzero(differs & (cv2.dilate(inside, wander) > 0)))
