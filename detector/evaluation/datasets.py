"""Opens a data set, whatever its format. All that can be refused is refused on opening, before hours are spent."""

from pathlib import Path

from detector.evaluation.coco_folder import open_coco
from detector.evaluation.deeppcb import open_deeppcb
from detector.evaluation.labelled import Dataset
from detector.evaluation.simulated import open_simulated
from taktwatch.errors import BadInput

__all__ = ["open_dataset"]


def open_dataset(where: str) -> Dataset:
    """Open a folder in DeepPCB's or COCO's format, or a simulated set (`sim:board?layouts=40&boards=5`).

    Raises `BadInput` naming the first thing that is wrong.
    """
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
