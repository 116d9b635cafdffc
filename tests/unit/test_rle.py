"""COCO run-length masks, held against pycocotools."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from taktwatch import rle
from taktwatch.errors import BadRecord
from taktwatch.records import Rle

Mask = npt.NDArray[np.bool_]
masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24))


@st.composite
def blobs(draw: st.DrawFn) -> Mask:
    """A large frame with a few boxes: long runs, as real masks have."""
    height, width = draw(st.integers(1, 700)), draw(st.integers(1, 700))
    mask = np.zeros((height, width), bool)
    for _ in range(draw(st.integers(0, 4))):
        y, x = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        mask[y : y + draw(st.integers(1, height)), x : x + draw(st.integers(1, width))] ^= True
    return mask


@given(st.one_of(masks, blobs()))
def test_the_bytes_equal_pycocotools(mask: Mask) -> None:
    expected = coco.encode(np.asfortranarray(mask, np.uint8))
    encoded = rle.encode(mask)
    assert encoded.counts.encode() == expected["counts"]
    assert list(encoded.size) == list(expected["size"])


@given(st.one_of(masks, blobs()))
def test_a_mask_comes_back_as_it_went(mask: Mask) -> None:
    encoded = rle.encode(mask)
    assert np.array_equal(rle.decode(encoded), mask)
    assert rle.area(encoded) == mask.sum()


@given(st.one_of(masks, blobs()))
def test_the_box_is_tight_and_its_ends_exclusive(mask: Mask) -> None:
    ys, xs = np.nonzero(mask)
    expected = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) if xs.size else (0, 0, 0, 0)
    assert rle.bbox(rle.encode(mask)) == expected


@given(masks, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_a_roi_encodes_like_the_frame_it_lies_in(roi: Mask, x0: int, y0: int, right: int, below: int) -> None:
    frame = np.pad(roi, ((y0, below), (x0, right)))
    assert rle.encode_roi(roi, x0, y0, *frame.shape) == rle.encode(frame)


def test_a_roi_that_leaves_the_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves the frame of 6x4 px"):
        rle.encode_roi(np.ones((2, 3), bool), 4, 1, 4, 6)


@given(st.text(max_size=12), st.integers(0, 20), st.integers(0, 20))
def test_garbled_runs_are_refused_or_fill_the_frame(counts: str, height: int, width: int) -> None:
    try:
        mask = rle.decode(Rle(size=(height, width), counts=counts))
    except BadRecord:
        return
    assert mask.shape == (height, width)


def test_runs_that_do_not_fill_the_frame_are_refused() -> None:
    with pytest.raises(BadRecord, match="do not fill its 5x5 px"):
        rle.area(Rle(size=(5, 5), counts="013000"))
