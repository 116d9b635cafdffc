"""What an evaluation leaves behind: the report as a record, and how it is read back."""

from pathlib import Path

import msgspec

from detector.evaluation.compare import Comparison
from detector.evaluation.figures import Figures
from taktwatch.errors import BadInput
from taktwatch.records import ModelRef

__all__ = ["Origin", "Report", "read_report"]


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured on what: enough to do it again."""

    model: ModelRef
    dataset: str
    dataset_sha256: str
    product: str
    config_sha256: str
    thresholds: dict[str, float]
    seed: int
    command: str
    learned_from: tuple[str, ...]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """An evaluation; `comparison` where there were two models. `page` is the HTML file, beside `metrics.json`."""

    origin: Origin
    figures: Figures
    comparison: Comparison | None = None
    page: str = ""


def read_report(path: Path) -> Report:
    """Read `metrics.json`. Raises `BadInput`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise BadInput(f"{path}: not the metrics of an evaluation: {error}") from error
