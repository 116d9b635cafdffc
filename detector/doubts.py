"""Why a picture cannot be judged or a board cannot pass: named doubts, each in words. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import cv2
import numpy as np
import numpy.typing as npt

from detector.aligning.registration import register
from detector.inputs import grey_of
from taktwatch.records import Doubt, Registration

__all__ = ["MOST_UNSURE_PX", "Reason", "misfit", "named", "out_of_date"]

Grey = npt.NDArray[np.uint8]
Picture = npt.NDArray[np.uint8]

SOMEWHAT = 0.5
"""Correlation from which a picture shows the product, if badly; other products and turned ones stay below it."""
MOST_UNSURE_PX = 5.0
"""A template that may lie further off than this hides differences, and shows some that are none."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a verdict is what it is, in words; `doubt` names what a person has to settle (None: a broken rule)."""

    words: str
    doubt: Doubt | None = None


def named(reasons: Iterable[Reason]) -> tuple[Doubt, ...]:
    """Return the doubts of some reasons, each once, in their order."""
    return tuple(dict.fromkeys(reason.doubt for reason in reasons if reason.doubt is not None))


def misfit(registration: Registration, least: float, picture: Grey, template: Picture | None) -> Reason | None:
    """Say how a template, RGB (H, W, 3) or grey, does not fit a picture (H, W); None: it does, or `least` is -1.

    A template that fits once it is turned around tells a turned product (None: not tried); one that fits neither way,
    another product.

    >>> rng = np.random.default_rng(1)
    >>> board = cv2.GaussianBlur(rng.integers(0, 256, (128, 128)).astype(np.uint8), (0, 0), 3) * 2
    >>> turned = np.ascontiguousarray(board[::-1, ::-1])
    >>> misfit(register(turned, board)[0], 0.8, turned, board).words
    'turned: the product lies the other way round'
    """
    quality = registration.quality
    if quality >= least:
        if least > -1 and registration.unsure_px > MOST_UNSURE_PX:
            words = f"may lie {registration.unsure_px:.1f} px off its place: the board shows too little copper to tell"
            return Reason(f"registration: the template {words}", Doubt.REGISTRATION)
        return None
    if template is not None:
        again, _ = register(picture, np.asarray(cv2.rotate(grey_of(template), cv2.ROTATE_180), np.uint8))
        if again.quality >= max(least, SOMEWHAT):
            return Reason("turned: the product lies the other way round", Doubt.TURNED)
    told = f"correlation {quality:.2f}, at least {least:.2f}"
    if quality < SOMEWHAT:
        return Reason(f"wrong product: no board of this one, or far off its place ({told})", Doubt.WRONG_PRODUCT)
    return Reason(f"registration: the template does not fit ({told})", Doubt.REGISTRATION)


def out_of_date(expires_at: datetime, taken_at: datetime) -> Reason | None:
    """Say that the camera's calibration had run out when a picture was taken."""
    if taken_at < expires_at:
        return None
    return Reason(f"calibration: out of date since {expires_at:%Y-%m-%d}; calibrate again", Doubt.CALIBRATION)
