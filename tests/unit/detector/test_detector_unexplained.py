"""A difference that no detection explains is told; what a good board shows is not."""

import cv2
import numpy as np
import pytest

from detector.aligning.light import lit_like
from detector.aligning.regions import inspected_area
from detector.aligning.registration import matrix_of, register
from detector.masks import Roi
from detector.unexplained import Stray, unexplained
from taktwatch.simulator import SimulatedPicture, board, product_look
from taktwatch.simulator.look import Camera

NOTHING: list[Roi] = []


def seen(layout: int, camera: Camera, defects: tuple[str, ...]) -> SimulatedPicture:
    return board(layout, layout % 100, size=(480, 480), defects=defects, look=product_look(layout, camera))


def strays(shown: SimulatedPicture, explained: list[Roi], change: np.ndarray | None = None) -> list[Stray]:
    picture, template = (cv2.cvtColor(one, cv2.COLOR_RGB2GRAY) for one in (shown.picture, shown.template))
    picture = picture if change is None else np.where(change > 0, change, picture).astype(np.uint8)
    found, warped = register(picture, template)
    area = inspected_area(picture.shape, matrix_of(found), template=template.shape)
    return unexplained(picture, lit_like(warped, picture, use=area), explained, area=area)


@pytest.mark.parametrize("camera", ["colour", "grey", "binary"])
def test_good_boards_show_nothing_unexplained(camera: Camera) -> None:
    told = [layout for layout in range(7_000_002, 7_000_010) if strays(seen(layout, camera, ()), NOTHING)]
    assert len(told) <= 1, told


@pytest.mark.parametrize("layout", [7_000_002, 7_000_005, 7_000_007])
def test_a_thing_no_class_knows_is_told_where_it_lies(layout: int) -> None:
    shown = seen(layout, "colour", ())
    hair = np.zeros((480, 480), np.uint8)
    cv2.line(hair, (200, 180), (260, 300), 250, 6)
    told = strays(shown, NOTHING, hair)
    assert told
    assert any(hair[max(one.y - 4, 0) : one.y + 5, max(one.x - 4, 0) : one.x + 5].any() for one in told)


def test_most_defects_would_be_told_without_any_detection_and_none_once_found() -> None:
    shown = [seen(layout, "binary", ("open", "short", "spurious_copper")) for layout in range(7_000_002, 7_000_008)]
    told = caught = 0
    for one in shown:
        silent = strays(one, NOTHING)
        for truth in one.truths:
            told += 1
            near = cv2.dilate(truth.mask.astype(np.uint8), np.ones((9, 9)))
            caught += any(near[stray.y, stray.x] for stray in silent)
        assert strays(one, [Roi(truth.mask, 0, 0) for truth in one.truths]) == []
    assert told > 12
    assert caught > 0.8 * told


def test_what_lies_outside_the_inspected_area_is_not_told() -> None:
    lit = np.full((100, 100), 180, np.float32)
    picture = lit.astype(np.uint8)
    picture[10:20, 10:20] = picture[60:70, 60:70] = 20
    area = np.zeros((100, 100), bool)
    area[50:] = True
    assert [(one.x, one.y) for one in unexplained(picture, lit, NOTHING, area=area)] == [(64, 64)]


def test_a_tolerance_lets_pass_what_good_boards_do() -> None:
    lit = np.full((100, 100), 180, np.float32)
    picture = lit.astype(np.uint8)
    picture[40:60, 40:60] = 150
    loose = np.where(picture < 180, 40, 4).astype(np.uint8)
    assert len(unexplained(picture, lit, NOTHING)) == 1
    assert unexplained(picture, lit, NOTHING, tolerance=loose) == []


def test_specks_of_dust_are_not_told() -> None:
    picture = np.full((200, 200), 180, np.uint8)
    picture[20:180:9, 20:180:9] = 0
    picture[21:180:9, 20:180:9] = 0
    assert unexplained(picture, np.full((200, 200), 180, np.float32), NOTHING) == []
