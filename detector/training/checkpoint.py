"""Where a run is, on disk: weights, their average, the optimizer, and the position that names whole files."""

from pathlib import Path

import msgspec
import torch
from safetensors.torch import load_file, save_file
from torchvision.models.detection import MaskRCNN

from detector.training.average import AveragedWeights
from taktwatch.errors import ModelError

__all__ = ["State", "resume", "save"]


class State(msgspec.Struct):
    """Where a run is: what a resumed run goes on from."""

    step: int = 0
    seconds: float = 0.0


def save(
    folder: Path, network: MaskRCNN, average: AveragedWeights, optimizer: torch.optim.Optimizer, state: State
) -> None:
    """Save everything a run needs to go on; the position goes last and names whole files."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = dict(network.state_dict())
    tensors |= {f"average.{name}": value for name, value in average.tensors.items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in slots.items()}
    path = folder / f"step-{state.step}.safetensors"
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    (folder / "state.json").write_bytes(msgspec.json.encode(state))
    for old in folder.glob("step-*.safetensors"):
        if old != path:
            old.unlink()


def resume(folder: Path, network: MaskRCNN, average: AveragedWeights, optimizer: torch.optim.Optimizer) -> State:
    """Go on from the checkpoint in `folder`, or start. Raises `ModelError` where it belongs to another spec."""
    if not (folder / "state.json").exists():
        return State()
    state = msgspec.json.decode((folder / "state.json").read_bytes(), type=State)
    tensors = load_file(folder / f"step-{state.step}.safetensors")
    slots: dict[int, dict[str, torch.Tensor]] = {}
    for key in [key for key in tensors if key.startswith("optimizer.")]:
        _, index, slot = key.split(".")
        slots.setdefault(int(index), {})[slot] = tensors.pop(key)
    averaged = {key.removeprefix("average."): tensors.pop(key) for key in list(tensors) if key.startswith("average.")}
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(f"{folder} holds a run of another spec; train into another folder") from error
    for name, value in averaged.items():
        average.tensors[name].copy_(value)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
    return state
