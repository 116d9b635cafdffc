"""Reads line.toml, lays the environment over it, and validates."""

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from taktwatch.config.line import LineConfig
from taktwatch.config.products import ProductConfig
from taktwatch.config.stations import FolderSource
from taktwatch.errors import ConfigError

__all__ = ["load_config", "parse_config", "with_folder"]

PREFIX = "TAKTWATCH_"

RESERVED = frozenset(
    {
        "TAKTWATCH_API_KEY",
        "TAKTWATCH_KAFKA_JARS",
        "TAKTWATCH_KAFKA_PASSWORD",
        "TAKTWATCH_KILL_BOARDS",
        "TAKTWATCH_REQUIRE",
    }
)
"""Environment variables that are ours but no settings of line.toml: secrets, and what tests are told."""


def load_config(path: Path | None, environ: Mapping[str, str] = os.environ, **overrides: Any) -> LineConfig:
    """Read line.toml (none: the defaults), lay environment and overrides over it, and validate.

    Relative paths in the file are relative to it. Raises `ConfigError` in one line that names file and setting.
    """
    if path is None:
        return parse_config({}, "the defaults", environ, **overrides)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; give another with --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    return rooted(parse_config(tables, str(path), environ, **overrides), path.resolve().parent)


def parse_config(tables: Mapping[str, Any], source: str, environ: Mapping[str, str], **overrides: Any) -> LineConfig:
    """Validate tables as read from TOML. Raises `ConfigError` naming `source` and the setting."""
    merged = json.loads(json.dumps(tables, default=str))
    for name, text in environ.items():
        if name.startswith(PREFIX) and name not in RESERVED:
            put(merged, name.removeprefix(PREFIX).lower().split("__"), text, name)
    for name, value in overrides.items():
        if value is not None:
            merged[name] = value
    try:
        return LineConfig.model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigError(f"{source}: {where}: {first['msg']} (got {str(first['input'])[:80]!r})") from error


def put(tables: dict[str, Any], keys: list[str], text: str, name: str) -> None:
    """Set one value by its path of keys."""
    *parents, last = keys
    for key in parents:
        tables = tables.setdefault(key, {})
        if not isinstance(tables, dict):
            raise ConfigError(f"environment variable {name} goes into {key!r}, which is no table")
    tables[last] = text


def rooted(config: LineConfig, root: Path) -> LineConfig:
    """Make the file's relative paths absolute."""
    products = {name: rooted_product(name, product, root) for name, product in config.products.items()}
    stations = tuple(
        station.model_copy(update={"source": station.source.model_copy(update={"path": root / station.source.path})})
        if isinstance(station.source, FolderSource)
        else station
        for station in config.stations
    )
    own = config.detector
    engines_dir = root / own.engines_dir.expanduser()
    detector = own.model_copy(update={"models_dir": root / own.models_dir, "engines_dir": engines_dir})
    return config.model_copy(
        update={"data_dir": root / config.data_dir, "products": products, "stations": stations, "detector": detector}
    )


def rooted_product(name: str, product: ProductConfig, root: Path) -> ProductConfig:
    """Make a product's paths absolute; its folder's card is hashed, so that settings name all they depend on."""
    if product.folder is not None:
        return with_folder(name, product, root / product.folder)
    return product.model_copy(update={"template": root / product.template}) if product.template else product


def with_folder(name: str, product: ProductConfig, folder: Path) -> ProductConfig:
    """Return a product with its folder. Raises `ConfigError` where it has no card, or another than line.toml names."""
    path = folder / "product.json"
    try:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(
            f"products.{name}.folder: {path} cannot be read: {error.strerror}; "
            f"build it with `taktwatch product new {name}`"
        ) from error
    if product.card_sha256 not in {"", sha256}:
        raise ConfigError(
            f"products.{name}.card_sha256 is {product.card_sha256[:12]}, {path} is {sha256[:12]}: another version"
        )
    template = folder / "template.png"
    found = {"folder": folder, "card_sha256": sha256, "template": template if template.exists() else None}
    return product.model_copy(update=found)
