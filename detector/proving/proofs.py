"""Proofs that an engine says what the reference says: made here, or shipped beside the model for like machines.

A proof made here lies beside the export it is about and holds for its very bytes. `proofs.json` beside a model's card
holds for engines of the same version on processors of the same instructions whose export was made the same way.
"""

import hashlib
import importlib.metadata
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from detector.engines import Engine
from detector.engines.exported import Export, model_exports
from detector.engines.processor import processor
from detector.proving.parity import Parity
from detector.registry import PROOFS, LoadedModel, ModelCard
from detector.scores import family
from taktwatch.errors import ModelError
from taktwatch.records import ModelRef

__all__ = [
    "Subject",
    "find_proof",
    "made_before",
    "made_here",
    "may_be_proven",
    "name_of",
    "proof_path",
    "ship_proofs",
    "shipped",
    "subject_of",
]

NAMES = {
    ("torch", "float16"): "torch-fp16",
    ("openvino", "float32"): "openvino",
    ("openvino", "bfloat16"): "openvino-bf16",
    ("openvino", "int8"): "openvino-int8",
    ("onnxruntime", "float32"): "onnx",
    ("onnxruntime-tensorrt", "float32"): "onnx-tensorrt",
    ("onnxruntime-tensorrt", "float16"): "onnx-tensorrt-fp16",
}
"""An engine's name in the settings by what it calls itself."""
PACKAGES = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu"), "onnxruntime-tensorrt": ("onnxruntime-gpu",)}
"""What brings a runtime, where it is not called so."""
LIST = TypeAdapter(list[Parity])


@dataclass(frozen=True, slots=True)
class Subject:
    """What a proof is about: the folder it lies in, a hash of what runs, and one of how that was made."""

    folder: Path
    sha256: str
    recipe_sha256: str


def subject_of(engine: Engine, engines_dir: Path) -> Subject | None:
    """Return what a proof of an engine is about: its export, or the network itself where torch runs it in float16.

    None for torch in float32: it computes as the reference does, and needs no proof.
    """
    export: Export | None = getattr(engine, "export", None)
    if export is not None:
        return Subject(export.folder, export.sha256, export.card.recipe_sha256)
    ref = engine.ref
    if ref.precision == "float32":
        return None
    made_from = (ref.engine, ref.weights_sha256, engine.spec.spec_sha256)
    sha256 = hashlib.sha256(repr(made_from).encode()).hexdigest()
    return Subject(engines_dir.expanduser() / ref.model_id / ref.engine.replace(" ", "-"), sha256, sha256)


def proof_path(subject: Subject, name: str) -> Path:
    """Return where the proof of an engine lies that was made here."""
    return subject.folder / f"parity-{name}.json"


def made_here(engines_dir: Path, card: ModelCard) -> dict[str, Parity]:
    """Return what was measured of a model's exports here, newest runtime last, by export and engine."""
    found = {}
    for path in sorted(model_exports(card, engines_dir).glob("*/parity-*.json")):
        with suppress(OSError, ValidationError):
            found[f"{path.parent.name} {path.stem.removeprefix('parity-')}"] = Parity.model_validate_json(
                path.read_bytes()
            )
    return found


def shipped(folder: Path | None, card: ModelCard) -> list[Parity]:
    """Return the proofs beside a model that are about its weights. Raises `ModelError` for a damaged file."""
    if folder is None:
        return []
    path = folder / PROOFS
    try:
        read = LIST.validate_json(path.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValidationError) as error:
        raise ModelError(f"{path}: no list of proofs; delete it, or run `taktwatch models verify` again") from error
    return [one for one in read if one.model_id == card.model_id]


def ship_proofs(model: LoadedModel, proofs: Iterable[Parity]) -> Path:
    """Put proofs beside the model; those of other engines or processors stay, those of other weights go."""
    if model.folder is None:
        raise ModelError(f"{model.card.name} lies in no folder")
    kept = {(one.engine, one.precision, one.device): one for one in (*shipped(model.folder, model.card), *proofs)}
    path = model.folder / PROOFS
    path.write_bytes(LIST.dump_json([kept[key] for key in sorted(kept)], indent=2) + b"\n")
    return path


def name_of(ref: ModelRef) -> str:
    """Return an engine's name in the settings by what it calls itself; torch for the one that needs no proof."""
    return NAMES.get((family(ref.engine), ref.precision), "torch")


def may_be_proven(model: LoadedModel, name: str, engines_dir: Path) -> bool:
    """Whether there is a proof of an engine for this machine; whether it holds is known once the engine is built."""
    if any(model_exports(model.card, engines_dir).glob(f"*/parity-{name}.json")):
        return True
    return any(
        NAMES.get((family(one.engine), one.precision)) == name and _is_for_here(one)
        for one in shipped(model.folder, model.card)
    )


def _is_for_here(proof: Parity) -> bool:
    """Whether the runtime of this version is installed, and the proof is of such a processor, or of a GPU."""
    runtime, versions = family(proof.engine), []
    for package in PACKAGES.get(runtime, (runtime,)):
        with suppress(importlib.metadata.PackageNotFoundError):
            versions.append(importlib.metadata.version(package).partition("+")[0])
    is_installed = proof.engine in {f"{runtime} {version}" for version in versions}
    return is_installed and (proof.device == processor() or not proof.device.startswith("cpu "))


def find_proof(model: LoadedModel, ref: ModelRef, subject: Subject) -> Parity | None:
    """Return the proof, of most boards, that holds for an engine as it runs here; None where there is none."""
    own = made_before(subject, name_of(ref))
    holding = [one for one in shipped(model.folder, model.card) if one.recipe_sha256 == subject.recipe_sha256]
    if own is not None and own.export_sha256 == subject.sha256:
        holding.append(own)
    holding = [
        one
        for one in holding
        if (one.model_id, one.engine, one.precision, one.device)
        == (ref.model_id, ref.engine, ref.precision, ref.device)
    ]
    return max(holding, key=lambda one: one.boards, default=None)


def made_before(subject: Subject, name: str) -> Parity | None:
    """Return the proof that lies here, whether it holds or not."""
    with suppress(OSError, ValidationError):
        return Parity.model_validate_json(proof_path(subject, name).read_bytes())
    return None
