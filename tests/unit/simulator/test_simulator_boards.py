"""Boards from above: their pictures come again from their seeds, and their truths are where the picture shows them."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taktwatch.simulator import BOARD_DEFECTS, BoardLook, board, golden, product_look
from taktwatch.simulator.artwork import draw_artwork
from taktwatch.simulator.camera import golden_picture
from taktwatch.simulator.look import Camera

SMALL = (320, 320)


@settings(max_examples=6, deadline=None)
@given(layout_seed=st.integers(0, 2**40), board_seed=st.integers(0, 2**40))
def test_the_same_seeds_give_the_same_board_bit_by_bit(layout_seed: int, board_seed: int) -> None:
    once = board(layout_seed, board_seed, size=SMALL, defect_probability=1.0)
    draw_artwork.cache_clear()
    golden_picture.cache_clear()
    again = board(layout_seed, board_seed, size=SMALL, defect_probability=1.0)
    assert np.array_equal(once.picture, again.picture)
    assert np.array_equal(once.template, again.template)
    assert [truth.label for truth in once.truths] == [truth.label for truth in again.truths]
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(once.truths, again.truths, strict=True))


def test_another_board_of_the_same_product_differs_and_shares_its_template() -> None:
    one, other = board(3, 1, size=SMALL), board(3, 2, size=SMALL)
    assert not np.array_equal(one.picture, other.picture)
    assert np.array_equal(one.template, other.template)
    assert np.array_equal(one.template, golden(3, size=SMALL))


def test_another_product_has_another_template() -> None:
    assert not np.array_equal(golden(3, size=SMALL), golden(4, size=SMALL))


@pytest.mark.parametrize("camera", ["colour", "grey", "binary"])
@pytest.mark.parametrize("size", [(320, 320), (640, 640), (200, 360)])
def test_every_camera_gives_rgb_bytes_of_the_size_asked_for(camera: Camera, size: tuple[int, int]) -> None:
    shown = board(5, 6, size=size, defects=("spur",), look=product_look(5, camera))
    for picture in (shown.picture, shown.template):
        assert picture.shape == (*size, 3)
        assert picture.dtype == np.uint8
        if camera != "colour":
            assert np.array_equal(picture[..., 0], picture[..., 1])
            assert np.array_equal(picture[..., 0], picture[..., 2])
        if camera == "binary":
            assert set(np.unique(picture)) == {0, 255}
    for truth in shown.truths:
        assert truth.mask.shape == size
        assert truth.mask.dtype == np.bool_


def test_a_good_board_has_no_truth_and_yet_differs_from_its_template() -> None:
    good = board(8, 9, size=SMALL, defects=())
    assert good.truths == ()
    assert not np.array_equal(good.picture, good.template)


@pytest.mark.parametrize("camera", ["colour", "grey", "binary"])
def test_a_board_pictured_again_is_the_same_copper_in_another_pose_and_light(camera: Camera) -> None:
    look = product_look(6, camera)
    first, again, second = (board(6, 2, size=SMALL, defects=("open",), look=look, shot=shot) for shot in (0, 0, 1))
    assert np.array_equal(first.picture, again.picture)
    assert not np.array_equal(first.picture, second.picture)
    assert [truth.label for truth in first.truths] == [truth.label for truth in second.truths]
    # In a look that varies nothing from picture to picture every picture of a board is the same, and of another not.
    still = replace(look, max_shift_px=0, max_rotation_deg=0, blur_px=0, noise_sd=0, gradient=0, specks=0)
    one, same = (board(6, 2, size=SMALL, defects=(), look=still, shot=shot) for shot in (0, 1))
    assert np.array_equal(one.picture, same.picture)
    assert not np.array_equal(one.picture, board(6, 3, size=SMALL, defects=(), look=still, shot=0).picture)


def test_defects_come_as_often_as_asked() -> None:
    assert all(board(1, seed, size=SMALL, defect_probability=0.0).truths == () for seed in range(5))
    assert all(1 <= len(board(2, seed, size=SMALL, defect_probability=1.0).truths) <= 3 for seed in range(5))


def test_an_unknown_defect_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'hole'"):
        board(1, 1, size=SMALL, defects=("hole",))


def test_what_a_caller_does_to_a_template_stays_with_the_caller() -> None:
    golden(3, size=SMALL)[:] = 0
    assert golden(3, size=SMALL).any()


@pytest.mark.parametrize("label", BOARD_DEFECTS)
@pytest.mark.parametrize("layout_seed", [11, 12, 13, 14])
def test_a_truth_lies_where_the_picture_changed_and_nothing_else_changed(label: str, layout_seed: int) -> None:
    look = product_look(layout_seed, "binary")
    bad = board(layout_seed, 1, size=SMALL, defects=(label,), look=look)
    good = board(layout_seed, 1, size=SMALL, defects=(), look=look)
    changed = (bad.picture != good.picture).any(axis=2)
    for truth in bad.truths:
        assert truth.label == label
        near = cv2.dilate(truth.mask.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        assert not (changed & ~near).any()
        assert np.count_nonzero(changed & truth.mask) > 0.55 * np.count_nonzero(truth.mask)
    assert bad.truths or not changed.any()


@pytest.mark.parametrize("layout_seed", range(20, 26))
def test_a_defect_keeps_away_from_the_edge_of_its_picture(layout_seed: int) -> None:
    for truth in board(layout_seed, 3, size=SMALL, defects=BOARD_DEFECTS).truths:
        rows, cols = np.nonzero(truth.mask)
        assert min(rows.min(), cols.min()) >= 12
        assert max(rows.max(), cols.max()) < 320 - 12
        assert np.count_nonzero(truth.mask) >= 3


def test_most_defects_asked_for_find_a_place() -> None:
    placed = [len(board(seed, 1, defects=BOARD_DEFECTS).truths) for seed in range(12)]
    assert sum(placed) >= 0.85 * len(BOARD_DEFECTS) * len(placed)


def test_a_look_without_shift_and_turn_lays_the_board_onto_its_template() -> None:
    still = BoardLook(camera="binary", max_shift_px=0, max_rotation_deg=0, etch_px=0, roughness=0, specks=0)
    good = board(4, 4, size=SMALL, defects=(), look=still)
    assert np.count_nonzero(good.picture != good.template) < 0.01 * good.picture.size
