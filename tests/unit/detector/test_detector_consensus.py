"""A rim that was cut elsewhere, however long and straight, does not turn the template: most edges decide."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from known_maps import SIDE, cut, known_case

from detector.aligning.consensus import LINE_SHARE, call_witnesses, confirmed, find_consensus
from detector.aligning.maps import IDENTITY, about_middles, moved
from detector.aligning.pattern import Pattern
from detector.aligning.registration import matrix_of, register
from taktwatch.simulator.look import Camera

Grey = npt.NDArray[np.uint8]
Map = npt.NDArray[np.float64]

FINER = 4  # boards are drawn so many times larger


def strip(seed: int, rim: float, true: Map = IDENTITY) -> Grey:
    """Draw a binarised strip of copper that ends at a rim, x = `rim` px of the board, under a map; edges wander."""
    board = np.full((SIDE * FINER, 240 * FINER), 255, np.uint8)

    def at(*places: tuple[float, float]) -> npt.NDArray[np.int32]:
        return np.rint(np.array(places) * FINER).astype(np.int32)

    cv2.fillPoly(board, [at((0, 36), (240, 36), (240, 288), (164, 364), (44, 480), (44, 604), (0, 640))], 0)
    cv2.fillPoly(board, [at((70, 520), (240, 520), (240, 600), (150, 600), (110, 560), (70, 560))], 0)
    for x, y, radius in ((128, 160, 32), (40, 120, 12), (90, 300, 16), (30, 250, 10), (130, 560, 9)):
        cv2.circle(board, tuple(at((x, y))[0].tolist()), radius * FINER, 255, -1)
    board[:, round(rim * FINER) :] = 255
    larger = np.diag([1 / FINER, 1 / FINER, 1.0])
    seen = cv2.warpPerspective(
        board, true @ larger, (SIDE, SIDE), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_CONSTANT, borderValue=255
    )
    wander = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 1, seen.shape), (0, 0), 1.5) * 120
    blurred = cv2.GaussianBlur(seen.astype(np.float64), (0, 0), 1.5)
    return np.where(blurred + wander > 127, 255, 0).astype(np.uint8)


def off_px(found: Map, true: Map, *, right: float, bottom: float = SIDE) -> float:
    """Return the largest distance between two maps over the part of the template that shows copper."""
    places = np.stack(np.meshgrid(np.linspace(0, right, 9), np.linspace(0, bottom, 9)), axis=2).reshape(1, -1, 2)
    there, here = (cv2.perspectiveTransform(places, matrix) for matrix in (true, found))
    return float(np.hypot(*(there - here)[0].T).max())


@pytest.mark.parametrize("away_px", [-12, -9, 9, 12])
def test_a_rim_cut_elsewhere_does_not_turn_the_template(away_px: float) -> None:
    found, _ = register(strip(1, 164 + away_px), strip(2, 164))
    assert off_px(matrix_of(found), IDENTITY, right=164) < 1


@pytest.mark.parametrize("shift", [(11.0, 0.0), (-9.0, 6.0)])
def test_copper_that_moved_under_a_rim_that_stayed_is_followed(shift: tuple[float, float]) -> None:
    true = moved(*shift)
    found, _ = register(strip(1, 164 - shift[0], true), strip(2, 164))
    assert off_px(matrix_of(found), true, right=164) < 1


@pytest.mark.parametrize(
    ("layout", "camera", "rim", "away_px"),
    [
        (20_000_118, "binary", 260, -9),
        (20_000_037, "colour", 330, 12),
        (20_000_312, "colour", 260, -9),
    ],
)
def test_a_board_in_the_capture_range_is_found_beside_a_rim_cut_elsewhere(
    layout: int, camera: Camera, rim: float, away_px: float
) -> None:
    true = about_middles((SIDE, SIDE), (SIDE, SIDE), 0.02, 1.008, (14.0, -9.0))
    case = known_case(layout, camera, 5, true, defects=4)
    found, _ = register(cut(case.picture, rim + away_px, true), cut(case.template, rim, IDENTITY))
    assert off_px(matrix_of(found), true, right=rim) < 1


def test_most_edges_of_a_board_confirm_its_true_map_and_hardly_any_another() -> None:
    case = known_case(20_000_037, "grey", 7, IDENTITY, defects=3)
    seen, golden = Pattern(case.picture), Pattern(case.template)
    witnesses = golden.witnesses(8, 2, 8192)
    assert witnesses is not None
    assert confirmed(seen.clear(8, 2), witnesses, IDENTITY) > 0.8
    assert confirmed(seen.clear(8, 2), witnesses, moved(5, 5)) < 0.4


def test_witnesses_agree_on_a_shift_of_several_px() -> None:
    case = known_case(20_000_118, "grey", 7, moved(12.0, -7.0), defects=3)
    seen, golden = Pattern(case.picture).clear(8, 2), Pattern(case.template)
    witnesses = golden.witnesses(8, 2, 8192)
    assert witnesses is not None
    agreed = find_consensus(seen, witnesses, IDENTITY)
    assert agreed is not None
    assert agreed.share > 0.8
    assert off_px(agreed.matrix, moved(6.0, -3.5), right=SIDE / 2, bottom=SIDE / 2) < 0.5


def test_all_of_one_straight_line_is_hardly_more_than_one_witness() -> None:
    board = np.full((SIDE, SIDE), 220, np.uint8)
    board[:, :200] = 40
    rng = np.random.default_rng(3)
    for x, y in rng.uniform((20, 220), (180, 380), (12, 2)):
        cv2.circle(board, (round(x), round(y)), 9, 220, -1)
    pattern = Pattern(board)
    edges = pattern.edges(8, 2, 8192)
    assert edges is not None
    witnesses = call_witnesses(pattern.clear(8, 2), edges)
    assert witnesses is not None
    rim = np.abs(witnesses.edges.points[:, 0] - 99.5) < 2
    assert rim.mean() > 0.3
    assert witnesses.votes[rim].sum() < 4 * LINE_SHARE


def test_an_even_template_has_no_witnesses() -> None:
    even = Pattern(np.full((SIDE, SIDE), 128, np.uint8))
    assert even.witnesses(8, 2, 8192) is None
