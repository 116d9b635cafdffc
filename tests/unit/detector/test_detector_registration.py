"""The template is laid onto the frame to a fraction of a pixel."""

import cv2
import numpy as np
import pytest
from known_maps import residual_px

from detector.aligning.registration import matrix_of, register
from detector.inputs import template_inputs
from taktwatch.simulator import board, golden, product_look


def moved(grey: np.ndarray, dx: float, dy: float, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """The picture of a template that lies shifted and turned, and the map that did it."""
    height, width = grey.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    matrix[:, 2] += dx, dy
    return cv2.warpAffine(grey, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101), matrix


@pytest.mark.parametrize("shape", [(320, 320), (333, 517)])
def test_a_map_that_moves_nothing_warps_nothing(shape: tuple[int, int]) -> None:
    levels = np.random.default_rng(1).normal(0, 80, shape).astype(np.float32)
    unmoved = cv2.warpPerspective(levels, np.eye(3), shape[::-1], borderMode=cv2.BORDER_CONSTANT, borderValue=1e6)
    assert np.array_equal(unmoved, levels)  # so registration need not: it compares with no motion first


@pytest.mark.parametrize("layout", [3, 11, 20, 42])
@pytest.mark.parametrize(("dx", "dy", "degrees"), [(0, 0, 0), (5.3, -4.6, 0.4), (-7.8, 6.1, -0.5), (0.4, 0.7, 0.05)])
def test_shift_and_rotation_are_found_to_a_fifth_of_a_pixel(layout: int, dx: float, dy: float, degrees: float) -> None:
    template = cv2.cvtColor(golden(layout), cv2.COLOR_RGB2GRAY)
    picture, matrix = moved(template, dx, dy, degrees)
    found, _ = register(picture, template)
    assert residual_px(matrix_of(found), matrix) < 1 / 5
    assert found.quality > 0.95


def test_beyond_the_template_the_difference_is_zero() -> None:
    template = cv2.cvtColor(golden(11), cv2.COLOR_RGB2GRAY)
    picture, _ = moved(template, 8, 0, 0)
    _, warped = register(picture, template)
    assert np.array_equal(warped[:, :6], picture[:, :6])


def test_a_picture_of_another_product_fits_badly() -> None:
    one, other = (cv2.cvtColor(golden(layout), cv2.COLOR_RGB2GRAY) for layout in (11, 12))
    assert register(one, one)[0].quality > 0.99
    assert register(one, other)[0].quality < 0.7


def test_a_blank_picture_is_registered_without_trouble() -> None:
    blank = np.full((64, 80), 128, np.uint8)
    found, warped = register(blank, blank)
    assert found.matrix == (1, 0, 0, 0, 1, 0)
    assert found.quality == 0
    assert np.array_equal(warped, blank)


def test_defects_stand_out_of_the_difference_channel_under_uneven_light() -> None:
    look = product_look(11)
    seen = board(11, 5, defects=("open", "short", "spurious_copper"), look=look)
    assert seen.template is not None
    difference = template_inputs(seen.picture, seen.template).channels[2]
    spoiled = np.any([truth.mask for truth in seen.truths], axis=0)
    assert len(seen.truths) == 3
    assert difference[spoiled].mean() > 3 * np.percentile(difference[~spoiled], 90)
