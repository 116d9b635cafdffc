"""What a data set is: pictures with their templates and with what is true of them, read when wanted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from detector.evaluation.outcomes import TrueDefect
from taktwatch.errors import BadInput
from taktwatch.pictures import decode, probe

__all__ = ["Dataset", "Item", "Labelled", "picture_size", "read_picture"]

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False, slots=True)
class Labelled:
    """A picture, RGB uint8 (H, W, 3), its golden template of the same shape where there is one, and what is true."""

    picture: Picture
    template: Picture | None
    truths: tuple[TrueDefect, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Item:
    """One picture of a data set, loaded when wanted. Pictures of one `board` are resampled together."""

    name: str
    board: str
    load: Callable[[], Labelled]


@dataclass(frozen=True, eq=False, slots=True)
class Dataset:
    """Pictures with truth; `sha256` is that of everything in it, `kind` one of deeppcb, coco, sim."""

    name: str
    kind: str
    view: str
    labels: tuple[str, ...]
    items: Sequence[Item]
    sha256: str


def picture_size(path: Path) -> tuple[int, int]:
    """Return (height, width) from a picture's header. Raises `BadInput` naming a file that is missing or no picture."""
    info = probe(_read(path), name=str(path))
    return info.height, info.width


def read_picture(path: Path) -> Picture:
    """Read and decode. Raises `BadInput`."""
    return decode(_read(path), name=str(path))


def _read(path: Path) -> bytes:
    """Read a file. Raises `BadInput` naming it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}; the data set is not whole") from error
