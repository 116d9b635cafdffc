"""The desk every shot passes: is it a picture, within the limits, of a known product, with a sound golden template?"""

import hashlib
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime

from ingest.cameras import Shot
from ingest.cameras.simulator import View
from ingest.entries import Entry
from ingest.frames import Origin, fault_of, head_of, make_frame
from taktwatch.config import FolderSource, IngestConfig, LineConfig, SimulatorSource, StationConfig
from taktwatch.errors import BadPicture, ConfigError, UnknownProduct
from taktwatch.pictures import decode
from taktwatch.records import Outcome

__all__ = ["Intake"]


class Intake:
    """Turns the shots of a session into entries for the spool. Blocking: it decodes pictures."""

    def __init__(
        self, config: LineConfig, station: StationConfig, session: str, published_templates: AbstractSet[str]
    ) -> None:
        """`published_templates`: hashes of those the bus has. Raises `ConfigError` where the template is unreadable."""
        self._limits = config.ingest
        self._published = published_templates
        self._template_faults: dict[str, str] = {}
        self._product_fault = ""
        self._template: bytes | None = None
        # A conveyor's golden picture stands in for a product that has no template of its own.
        self._own_first = isinstance(station.source, SimulatorSource)
        self.view: View = "board"
        um_per_px = 0.0
        try:
            product = config.product(station.product)
        except UnknownProduct as error:
            self._product_fault = str(error)
        else:
            self.view, um_per_px = product.view, station.um_per_px or product.um_per_px
            try:
                in_strips = isinstance(station.source, FolderSource) and station.source.panels
                self._template = None if product.template is None or in_strips else product.template.read_bytes()
            except OSError as error:
                raise ConfigError(
                    f"product {station.product!r}: template {product.template} cannot be read: {error.strerror}"
                ) from error
        self._origin = Origin(config.line, station.name, session, station.product, self.view, um_per_px, station.lot)

    def entry(self, shot: Shot, *, seq: int, visit: int, taken_at: datetime, received_at: datetime) -> Entry:
        """Describe a shot and decide whether it goes on to be inspected."""
        template = (self._template or shot.template) if self._own_first else (shot.template or self._template)
        template_sha256 = None if template is None else hashlib.sha256(template).hexdigest()
        reason = shot.missed or self._fault(shot, template, template_sha256)
        whole_bytes = len(shot.data) if shot.whole_bytes is None else shot.whole_bytes
        if len(shot.data) > self._limits.max_picture_bytes:
            shot = replace(shot, data=head_of(shot.data), sha256=hashlib.sha256(shot.data).hexdigest())
        outcome = Outcome.SKIPPED if shot.missed else Outcome.DEAD if reason else Outcome.INSPECTED
        goes_on = outcome is Outcome.INSPECTED
        frame = make_frame(
            shot,
            self._origin,
            seq=seq,
            visit=visit,
            taken_at=taken_at,
            received_at=received_at,
            template_sha256=template_sha256 if goes_on else None,
            max_clock_skew_s=self._limits.max_clock_skew_s,
        )
        return Entry(
            frame=frame,
            source=shot.name,
            outcome=outcome,
            reason=reason,
            whole_bytes=whole_bytes,
            key=shot.key,
            template=template if goes_on and template_sha256 not in self._published else None,
        )

    def _fault(self, shot: Shot, template: bytes | None, template_sha256: str | None) -> str:
        """Return why a shot cannot be inspected; empty where it can."""
        fault = fault_of(shot, self._limits) or (f"{shot.name}: {self._product_fault}" if self._product_fault else "")
        if fault or template is None or template_sha256 is None:
            return fault
        template_fault = self._template_fault(template, template_sha256)
        return f"{shot.name}: {template_fault}" if template_fault else ""

    def _template_fault(self, template: bytes, sha256: str) -> str:
        """Return what is wrong with a golden template; each is looked at once."""
        if sha256 not in self._template_faults:
            self._template_faults[sha256] = template_fault(template, self._limits)
        return self._template_faults[sha256]


def template_fault(template: bytes, limits: IngestConfig) -> str:
    """Return what is wrong with a golden template; empty where nothing is."""
    if len(template) > limits.max_picture_bytes:
        return f"its template has more than the {limits.max_picture_bytes} bytes a line takes"
    try:
        decode(template, name="its template", max_px=limits.max_picture_px, max_side=limits.max_side_px)
    except BadPicture as error:
        return str(error)
    return ""
