"""What lies on this machine: models, golden templates, folders of pictures, room on the disk. Blocking."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from taktwatch.config import FolderSource, LineConfig, ProductConfig
from taktwatch.doctor.check import Check, State, gib
from taktwatch.errors import TaktwatchError
from taktwatch.picture_headers import is_whole, read_header

__all__ = ["check_disk", "check_models", "check_pictures"]

BLOCK_BYTES = 2**20
LEAST_FREE_BYTES = 2**30
"""Below this a disk is as good as full: SQLite and InfluxDB want room to tidy up."""
NEARLY_FULL = 0.8


def check_models(config: LineConfig) -> Iterator[Check]:
    """Is the model of every station's product there, with a licence, and are its weights those its card names?"""
    for name in sorted({config.products[station.product].model for station in config.stations}):
        folder = config.detector.models_dir / name
        fault = model_fault(folder)
        if fault:
            remedy = "copy the whole model folder, or train it: taktwatch train"
            yield Check("model", State.FAILED, f"{name}: {fault}", remedy)
        else:
            yield Check("model", State.OK, f"{name}: weights are those its card names")


def model_fault(folder: Path) -> str:
    """Return what is wrong with a model's folder; empty where nothing is. Needs no torch."""
    try:
        card: Any = json.loads((folder / "card.json").read_bytes())
        if not isinstance(card, dict) or not card.get("licence"):
            return f"{folder / 'card.json'} names no licence"
        weights = sha256_of(folder / "weights.safetensors")
    except FileNotFoundError as error:
        return f"{error.filename} is missing"
    except (OSError, ValueError) as error:
        return f"{folder} cannot be read: {error}"
    if weights != card.get("weights_sha256"):
        return f"{folder / 'weights.safetensors'} is not the file its card names (SHA-256 differs)"
    return ""


def sha256_of(path: Path) -> str:
    """Hash a file piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def check_pictures(config: LineConfig) -> Iterator[Check]:
    """Are golden templates whole pictures, and folders of pictures there?"""
    used = {station.product: config.products[station.product] for station in config.stations}
    for name, product in sorted(used.items()):
        if product.template is not None:
            fault = template_fault(product, product.template)
            said = f"{name}: {fault}" if fault else f"{name}: {product.template}"
            remedy = f"put a PNG, JPEG, BMP, TIFF or WebP there, or correct products.{name}.template" if fault else ""
            yield Check("template", State.FAILED if fault else State.OK, said, remedy)
    for station in config.stations:
        if isinstance(station.source, FolderSource) and not os.access(station.source.path, os.R_OK | os.X_OK):
            said = f"{station.name}: the folder {station.source.path} cannot be read"
            yield Check("source", State.FAILED, said, "mount or create it, or correct its path in line.toml")


def template_fault(product: ProductConfig, path: Path) -> str:
    """Return what is wrong with a template; empty where nothing is."""
    try:
        body = path.read_bytes()
        info = read_header(body)
        known = info is not None and is_whole(body, info)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    except TaktwatchError as error:
        return f"{path}: {error}"
    return "" if known else f"{path} is no whole picture ({product.view} view)"


def check_disk(config: LineConfig) -> Iterator[Check]:
    """Is there room for the data, and is the spool far from full?"""
    folder = config.data_dir.absolute()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not os.access(there, os.W_OK):
        yield Check("disk", State.FAILED, f"no right to write to {there}", "change its owner, or data_dir in line.toml")
        return
    free, wanted = shutil.disk_usage(there).free, config.ingest.spool_max_bytes
    said = f"{gib(free)} free at {folder}"
    if free < LEAST_FREE_BYTES:
        yield Check("disk", State.FAILED, said, f"make room: at least {gib(LEAST_FREE_BYTES)}")
    elif free < wanted + LEAST_FREE_BYTES:
        remedy = "make room, or lower ingest.spool_max_bytes"
        yield Check("disk", State.WARNING, f"{said}, the spool may grow to {gib(wanted)}", remedy)
    else:
        yield Check("disk", State.OK, said)
    spool = folder / "spool" / f"{config.line}.sqlite"
    size = spool.stat().st_size if spool.exists() else 0
    if size > NEARLY_FULL * wanted:
        remedy = "see why frames do not leave: the bus is away, or slower than the cameras"
        yield Check("spool", State.WARNING, f"{gib(size)} of {gib(wanted)}", remedy)
    else:
        yield Check("spool", State.OK, f"{gib(size)} of {gib(wanted)}")
