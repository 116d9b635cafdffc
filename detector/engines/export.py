"""Makes exports: parts of a network captured once and converted for a runtime.

An export in 8 bits is shipped beside its model: the ranges it is made of are measured, in sums whose last bits depend
on the threads that were free, so that no other machine makes the very same, and no proof made here would hold there.
"""

import importlib.metadata
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from detector.engines.between import Rules
from detector.engines.exported import (
    CARD,
    PARTS,
    Export,
    ExportCard,
    Format,
    file_sha256,
    model_exports,
    open_export,
    runtime,
)
from detector.engines.parts import cut
from detector.engines.quantise import quantise
from detector.engines.script import save_script
from detector.model import STRIDE_PX
from detector.registry import EXPORTS, LoadedModel
from taktwatch.errors import ConfigError, ModelError

__all__ = ["SHIPPED", "export_parts", "ship_export"]

VERSIONS: dict[Format, int] = {"openvino": 4, "openvino-int8": 5, "onnx": 4, "torchscript": 4}
"""A format's goes up when the same network would be exported differently; proofs of older exports then hold no more."""

SHIPPED: tuple[Format, ...] = ("openvino-int8",)
"""Quantised by what was measured: made elsewhere they come out different, and a proof holds for one export."""


def export_parts(model: LoadedModel, kind: Format, engines_dir: Path) -> Export:
    """Return a model's export; where there is none yet, the one shipped with the model, or one made now.

    Raises `ConfigError` where the runtime is not installed or the folder cannot be written, `ModelError` for an export
    that was tampered with.
    """
    version = runtime(kind).__version__.split("-")[0].split("+")[0]
    folder = model_exports(model.card, engines_dir) / f"{kind}-{version}-{VERSIONS[kind]}"
    if not (folder / CARD).exists():
        try:
            _write(model, kind, version, engines_dir, folder)
        except OSError as error:
            raise ConfigError(
                f"{folder} cannot be written: {error.strerror}; set detector.engines_dir to a folder that can"
            ) from error
    return open_export(folder, model.card)


def _write(model: LoadedModel, kind: Format, version: str, engines_dir: Path, folder: Path) -> None:
    """Export into a folder of its own and put it in place whole; who comes second leaves the first one's."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".export-", dir=folder.parent))
    shipped = None if model.folder is None else model.folder / EXPORTS / folder.name
    try:
        if shipped is not None and shipped.is_dir():
            _copy(open_export(shipped, model.card), made)
        else:
            _make(model, kind, version, engines_dir, made)
        try:
            os.replace(made, folder)  # noqa: PTH105 - replaces no folder that has content
        except OSError:
            if not (folder / CARD).exists():
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def ship_export(model: LoadedModel, export: Export) -> Path:
    """Put an export beside its model in place of those of the same format; return its folder there."""
    if model.folder is None:
        raise ModelError(f"{model.card.name} lies in no folder")
    target = model.folder / EXPORTS / export.folder.name
    for old in target.parent.glob("*/" + CARD):
        if ExportCard.model_validate_json(old.read_bytes()).format == export.card.format:
            shutil.rmtree(old.parent)
    target.mkdir(parents=True)
    _copy(export, target)
    return target


def _copy(export: Export, into: Path) -> None:
    """Copy an export, its card last, and nothing else that lies beside it."""
    for name in (*export.card.files, CARD):
        shutil.copyfile(export.folder / name, into / name)


def _make(model: LoadedModel, kind: Format, version: str, engines_dir: Path, made: Path) -> None:
    """Export into an empty folder."""
    match kind:
        case "openvino-int8":
            plain = export_parts(model, "openvino", engines_dir)
            quantise(model, [plain.part(name) for name in PARTS], made)
        case "openvino":
            for name, program in zip(PARTS, _programs(model), strict=True):
                _save_openvino(program, made / f"{name}.xml")
        case "onnx":
            for name, program in zip(PARTS, _programs(model), strict=True):
                _save_onnx(program, made / f"{name}.onnx")
        case "torchscript":
            save_script(model.network, made / "core.pt")
    card = ExportCard(
        exporter=VERSIONS[kind],
        format=kind,
        runtime=version,
        made_with=_made_with(kind),
        weights_sha256=model.card.weights_sha256,
        spec_sha256=model.card.spec_sha256,
        files={path.name: file_sha256(path) for path in sorted(made.iterdir())},
    )
    (made / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _made_with(kind: Format) -> str:
    """Name the packages that make an export."""
    packages = {"openvino-int8": ("torch", "nncf"), "onnx": ("torch", "onnx", "onnxscript")}.get(kind, ("torch",))
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)


def _programs(model: LoadedModel) -> list[Any]:
    """Return the parts as graphs with dynamic batch, picture size and number of boxes."""
    dim = torch.export.Dim
    trunk, *heads = cut(model.network)
    pictures = torch.zeros(2, 3, 3 * STRIDE_PX, 4 * STRIDE_PX)
    side = {axis: STRIDE_PX * dim(name, min=1, max=4096) for axis, name in ((2, "rows"), (3, "columns"))}
    programs = [_program(trunk, pictures, {0: dim.DYNAMIC, **side})]
    rules, width = Rules.of(model.network, model.spec.levels), model.spec.fpn_width
    for head, cells in zip(heads, (rules.box_side, rules.mask_side), strict=True):
        programs.append(_program(head, torch.zeros(2, cells, cells, width), {0: dim.DYNAMIC}))
    return programs


def _program(part: nn.Module, numbers: torch.Tensor, shape: dict[int, Any]) -> Any:
    """Capture one part."""
    return torch.export.export(part, (numbers,), dynamic_shapes=(shape,), strict=False)


def _save_openvino(program: Any, path: Path) -> None:
    """Convert and save, weights in float32."""
    openvino: Any = runtime("openvino")
    openvino.save_model(openvino.convert_model(program), path, compress_to_fp16=False)


def _save_onnx(program: Any, path: Path) -> None:
    """Convert and save, weights in float32 in the file itself."""
    converted: Any = torch.onnx.export(program, dynamo=True, verbose=False)
    converted.save(path)
