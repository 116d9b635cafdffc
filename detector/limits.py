"""Measured values against limits, with how far each may be off: what lies too near a limit is nobody's pass. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import hypot

from detector.doubts import Reason
from detector.scale import Scale
from taktwatch.config import ProductConfig
from taktwatch.records import Doubt, LayerProfile

__all__ = ["Measured", "judged_layer"]


@dataclass(frozen=True, slots=True)
class Measured:
    """A value against its limit. `unsure` is how far the value may be off; `words` say it, `least` that it is a floor.

    >>> Measured("depth 31%, at most 30%", value=0.31, limit=0.30, unsure=0.02).reason
    Reason(words='depth 31%, at most 30%: nearer than the 0.02 it is unsure by', doubt=<Doubt.UNCERTAIN: 'uncertain'>)
    """

    words: str
    value: float
    limit: float
    unsure: float
    least: bool = False

    @property
    def reason(self) -> Reason | None:
        """What this says against the board: nothing, that the limit is exceeded, or that nobody can tell."""
        beyond = self.limit - self.value if self.least else self.value - self.limit
        if beyond > self.unsure:
            return Reason(self.words)
        if beyond > 0 or (self.unsure and beyond > -self.unsure):
            return Reason(f"{self.words}: nearer than the {self.unsure:.2g} it is unsure by", Doubt.UNCERTAIN)
        return None


def judged_layer(profile: LayerProfile, product: ProductConfig, scale: Scale) -> Iterator[Reason]:
    """Say which limits a layer exceeds, or comes nearer to than it was measured.

    Every face may be off by `unsure_px` of the product: depths and thicknesses by as much, areas by as much in each
    corroded column; what is given in um also by what the camera's scale is unsure by. A layer without corrosion has
    nothing to measure.
    """
    limits, edge_px = product.section, product.unsure_px
    thickness = profile.thickness_um
    if profile.corroded_px:
        area_unsure = edge_px * profile.corroded_length_px / max(profile.layer_px, 1)
        depth_share = profile.depth_share
        depth_unsure = edge_px * scale.y / thickness if thickness else 0.0
        area, most_area = profile.corroded_area_share, limits.max_corroded_area_share
        measured = [
            Measured(f"{area:.1%} of the area corroded, at most {most_area:.1%}", area, most_area, area_unsure),
            Measured(
                f"corroded {profile.deepest_um:.1f} um deep, {depth_share:.0%} of its thickness, "
                f"at most {limits.max_depth_share:.0%}",
                depth_share,
                limits.max_depth_share,
                depth_unsure,
            ),
        ]
    else:
        measured = []
    if limits.min_residual_um:
        unsure = hypot(edge_px * scale.y, profile.residual_um * scale.unsure_share)
        words = f"{profile.residual_um:.1f} um of copper left, at least {limits.min_residual_um:g} um"
        measured.append(Measured(words, profile.residual_um, limits.min_residual_um, unsure, least=True))
    for one in measured:
        if (reason := one.reason) is not None:
            yield Reason(f"{profile.layer}: {reason.words}", reason.doubt)
    if profile.surface and not limits.allow_surface:
        yield Reason(f"{profile.layer}: corrosion breaks through the surface")
