"""Walks along the copper layers of a section: thickness, corrosion depth, residual copper. Pure.

A *layer* is its original envelope, copper and corrosion together; where corrosion sits, its faces are bridged from the
sound columns on either side (`faces`). It is walked along its centre line, and at each step looked across
(`straighten`): straight, tilted, curved, steep, branching, interrupted and touching layers alike. Junctions,
and what the picture's edges cut, are left out and said so.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detector.layers.faces import Layer, layer_of, transposed
from detector.layers.straighten import Course, course
from detector.masks import Roi
from taktwatch.records import LayerProfile

__all__ = ["SURFACE_PX", "Walk", "Walked", "walk"]

Floats = npt.NDArray[np.float64]

SURFACE_PX = 2.0
"""A site nearer than this to a face of its layer breaks through it: masks are exact to about one pixel."""
BREAK_PX = 0.5
"""Where less copper than this is left, none is."""
NEAR_STEPS = 5
OWN_SHARE = 0.3
"""A site belongs to the layer that holds most of it, where that is at least this share of its area."""


@dataclass(frozen=True, eq=False, slots=True)
class Walked:
    """A layer as it was walked: its profile, and its paths step by step; `transposed`: their x and y are exchanged."""

    profile: LayerProfile
    courses: tuple[Course, ...]
    transposed: bool


@dataclass(frozen=True, slots=True)
class Walk:
    """The layers from the top (L1, L2 ...), and the indices of sites in no layer, or only where none is walked."""

    layers: tuple[Walked, ...]
    strays: tuple[int, ...]

    @property
    def profiles(self) -> tuple[LayerProfile, ...]:
        """What was measured of each layer."""
        return tuple(layer.profile for layer in self.layers)


def walk(layers: Sequence[Roi], sites: Sequence[Roi], um_per_px: float, size: tuple[int, int] | None = None) -> Walk:
    """Walk along every layer and measure what the sites did to it. `size`: the picture's (height, width), if known.

    >>> layer = Roi(np.ones((20, 100), bool), 0, 40)
    >>> pit = Roi(np.ones((5, 10), bool), 30, 40)
    >>> profile, = walk([layer], [pit], 2.0).profiles
    >>> profile.thickness_um, profile.deepest_um, profile.residual_um, profile.surface
    (40.0, 10.0, 30.0, True)
    >>> profile.corroded_area_share, profile.corroded_length_share
    (0.025, 0.1)
    """
    read = filter(None, (layer_of(layer, sites) for layer in layers))
    whole = sorted(_whole(read), key=lambda layer: layer.height)
    homes = [_home(site, whole) for site in sites]
    walked, strays = [], {index for index, home in enumerate(homes) if home is None}
    for number, layer in enumerate(whole):
        own = {index: sites[index] for index, home in enumerate(homes) if home == number}
        turned = {index: transposed(site) for index, site in own.items()} if layer.transposed else own
        limits = size[::-1] if size is not None and layer.transposed else size
        courses = tuple(course(path, list(turned.values()), limits) for path in layer.paths)
        strays |= {index for index, site in turned.items() if not _is_met(site, courses)}
        profile = _profile(f"L{number + 1}", courses, len(own), um_per_px)
        walked.append(Walked(profile, courses, layer.transposed))
    return Walk(tuple(walked), tuple(sorted(strays)))


def _whole(pieces: Iterable[Layer]) -> list[Layer]:
    """Join the pieces of each layer: a long layer may be found in two, or be eaten through."""
    whole: list[Layer] = []
    for piece in pieces:
        joined = piece
        for other in [layer for layer in whole if layer.goes_on_in(piece)]:
            whole.remove(other)
            joined = joined.joined(other)
        whole.append(joined)
    return whole


def _home(site: Roi, layers: Sequence[Layer]) -> int | None:
    """Return the index of the layer a site belongs to."""
    shares = [layer.share(site) for layer in layers]
    if not shares or max(shares) < OWN_SHARE:
        return None
    return int(np.argmax(shares))


def _is_met(site: Roi, courses: Sequence[Course]) -> bool:
    """Say whether a site is seen at a step that is not left out."""
    x0, y0, x1, y1 = site.box
    for one in courses:
        low, high = np.minimum(one.upper, one.lower), np.maximum(one.upper, one.lower)
        near = ((high >= (x0, y0)) & (low <= (x1, y1))).all(axis=1)
        if (near & ~one.left_out & one.corroded.any(axis=1)).any():
            return True
    return False


def _profile(name: str, courses: Sequence[Course], sites: int, um_per_px: float) -> LayerProfile:
    """Measure one layer: figures of the steps that count, surfaces of all."""
    counts = np.concatenate([~one.left_out for one in courses])
    if not counts.any():  # nothing but junctions and edges: better than nothing
        counts = np.ones_like(counts)
    thickness, eaten = (
        np.concatenate([getattr(one, what) for one in courses])[counts] for what in ("thickness", "eaten")
    )
    residual = thickness - eaten
    surfaces = [bool(any(one.near_face(SURFACE_PX, upper=side).any() for one in courses)) for side in (True, False)]
    gone = [(one.thickness - one.eaten < BREAK_PX) & (one.eaten > 0) & ~one.left_out for one in courses]
    return LayerProfile(
        layer=name,
        layer_px=round(float(thickness.sum())),
        corroded_px=round(float(eaten.sum())),
        length_px=thickness.size,
        corroded_length_px=int(np.count_nonzero(eaten)),
        thickness_um=round(float(thickness.mean()) * um_per_px, 3),
        deepest_um=round(float(eaten.max()) * um_per_px, 3),
        residual_um=round(float(residual.min()) * um_per_px, 3),
        sites=sites,
        surface=any(surfaces),
        mean_depth_um=round(float(eaten[eaten > 0].mean()) * um_per_px, 3) if (eaten > 0).any() else 0.0,
        breaks=sum(_stretches(one) for one in gone),
        upper_surface=surfaces[0],
        lower_surface=surfaces[1],
        left_out_px=int(np.count_nonzero(~counts)),
    )


def _stretches(there: npt.NDArray[np.bool_]) -> int:
    """Count stretches of steps; what lies closer together than `NEAR_STEPS` is one.

    >>> _stretches(np.array([True, True, False, True] + [False] * 9 + [True]))
    2
    """
    steps = np.flatnonzero(there)
    return int(np.count_nonzero(np.diff(steps) > NEAR_STEPS) + bool(steps.size))
