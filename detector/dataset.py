"""Training pictures from the simulator, the same again for the same seed and index."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from detector.inputs import rgb_inputs, template_inputs
from detector.spec import ModelSpec
from taktwatch.simulator import BOARD_DEFECTS, SimulatedPicture, Style, board, product_look, section

__all__ = [
    "BOARD_SIDES_PX",
    "CAMERAS",
    "CAMERA_SHARES",
    "HELD_OUT",
    "LEAST_KEPT_PX",
    "LEAST_KEPT_SHARE",
    "MOST_DEFECTS",
    "SECTION_PX",
    "TRAINED",
    "Sample",
    "SimulatedSamples",
    "Target",
    "collate",
    "simulate",
    "target_boxes",
    "to_targets",
]

Target = dict[str, torch.Tensor]

TRAINED = (10_000, 1_000_000)
"""Layout seeds that training draws from; everything else is unseen."""
HELD_OUT = 5_000_000
"""First layout seed of the validation products."""

CAMERAS = ("colour", "grey", "binary")
CAMERA_SHARES = (0.33, 0.17, 0.5)
BOARD_SIDES_PX = (384, 512)
BOARD_SIDE_SHARES = (0.7, 0.3)
SECTION_PX = (384, 512)
SAMPLES_TOGETHER, PRODUCTS_TOGETHER = 64, 6
"""Of so many section samples in a row there are so many products: drawing a new laminate takes longest."""
MOST_DEFECTS = 8
GOOD_SHARE = 0.08
LEAST_KEPT_SHARE = 0.35  # of a defect that a crop cuts; less of it is no longer called by its name
LEAST_KEPT_PX = 6
EVEN = 0.5
GAINS = (0.85, 1.15)


@dataclass(frozen=True, eq=False, slots=True)
class Sample:
    """What the network sees, float32 (3, H, W), and what is there: masks bool (N, H, W), labels int (N,) from 1.

    boxes: as annotated, float32 (N, 4) as x0, y0, x1, y1; None where masks alone say where things are.
    """

    channels: npt.NDArray[np.float32]
    masks: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32] | None = None


class SimulatedSamples(Dataset[tuple[torch.Tensor, Target]]):
    """`length` augmented training samples of `crop_px` (height, width); item i is made from (seed, i) alone."""

    def __init__(
        self, spec: ModelSpec, seed: int, length: int, crop_px: tuple[int, int], style: Style = "plain"
    ) -> None:
        self.spec, self.seed, self.length, self.crop_px, self.style = spec, seed, length, crop_px, style

    def __len__(self) -> int:
        """Return the number of samples."""
        return self.length

    def __getitem__(self, index: int) -> tuple[torch.Tensor, Target]:
        """Make one sample."""
        if index >= self.length:
            raise IndexError(index)
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self.seed, index])
        if self.spec.view == "board":
            layout = int(rng.integers(*TRAINED))
            side = int(rng.choice(BOARD_SIDES_PX, p=BOARD_SIDE_SHARES))
            sample = simulate(self.spec, layout, rng, (side, side), self.style)
        else:
            product = np.random.default_rng([self.seed, index // SAMPLES_TOGETHER, index % PRODUCTS_TOGETHER])
            sample = simulate(self.spec, int(product.integers(*TRAINED)), rng, SECTION_PX)
        sample = _augmented(_cropped(sample, self.crop_px, rng), self.spec, rng)
        return torch.from_numpy(sample.channels), to_targets(sample, self.spec.target_margin_px)


def simulate(
    spec: ModelSpec, layout_seed: int, rng: np.random.Generator, size: tuple[int, int], style: Style = "plain"
) -> Sample:
    """Make one picture of a product, drawn in a style, and prepare it as the detector would."""
    board_seed = int(rng.integers(2**31))
    if spec.view == "section":
        return _sample(spec, section(layout_seed, board_seed, size=size, defect_probability=0.8, style=style))
    camera = str(rng.choice(CAMERAS, p=CAMERA_SHARES))
    count = 0 if rng.random() < GOOD_SHARE else int(rng.integers(1, MOST_DEFECTS + 1))
    defects = rng.choice(BOARD_DEFECTS, count).tolist()
    look = product_look(layout_seed, camera, style)  # type: ignore[arg-type]  # numpy's choice forgets the literal
    return _sample(spec, board(layout_seed, board_seed, size=size, defects=defects, look=look))


def to_targets(sample: Sample, margin_px: int | None) -> Target:
    """Return what torchvision's losses want; boxes are the masks' tight boxes grown by `margin_px`, or as annotated."""
    return {
        "boxes": torch.from_numpy(target_boxes(sample, margin_px)),
        "labels": torch.from_numpy(sample.labels),
        "masks": torch.from_numpy(sample.masks.astype(np.uint8)),
    }


def target_boxes(sample: Sample, margin_px: int | None) -> npt.NDArray[np.float32]:
    """Return the true boxes, (N, 4): the masks' tight ones grown by `margin_px`; None: those that annotators drew."""
    if margin_px is None:
        if sample.boxes is None:
            raise ValueError("boxes as annotated are wanted, and the sample has none")
        return sample.boxes
    height, width = sample.channels.shape[1:]
    boxes = np.zeros((len(sample.masks), 4), np.float32)
    for index, mask in enumerate(sample.masks):
        rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        boxes[index] = (
            max(cols[0] - margin_px, 0),
            max(rows[0] - margin_px, 0),
            min(cols[-1] + 1 + margin_px, width),
            min(rows[-1] + 1 + margin_px, height),
        )
    return boxes


