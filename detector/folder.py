"""Pictures from files, one after the other through the detector: what `taktwatch inspect` does."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from detector.inspect import Inspector
from detector.panel import PanelFile, inspect_panel
from detector.steps import Inspection, Picture
from taktwatch.config import LineConfig, ProductConfig
from taktwatch.errors import BadInput, ConfigError
from taktwatch.pictures import decode

__all__ = ["PictureReport", "inspect_pictures"]


@dataclass(frozen=True, eq=False, slots=True)
class PictureReport:
    """One picture of `inspect_pictures`: either an inspection, or the error that kept it from being inspected."""

    path: Path
    picture: Picture | None = None
    inspection: Inspection | None = None
    template_sha256: str | None = None
    error: str = ""


def inspect_pictures(
    config: LineConfig,
    product_name: str,
    pictures: Iterable[tuple[Path, bytes, bytes | None] | PanelFile],
    *,
    taken_at: datetime | None = None,
) -> Iterator[PictureReport]:
    """Inspect encoded pictures, each with its path and encoded golden template (None: the product's own), in order.

    Panels are read from their files by rows; their reports have no picture. `taken_at` is held against the expiry of
    the camera's calibration. A picture that cannot be inspected gives a report with its error; the next one goes on.
    Raises at once what is wrong with the product or its model: `UnknownProduct`, `ModelError`, `ConfigError`.
    """
    inspector = Inspector(config)
    inspector.engine(product_name)
    inspector.reference(product_name)
    product = config.product(product_name)
    templates: dict[str, Picture] = {}
    for each in pictures:
        path = each.path if isinstance(each, PanelFile) else each[0]
        try:
            if isinstance(each, PanelFile):
                yield PictureReport(path, inspection=inspect_panel(inspector, product_name, each))
                continue
            _, body, template_body = each
            picture = _decoded(body, str(path), config)
            template, sha256 = _template(template_body, product, config, templates)
            prepared = inspector.prepare(product_name, picture, template, template_sha256=sha256, taken_at=taken_at)
        except BadInput as error:
            words = str(error)
            yield PictureReport(path, error=words if str(path) in words else f"{path}: {words}")
            continue
        yield PictureReport(path, picture, inspector.inspect_batch([prepared])[0], sha256)


def _template(
    body: bytes | None, product: ProductConfig, config: LineConfig, known: dict[str, Picture]
) -> tuple[Picture | None, str | None]:
    """Decode a template and hash it, the product's own where none is given; the last one is kept."""
    if body is None:
        if product.template is None:
            return None, None
        try:
            body = product.template.read_bytes()
        except OSError as error:
            raise ConfigError(f"template {product.template} cannot be read: {error.strerror}") from error
    sha256 = hashlib.sha256(body).hexdigest()
    if sha256 not in known:
        known.clear()
        known[sha256] = _decoded(body, "its template", config)
    return known[sha256], sha256


def _decoded(body: bytes, name: str, config: LineConfig) -> Picture:
    """Decode under the line's limits."""
    limits = config.ingest
    return decode(body, name=name, max_px=limits.max_picture_px, max_side=limits.max_side_px)
