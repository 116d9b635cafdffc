"""What a screen misses, measured on validation boards and kept beside its model, and whether a product may use it.

`screen.json` holds one measurement for each kind of pictures (domain), engine and precision. Reading it wants nothing
but the file; measuring is `detector.evaluation.screening`.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import structlog

from detector.beside import read_measured, save_measured
from detector.engines import Engine
from detector.engines.screened import ScreenedEngine
from detector.intervals import rate
from detector.scores import family
from detector.screen import METHOD
from taktwatch.config import ProductConfig
from taktwatch.errors import ModelError
from taktwatch.records import ModelRef

__all__ = ["FILE", "Screening", "measured_for", "objection", "read_screenings", "save_screenings", "screened"]

FILE = "screen.json"

log = structlog.get_logger()


class Screening(msgspec.Struct, frozen=True, kw_only=True):
    """A threshold, chosen on some boards of a set, and what it misses on the others; `sha256` hashes all the rest.

    defects: true ones on the `pictures` measured. uncovered: of these, no crop holds the greater part. lost: the
    network reports them in the whole picture and not in the crops. unasked, whole: pictures without a call of the
    network, and those that it saw whole; seen: share of all pixels that went through it.
    """

    model_id: str
    engine: str
    precision: str
    domain: str
    dataset: str
    dataset_sha256: str
    method: int
    threshold: float
    chosen_on: int
    pictures: int
    defects: int
    uncovered: int
    lost: int
    unasked: int
    whole: int
    seen: float
    sha256: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What a model has one measurement for: domain, engine, precision."""
        return self.domain, family(self.engine), self.precision

    @property
    def missed(self) -> int:
        """Defects that are lost by screening."""
        return self.uncovered + self.lost

    @property
    def upper(self) -> float:
        """The share of missed defects is below this with 95 % confidence (exact binomial, one-sided)."""
        return rate(self.missed, self.defects).upper


def objection(one: Screening, product: ProductConfig) -> str | None:
    """Say why a product may not use a screen; None where it may."""
    if one.method != METHOD:
        return "measured with another version of the screen; measure again with `taktwatch models screen`"
    if one.upper > product.screen_max_miss:
        return (
            f"it missed {one.missed} of {one.defects} defects, up to {one.upper:.2%} with 95 % confidence; "
            f"the product allows {product.screen_max_miss:.2%}"
        )
    return None


def screened(engine: Engine, folder: Path, name: str, product: ProductConfig) -> Engine:
    """Return a product's engine behind its screen, where one was measured and misses little enough; else the engine.

    `folder` is the model's. Raises `ModelError` for a measurement that is damaged or was edited.
    """
    if product.screen == "off" or engine.spec.input != "template":
        return engine
    ref, domain = engine.ref, product.domain or name
    found = measured_for(folder, ref, domain)
    if found is None:
        unknown = f"not measured on {family(ref.engine)} {ref.precision}, {domain!r}"
        log.info("screen off", product=name, model=ref.model_id, why=unknown)
        return engine
    if why := objection(found, product):
        log.warning("screen off", product=name, model=ref.model_id, why=why)
        return engine
    log.info("screen on", product=name, model=ref.model_id, miss_upper=round(found.upper, 5), seen=round(found.seen, 3))
    return ScreenedEngine(engine, found.threshold, found.sha256)


def measured_for(folder: Path, ref: ModelRef, domain: str) -> Screening | None:
    """Return what was measured of a model as it runs, on one kind of pictures. Raises `ModelError`.

    Engines in float32 share a measurement where they have none of their own: they are proven to agree within 0.001.
    """
    known = read_screenings(folder, ref.model_id)
    alike = [one for one in known if (one.domain, one.precision) == (domain, ref.precision)]
    own = [one for one in alike if family(one.engine) == family(ref.engine)]
    return next(iter(own or (alike if ref.precision == "float32" else ())), None)


def read_screenings(folder: Path, model_id: str) -> list[Screening]:
    """Read what was measured of a model; nothing where nobody did, or of other weights. Raises `ModelError`."""
    read = read_measured(folder / FILE, Screening, what="screen", again="measure again")
    return [one for one in read if one.model_id == model_id]


def save_screenings(folder: Path, made: Sequence[Screening]) -> Path:
    """Write measurements beside their model; older ones of the same weights stay, but for the same key."""
    path = folder / FILE
    try:
        known = read_screenings(folder, made[0].model_id)
    except ModelError:
        known = []  # no measurement at all: worth nothing
    save_measured(path, known, made)
    return path
