"""Calibrates a camera that looks straight down, by pictures of a ChArUco board lying where the products lie. Pure.

The scale is taken in the middle of the picture, in x and in y, after the lens's distortion; what it is unsure by comes
from how views differ and from how well the board is printed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from taktwatch.errors import BadInput

__all__ = ["Calibration", "CharucoTarget", "View", "calibrate_camera", "draw_target", "find_view"]

Grey = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]

LEAST_CORNERS = 12
LEAST_VIEWS = 3
MOST_REPROJECTION_PX = 1.0
FAR = 4.0  # focal length in picture sides; straight views cannot tell it, and the scale does not depend on it
MARKER_SHARE = 0.75  # of a square's side
REACH_SHARE, LEAST_REACH_PX = 0.1, 2  # how far around a corner it is looked for: not as far as the markers
TWO_SIDED_95 = (
    12.71,
    4.30,
    3.18,
    2.78,
    2.57,
    2.45,
    2.36,
    2.31,
    2.26,
    2.23,
)  # Student's t for 1 to 10 degrees of freedom
NORMAL_95 = 1.96
ROUNDS = 2


class CharucoTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A chessboard with markers in its white squares, as OpenCV draws it (5x5 markers, dictionary of 100).

    `error_share` is how far its squares may be off, as a share of their size (0.001 for a good print).
    """

    columns: int = 11
    rows: int = 8
    square_mm: float = 2.0
    error_share: float = 0.001


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a camera. Uncertainties hold for 95 % of cases.

    distortion: OpenCV's k1, k2, p1, p2, k3 with the camera matrix (row by row). distortion_px: the most it moves a
    point of the picture. reprojection_px: RMS distance of corners from where the calibration sees them.
    """

    um_per_px_x: float
    um_per_px_y: float
    uncertainty_um_per_px_x: float
    uncertainty_um_per_px_y: float
    distortion: tuple[float, ...]
    camera_matrix: tuple[float, ...]
    distortion_px: float
    reprojection_px: float
    width: int
    height: int
    views: int
    target: CharucoTarget
    calibrated_at: datetime
    expires_at: datetime
    sources: tuple[tuple[str, str], ...] = ()

    @property
    def um_per_px(self) -> float:
        """The mean scale."""
        return (self.um_per_px_x + self.um_per_px_y) / 2


@dataclass(frozen=True, eq=False, slots=True)
class View:
    """Corners found in one picture: board (N, 3) in mm, picture (N, 2) in px, float32."""

    board: Points
    picture: Points


def draw_target(target: CharucoTarget, px_per_square: int = 100) -> Grey:
    """Draw the board for printing (H, W), one square of margin around it.

    >>> draw_target(CharucoTarget(columns=5, rows=4), 40).shape
    (240, 280)
    """
    size = ((target.columns + 2) * px_per_square, (target.rows + 2) * px_per_square)
    return np.asarray(_board(target).generateImage(size, marginSize=px_per_square), np.uint8)


def find_view(grey: Grey, target: CharucoTarget, name: str) -> View:
    """Find the board's corners in a picture (H, W). Raises `BadInput` naming it where too few are seen."""
    board = _board(target)
    corners, ids, _, _ = cv2.aruco.CharucoDetector(board).detectBoard(grey)
    count = 0 if ids is None else len(ids)
    if count < LEAST_CORNERS:
        raise BadInput(
            f"{name}: {count} corners of the {target.columns}x{target.rows} board found, at least {LEAST_CORNERS}; "
            "is it sharp, evenly lit, and the board that was described?"
        )
    on_board = np.asarray(board.getChessboardCorners(), np.float32)[np.asarray(ids).ravel()]
    return View(on_board, _refined(grey, np.asarray(corners, np.float32).reshape(-1, 2), on_board, target))


def _refined(grey: Grey, corners: Points, on_board: Points, target: CharucoTarget) -> Points:
    """Find corners anew between the markers: what the detector returns leans towards them by a tenth of a px."""
    spread_px, spread_mm = (float(np.linalg.norm(points.std(axis=0))) for points in (corners, on_board))
    reach = max(LEAST_REACH_PX, int(REACH_SHARE * target.square_mm * spread_px / spread_mm))
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-3)
    found = cv2.cornerSubPix(grey, corners.reshape(-1, 1, 2).copy(), (reach, reach), (-1, -1), criteria)
    return np.asarray(found, np.float32).reshape(-1, 2)


