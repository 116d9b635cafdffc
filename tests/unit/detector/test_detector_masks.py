"""Masks of 28x28 probabilities become pixels, held against torch's sampling of the whole frame."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import grid_sample
from torchvision.models.detection.roi_heads import paste_masks_in_image

from detector.masks import CUT, Roi, grow_box, roi_mask, to_rle
from taktwatch.rle import area, bbox, decode

FRAME = (60, 90)  # height, width


@st.composite
def detections(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """A box that may touch any edge of the frame, and a mask of smooth noise."""
    height, width = FRAME
    x0, y0 = draw(st.floats(0, width - 2)), draw(st.floats(0, height - 2))
    x1, y1 = draw(st.floats(x0 + 1, width)), draw(st.floats(y0 + 1, height))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return rng.random((28, 28), np.float32), np.array([x0, y0, x1, y1], np.float32)


def sampled(probabilities: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The whole frame, sampled by torch at every pixel's centre."""
    height, width = FRAME
    x = (torch.arange(width) + 0.5 - float(box[0])) / float(box[2] - box[0]) * 2 - 1
    y = (torch.arange(height) + 0.5 - float(box[1])) / float(box[3] - box[1]) * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]
    mask = torch.from_numpy(probabilities)[None, None].double()
    return grid_sample(mask, grid.double(), mode="bilinear", padding_mode="zeros", align_corners=False)[0, 0].numpy()


@settings(deadline=None)
@given(detections())
def test_a_roi_has_the_pixels_of_the_fully_sampled_frame(detection: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, box = detection
    expected = sampled(probabilities, box)
    roi = roi_mask(probabilities, box, *FRAME)
    frame = decode(to_rle(roi, *FRAME))
    sure = np.abs(expected - CUT) > 1e-3
    assert np.array_equal(frame[sure], (expected > CUT)[sure])


def test_a_full_mask_fills_its_box_and_torchvisions_pasting_a_pixel_more() -> None:
    full, box = np.ones((28, 28), np.float32), np.array([10, 20, 38, 40], np.float32)
    assert roi_mask(full, box, *FRAME).box == (10, 20, 38, 40)
    pasted = paste_masks_in_image(torch.from_numpy(full)[None, None], torch.from_numpy(box)[None], FRAME)[0, 0]
    assert int((pasted > CUT).any(dim=0).sum()) == 29


def test_box_and_area_come_from_the_mask() -> None:
    probabilities = np.zeros((28, 28), np.float32)
    probabilities[7:21, 7:21] = 1
    roi = roi_mask(probabilities, np.array([10, 20, 38, 48], np.float32), *FRAME)
    encoded = to_rle(roi, *FRAME)
    assert roi.box == bbox(encoded)
    assert roi.area_px == area(encoded)
    x0, y0, x1, y1 = roi.box
    assert (x1 - x0, y1 - y0) == (14, 14)


def test_an_empty_mask_has_no_box_and_no_area() -> None:
    roi = roi_mask(np.zeros((28, 28), np.float32), np.array([1, 1, 20, 20], np.float32), *FRAME)
    assert roi.box == (0, 0, 0, 0)
    assert roi.area_px == area(to_rle(roi, *FRAME)) == 0


def test_a_grown_box_stays_in_the_frame() -> None:
    assert grow_box((2, 3, 88, 59), 10, *FRAME) == (0, 0, 90, 60)


def test_a_roi_knows_its_tight_box() -> None:
    mask = np.zeros((5, 7), bool)
    mask[1:3, 4] = True
    assert Roi(mask, 100, 200).box == (104, 201, 105, 203)
