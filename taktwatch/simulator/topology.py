"""What a patch of copper, added or removed, does to the conductors around it: pieces, contacts, distances."""

from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from taktwatch.simulator.truth import BoolMask

__all__ = ["components", "contacts", "deep", "filled", "grown", "largest", "parts_around", "reach", "ridges"]

Labels: TypeAlias = npt.NDArray[np.int32]


def components(mask: BoolMask) -> tuple[int, Labels]:
    """Count the 8-connected pieces and label them from 1; labels are int32, of the mask's shape."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    return count - 1, np.asarray(labels, np.int32)


def contacts(patch: BoolMask, other: BoolMask) -> int:
    """Count the separate stretches along which a patch touches `other`.

    >>> bar, sides = np.zeros((5, 9), bool), np.zeros((5, 9), bool)
    >>> bar[:, 3:6], sides[:, :3], sides[:, 6:] = True, True, True
    >>> contacts(bar, sides)
    2
    """
    return components(grown(patch, 1) & other & ~patch)[0]


def parts_around(patch: BoolMask, copper: BoolMask, within_px: int, least_px: int) -> int:
    """Count the pieces of copper that touch a patch, as far as they are separate within `within_px` of it.

    Crumbs of less than `least_px` pixels are not counted; pieces that come within 2 px of each other are one.
    """
    near = copper & grown(patch, within_px) & ~patch
    count, labels, stats, _ = cv2.connectedComponentsWithStats(near.astype(np.uint8), connectivity=8)
    big = stats[:count, cv2.CC_STAT_AREA] >= least_px
    big[0] = False
    touching = np.zeros(count, np.bool_)
    touching[np.unique(labels[grown(patch, 2)])] = True
    return components(grown((big & touching)[labels], 1) & ~_core(patch))[0]


def reach(patch: BoolMask, edge: BoolMask) -> float:
    """Tell how far a patch reaches away from the edge it starts from, in px."""
    if not patch.any() or not edge.any():
        return 0.0
    away = cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, 3)
    return float(away[patch].max())


def filled(patch: BoolMask) -> BoolMask:
    """Fill what a patch encloses."""
    count, labels = cv2.connectedComponents(np.pad(~patch, 1, constant_values=True).astype(np.uint8), connectivity=4)
    return patch if count == 2 else np.asarray(labels[1:-1, 1:-1] != labels[0, 0])  # noqa: PLR2004 - patch and outside


def largest(mask: BoolMask) -> BoolMask:
    """Keep the largest 4-connected piece."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count <= 2:  # noqa: PLR2004 - the background and one piece
        return mask
    return np.asarray(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])))


def grown(mask: BoolMask, by_px: int) -> BoolMask:
    """Grow a mask on all sides."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * by_px + 1, 2 * by_px + 1))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel) > 0)


def ridges(inside: BoolMask, widest_px: int) -> BoolMask:
    """Give the middle of parts narrower than `widest_px`: ridges of the distance to the edge."""
    away = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 3)
    ridge = away >= cv2.dilate(away, np.ones((3, 3))) - 0.2
    return np.asarray(ridge & (away > 1.5) & (away < widest_px / 2))  # noqa: PLR2004 - the middle of 3 px at least


def deep(inside: BoolMask, by_px: int) -> BoolMask:
    """Give what lies deeper than `by_px` inside."""
    return np.asarray(cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 3) > by_px)


def _core(patch: BoolMask) -> BoolMask:
    """Give a patch less its outermost pixel, which growing copper by 1 px may reach."""
    return np.asarray(cv2.erode(patch.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
