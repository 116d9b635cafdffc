"""Products: what is inspected, by which model, and the rules of its verdict."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from taktwatch.config.base import Settings

__all__ = ["ClassConfig", "CostsConfig", "ProductConfig", "SectionConfig"]


class ClassConfig(Settings):
    """Thresholds of one defect class: lower scores (of the network) and smaller areas are not reported.

    Without a `score` stands the one that costs least by the model's calibration, and 0.5 where there is none.
    """

    score: float | None = Field(default=None, gt=0, lt=1)
    min_area_px: int = Field(default=4, ge=1)


class CostsConfig(Settings):
    """What one board costs that is judged wrong, in any one currency; calibrated thresholds make the least of both."""

    escape: float = Field(default=20.0, gt=0)
    false_call: float = Field(default=1.0, gt=0)


class SectionConfig(Settings):
    """Limits of a layer section, shares 0 to 1."""

    max_corroded_area_share: float = Field(default=0.02, ge=0, le=1)
    max_depth_share: float = Field(default=0.3, ge=0, le=1)
    allow_surface: bool = False
    min_residual_um: float = Field(default=0, ge=0, description="copper left at the thinnest place; 0: any")


def encloses_something(corners: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    """Refuse a polygon without area; its corners may go round either way.

    >>> encloses_something(((0, 0), (4, 0), (2, 0)))
    Traceback (most recent call last):
    ValueError: the corners (0, 0), (4, 0), (2, 0) enclose nothing; list them in turn around the region
    """
    ends = (*corners[1:], corners[0])
    twice = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(corners, ends, strict=True))
    if abs(twice) < 1:
        listed = ", ".join(f"({x:g}, {y:g})" for x, y in corners)
        raise ValueError(f"the corners {listed} enclose nothing; list them in turn around the region")
    return corners


Coordinate = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]

Polygon = Annotated[
    tuple[tuple[Coordinate, Coordinate], ...], Field(min_length=3, max_length=256), AfterValidator(encloses_something)
]
"""Corners (x, y) in px, in turn around a region."""


class ProductConfig(Settings):
    """What is inspected and how it is judged."""

    view: Literal["board", "section"] = "board"
    model: str
    um_per_px: float = Field(gt=0)
    box_margin_um: float = Field(default=0.0, ge=0)
    opportunities: int = Field(default=1, ge=1)
    views: int = Field(default=1, ge=1, le=1000, description="how many pictures of one visit make a board")
    template: Path | None = None
    folder: Path | None = Field(default=None, description="as `taktwatch product new` wrote it; brings the template")
    card_sha256: str = Field(default="", description="of the folder's product.json; another one is refused")
    classes: dict[str, ClassConfig] = Field(default_factory=dict)
    review_below: float = Field(
        default=0.0, ge=0, lt=1, description="a defect scored below this sends the board to review"
    )
    min_registration: float = Field(
        default=0.8, ge=-1, le=1, description="a worse template correlation means review; -1: none does"
    )
    domain: str = Field(
        default="", description="kind of pictures the model's scores are calibrated for; default: the product's name"
    )
    expected_defect_rate: float = Field(default=0.05, gt=0, lt=1, description="share of boards with a defect")
    costs: CostsConfig = Field(default_factory=CostsConfig)
    unsure_px: float = Field(default=0.5, ge=0, le=10, description="how far the edge of a mask may be off")
    min_shown_px: int = Field(
        default=10, ge=0, description="a finding where fewer px differ from the template is dust or an edge"
    )
    roi: Polygon | None = Field(default=None, description="corners in template px; only what lies inside is inspected")
    ignore: tuple[Polygon, ...] = Field(default=(), description="corners in template px; what lies inside is left out")
    section: SectionConfig = Field(default_factory=SectionConfig)
    second_look: bool = Field(
        default=False,
        description="a picture that leaves the network in doubt is shown to it again, turned; the mean of both counts",
    )
    screen: Literal["auto", "off"] = Field(
        default="auto",
        description="auto: the network looks only where the picture differs from its template, if that was measured "
        "to miss no more than screen_max_miss",
    )
    screen_max_miss: float = Field(
        default=0.01, gt=0, lt=1, description="share of defects that the screen may miss: the upper 95 % bound"
    )

    def upper_limit(self, metric: str) -> float | None:
        """Return what a figure measured in sections may be at most, a share 0 to 1; None for other figures.

        >>> section = ProductConfig(view="section", model="m", um_per_px=1.5)
        >>> section.upper_limit("extent"), section.upper_limit("depth"), section.upper_limit("dpu")
        (0.02, 0.3, None)
        """
        if self.view != "section":
            return None
        return {"extent": self.section.max_corroded_area_share, "depth": self.section.max_depth_share}.get(metric)

    @model_validator(mode="after")
    def one_template(self) -> "ProductConfig":
        """Refuse a template beside the folder's own."""
        if self.folder is not None and self.template is not None and self.template.parent != self.folder:
            raise ValueError("folder brings its own template; give one of both")
        if self.card_sha256 and self.folder is None:
            raise ValueError("card_sha256 names the product.json of a folder, and there is no folder")
        return self
