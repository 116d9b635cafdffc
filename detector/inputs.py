"""From pictures to what the network sees. Pure."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from detector.aligning.ends import unscanned
from detector.aligning.light import lit_like
from detector.aligning.pattern import Pattern
from detector.aligning.regions import inspected_area
from detector.aligning.registration import matrix_of, register
from detector.aligning.transport import in_step
from taktwatch.records import Registration

__all__ = [
    "Contrast",
    "Inputs",
    "Pair",
    "contrast_of",
    "grey_of",
    "inputs_of",
    "lay_template",
    "rgb_inputs",
    "template_channels",
    "template_inputs",
]

Picture = npt.NDArray[np.uint8]

LEAST_CONTRAST = 10.0  # grey levels; a picture of one tone is not blown up to noise


@dataclass(frozen=True, eq=False, slots=True)
class Inputs:
    """What the network sees: float32 (3, H, W), about zero mean and unit spread.

    `registration` for template models, and the `pair` that was compared.
    """

    channels: npt.NDArray[np.float32]
    registration: Registration | None = None
    pair: "Pair | None" = None


@dataclass(frozen=True, slots=True)
class Contrast:
    """A template's own brightness: mean and spread in grey levels."""

    mean: float
    spread: float


@dataclass(frozen=True, eq=False, slots=True)
class Pair:
    """A picture in grey, uint8 (H, W), and its template laid on it and lit alike, float32 (H, W).

    `missed`, bool (H, W): where a scan ended before the other's and nothing can be compared; None: nowhere.
    """

    seen: npt.NDArray[np.uint8]
    lit: npt.NDArray[np.float32]
    contrast: Contrast
    registration: Registration
    missed: npt.NDArray[np.bool_] | None = None


def inputs_of(picture: Picture, template: Picture | Pattern | None, contrast: Contrast | None = None) -> Inputs:
    """Return what the network sees of a picture, compared with its template where there is one.

    `template`: RGB (H, W, 3), or the pattern of its grey. `contrast`: that of the board a tile shows a part of; None
    measures the tile's own.
    """
    return rgb_inputs(picture) if template is None else template_inputs(picture, template, contrast)


def grey_of(picture: Picture) -> Picture:
    """Return an RGB picture (H, W, 3) in grey (H, W); a grey one as it is."""
    return picture if picture.ndim == 2 else np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)  # noqa: PLR2004


def contrast_of(picture: Picture) -> Contrast:
    """Return the brightness of a whole RGB picture (H, W, 3), as good as that of the template laid on it.

    >>> contrast_of(np.full((2, 2, 3), 90, np.uint8))
    Contrast(mean=90.0, spread=10.0)
    """
    mean, spread = cv2.meanStdDev(grey_of(picture))
    return Contrast(float(mean[0, 0]), max(float(spread[0, 0]), LEAST_CONTRAST))


def rgb_inputs(picture: Picture) -> Inputs:
    """Scale an RGB picture (H, W, 3) to -2 .. 2.

    >>> float(rgb_inputs(np.full((2, 2, 3), 255, np.uint8)).channels.max())
    2.0
    """
    scaled = picture.astype(np.float32) * np.float32(4 / 255) - np.float32(2)
    return Inputs(np.ascontiguousarray(scaled.transpose(2, 0, 1)))


def template_inputs(picture: Picture, template: Picture | Pattern, contrast: Contrast | None = None) -> Inputs:
    """Register the template (H, W, 3) to the picture (H, W, 3); give (picture, template, difference) in grey.

    The warped template is lit as the picture is (slow changes of brightness only), and all three are measured in the
    template's own contrast (or the `contrast` given), so that a dark board under a lamp and a binarised one look alike
    to the network.
    """
    pair = lay_template(picture, template)
    return Inputs(template_channels(pair.seen, pair.lit, contrast or pair.contrast), pair.registration, pair)


def lay_template(picture: Picture, template: Picture | Pattern) -> Pair:
    """Register the template (H, W, 3) to the picture (H, W, 3) and light it as the picture is lit."""
    seen, golden = grey_of(picture), template if isinstance(template, Pattern) else Pattern(grey_of(template))
    registration, warped = register(seen, golden)
    height, width = golden.grey.shape
    reached = inspected_area((seen.shape[0], seen.shape[1]), matrix_of(registration), template=(height, width))
    lit = lit_like(warped, seen, use=reached)
    # Where the template does not reach, or only one of the two was scanned, nothing can be said: no light is read
    # there, and no difference is shown.
    missed = unscanned(seen, lit)
    untold = ~reached if missed is None else ~reached | missed
    np.copyto(lit, seen, where=untold)
    if (stepped := in_step(seen, lit)) is not lit:
        np.copyto(stepped, seen, where=untold)
        lit = stepped
    mean = lit.mean(keepdims=True)
    contrast = Contrast(float(mean[0, 0]), max(float(lit.std(mean=mean)), LEAST_CONTRAST))
    return Pair(seen, lit, contrast, registration, missed)


def template_channels(
    seen: npt.NDArray[np.generic], lit: npt.NDArray[np.generic], contrast: Contrast
) -> npt.NDArray[np.float32]:
    """Return float32 (3, h, w): picture, template, their difference, from grey levels (h, w) of the same place.

    >>> board = np.array([[100.0, 20.0]])
    >>> template_channels(board, np.array([[100.0, 100.0]]), Contrast(mean=60.0, spread=40.0)).tolist()
    [[[1.0, -1.0]], [[1.0, 1.0]], [[0.0, 2.0]]]
    """
    scale, mean = np.float32(1 / contrast.spread), np.float32(contrast.mean)
    made = np.empty((3, *seen.shape), np.float32)  # written in place: pages for copies cost more than the arithmetic
    made[0], made[1] = seen, lit
    np.subtract(made[0], made[1], out=made[2])
    np.abs(made[2], out=made[2])
    made[:2] -= mean
    made *= scale
    return made
