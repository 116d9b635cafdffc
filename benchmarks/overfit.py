"""Over-fits a large spec on ten pictures: the loss must fall, and the ten pictures must be found again.

    python benchmarks/overfit.py --spec board-resnet101

Says nothing about accuracy on other pictures: it shows that the network is built right and learns.
"""

import argparse
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from detector.dataset import Sample, Target, simulate, to_targets  # noqa: E402
from detector.registry import load_model  # noqa: E402
from detector.spec import ModelSpec, find_spec  # noqa: E402
from detector.training.finish import Run  # noqa: E402
from detector.training.loop import train  # noqa: E402
from detector.training.settings import TrainSettings  # noqa: E402
from detector.training.source import SIMULATOR  # noqa: E402

PICTURES, SIDE_PX = 10, 128
FIRST_LAYOUT = 8_000_000


class Same(Dataset[tuple[torch.Tensor, Target]]):
    """The ten pictures over and over, in turn."""

    def __init__(self, spec: ModelSpec, pictures: list[Sample], length: int) -> None:
        self.spec, self.pictures, self.length = spec, pictures, length

    def __len__(self) -> int:
        """Return the number of samples."""
        return self.length

    def __getitem__(self, index: int) -> tuple[torch.Tensor, Target]:
        """Return one of the ten."""
        sample = self.pictures[index % len(self.pictures)]
        return torch.from_numpy(sample.channels), to_targets(sample, self.spec.target_margin_px)


class TenPictures:
    """Learns from ten simulated boards with a defect each, and is measured on the same ten."""

    data = (SIMULATOR,)
    margin_px = 0
    held_out = "the very pictures it learned: this shows that it learns, and nothing else"

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.pictures: list[Sample] = []
        layout = FIRST_LAYOUT
        while len(self.pictures) < PICTURES:
            sample = simulate(spec, layout, np.random.default_rng(layout), (SIDE_PX, SIDE_PX))
            layout += 1
            if len(sample.labels) == 1:
                self.pictures.append(sample)

    def samples(self, length: int) -> Same:
        """Return the pictures in turn."""
        return Same(self.spec, self.pictures, length)

    def validation(self) -> list[Sample]:
        """Return the same pictures."""
        return self.pictures


def main() -> None:
    """Train, load what was stored, and print what it finds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", default="board-resnet101")
    parser.add_argument("--steps", type=int, default=170)
    parser.add_argument("--held-steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=5)
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/overfit"))
    asked = parser.parse_args()
    spec = find_spec(asked.spec)
    settings = TrainSettings(
        steps=asked.steps,
        batch=asked.batch,
        learning_rate=asked.rate,
        average=0.9,
        workers=0,
        threads=asked.threads,
        measures=1,
        held_out_pictures=PICTURES,
        precision="bfloat16",
    )
    shutil.rmtree(asked.out, ignore_errors=True)
    command = f"python benchmarks/overfit.py --spec {asked.spec} --steps {asked.steps}"
    show(train(Run("first", spec, TenPictures(spec), asked.out / "first", settings, command)))
    show(hold(spec, settings, asked.out, asked.held_steps, command))


def hold(spec: ModelSpec, settings: TrainSettings, out: Path, steps: int, command: str) -> Path:
    """Go on from what was learned with the norms' statistics held: those of batches of five are not those of one."""
    parent = load_model(out / "first")
    held = replace(settings, steps=steps, learning_rate=settings.learning_rate / 3)
    return train(Run("held", spec, TenPictures(spec), out / "held", held, command, parent))


def show(folder: Path) -> None:
    """Print what the stored weights find."""
    card = load_model(folder).card
    print(f"{card.name}: {card.parameters:,} parameters, {card.settings['minutes_taken']} minutes")
    for name, value in card.metrics.items():
        print(f"  {name:24} {value:.4f}")


if __name__ == "__main__":
    main()
