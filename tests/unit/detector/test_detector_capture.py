"""Boards are found from anywhere in the capture range, with defects, noise and repeated traces; strangers are told."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
from known_maps import drawn_map, known_case, residual_px

from detector.aligning.maps import about_middles, rescaled
from detector.aligning.registration import matrix_of, register, warp
from taktwatch.simulator import golden
from taktwatch.simulator.look import Camera

CAMERAS: tuple[Camera, ...] = ("colour", "grey", "binary")
LAYOUTS = (20_000_037, 20_000_074, 20_000_118, 20_000_155, 20_000_312)
EXTREMES = [(40.0, -40.0, 3.0, 1.02), (-40.0, 40.0, -3.0, 0.98), (40.0, 40.0, -3.0, 1.02), (-40.0, -40.0, 3.0, 0.98)]


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_defective_board_is_found_to_half_a_pixel_anywhere_in_the_capture_range(layout: int, camera: Camera) -> None:
    case = known_case(layout, camera, layout % 97, defects=6)
    found, _ = register(case.picture, case.template)
    assert residual_px(matrix_of(found), case.true) < 0.5
    assert found.quality > 0.85


def test_a_board_with_too_little_copper_to_be_found_to_half_a_pixel_says_so() -> None:
    case = known_case(20_000_235, "binary", 20_000_235 % 97, defects=6)
    found, _ = register(case.picture, case.template)
    assert residual_px(matrix_of(found), case.true) > 0.5
    assert found.unsure_px > 1


@pytest.mark.parametrize("extreme", EXTREMES)
def test_the_corners_of_the_capture_range_belong_to_it(extreme: tuple[float, float, float, float]) -> None:
    dx, dy, degrees, zoom = extreme
    true = about_middles((640, 640), (640, 640), np.radians(degrees), zoom, (dx, dy))
    case = known_case(20_000_037, "grey", 5, true, defects=3)
    found, _ = register(case.picture, case.template)
    assert residual_px(matrix_of(found), true) < 0.5


def striped(height: int = 640, width: int = 640) -> np.ndarray:
    """Draw traces 14 px apart all over, and one via that tells where along them one is."""
    board = np.full((height, width), 220, np.uint8)
    for y in range(6, height, 14):
        cv2.line(board, (30, y), (width - 60, y), 60, 6)
    cv2.circle(board, (200, 300), 24, 20, -1)
    return board


@pytest.mark.parametrize("traces", [-2, -1, 1, 2])
def test_repeated_traces_are_not_mistaken_for_their_neighbours(traces: int) -> None:
    whole = striped(760, 760)
    true = about_middles((640, 640), (640, 640), 0.01, 1.005, (5.0, 14.0 * traces + 1.3))
    corner = np.array([[1, 0, -60], [0, 1, -60], [0, 0, 1.0]])
    picture = cv2.warpPerspective(whole, true @ corner, (640, 640))
    noise = np.random.default_rng(1).normal(0, 6, picture.shape)
    picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    found, _ = register(picture, np.ascontiguousarray(whole[60:-60, 60:-60]))
    assert residual_px(matrix_of(found), true) < 0.5


@pytest.mark.parametrize("camera", CAMERAS)
def test_another_product_and_a_turned_board_fit_badly(camera: Camera) -> None:
    for layout, other in pairwise(LAYOUTS):
        case = known_case(layout, camera, 1, defects=1)
        stranger = known_case(other, camera, 1, np.eye(3), defects=0).template
        turned = np.ascontiguousarray(case.template[::-1, ::-1])
        fitting = register(case.picture, case.template)[0].quality
        assert fitting > 0.9
        assert register(case.picture, stranger)[0].quality < 0.85
        assert register(case.picture, turned)[0].quality < 0.85


def test_uneven_light_does_not_move_the_template() -> None:
    case = known_case(20_000_118, "grey", 4, defects=0)
    gain = 0.6 + 0.8 * np.linspace(0, 1, 640)[None, :]
    lit = np.clip(case.picture * gain, 0, 255).astype(np.uint8)
    found, _ = register(lit, case.template)
    assert residual_px(matrix_of(found), case.true) < 0.5


@pytest.mark.parametrize("shape", [(384, 512), (512, 384), (201, 333), (97, 640), (1100, 900)])
def test_pictures_of_any_shape_are_registered(shape: tuple[int, int]) -> None:
    side = max(shape) + 64
    whole = cv2.cvtColor(golden(12, size=(side, side)), cv2.COLOR_RGB2GRAY)
    template = np.ascontiguousarray(whole[32 : 32 + shape[0], 32 : 32 + shape[1]])
    true = about_middles(shape, shape, 0.012, 0.995, (9.0, -6.5))
    corner = np.array([[1, 0, -32], [0, 1, -32], [0, 0, 1.0]])
    picture = cv2.warpPerspective(whole, true @ corner, shape[::-1])
    found, warped = register(picture, template)
    # A small board holds its map less well, and says so; how well hangs on the processor's rounding, too.
    assert residual_px(matrix_of(found), true, shape) < max(0.5, found.unsure_px)
    assert found.unsure_px < 1
    assert warped.shape == shape


def test_maps_between_sizes_agree() -> None:
    true = drawn_map(np.random.default_rng(3))
    assert residual_px(rescaled(rescaled(true, 0.5), 2), true) < 1e-9


def test_a_tilted_map_and_a_straight_one_warp_alike_where_they_are_equal() -> None:
    template, picture = striped(), np.zeros((640, 640), np.uint8)
    matrix = about_middles((640, 640), (640, 640), 0.02, 1.01, (3.5, -2.0))
    hardly = matrix.copy()
    hardly[2, 0] = 1e-12
    straight, tilted = warp(template, matrix, picture), warp(template, hardly, picture)
    assert np.abs(straight.astype(int) - tilted.astype(int)).mean() < 0.5
    assert np.array_equal(warp(template, matrix[:2], picture), straight)


def test_a_board_that_shows_too_little_copper_says_how_unsure_its_place_is() -> None:
    bare = np.full((640, 640), 200, np.uint8)
    cv2.line(bare, (100, 320), (540, 320), 40, 8)
    rich = known_case(20_000_037, "grey", 7, np.eye(3), defects=0)
    assert register(bare, bare)[0].unsure_px > 0.5
    assert register(rich.picture, rich.template)[0].unsure_px < 0.5
    even = np.full((640, 640), 128, np.uint8)
    assert register(even, even)[0].unsure_px > 5


def test_the_uncertainty_covers_the_error() -> None:
    cases = [known_case(layout, camera, 3) for camera in CAMERAS for layout in range(40_000_000, 40_000_008)]
    found = [register(case.picture, case.template)[0] for case in cases]
    ratios = [residual_px(matrix_of(one), case.true) / one.unsure_px for one, case in zip(found, cases, strict=True)]
    assert np.median(ratios) < 1
    assert max(ratios) < 4