def calibrate_camera(
    views: Sequence[View],
    size: tuple[int, int],
    target: CharucoTarget,
    *,
    now: datetime,
    expires: datetime,
    sources: Sequence[tuple[str, str]] = (),
) -> Calibration:
    """Calibrate by views of pictures of `size` (height, width). Raises `BadInput` where they do not suffice."""
    if len(views) < LEAST_VIEWS:
        raise BadInput(f"{len(views)} pictures of the board, at least {LEAST_VIEWS}; move the board between them")
    matrix, distortion, error = _guess(size), np.zeros(5), float("inf")
    for _ in range(ROUNDS):
        across, down = np.mean([_scale(view, matrix, distortion) for view in views], axis=0)
        matrix[1, 1] = matrix[0, 0] * across / down  # its pixels need not be square
        matrix, distortion, error = _fitted(views, size, matrix)
    if error > MOST_REPROJECTION_PX:
        raise BadInput(
            f"corners lie {error:.2f} px (RMS) from where one flat board would show them, at most "
            f"{MOST_REPROJECTION_PX:g}; is the board flat, and were all pictures taken with one setting?"
        )
    scales = np.array([_scale(view, matrix, distortion) for view in views])
    unsure = np.hypot(_sampling(scales), NORMAL_95 * target.error_share / 3**0.5 * scales.mean(axis=0))
    return Calibration(
        um_per_px_x=float(scales[:, 0].mean()),
        um_per_px_y=float(scales[:, 1].mean()),
        uncertainty_um_per_px_x=float(unsure[0]),
        uncertainty_um_per_px_y=float(unsure[1]),
        distortion=tuple(float(value) for value in distortion.ravel()),
        camera_matrix=tuple(float(value) for value in matrix.ravel()),
        distortion_px=_most_moved(size, matrix, distortion),
        reprojection_px=error,
        width=size[1],
        height=size[0],
        views=len(views),
        target=target,
        calibrated_at=now,
        expires_at=expires,
        sources=tuple(sources),
    )


def _board(target: CharucoTarget) -> "cv2.aruco.CharucoBoard":
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_5X5_100)
    squares, side = (target.columns, target.rows), target.square_mm
    return cv2.aruco.CharucoBoard(squares, side, side * MARKER_SHARE, dictionary)


def _guess(size: tuple[int, int]) -> Array:
    """Return the camera matrix of a lens far away that looks at the middle."""
    height, width = size
    focal = FAR * max(size)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def _fitted(views: Sequence[View], size: tuple[int, int], matrix: Array) -> tuple[Array, Array, float]:
    """Fit poses and radial distortion; return camera matrix, distortion and RMS error in px."""
    flags = (
        cv2.CALIB_USE_INTRINSIC_GUESS
        | cv2.CALIB_FIX_FOCAL_LENGTH
        | cv2.CALIB_FIX_PRINCIPAL_POINT
        | cv2.CALIB_ZERO_TANGENT_DIST
        | cv2.CALIB_FIX_K3
    )
    boards, pictures = [view.board for view in views], [view.picture for view in views]
    error, same, distortion, _, _ = cv2.calibrateCamera(boards, pictures, size[::-1], matrix, np.zeros(5), flags=flags)
    return np.asarray(same, np.float64), np.asarray(distortion, np.float64).ravel(), float(error)


def _undistorted(points: Points, matrix: Array, distortion: Array) -> Points:
    straight = cv2.undistortPoints(points.reshape(-1, 1, 2), matrix, distortion, P=matrix)
    return np.asarray(straight, np.float32).reshape(-1, 2)


def _scale(view: View, matrix: Array, distortion: Array) -> tuple[float, float]:
    """Return um per px along x and y in the middle of the picture, as one view shows it."""
    straight = _undistorted(view.picture, matrix, distortion)
    to_board, _ = cv2.findHomography(straight.astype(np.float64), view.board[:, :2].astype(np.float64))
    x, y = matrix[0, 2], matrix[1, 2]
    steps = np.array([[[x - 0.5, y], [x + 0.5, y], [x, y - 0.5], [x, y + 0.5]]])
    left, right, above, below = cv2.perspectiveTransform(steps, to_board)[0]
    return 1000 * float(np.hypot(*(right - left))), 1000 * float(np.hypot(*(below - above)))


def _sampling(scales: Array) -> Array:
    """Return how unsure the mean of the views is (95 %)."""
    freedom = len(scales) - 1
    factor = TWO_SIDED_95[freedom - 1] if freedom <= len(TWO_SIDED_95) else TWO_SIDED_95[-1]
    return np.asarray(factor * scales.std(axis=0, ddof=1) / len(scales) ** 0.5)


def _most_moved(size: tuple[int, int], matrix: Array, distortion: Array) -> float:
    """Return the most px by which the lens moves a point of the picture."""
    y, x = np.mgrid[0 : size[0] : 9j, 0 : size[1] : 9j]
    points = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)
    return float(np.linalg.norm(_undistorted(points, matrix, distortion) - points, axis=1).max())
