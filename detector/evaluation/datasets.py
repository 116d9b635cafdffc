"""Pictures with truth, whatever their format. All that can be refused is refused on opening, before hours are spent."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from detector.evaluation.outcomes import TrueDefect
from taktwatch.errors import BadInput
from taktwatch.pictures import decode, probe

__all__ = ["Dataset", "Item", "Labelled", "open_dataset", "picture_size", "read_picture"]

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


def open_dataset(where: str) -> Dataset:
    """Open a folder in DeepPCB's or COCO's format, or a simulated set (`sim:board?layouts=40&boards=5`).

    Raises `BadInput` naming the first thing that is wrong.
    """
    from detector.evaluation.coco_folder import open_coco  # noqa: PLC0415 - each reader imports this module
    from detector.evaluation.deeppcb import open_deeppcb  # noqa: PLC0415
    from detector.evaluation.simulated import open_simulated  # noqa: PLC0415

    if where.startswith("sim:"):
        return open_simulated(where)
    folder = Path(where)
    if not folder.is_dir():
        raise BadInput(f"no data set at {folder}: not a folder; give one, or sim:board?layouts=40&boards=5")
    if sorted(folder.glob("*_test.*")):
        return open_deeppcb(folder)
    if descriptions := sorted(folder.glob("*.json")):
        return open_coco(folder, descriptions)
    raise BadInput(f"{folder}: no data set: neither ID_test.* pictures with ID.txt (DeepPCB) nor a COCO *.json")


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
