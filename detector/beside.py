"""What was measured of a model and lies in a file beside it: a list of records, each with the hash of its content."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from taktwatch.errors import ModelError

__all__ = ["Measured", "hashed", "read_measured", "save_measured"]


class Measured(Protocol):
    """A struct of msgspec; `sha256` is the hash of all the rest, and a model has one for each `key`."""

    @property
    def sha256(self) -> str:
        """What it is named by."""

    @property
    def key(self) -> tuple[str, str, str]:
        """Domain, engine, precision."""


M = TypeVar("M", bound=Measured)


def hashed(one: Any) -> str:
    """Hash everything of a record but its hash."""
    return hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(one, sha256=""))).hexdigest()


def read_measured(path: Path, kind: type[M], *, what: str, again: str) -> list[M]:
    """Read a file's records; none where there is no file. Raises `ModelError` for one that is damaged or was edited.

    `what` names such a record in the error, `again` the remedy: 'calibration', 'calibrate again'.
    """
    try:
        read: list[M] = msgspec.json.decode(path.read_bytes(), type=list[kind])  # type: ignore[valid-type]  # a class
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise ModelError(f"{path}: not a {what}: {error}; delete it, or {again}") from error
    if any(one.sha256 != hashed(one) for one in read):
        raise ModelError(f"{path}: its content does not hash to sha256; it was edited by hand, {again}")
    return read


def save_measured(path: Path, known: Sequence[Measured], made: Sequence[Measured]) -> None:
    """Write records, those `made` in place of those `known` with the same key; readers see the old file or the new."""
    kept = {one.key: one for one in (*known, *made)}
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode([kept[key] for key in sorted(kept)]), indent=1) + b"\n")
    fresh.replace(path)
