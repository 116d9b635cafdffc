"""Walks along the copper layers of a section: thickness, corrosion depth, residual copper. Pure.

A *layer* is its original envelope, copper and corrosion together; where corrosion sits, its faces are bridged from the
sound columns on either side. Layers run left to right, slightly tilted; every extent down a column is turned into an
extent across the layer by the cosine of the tilt.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from detector.masks import Roi
from taktwatch.records import LayerProfile

__all__ = ["Faces", "Walk", "walk"]

Floats = npt.NDArray[np.float64]

SURFACE_PX = 2.0
"""A site nearer than this to a face of its layer breaks through it: masks are exact to about one pixel."""
SHADOW_PX = 4
"""Columns so near to a site are not trusted for the face of the layer."""
OWN_SHARE = 0.3
"""A site belongs to the layer that holds most of it, where that is at least this share of its area."""


@dataclass(frozen=True, eq=False, slots=True)
class Faces:
    """The two faces of a layer from column `x0` on: `upper` and `lower` (W,) in px from the top, `lower` exclusive."""

    x0: int
    upper: Floats
    lower: Floats

    @classmethod
    def of(cls, layer: Roi, sites: Sequence[Roi] = ()) -> Self | None:
        """Read the faces off a layer's mask, bridged where `sites` are; None for an empty mask."""
        rows, cols = layer.mask.shape
        filled = np.flatnonzero(layer.mask.any(axis=0))
        if not filled.size:
            return None
        columns = np.arange(filled[0], filled[-1] + 1)
        sound = np.array(layer.mask.any(axis=0), ndmin=1)
        for site in sites:
            left = site.x0 - layer.x0 - SHADOW_PX
            right = site.x0 - layer.x0 + site.mask.shape[1] + SHADOW_PX
            sound[max(left, 0) : max(min(right, cols), 0)] = False
        known = np.flatnonzero(sound) if sound.any() else filled
        upper = layer.y0 + np.argmax(layer.mask[:, known], axis=0)
        lower = layer.y0 + rows - np.argmax(layer.mask[::-1, known], axis=0)
        return cls(
            layer.x0 + int(columns[0]),
            np.interp(columns, known, upper.astype(np.float64)),
            np.interp(columns, known, lower.astype(np.float64)),
        )

    @property
    def slant(self) -> float:
        """The cosine of the layer's tilt."""
        return float(1 / np.hypot(1.0, self._slope))

    @property
    def _slope(self) -> float:
        """How many px the layer's middle falls per column."""
        middle = (self.upper + self.lower) / 2
        return float(np.polyfit(np.arange(middle.size), middle, 1)[0]) if middle.size > 1 else 0.0

    def middle_at(self, x: float) -> float:
        """Return how far down the layer's middle lies at a column, on a straight line through all of it."""
        middle = (self.upper + self.lower) / 2
        at = x - self.x0 - (middle.size - 1) / 2
        return float(middle.mean() + at * self._slope)

    def is_same_layer(self, other: Self) -> bool:
        """Say whether two masks are pieces of one layer: half-way between them their middles meet."""
        half_way = (self.x0 + self.upper.size / 2 + other.x0 + other.upper.size / 2) / 2
        thickness = float((self.lower - self.upper).mean() + (other.lower - other.upper).mean()) / 2
        return abs(self.middle_at(half_way) - other.middle_at(half_way)) < thickness / 2

    def joined(self, other: Self) -> Self:
        """Return two pieces as one layer: the mean where both are, a straight bridge between them."""
        x0 = min(self.x0, other.x0)
        columns = np.arange(x0, max(self.x0 + self.upper.size, other.x0 + other.upper.size))
        upper, lower = (np.full((2, columns.size), np.nan) for _ in range(2))
        for row, piece in enumerate((self, other)):
            there = slice(piece.x0 - x0, piece.x0 - x0 + piece.upper.size)
            upper[row, there], lower[row, there] = piece.upper, piece.lower
        known = np.flatnonzero(~np.isnan(upper).all(axis=0))
        faces = (np.nanmean(face[:, known], axis=0) for face in (upper, lower))
        return type(self)(x0, *(np.interp(np.arange(columns.size), known, face) for face in faces))

    def inside(self, roi: Roi) -> npt.NDArray[np.bool_]:
        """Return which pixels of a ROI's mask lie in the layer, bool (h, w)."""
        upper, lower = self._at(roi)
        y = roi.y0 + np.arange(roi.mask.shape[0])[:, None] + 0.5
        return np.asarray(roi.mask & (y > upper) & (y < lower))

    def touches(self, roi: Roi) -> bool:
        """Say whether a ROI's mask comes within `SURFACE_PX` of a face."""
        upper, lower = self._at(roi)
        y = roi.y0 + np.arange(roi.mask.shape[0])[:, None] + 0.5
        near = (y < upper + SURFACE_PX) | (y > lower - SURFACE_PX)
        return bool((self.inside(roi) & near).any())

    def _at(self, roi: Roi) -> tuple[Floats, Floats]:
        """Return upper and lower face at the columns of a ROI; an empty layer beyond the layer's ends."""
        columns = roi.x0 - self.x0 + np.arange(roi.mask.shape[1])
        there = (columns >= 0) & (columns < self.upper.size)
        at = np.clip(columns, 0, self.upper.size - 1)
        return np.where(there, self.upper[at], np.inf), np.where(there, self.lower[at], -np.inf)


