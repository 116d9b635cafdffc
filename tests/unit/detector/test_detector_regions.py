"""Regions drawn on the template lie where the board lies."""

import cv2
import numpy as np

from detector.aligning.maps import about_middles
from detector.aligning.regions import inspected_area, share_inside

SQUARE = [(100.0, 120.0), (300.0, 120.0), (300.0, 260.0), (100.0, 260.0)]


def test_a_region_moves_and_turns_with_the_board() -> None:
    matrix = about_middles((400, 400), (400, 400), 0.05, 1.01, (12.5, -7.25))
    template = np.zeros((400, 400), np.uint8)
    cv2.fillPoly(template, [np.array(SQUARE, np.int32)], 255)
    expected = cv2.warpPerspective(template, matrix, (400, 400)) > 127
    area = inspected_area((400, 400), matrix, roi=SQUARE)
    assert np.count_nonzero(area ^ expected) < 0.01 * np.count_nonzero(expected)  # a filled polygon includes its edge


def test_what_is_ignored_is_cut_out_of_the_region_and_no_region_means_everywhere() -> None:
    hole = [(150.0, 150.0), (200.0, 150.0), (200.0, 200.0), (150.0, 200.0)]
    whole = inspected_area((400, 400), np.eye(3))
    inside = inspected_area((400, 400), np.eye(3), roi=SQUARE, ignore=[hole])
    assert whole.all()
    assert not inside[150:201, 150:201].any()
    assert np.count_nonzero(inside) == 201 * 141 - 51 * 51
    assert share_inside(inspected_area((400, 400), np.eye(3), roi=hole), inside) == 0


def test_a_region_beyond_the_picture_is_empty_not_an_error() -> None:
    away = inspected_area((50, 50), about_middles((50, 50), (50, 50), 0.0, 1.0, (900.0, 0.0)), roi=SQUARE)
    assert not away.any()
