"""Exports on disk: the parts of a network as files that other runtimes read, each named by its hash.

An export is a folder named by what it was made from: weights, settings, exporter and runtime. Whoever opens it checks
every file against `export.json`. Nothing in it is ever unpickled, and it may be deleted at any time.
"""

import hashlib
import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from detector.registry import ModelCard
from taktwatch.errors import ConfigError, ModelError

__all__ = [
    "CARD",
    "PARTS",
    "Export",
    "ExportCard",
    "Format",
    "file_sha256",
    "known_format",
    "model_exports",
    "open_export",
    "runtime",
]

PARTS = ("trunk", "boxes", "masks")
CARD = "export.json"

Format = Literal["openvino", "openvino-int8", "onnx", "torchscript"]
PACKAGES: dict[Format, tuple[str, ...]] = {
    "openvino": ("openvino",),
    "openvino-int8": ("openvino",),
    "onnx": ("onnxruntime", "onnx", "onnxscript"),
    "torchscript": ("torch",),
}
SUFFIXES: dict[Format, str] = {"openvino": ".xml", "openvino-int8": ".xml", "onnx": ".onnx", "torchscript": ".pt"}


class ExportCard(BaseModel):
    """What an export was made from and with (packages with versions), and the SHA-256 of each of its files by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    exporter: int
    format: Format
    runtime: str
    made_with: str
    weights_sha256: str
    spec_sha256: str
    files: dict[str, str]

    @property
    def recipe_sha256(self) -> str:
        """Hash over how it was made and its bare weights: names inside graphs differ from one making to the next."""
        bare = sorted(pair for pair in self.files.items() if pair[0].endswith(".bin"))
        how = (self.exporter, self.format, self.runtime, self.made_with, self.weights_sha256, self.spec_sha256, bare)
        return hashlib.sha256(repr(how).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Export:
    """An export on disk, checked. `sha256` names its content."""

    folder: Path
    card: ExportCard

    @property
    def sha256(self) -> str:
        """Hash over the hashes of its files."""
        return hashlib.sha256(repr(sorted(self.card.files.items())).encode()).hexdigest()

    def part(self, name: str) -> Path:
        """Return the file of one of `PARTS`."""
        return self.folder / f"{name}{SUFFIXES[self.card.format]}"


def runtime(kind: Format) -> ModuleType:
    """Import a runtime. Raises `ConfigError` naming what to install."""
    first: ModuleType | None = None
    for name in PACKAGES[kind]:
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            raise ConfigError(
                f"the {kind} engine wants the package {name}, which is not installed; "
                f"pip install 'taktwatch[{kind.partition('-')[0]}]', or set detector.engine to torch"
            ) from error
        first = first or module
    assert first is not None  # noqa: S101 - no format has no package
    return first


def known_format(name: str) -> Format:
    """Return the format of that name. Raises `ConfigError`."""
    for kind in SUFFIXES:
        if kind == name:
            return kind
    raise ConfigError(f"nothing exports for {name!r}; there are: {', '.join(SUFFIXES)}")


def model_exports(card: ModelCard, engines_dir: Path) -> Path:
    """Return the folder of all exports of one model's weights and settings."""
    return engines_dir.expanduser() / card.model_id


def open_export(folder: Path, model: ModelCard) -> Export:
    """Read an export's card and compare its files with it. Raises `ModelError` for one that was tampered with."""
    again = f"delete {folder} and export again"
    try:
        card = ExportCard.model_validate_json((folder / CARD).read_bytes())
    except (OSError, ValidationError) as error:
        raise ModelError(f"{folder / CARD} cannot be read; {again}") from error
    if (card.weights_sha256, card.spec_sha256) != (model.weights_sha256, model.spec_sha256):
        raise ModelError(f"{folder} was exported from another model; {again}")
    for name, sha256 in card.files.items():
        path = folder / name
        if not path.is_file() or file_sha256(path) != sha256:
            raise ModelError(f"{path} is not the file that was exported; {again}")
    return Export(folder, card)


def file_sha256(path: Path) -> str:
    """Hash a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
