"""The parts of a network as files that other runtimes read, each named by its hash.

An export is a folder named by what it was made from: weights, settings, exporter and runtime. Whoever opens it checks
every file against `export.json`. Nothing in it is ever unpickled, and it may be deleted at any time.
"""

import hashlib
import importlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn

from detector.engines.parts import cut
from detector.model import STRIDE_PX
from detector.registry import LoadedModel, ModelCard
from taktwatch.errors import ConfigError, ModelError

__all__ = ["PARTS", "Export", "Format", "export_parts", "known_format", "model_exports", "runtime"]

VERSION = 1
"""Goes up when the same network would be exported differently."""

PARTS = ("trunk", "boxes", "masks")
CARD = "export.json"

Format = Literal["openvino", "onnx"]
PACKAGES: dict[Format, tuple[str, ...]] = {"openvino": ("openvino",), "onnx": ("onnxruntime", "onnx", "onnxscript")}
SUFFIXES: dict[Format, str] = {"openvino": ".xml", "onnx": ".onnx"}


class ExportCard(BaseModel):
    """What an export was made from, and the SHA-256 of each of its files by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    exporter: int
    format: Format
    runtime: str
    weights_sha256: str
    spec_sha256: str
    files: dict[str, str]


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
                f"pip install 'taktwatch[{kind}]', or set detector.engine to torch"
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


def export_parts(model: LoadedModel, kind: Format, engines_dir: Path) -> Export:
    """Return a model's export, made now where there is none yet.

    Raises `ConfigError` where the runtime is not installed or the folder cannot be written, `ModelError` for an export
    that was tampered with.
    """
    version = runtime(kind).__version__.split("-")[0]
    folder = model_exports(model.card, engines_dir) / f"{kind}-{version}-{VERSION}"
    if not (folder / CARD).exists():
        try:
            _write(model, kind, version, folder)
        except OSError as error:
            raise ConfigError(
                f"{folder} cannot be written: {error.strerror}; set detector.engines_dir to a folder that can"
            ) from error
    return _checked(folder, model)


def model_exports(card: ModelCard, engines_dir: Path) -> Path:
    """Return the folder of all exports of one model's weights and settings."""
    return engines_dir.expanduser() / card.model_id


def _write(model: LoadedModel, kind: Format, version: str, folder: Path) -> None:
    """Export into a folder of its own and put it in place whole; who comes second leaves the first one's."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".export-", dir=folder.parent))
    try:
        for name, program in zip(PARTS, _programs(model), strict=True):
            path = made / f"{name}{SUFFIXES[kind]}"
            if kind == "openvino":
                _save_openvino(program, path)
            else:
                _save_onnx(program, path)
        card = ExportCard(
            exporter=VERSION,
            format=kind,
            runtime=version,
            weights_sha256=model.card.weights_sha256,
            spec_sha256=model.card.spec_sha256,
            files={path.name: _sha256(path) for path in sorted(made.iterdir())},
        )
        (made / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        try:
            os.replace(made, folder)  # noqa: PTH105 - replaces no folder that has content
        except OSError:
            if not (folder / CARD).exists():
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _programs(model: LoadedModel) -> list[Any]:
    """Return the parts as graphs with dynamic batch, picture size and number of boxes."""
    levels, dim = model.spec.levels, torch.export.Dim
    trunk, *heads = cut(model.network, levels)
    pictures = torch.zeros(2, 3, 3 * STRIDE_PX, 4 * STRIDE_PX)
    side = {axis: STRIDE_PX * dim(name, min=1, max=4096) for axis, name in ((2, "rows"), (3, "columns"))}
    programs = [_program(trunk, (pictures,), ({0: dim.DYNAMIC, **side},))]
    with torch.no_grad():
        features = trunk(pictures)[:levels]
    rois = [torch.tensor([[0.0, 1, 1, 30, 40]]).repeat(count + 2, 1) for count in range(levels)]
    shapes = ({0: dim.AUTO, 2: dim.AUTO, 3: dim.AUTO},) * levels + ({0: dim.DYNAMIC},) * levels
    return programs + [_program(head, (*features, *rois), (shapes,)) for head in heads]


def _program(part: nn.Module, inputs: tuple[torch.Tensor, ...], shapes: tuple[Any, ...]) -> Any:
    """Capture one part."""
    return torch.export.export(part, inputs, dynamic_shapes=shapes, strict=False)


def _save_openvino(program: Any, path: Path) -> None:
    """Convert and save, weights in float32."""
    openvino: Any = runtime("openvino")
    openvino.save_model(openvino.convert_model(program), path, compress_to_fp16=False)


def _save_onnx(program: Any, path: Path) -> None:
    """Convert and save, weights in float32 in the file itself."""
    converted: Any = torch.onnx.export(program, dynamo=True, verbose=False)
    converted.save(path)


def _checked(folder: Path, model: LoadedModel) -> Export:
    """Read an export's card and compare its files with it."""
    again = f"delete {folder} and export again"
    try:
        card = ExportCard.model_validate_json((folder / CARD).read_bytes())
    except (OSError, ValidationError) as error:
        raise ModelError(f"{folder / CARD} cannot be read; {again}") from error
    if (card.weights_sha256, card.spec_sha256) != (model.card.weights_sha256, model.card.spec_sha256):
        raise ModelError(f"{folder} was exported from another model; {again}")
    for name, sha256 in card.files.items():
        path = folder / name
        if not path.is_file() or _sha256(path) != sha256:
            raise ModelError(f"{path} is not the file that was exported; {again}")
    return Export(folder, card)


def _sha256(path: Path) -> str:
    """Hash a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