def collate(items: list[tuple[torch.Tensor, Target]]) -> tuple[list[torch.Tensor], list[Target]]:
    """Put samples into a batch as torchvision's detectors want it."""
    return [item[0] for item in items], [item[1] for item in items]


def _sample(spec: ModelSpec, simulated: SimulatedPicture) -> Sample:
    """Prepare a simulated picture."""
    if spec.input == "template":
        if simulated.template is None:
            raise ValueError("a template model cannot learn from a view without templates")
        channels = template_inputs(simulated.picture, simulated.template).channels
    else:
        channels = rgb_inputs(simulated.picture).channels
    masks = [truth.mask for truth in simulated.truths]
    labels = [spec.classes.index(truth.label) + 1 for truth in simulated.truths]
    stacked = np.stack(masks) if masks else np.zeros((0, *channels.shape[1:]), bool)
    return Sample(channels, stacked, np.array(labels, np.int64))


def _cropped(sample: Sample, crop_px: tuple[int, int], rng: np.random.Generator) -> Sample:
    """Cut a random window; what is cut to a scrap is dropped."""
    height, width = sample.channels.shape[1:]
    rows, cols = min(crop_px[0], height), min(crop_px[1], width)
    y, x = int(rng.integers(0, height - rows + 1)), int(rng.integers(0, width - cols + 1))
    masks = sample.masks[:, y : y + rows, x : x + cols]
    inside, whole = masks.sum(axis=(1, 2)), sample.masks.sum(axis=(1, 2))
    kept = inside >= np.maximum(np.minimum(LEAST_KEPT_PX, whole), LEAST_KEPT_SHARE * whole)
    return Sample(sample.channels[:, y : y + rows, x : x + cols], masks[kept], sample.labels[kept])


def _augmented(sample: Sample, spec: ModelSpec, rng: np.random.Generator) -> Sample:
    """Flip, turn where the picture is square and its layers do not run left to right, and shift brightness a little."""
    channels, masks = sample.channels, sample.masks
    across, down = rng.random(2) < EVEN
    if across:
        channels, masks = channels[:, :, ::-1], masks[:, :, ::-1]
    if down:
        channels, masks = channels[:, ::-1], masks[:, ::-1]
    if spec.view == "board" and channels.shape[1] == channels.shape[2]:
        turns = int(rng.integers(4))
        channels, masks = np.rot90(channels, turns, (1, 2)), np.rot90(masks, turns, (1, 2))
    gain = np.float32(rng.uniform(*GAINS))
    return Sample(np.ascontiguousarray(channels) * gain, np.ascontiguousarray(masks), sample.labels)
