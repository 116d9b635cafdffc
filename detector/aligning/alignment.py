"""Lays a template onto a picture to a fraction of a pixel, from a few pixels away. Pure.

Gauss-Newton by inverse composition: the template's gradients are computed once, at its strongest edges alone; each step
compares grey levels there and corrects the map. Edges that disagree (defects, dust) lose their weight. A camera turns,
shifts, zooms and tilts a little but does not shear: where a board shows too little to tell, that much is assumed.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from detector.aligning.maps import Map, carried, moved
from detector.aligning.ranks import median

__all__ = ["Aligned", "Edges", "align", "corrected", "find_edges", "uncertainty_px"]

Field = npt.NDArray[np.float32]

ROW = 128  # points are handed to OpenCV in rows of so many
CELLS = 25_600  # a template is cut into about so many cells; each offers its strongest edge
LEAST_POINTS = 256
WEAK = 0.05  # of the strongest slopes; flatter places tell nothing, and would make a misfit look rare
LEAST_INSIDE = 0.5  # of the points; with fewer in the picture nothing is said
TUKEY = 4.0  # robust spreads beyond which a point has no weight
LEAST_SPREAD = 0.5  # grey levels
SAMPLED = 4  # one point in so many tells the spread
KIN = 12.0
DAMPING = 1e-4
TERMS = 8  # of a motion
DIVERGED_PX = 16.0
FAR_PX = 0.02  # a step that moves so much is not the last
SHEAR_SD, ZOOM_SD, TILT_SD = 0.0015, 0.012, 0.002  # what cameras do; tilt: change of scale from middle to edge


@dataclass(frozen=True, eq=False, slots=True)
class Edges:
    """The strongest edge points of a template.

    points: float32 (N, 2), x and y. levels: grey (N,). slopes: (N, 8), change of the level by shift x, shift y, the
    four linear terms and two tilts, each measured in px of motion at the template's edge. middle and unit: of that
    measure, in px. N is a multiple of `ROW`. Points and slopes lie in memory column by column: one is taken at a time.
    """

    points: Field
    levels: Field
    slopes: Field
    middle: tuple[float, float]
    unit: float


@dataclass(frozen=True, eq=False, slots=True)
class Aligned:
    """A map from template to picture, and the correlation of their levels at the edges, -1 to 1."""

    matrix: Map
    agreement: float


def find_edges(template: Field, count: int) -> Edges | None:
    """Choose at most `count` points, spread over the template by cells; None where it has too few pixels."""
    height, width = template.shape
    cell = max(1, round((height * width / CELLS) ** 0.5))
    rows, cols = (height - 2) // cell, (width - 2) // cell
    if rows * cols < LEAST_POINTS:
        return None
    slope_x, slope_y = (cv2.Sobel(template, cv2.CV_32F, dx, 1 - dx, ksize=3, scale=1 / 8) for dx in (1, 0))
    strength = cv2.magnitude(slope_x, slope_y)[1 : 1 + rows * cell, 1 : 1 + cols * cell]
    cells = strength.reshape(rows, cell, cols, cell).transpose(0, 2, 1, 3).reshape(rows * cols, cell * cell)
    best = cells.argmax(axis=1)
    strongest = cells[np.arange(len(cells)), best]
    typical = float(np.median(np.partition(strongest, len(cells) - LEAST_POINTS)[len(cells) - LEAST_POINTS :]))
    told = int(np.count_nonzero(strongest > WEAK * typical))
    kept = max(min(count, told) // ROW, 1) * ROW
    chosen = np.argpartition(strongest, len(cells) - kept)[len(cells) - kept :]
    y = chosen // cols * cell + best[chosen] // cell + 1
    x = chosen % cols * cell + best[chosen] % cell + 1
    middle, unit = ((width - 1) / 2, (height - 1) / 2), max(height, width) / 2
    u, v = ((x - middle[0]) / unit).astype(np.float32), ((y - middle[1]) / unit).astype(np.float32)
    gx, gy = slope_x[y, x], slope_y[y, x]
    outward = -(gx * u + gy * v)
    slopes = np.stack([gx, gy, gx * u, gx * v, gy * u, gy * v, outward * u, outward * v])
    points = np.stack([x, y]).astype(np.float32)
    return Edges(points.T, template[y, x], slopes.T, middle, unit)


def align(
    picture: Field, edges: Edges, start: Map, *, rounds: int, enough_px: float, patience: int = 0
) -> Aligned | None:
    """Correct `start` until a step moves nothing by more than `enough_px`; None where that leads nowhere.

    After `rounds` steps it goes on for up to `patience` more while they still lead far: where one via alone tells how
    far along its traces a board lies, few points pull.
    """
    matrix, aligned, moved_px = start, None, 0.0
    for round_ in range(rounds + patience + 1):
        compared = _compare(picture, edges, matrix)
        if compared is None:
            return None
        error, weight, agreement = compared
        aligned = Aligned(matrix, agreement)
        if round_ == rounds + patience or (round_ >= rounds and moved_px < FAR_PX):
            break
        better = corrected(edges, matrix, error, weight)
        if better is None:
            return None
        matrix, moved_px = better
        if moved_px < enough_px:
            return Aligned(matrix, agreement)
    return aligned


def corrected(edges: Edges, matrix: Map, error: Field, weight: Field) -> tuple[Map, float] | None:
    """Return the map that explains errors (N,) best, weighted by (N,), and by how many px that moves; None: far off.

    Errors are in units of `edges.slopes` times px: what the picture shows where the map takes a point, less the
    template's level there.
    """
    step = _step(edges, matrix, error, weight)
    moved_px = float(np.abs(step[:2]).max() + np.abs(step[2:]).max())
    if not moved_px < DIVERGED_PX:
        return None
    better = matrix @ np.linalg.inv(_motion(step, edges))
    return better / better[2, 2], moved_px


def uncertainty_px(picture: Field, edges: Edges, matrix: Map) -> float | None:
    """Return how far the true map may lie from one that fits: 95 %, RMS over the template; None where none is."""
    compared = _compare(picture, edges, matrix)
    if compared is None:
        return None
    _, weight, _ = compared
    assumed, _ = _assumed(matrix, edges)
    weighted = _weighted(edges, weight)
    known = np.asarray(weighted.T @ edges.slopes, np.float64) + assumed.T @ assumed + DAMPING * np.eye(TERMS)
    across, down = _spread_out(edges.middle[0] / edges.unit, edges.middle[1] / edges.unit)
    spread = np.linalg.inv(known)
    variance = ((across @ spread) * across).sum(axis=1) + ((down @ spread) * down).sum(axis=1)
    return 2 * float(np.sqrt(variance.mean()))


@lru_cache(maxsize=64)
def _spread_out(half_width: float, half_height: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return how 81 places all over a template move across and down by its terms, (81, 8) each.

    Half its sides are in the unit of its motion.
    """
    u, v = (axis.ravel() for axis in np.meshgrid(*(np.linspace(-half, half, 9) for half in (half_width, half_height))))
    one, none = np.ones_like(u), np.zeros_like(u)
    across = np.stack([one, none, u, v, none, none, -u * u, -u * v], axis=1)
    down = np.stack([none, one, none, none, u, v, -u * v, -v * v], axis=1)
    return across, down


