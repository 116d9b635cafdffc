"""Each defect is what its name says: judged on the conductors, by an implementation that is not the simulator's."""

import numpy as np
import pytest
from skimage.measure import label as components
from skimage.morphology import dilation, disk

from taktwatch.simulator import BOARD_DEFECTS
from taktwatch.simulator.artwork import draw_artwork
from taktwatch.simulator.defects import place_defects
from taktwatch.simulator.truth import BoolMask

SIZE = (320, 320)
LAYOUTS = range(40, 52)
REMOVE = {"open", "mousebite", "pin_hole"}


def spoiled(label: str, layout_seed: int) -> tuple[BoolMask, BoolMask, BoolMask]:
    """Copper before and after one defect, and its mask, on the first artwork that has a place for it."""
    for seed in range(layout_seed, layout_seed + 1000, 100):
        art = draw_artwork(seed, SIZE)
        copper, placed = place_defects(art, (label,), 30, np.random.default_rng(seed))
        if placed:
            return art.copper, copper, placed[0].mask
    pytest.fail(f"no place for {label}")


def pieces(mask: BoolMask, connectivity: int = 2) -> int:
    """Count the pieces of a mask."""
    return int(components(mask, connectivity=connectivity).max())


def touched(copper: BoolMask, mask: BoolMask) -> set[int]:
    """Number the conductors that a mask touches."""
    near = components(copper, connectivity=2)[dilation(mask, np.ones((3, 3)))]
    return set(near.tolist()) - {0}


@pytest.mark.parametrize("label", BOARD_DEFECTS)
@pytest.mark.parametrize("layout_seed", LAYOUTS)
def test_a_mask_is_exactly_what_changed_in_the_copper(label: str, layout_seed: int) -> None:
    before, after, mask = spoiled(label, layout_seed)
    assert np.array_equal(before ^ after, mask)
    assert np.array_equal(mask & before, mask if label in REMOVE else np.zeros_like(mask))
    assert pieces(mask) == 1
    assert np.count_nonzero(mask) >= 12


def around(mask: BoolMask, copper: BoolMask) -> BoolMask:
    """Give the copper within 12 px of a mask: what an inspector looks at."""
    return np.asarray(copper & dilation(mask, disk(12)))


@pytest.mark.parametrize("layout_seed", LAYOUTS)
def test_an_open_reaches_from_edge_to_edge_and_parts_what_it_cuts(layout_seed: int) -> None:
    before, after, mask = spoiled("open", layout_seed)
    assert len(set(components(before, connectivity=2)[mask].tolist())) == 1
    assert pieces(dilation(mask, disk(1)) & ~before) >= 2
    assert pieces(around(mask, after)) > pieces(around(mask, before))


@pytest.mark.parametrize("layout_seed", LAYOUTS)
def test_a_short_joins_two_pieces_of_copper_that_were_separate_there(layout_seed: int) -> None:
    before, after, mask = spoiled("short", layout_seed)
    assert pieces(dilation(mask, disk(1)) & before) >= 2
    assert pieces(around(mask, after)) < pieces(around(mask, before))


@pytest.mark.parametrize("layout_seed", LAYOUTS)
def test_a_mousebite_opens_to_the_edge_and_cuts_nothing(layout_seed: int) -> None:
    before, after, mask = spoiled("mousebite", layout_seed)
    assert (dilation(mask, disk(1)) & ~before).any()
    assert pieces(after) == pieces(before)
    assert pieces(~after) == pieces(~before)


@pytest.mark.parametrize("layout_seed", LAYOUTS)
def test_a_spur_grows_from_one_conductor_and_reaches_no_other(layout_seed: int) -> None:
    before, after, mask = spoiled("spur", layout_seed)
    assert len(touched(before, mask)) == 1
    assert len(touched(before, dilation(mask, disk(2)))) == 1
    assert pieces(after) == pieces(before)
    assert pieces(~after) == pieces(~before)


@pytest.mark.parametrize("layout_seed", LAYOUTS)
def test_spurious_copper_is_an_island_of_its_own(layout_seed: int) -> None:
    before, after, mask = spoiled("spurious_copper", layout_seed)
    assert touched(before, dilation(mask, disk(2))) == set()
    assert pieces(after) == pieces(before) + 1


@pytest.mark.parametrize("layout_seed", LAYOUTS)
def test_a_pin_hole_is_surrounded_by_copper(layout_seed: int) -> None:
    before, after, mask = spoiled("pin_hole", layout_seed)
    assert before[dilation(mask, disk(2))].all()
    assert pieces(~after, connectivity=1) == pieces(~before, connectivity=1) + 1
    assert pieces(after) == pieces(before)


def test_several_defects_stay_apart_and_each_keeps_its_own_mask() -> None:
    art = draw_artwork(61, SIZE)
    copper, placed = place_defects(art, BOARD_DEFECTS * 2, 30, np.random.default_rng(1))
    masks = np.array([defect.mask for defect in placed])
    assert len(placed) >= 6
    assert masks.sum(axis=0).max() == 1
    assert np.array_equal(masks.any(axis=0), art.copper ^ copper)
