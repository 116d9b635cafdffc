"""What a network's scores are worth on a product's pictures, and from which score on something is a defect.

`calibration.json` beside a model holds what was learnt on validation boards: one calibration for each kind of pictures
(domain), engine and precision. Reading it wants nothing but the file; learning it is `detector.evaluation.calibration`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from detector.beside import read_measured, save_measured
from taktwatch.config import ProductConfig
from taktwatch.errors import ModelError
from taktwatch.records import ModelRef

__all__ = [
    "FILE",
    "UNCALIBRATED",
    "Calibration",
    "ClassCalibration",
    "Costs",
    "Scores",
    "family",
    "is_calibrated",
    "open_scores",
    "read_calibrations",
    "save_calibration",
]

FILE = "calibration.json"
UNCALIBRATED = 0.5
"""The score from which a defect is reported where nobody calibrated and line.toml says nothing."""


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """What one board costs that is judged wrong, in any one currency."""

    escape: float
    false_call: float


class ClassCalibration(msgspec.Struct, frozen=True, kw_only=True):
    """One class: threshold on the raw score, and the chance of a defect, linear between `scores` and `chances`.

    `n` detections were seen, `right` of them where a defect is. Without points the class had too few, and scores stay
    as they are.
    """

    threshold: float
    n: int
    right: int
    scores: tuple[float, ...] = ()
    chances: tuple[float, ...] = ()

    def chance(self, score: float) -> float:
        """Return the chance that a defect is where a detection of this score lies."""
        return float(np.interp(score, self.scores, self.chances)) if self.scores else score


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """A calibration and what it holds for: this model, engine and precision, pictures of this `domain`, these costs.

    `dataset` are the validation boards it was learnt on, `expected_cost` that of one of them at the thresholds (None
    where limits decide, not thresholds); `sha256` is the hash of all the rest.
    """

    model_id: str
    engine: str
    precision: str
    domain: str
    dataset: str
    dataset_sha256: str
    expected_defect_rate: float
    costs: Costs
    defective_boards: int
    good_boards: int
    expected_cost: float | None
    classes: dict[str, ClassCalibration]
    sha256: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What a model has one calibration for: domain, engine, precision."""
        return self.domain, family(self.engine), self.precision


@dataclass(frozen=True, slots=True)
class Scores:
    """A product's thresholds and what scores are worth; what line.toml states goes before what was learnt.

    >>> from taktwatch.config import ClassConfig
    >>> product = ProductConfig(model="m", um_per_px=20, classes={"open": ClassConfig(score=0.7), "short": {}})
    >>> scores = Scores(product)
    >>> scores.threshold("open"), scores.threshold("short"), scores.chance("open", 0.8)
    (0.7, 0.5, 0.8)
    """

    product: ProductConfig
    calibration: Calibration | None = None

    def threshold(self, label: str) -> float:
        """Return the raw score from which a class is reported."""
        stated = self.product.classes[label].score
        if stated is not None:
            return stated
        known = self._known(label)
        return UNCALIBRATED if known is None else known.threshold

    def chance(self, label: str, score: float) -> float:
        """Return the chance of a defect at a detection of this raw score; the score itself where nobody calibrated."""
        known = self._known(label)
        return score if known is None else known.chance(score)

    def believed(self) -> "Scores":
        """Return these with no learnt threshold above what a network holds more likely than not; stated ones stay."""
        if self.calibration is None:
            return self
        lower = {
            label: msgspec.structs.replace(one, threshold=min(one.threshold, UNCALIBRATED))
            for label, one in self.calibration.classes.items()
        }
        return Scores(self.product, msgspec.structs.replace(self.calibration, classes=lower))

    @property
    def thresholds(self) -> dict[str, float]:
        """The thresholds of all classes of the product."""
        return {label: self.threshold(label) for label in self.product.classes}

    @property
    def sha256(self) -> str:
        """Name of the calibration; empty without one."""
        return "" if self.calibration is None else self.calibration.sha256

    def _known(self, label: str) -> ClassCalibration | None:
        return None if self.calibration is None else self.calibration.classes.get(label)


def family(engine: str) -> str:
    """Return an engine's name without its version: a new version computes the same.

    >>> family("openvino 2026.1.0")
    'openvino'
    """
    return engine.partition(" ")[0]


def open_scores(folder: Path, model: ModelRef, name: str, product: ProductConfig) -> Scores:
    """Return the scores of a product whose model lies in `folder` and runs as `model`.

    The domain is the product's, or its name. Engines in float32 share a calibration where they have none of their own:
    they are proven to agree within 0.001. Raises `ModelError` for a calibration that is damaged, was edited, or
    belongs to other weights.
    """
    domain = product.domain or name
    known = [one for one in read_calibrations(folder, model.model_id) if one.domain == domain and _fits(one, model)]
    own = [one for one in known if family(one.engine) == family(model.engine)]
    return Scores(product, next(iter(own or known), None))


def is_calibrated(folder: Path | None, model: ModelRef) -> bool:
    """Whether a model's scores are calibrated as it runs for every kind of pictures that they are calibrated for.

    True where nobody calibrated. Raises `ModelError`.
    """
    known = [] if folder is None else read_calibrations(folder, model.model_id)
    return {one.domain for one in known} == {one.domain for one in known if _fits(one, model)}


def read_calibrations(folder: Path, model_id: str) -> list[Calibration]:
    """Read what was learnt about a model; nothing where nobody calibrated. Raises `ModelError`."""
    path = folder / FILE
    read = read_measured(path, Calibration, what="calibration", again="calibrate again")
    for one in read:
        if one.model_id != model_id:
            raise ModelError(
                f"{path}: made for {one.model_id}, this is {model_id}; delete it, or calibrate again with "
                "`taktwatch models calibrate`"
            )
    return read


def save_calibration(folder: Path, made: Sequence[Calibration]) -> Path:
    """Write calibrations beside their model; older ones of the same weights stay, but for the same key."""
    path = folder / FILE
    try:
        known = read_calibrations(folder, made[0].model_id)
    except ModelError:
        known = []  # of other weights, or no calibration at all: worth nothing now
    save_measured(path, known, made)
    return path


def _fits(calibration: Calibration, model: ModelRef) -> bool:
    """Whether a calibration holds for a model as it runs: engine and precision, or both in float32."""
    if calibration.precision != model.precision:
        return False
    return model.precision == "float32" or family(calibration.engine) == family(model.engine)