@dataclass(frozen=True, slots=True)
class Walk:
    """Profiles of the layers from the top (L1, L2 ...), and the indices of sites that lie in no layer."""

    profiles: tuple[LayerProfile, ...]
    strays: tuple[int, ...]


def walk(layers: Sequence[Roi], sites: Sequence[Roi], um_per_px: float) -> Walk:
    """Walk along every layer and measure what the sites did to it.

    >>> layer = Roi(np.ones((20, 100), bool), 0, 40)
    >>> pit = Roi(np.ones((5, 10), bool), 30, 40)
    >>> profile, = walk([layer], [pit], 2.0).profiles
    >>> profile.thickness_um, profile.deepest_um, profile.residual_um, profile.surface
    (40.0, 10.0, 30.0, True)
    >>> profile.corroded_area_share, profile.corroded_length_share
    (0.025, 0.1)
    """
    faces = sorted(_whole(filter(None, (Faces.of(layer, sites) for layer in layers))), key=_height)
    homes = [_home(site, faces) for site in sites]
    profiles = tuple(
        _profile(
            f"L{index + 1}", face, [site for site, home in zip(sites, homes, strict=True) if home == index], um_per_px
        )
        for index, face in enumerate(faces)
    )
    return Walk(profiles, tuple(index for index, home in enumerate(homes) if home is None))


def _whole(pieces: Iterable[Faces]) -> list[Faces]:
    """Join the pieces of each layer: a long layer may be found in two."""
    whole: list[Faces] = []
    for piece in pieces:
        joined = piece
        for other in [layer for layer in whole if layer.is_same_layer(piece)]:
            whole.remove(other)
            joined = joined.joined(other)
        whole.append(joined)
    return whole


def _height(face: Faces) -> float:
    """Return how far down a layer lies."""
    return float(face.upper.mean() + face.lower.mean())


def _home(site: Roi, faces: Sequence[Faces]) -> int | None:
    """Return the index of the layer a site belongs to."""
    shares = [np.count_nonzero(face.inside(site)) / max(site.area_px, 1) for face in faces]
    if not shares or max(shares) < OWN_SHARE:
        return None
    return int(np.argmax(shares))


def _profile(name: str, face: Faces, sites: Sequence[Roi], um_per_px: float) -> LayerProfile:
    """Measure one layer."""
    thickness = face.lower - face.upper
    eaten = np.zeros_like(thickness)
    for columns, count in _eaten(face, sites):
        eaten[columns] += count
    eaten = np.minimum(eaten, thickness)  # sites that overlap count once at most
    across = face.slant * um_per_px
    return LayerProfile(
        layer=name,
        layer_px=round(float(thickness.sum())),
        corroded_px=round(float(eaten.sum())),
        length_px=thickness.size,
        corroded_length_px=int(np.count_nonzero(eaten)),
        thickness_um=round(float(thickness.mean()) * across, 3),
        deepest_um=round(float(eaten.max()) * across, 3),
        residual_um=round(float((thickness - eaten).min()) * across, 3),
        sites=len(sites),
        surface=any(face.touches(site) for site in sites),
    )


def _eaten(face: Faces, sites: Sequence[Roi]) -> list[tuple[npt.NDArray[np.int64], Floats]]:
    """Return, per site, columns of the layer and how many px of each are corroded."""
    found = []
    for site in sites:
        columns = site.x0 - face.x0 + np.arange(site.mask.shape[1])
        there = (columns >= 0) & (columns < face.upper.size)
        found.append((columns[there], face.inside(site).sum(axis=0).astype(np.float64)[there]))
    return found
