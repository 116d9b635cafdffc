"""Where a run is, on disk: weights, their average, the optimizer, and the position that names whole files."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import torch
from safetensors.torch import load_file, save_file
from torchvision.models.detection import MaskRCNN

from detector.training.average import AveragedWeights
from taktwatch.errors import ModelError

__all__ = ["State", "resume", "save"]


class State(msgspec.Struct):
    """Where a run is, and which run it is: what a resumed run goes on from.

    `identity`: all that decides which weights come out, and under which terms, by name; a card is never written for
    the weights of another run.
    """

    step: int = 0
    seconds: float = 0.0
    identity: dict[str, str] = {}


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


def resume(
    folder: Path,
    identity: Mapping[str, str],
    network: MaskRCNN,
    average: AveragedWeights,
    optimizer: torch.optim.Optimizer,
) -> State:
    """Go on from the checkpoint in `folder`, or start. Raises `ModelError` where it is that of another run."""
    if not (folder / "state.json").exists():
        return State(identity=dict(identity))
    state = msgspec.json.decode((folder / "state.json").read_bytes(), type=State)
    _refuse_another(folder, state.identity, identity)
    tensors = load_file(folder / f"step-{state.step}.safetensors")
    slots: dict[int, dict[str, torch.Tensor]] = {}
    for key in [key for key in tensors if key.startswith("optimizer.")]:
        _, index, slot = key.split(".")
        slots.setdefault(int(index), {})[slot] = tensors.pop(key)
    averaged = {key.removeprefix("average."): tensors.pop(key) for key in list(tensors) if key.startswith("average.")}
    network.load_state_dict(tensors)
    for name, value in averaged.items():
        average.tensors[name].copy_(value)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
    return state


def _refuse_another(folder: Path, found: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Raise `ModelError` naming all in which two runs differ."""
    remedy = f"train into another folder (--out), or delete {folder} to begin anew"
    if not found:
        raise ModelError(
            f"{folder} is of an older version, which did not note what it learned from; nobody can tell whether this "
            f"is the same run: {remedy}"
        )
    names = [*wanted, *(name for name in found if name not in wanted)]
    differing = [
        f"{name} was {found.get(name, 'not known')}, is {wanted.get(name, 'not known')}"
        for name in names
        if found.get(name) != wanted.get(name)
    ]
    if differing:
        raise ModelError(f"{folder} holds another run ({'; '.join(differing)}): {remedy}")
