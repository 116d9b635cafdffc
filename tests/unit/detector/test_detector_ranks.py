"""Medians and percentiles: NumPy's, to the bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.aligning.light import dark_and_bright
from detector.aligning.ranks import median, percentile

LEVELS = st.lists(st.floats(-1000, 1000, width=32) | st.integers(0, 255), min_size=1, max_size=400)


@given(LEVELS)
def test_the_median_is_numpys(levels: list[float]) -> None:
    some = np.array(levels, np.float32)
    assert median(some) == float(np.median(some))


@given(LEVELS, st.floats(0, 100))
def test_a_percentile_is_numpys(levels: list[float], percent: float) -> None:
    some = np.array(levels, np.float32)
    assert percentile(some, percent) == float(np.percentile(some, (percent,))[0])


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize("sparse", [1, 4, 8])
def test_dark_and_bright_are_numpys_of_a_picture(kind: type[np.generic], sparse: int) -> None:
    picture = (np.random.default_rng(sparse).gamma(2.0, 30.0, (97, 131)) % 256).astype(kind)
    assert dark_and_bright(picture, sparse) == tuple(np.percentile(picture[::sparse, ::sparse], (1, 99)))
