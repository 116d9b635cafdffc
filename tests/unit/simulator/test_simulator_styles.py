"""Styles: what is held out for testing shares no artwork with training, and good boards are good, odd as they look."""

import cv2
import numpy as np
import pytest

from taktwatch.simulator import BOARD_DEFECTS, Style, board, golden, product_look
from taktwatch.simulator.artwork import draw_artwork
from taktwatch.simulator.camera import draw_pose, to_picture
from taktwatch.simulator.curves import PADS, pad, teardrop
from taktwatch.simulator.look import BoardLook, Camera, Oddities
from taktwatch.simulator.oddities import GRAIN_PX, RING_PX, drilled, dusty
from taktwatch.simulator.topology import components

SMALL = (320, 320)


def still(look: BoardLook, style: Style) -> BoardLook:
    """Return a binarised product's look that lies on its template, without specks."""
    return BoardLook(
        style=style, camera="binary", max_shift_px=0, max_rotation_deg=0, specks=0, etch_px=look.etch_px, roughness=0.8
    )


def test_the_varied_style_draws_the_artwork_of_the_plain_one() -> None:
    for seed in range(5):
        plain, varied = (draw_artwork(seed, SMALL, style) for style in ("plain", "varied"))
        assert np.array_equal(plain.copper, varied.copper)
    assert np.array_equal(golden(3, size=SMALL), golden(3, size=SMALL, look=product_look(3, "colour", "varied")))


def test_the_style_held_out_draws_other_artwork_in_other_colours() -> None:
    for seed in range(5):
        plain, other = (draw_artwork(seed, SMALL, style).copper for style in ("plain", "held-out"))
        overlap = np.count_nonzero(plain & other) / max(np.count_nonzero(plain | other), 1)
        assert overlap < 0.8
    masks = [{product_look(seed, "colour", style).solder_mask for seed in range(60)} for style in ("plain", "held-out")]
    assert masks[0] & masks[1] <= {None}


@pytest.mark.parametrize("camera", ["colour", "grey", "binary"])
@pytest.mark.parametrize("style", ["varied", "held-out"])
def test_every_style_gives_boards_with_their_defects_and_gives_them_again(style: Style, camera: Camera) -> None:
    look = product_look(31, camera, style)
    one, again = (board(31, 2, size=SMALL, defects=BOARD_DEFECTS, look=look) for _ in range(2))
    assert np.array_equal(one.picture, again.picture)
    assert {truth.label for truth in one.truths} <= set(BOARD_DEFECTS)
    assert one.truths
    assert one.picture.shape == (*SMALL, 3)
    if camera == "binary":
        assert set(np.unique(one.picture)) == {0, 255}


@pytest.mark.parametrize("style", ["varied", "held-out"])
def test_etching_moves_edges_and_leaves_even_areas_alone(style: Style) -> None:
    for seed in range(30):
        look = still(BoardLook(etch_px=1.44), style)
        good = board(seed, 1, size=SMALL, defects=(), look=look)
        copper = good.template[..., 0] == 0
        far = np.ones((9, 9), np.uint8)
        even = cv2.erode(copper.astype(np.uint8), far) | cv2.erode((~copper).astype(np.uint8), far)
        changed = (good.picture != good.template).any(axis=2)
        inside = np.s_[6:-6, 6:-6]  # beyond the border there may be edges, too
        assert not (changed & (even > 0))[inside].any()
    assert changed.any()


def test_the_plain_style_stains_even_areas_where_etching_is_coarse() -> None:
    """What weights until now were trained on; seeds keep it."""
    counts = []
    for seed in range(30):
        good = board(seed, 1, size=SMALL, defects=(), look=still(BoardLook(etch_px=1.44), "plain"))
        copper = good.template[..., 0] == 0
        far = cv2.erode((~copper).astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
        counts.append(np.count_nonzero((good.picture[..., 0] == 0) & far))
    assert max(counts) > 12


def test_holes_move_together_and_keep_their_rings() -> None:
    look, moved_somewhere = BoardLook(style="varied", oddities=Oddities(drill_off_px=3.0)), 0
    for seed in range(12):
        art = draw_artwork(seed, SMALL)
        moved = drilled(art, look, np.random.default_rng(seed))
        if np.array_equal(moved.drill, art.drill):
            continue
        moved_somewhere += 1
        assert components(moved.drill)[0] == components(art.drill)[0]
        fresh = moved.drill & ~art.drill
        near = cv2.dilate(fresh.astype(np.uint8), np.ones((2 * RING_PX + 1,) * 2, np.uint8)) > 0
        assert not (near & ~(moved.copper | moved.drill)).any()
        assert not (moved.copper & fresh).any()
    assert moved_somewhere > 3


def test_no_grain_of_dust_is_as_large_as_the_least_defect() -> None:
    look = BoardLook(style="varied", camera="binary", oddities=Oddities(dust=30))
    picture = dusty(np.full((400, 400, 3), 255, np.uint8), look, np.random.default_rng(4))
    _, _, stats, _ = cv2.connectedComponentsWithStats((picture[..., 0] == 0).astype(np.uint8), connectivity=8)
    grains = stats[1:]
    assert len(grains) > 2
    assert np.median(grains[:, cv2.CC_STAT_WIDTH]) <= GRAIN_PX
    assert grains[:, cv2.CC_STAT_AREA].max() <= 2 * GRAIN_PX**2  # two may touch


def test_truths_of_boards_with_moved_holes_lie_where_the_picture_changed() -> None:
    look = BoardLook(style="varied", camera="binary", specks=0, noise_sd=0, oddities=Oddities(drill_off_px=3.0))
    for seed in range(6):
        bad = board(seed, 1, size=SMALL, defects=BOARD_DEFECTS, look=look)
        good = board(seed, 1, size=SMALL, defects=(), look=look)
        changed = (bad.picture != good.picture).any(axis=2)
        told = np.logical_or.reduce([np.zeros(SMALL, np.bool_), *(truth.mask for truth in bad.truths)])
        near = cv2.dilate(told.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        assert not (changed & ~near).any()


def test_pads_and_teardrops_are_closed_outlines_around_their_place() -> None:
    for kind in PADS:
        outline = pad(kind, 30.0, 20.0)
        sheet = np.zeros((64, 64), np.uint8)
        cv2.fillPoly(sheet, [np.round(outline + 32).astype(np.int32)], 1)
        assert sheet[32, 32] == 1
        assert 200 < sheet.sum() <= 31 * 21
    drop = teardrop(np.array([32.0, 32.0]), 0.0, 20.0, 6.0)
    assert drop[:, 0].max() > 32 + 20
    assert abs(drop[:, 1] - 32).max() <= 10


def test_a_mask_is_carried_by_the_pose_of_its_board() -> None:
    look = BoardLook(max_shift_px=0, max_rotation_deg=0)
    pose = draw_pose(SMALL, look, np.random.default_rng(1))
    mask = np.zeros((352, 352), np.bool_)
    mask[100:110, 120:140] = True
    carried = to_picture(mask, pose, SMALL)
    assert np.array_equal(np.argwhere(carried)[0], (84, 104))


def test_metal_and_laminate_of_the_style_held_out_differ_in_grey() -> None:
    """Boards are compared in grey: where both are equally bright nobody could see a defect."""
    for seed in range(60):
        look = product_look(seed, "colour", "held-out")
        pixels = np.array([[look.metal, look.laminate]], np.uint8)
        metal, laminate = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[0].tolist()
        assert abs(metal - laminate) > 40
