"""Lays the golden template onto the frame: shift and small rotation, to a fraction of a pixel. Pure.

The template is warped, never the frame: evidence stays as captured.
"""

import cv2
import numpy as np
import numpy.typing as npt

from taktwatch.records import Registration

__all__ = ["register", "warp"]

Grey = npt.NDArray[np.uint8]
Affine = npt.NDArray[np.float32]

COARSE = 2  # the search runs on pictures this much smaller
ROUNDS = 30
TOLERANCE = 1e-4
GAUSS_PX = 5
LEAST_GAIN = 1e-5  # of correlation; less is no reason to leave the simpler map
UNIT = np.eye(2, 3, dtype=np.float32)


def register(picture: Grey, template: Grey) -> tuple[Registration, Grey]:
    """Return how the template (H, W) lies on the picture (H, W), and the template warped there.

    Where the warped template does not reach, it shows the picture itself: nothing can be said of a difference there.

    >>> board = np.full((96, 96), 200, np.uint8)
    >>> board[30:60, 20:70] = 30
    >>> moved = np.roll(board, (2, -3), axis=(0, 1))
    >>> found, _ = register(moved, board)
    >>> [round(value) for value in found.matrix]
    [1, 0, -3, 0, 1, 2]
    """
    small = (_shrunk(picture), _shrunk(template))
    candidates = [UNIT, _shifted(*small)]
    if (refined := _refined(*small, candidates[1])) is not None:
        candidates.append(refined)
    best, quality = UNIT, -2.0
    for candidate in candidates:
        agreement = _correlation(small[0], warp(small[1], candidate, small[0]))
        if agreement > quality + LEAST_GAIN:
            best, quality = candidate, agreement
    full = best.copy()
    # A small pixel's centre lies between the centres of its pixels: scale about that, not about the corner.
    offset = (COARSE - 1) / 2
    full[:, 2] = COARSE * best[:, 2] + offset - best[:, :2] @ np.array([offset, offset], np.float32)
    warped = warp(template, full, picture)
    matrix = tuple(float(value) for value in full.ravel())
    return Registration(matrix=matrix, quality=_correlation(picture, warped)), warped  # type: ignore[arg-type]


def warp(template: Grey, matrix: Affine, picture: Grey) -> Grey:
    """Warp the template (template px to picture px); beyond its edges the picture itself shows."""
    canvas = picture.copy()
    size = (picture.shape[1], picture.shape[0])
    return np.asarray(cv2.warpAffine(template, matrix, size, dst=canvas, borderMode=cv2.BORDER_TRANSPARENT), np.uint8)


def _shrunk(grey: Grey) -> Grey:
    """Average blocks of pixels."""
    height, width = grey.shape
    size = (max(width // COARSE, 1), max(height // COARSE, 1))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


def _shifted(picture: Grey, template: Grey) -> Affine:
    """Find the shift by phase correlation."""
    height, width = picture.shape
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    one, two = (cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1.0) for grey in (template, picture))
    (dx, dy), _ = cv2.phaseCorrelate(one - one.mean(), two - two.mean(), window)
    matrix = UNIT.copy()
    if abs(dx) < width / 4 and abs(dy) < height / 4:
        matrix[:, 2] = dx, dy
    return matrix


def _refined(picture: Grey, template: Grey, start: Affine) -> Affine | None:
    """Refine shift and rotation by maximising the correlation; None where that diverges."""
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, ROUNDS, TOLERANCE)
    inverse = cv2.invertAffineTransform(start).astype(np.float32)
    everywhere = np.full(picture.shape, 255, np.uint8)
    try:
        _, found = cv2.findTransformECC(
            picture, template, inverse, cv2.MOTION_EUCLIDEAN, criteria, everywhere, GAUSS_PX
        )
    except cv2.error:
        return None
    return np.asarray(cv2.invertAffineTransform(np.asarray(found)), np.float32)


def _correlation(one: Grey, two: Grey) -> float:
    """Return Pearson's correlation of two pictures; 0 where one has no contrast."""
    if one.std() == 0 or two.std() == 0:
        return 0.0
    return float(cv2.matchTemplate(one, two, cv2.TM_CCOEFF_NORMED)[0, 0])
