"""Outlines against the masks they are made of."""

import cv2
import numpy as np
import pytest
from console_line import detection
from hypothesis import given
from hypothesis import strategies as st

from dashboards.console.outlines import outline, trace


def painted(polygons: tuple[tuple[tuple[float, float], ...], ...], shape: tuple[int, int]) -> np.ndarray:
    """Fill polygons by the even-odd rule, at pixel centres."""
    filled = np.zeros(shape, np.int32)
    for polygon in polygons:
        points = np.array([polygon], np.float32)
        for y in range(shape[0]):
            for x in range(shape[1]):
                filled[y, x] += cv2.pointPolygonTest(points, (x + 0.5, y + 0.5), measureDist=False) > 0
    return filled % 2 == 1


@pytest.mark.parametrize("size", [1, 2, 5])
def test_even_a_single_pixel_has_an_outline_around_it(size: int) -> None:
    mask = np.zeros((12, 16), np.bool_)
    mask[4 : 4 + size, 7 : 7 + size] = True
    [polygon] = trace(mask)
    xs, ys = zip(*polygon, strict=True)
    assert min(xs) == pytest.approx(7, abs=0.2)
    assert max(xs) == pytest.approx(7 + size, abs=0.2)
    assert min(ys) == pytest.approx(4, abs=0.2)
    assert max(ys) == pytest.approx(4 + size, abs=0.2)


def test_an_empty_mask_has_no_outline() -> None:
    assert trace(np.zeros((5, 5), np.bool_)) == ()


def test_a_hole_is_outlined_too() -> None:
    mask = np.zeros((20, 20), np.bool_)
    mask[2:18, 2:18] = True
    mask[8:12, 8:12] = False
    polygons = trace(mask)
    assert len(polygons) == 2
    assert np.array_equal(painted(polygons, mask.shape), mask)


@given(st.integers(2, 9), st.integers(2, 9), st.integers(0, 20), st.integers(0, 20))
def test_an_outline_filled_again_is_the_mask(height: int, width: int, y: int, x: int) -> None:
    mask = np.zeros((32, 32), np.bool_)
    mask[y : y + height, x : x + width] = True
    mask[y, x] = False
    assert np.array_equal(painted(trace(mask), mask.shape), mask)


def test_a_mask_too_large_for_fine_tracing_keeps_its_place() -> None:
    mask = np.zeros((900, 900), np.bool_)
    mask[100:800, 50:850] = True
    xs, ys = zip(*(point for polygon in trace(mask) for point in polygon), strict=True)
    assert (min(xs), min(ys), max(xs), max(ys)) == pytest.approx((50, 100, 850, 800), abs=1)


def test_an_outline_names_its_detection() -> None:
    mask = np.zeros((12, 16), np.bool_)
    mask[3:6, 4:9] = True
    drawn = outline(detection("short", mask, 0.9))
    assert (drawn.label, drawn.score, len(drawn.polygons)) == ("short", 0.9, 1)
