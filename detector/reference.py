"""What a product's good boards say of a new picture: is it one of this product, well taken, and all of it explained?

Pure but for reading the product's folder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import cv2
import numpy as np
import numpy.typing as npt

from detector.aligning.maps import Map
from detector.aligning.regions import inspected_area
from detector.aligning.registration import matrix_of
from detector.doubts import Reason, misfit, out_of_date
from detector.inputs import Inputs, grey_of
from detector.judge import Finding
from detector.products.gates import complaints, picture_figures
from detector.products.product import Product, load_product
from detector.scale import SAME_SCALE, Scale, Zoom
from detector.unexplained import unexplained
from taktwatch.config import ProductConfig
from taktwatch.errors import ConfigError
from taktwatch.records import Doubt

__all__ = ["Reference", "differences", "fit", "open_reference"]

Picture = npt.NDArray[np.uint8]
Grey = npt.NDArray[np.uint8]

MOST_STRAYS = 5
"""So many differences are named, the largest; a torn board has hundreds."""
SAID_ALIKE = 0.005
"""Scales that differ by less say the same: line.toml rounds."""


@dataclass(frozen=True, eq=False, slots=True)
class Reference:
    """A product's folder, or None where line.toml names none: then nothing is known of how its pictures should look."""

    product: Product | None = None

    def scale(self, um_per_px: float, zoom: Zoom = SAME_SCALE) -> Scale:
        """Return the calibrated scale; `um_per_px` of the frame where its camera is another one, or not calibrated."""
        card = None if self.product is None else self.product.card.camera
        return Scale.square(um_per_px) if card is None or zoom != SAME_SCALE else card.scale

    def gates(self, picture: Picture, template_sha256: str | None, taken_at: datetime | None) -> tuple[Reason, ...]:
        """Say what is wrong with how a picture, RGB (H, W, 3), was taken.

        Good boards tell how pictures compared with *their* template should look (views without one: all pictures).
        """
        if self.product is None:
            return ()
        card = self.product.card
        told: list[Reason] = []
        if card.template_sha256 in {None, template_sha256}:
            told += complaints(picture_figures(grey_of(picture)), card.baseline)
        if card.camera is not None and taken_at is not None:
            late = out_of_date(card.camera.expires_at, taken_at)
            told += [] if late is None else [late]
        return tuple(told)

    def rules(self, product: ProductConfig, template_sha256: str | None) -> ProductConfig:
        """Return the product with the region that all its good boards show, where line.toml states none.

        The region belongs to the folder's own template.
        """
        if self.product is None or product.roi is not None or not self.product.card.roi:
            return product
        if self.product.card.template_sha256 != template_sha256:
            return product
        return product.model_copy(update={"roi": self.product.card.roi})

    def tolerance(self, template_sha256: str | None, matrix: Map, size: tuple[int, int]) -> Grey | None:
        """Return how far good boards stray, laid on a picture (H, W) by a map; None where that is not known."""
        if self.product is None or self.product.tolerance is None:
            return None
        if self.product.card.template_sha256 != template_sha256:
            return None
        laid = cv2.warpPerspective(self.product.tolerance, matrix, (size[1], size[0]), borderValue=255)
        return np.asarray(laid, np.uint8)


def open_reference(name: str, product: ProductConfig) -> Reference:
    """Read a product's folder. Raises `ConfigError` for one that is damaged, or not what line.toml says of it."""
    if product.folder is None:
        return Reference()
    read = load_product(product.folder)
    said = read.card.um_per_px
    if abs(product.um_per_px / said - 1) > SAID_ALIKE:
        raise ConfigError(
            f"products.{name}.um_per_px is {product.um_per_px:g}, {product.folder} was made at {said:g}; "
            "correct line.toml, or build the product again"
        )
    return Reference(read)


def fit(product: ProductConfig, inputs: Inputs, template: Picture | None) -> tuple[Reason, ...]:
    """Say how the template does not fit; `template` RGB (H, W, 3), or None for a tile, which is not tried turned."""
    if inputs.registration is None or inputs.pair is None:
        return ()
    said = misfit(inputs.registration, product.min_registration, inputs.pair.seen, template)
    return () if said is None else (said,)


def differences(
    inputs: Inputs,
    found: Sequence[Finding],
    product: ProductConfig,
    tolerance: Grey | None,
    origin: tuple[int, int] = (0, 0),
) -> tuple[Reason, ...]:
    """Say where a picture differs from its template and nothing was found; `origin` is where it lies on a panel."""
    if inputs.pair is None or inputs.registration is None:
        return ()
    seen = inputs.pair.seen
    size = (seen.shape[0], seen.shape[1])
    matrix = matrix_of(inputs.registration)
    area = inspected_area(size, matrix, roi=product.roi, ignore=product.ignore, template=size)
    rois = [finding.roi for finding in found]
    strays = unexplained(seen, inputs.pair.lit, rois, area=area, tolerance=tolerance)
    words = [stray.moved(*origin).words for stray in strays[:MOST_STRAYS]]
    missed = inputs.pair.missed
    if missed is not None and (missed & area).any():
        words.append("unexplained: the scan ends at another line than the template's; what lies between was not seen")
    return tuple(Reason(each, Doubt.UNEXPLAINED) for each in words)