def _compare(picture: Field, edges: Edges, matrix: Map) -> tuple[Field, Field, float] | None:
    """Return error and weight of each point under a map, and the correlation; None where too few are inside."""
    height, width = picture.shape
    there = carried(matrix, edges.points)
    x, y = there[:, 0], there[:, 1]
    seen = cv2.remap(picture, x.reshape(-1, ROW), y.reshape(-1, ROW), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = ((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)).astype(np.float32)
    count = float(inside.sum())
    if count < LEAST_INSIDE * len(inside):
        return None
    levels = seen.ravel()
    here = (levels - np.float32(levels @ inside / count)) * inside
    golden = (edges.levels - np.float32(edges.levels @ inside / count)) * inside
    here_power, golden_power, shared = float(here @ here), float(golden @ golden), float(here @ golden)
    if here_power <= 0 or golden_power <= 0:
        return None
    gain = shared / here_power if shared > 0 else (golden_power / here_power) ** 0.5
    error = np.float32(gain) * here - golden
    spread = 1.4826 * median(np.abs(error[::SAMPLED])) + LEAST_SPREAD
    far = error * np.float32(1 / (TUKEY * spread))
    weight = np.maximum(1 - far * far, 0) ** 2 * inside * np.float32(1 / (KIN * spread * spread))
    return error, weight, shared / (here_power * golden_power) ** 0.5


def _step(edges: Edges, matrix: Map, error: Field, weight: Field) -> npt.NDArray[np.float64]:
    """Solve for the motion of the template (8 terms, px at its edge) that explains the errors best."""
    weighted = _weighted(edges, weight)
    curvature = np.asarray(weighted.T @ edges.slopes, np.float64)
    pull = np.asarray(weighted.T @ error, np.float64)
    assumed, distance = _assumed(matrix, edges)
    curvature += assumed.T @ assumed
    pull -= assumed.T @ distance
    curvature += np.diag(DAMPING * (1 + curvature.diagonal()))
    return np.asarray(np.linalg.solve(curvature, pull))


def _weighted(edges: Edges, weight: Field) -> Field:
    """Return slopes (N, 8) times weights (N,), point by point in memory; multiplied along the long columns."""
    return np.asarray(cv2.transpose(edges.slopes.T * weight), np.float32)


def _assumed(matrix: Map, edges: Edges) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return how a step changes aspect, shear, zoom and tilt (5, 8), and what they are now (5,), in standard units."""
    to_middle, from_middle = moved(*edges.middle), moved(-edges.middle[0], -edges.middle[1])
    central = from_middle @ matrix @ to_middle
    central = central / central[2, 2]
    (a, b), (c, d), (tilt_x, tilt_y) = central[0, :2], central[1, :2], central[2, :2] * edges.unit
    now = np.array(
        [(a - d) / SHEAR_SD, (b + c) / SHEAR_SD, ((a + d) / 2 - 1) / ZOOM_SD, tilt_x / TILT_SD, tilt_y / TILT_SD]
    )
    return CHANGES * (-1 / edges.unit), now  # a step of the template by p px changes the map by about -p


def _changes() -> npt.NDArray[np.float64]:
    """Return how a step by one unit changes aspect, shear, zoom and tilt, (5, 8), in standard units."""
    change = np.zeros((5, TERMS))
    change[0, [2, 5]] = 1 / SHEAR_SD, -1 / SHEAR_SD
    change[1, [3, 4]] = 1 / SHEAR_SD
    change[2, [2, 5]] = 1 / 2 / ZOOM_SD
    change[3, 6] = change[4, 7] = 1 / TILT_SD
    return change


CHANGES = _changes()


def _motion(step: npt.NDArray[np.float64], edges: Edges) -> Map:
    """Return a motion of the template as a map of px."""
    shift_x, shift_y, xx, xy, yx, yy, tilt_x, tilt_y = step / edges.unit
    motion = np.array([[1 + xx, xy, shift_x], [yx, 1 + yy, shift_y], [tilt_x, tilt_y, 1]])
    (x, y), unit = edges.middle, edges.unit
    measure = np.array([[1 / unit, 0, -x / unit], [0, 1 / unit, -y / unit], [0, 0, 1]])
    back = np.array([[unit, 0, x], [0, unit, y], [0, 0, 1.0]])
    return np.asarray(back @ motion @ measure, np.float64)
