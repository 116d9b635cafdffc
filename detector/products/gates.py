"""Is a picture good enough to be judged: focus, exposure and saturation against the product's baseline. Pure.

All figures are of one picture alone and need no registration; what is normal for them the product's good boards tell.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from detector.doubts import Reason
from taktwatch.records import Doubt

__all__ = ["Baseline", "PictureFigures", "Range", "complaints", "learn_baseline", "picture_figures"]

Grey = npt.NDArray[np.uint8]

FINE_PX, COARSE_PX = 1.5, 3.0
WHITE, BLACK = 250, 5  # grey levels from which a sensor says nothing more
SPREADS = 4.0  # standard deviations of the good boards within which a picture is normal
FOCUS_SLACK = 0.2  # of the normal focus: a lens may always be this much softer
EXPOSURE_SLACK = 0.25  # of the normal exposure
SATURATED_SLACK = 0.05  # of the picture's area; shining pads alone are no reason
LEAST_VARIANCE = 1e-6


@dataclass(frozen=True, slots=True)
class PictureFigures:
    """How a picture was taken.

    focus: contrast of fine structure over that of structure twice as coarse: about 1 out of focus, 4 to 8 in focus;
    the lamp and the amount of copper cancel. exposure: mean grey level, 0 to 255. white, black: shares of the picture
    at the sensor's ends, 0 to 1.
    """

    focus: float
    exposure: float
    white: float
    black: float


class Range(msgspec.Struct, frozen=True):
    """What is normal, and how much it varies between good boards (standard deviation)."""

    normal: float
    spread: float


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of a product's good boards."""

    focus: Range
    exposure: Range
    white: Range
    black: Range


def picture_figures(grey: Grey) -> PictureFigures:
    """Measure a picture (H, W).

    >>> figures = picture_figures(np.full((32, 32), 255, np.uint8))
    >>> figures.exposure, figures.white, figures.black
    (255.0, 1.0, 0.0)
    """
    fine, coarse = (_roughness(grey, sigma) for sigma in (FINE_PX, COARSE_PX))
    levels = cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel() / grey.size
    return PictureFigures(
        focus=fine / max(coarse, LEAST_VARIANCE),
        exposure=float(cv2.mean(grey)[0]),
        white=float(levels[WHITE:].sum()),
        black=float(levels[: BLACK + 1].sum()),
    )


def learn_baseline(figures: Sequence[PictureFigures]) -> Baseline:
    """Return what is normal for good boards: medians, and standard deviations: what good boards do is good."""
    return Baseline(
        focus=_range([one.focus for one in figures]),
        exposure=_range([one.exposure for one in figures]),
        white=_range([one.white for one in figures]),
        black=_range([one.black for one in figures]),
    )


def complaints(figures: PictureFigures, baseline: Baseline) -> tuple[Reason, ...]:
    """Say what keeps a picture from being judged; empty for a good one.

    >>> even = Range(0.0, 0.0)
    >>> usual = Baseline(focus=Range(6.0, 0.2), exposure=Range(100.0, 2.0), white=even, black=even)
    >>> for reason in complaints(PictureFigures(focus=3.0, exposure=100.0, white=0.0, black=0.0), usual):
    ...     print(reason.words)
    out of focus: fine contrast 3.0, good boards 6.0, at least 4.8
    """
    found: list[Reason] = []
    focus, exposure = baseline.focus, baseline.exposure
    least = focus.normal - max(FOCUS_SLACK * focus.normal, SPREADS * focus.spread)
    if figures.focus < least:
        words = f"fine contrast {figures.focus:.1f}, good boards {focus.normal:.1f}, at least {least:.1f}"
        found.append(Reason(f"out of focus: {words}", Doubt.FOCUS))
    slack = max(EXPOSURE_SLACK * exposure.normal, SPREADS * exposure.spread)
    if abs(figures.exposure - exposure.normal) > slack:
        how = "dark" if figures.exposure < exposure.normal else "bright"
        normal = f"good boards {max(exposure.normal - slack, 0):.0f} to {exposure.normal + slack:.0f}"
        found.append(Reason(f"too {how}: mean grey level {figures.exposure:.0f}, {normal}", Doubt.LIGHT))
    ends = (
        ("over-exposed", "white", figures.white, baseline.white),
        ("under-exposed", "black", figures.black, baseline.black),
    )
    for what, colour, share, usual in ends:
        most = usual.normal + max(SATURATED_SLACK, SPREADS * usual.spread)
        if share > most:
            words = f"{what}: {share:.1%} of the picture {colour}, at most {most:.1%}"
            found.append(Reason(words, Doubt.SATURATION))
    return tuple(found)


def _roughness(grey: Grey, sigma: float) -> float:
    """Return the variance of the Laplacian at a scale."""
    soft = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), sigma)
    return float(cv2.Laplacian(soft, cv2.CV_32F).var())


def _range(values: Sequence[float]) -> Range:
    return Range(float(np.median(values)), float(np.std(values)))
