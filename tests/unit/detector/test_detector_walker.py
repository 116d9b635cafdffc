"""Walking along layers of known shape."""

import numpy as np
import pytest

from detector.layers.walker import walk
from detector.masks import Roi
from taktwatch.records import LayerProfile
from taktwatch.simulator import section


def slab(top: int, thickness: int, width: int = 200, tilt: float = 0.0) -> Roi:
    """A layer, tilted by `tilt` px per px."""
    y, x = np.mgrid[:120, :width]
    upper = top + tilt * x
    return Roi((y >= upper) & (y < upper + thickness), 0, 0)


def pit(x0: int, y0: int, width: int, height: int) -> Roi:
    return Roi(np.ones((height, width), bool), x0, y0)


def only(layers: list[Roi], sites: list[Roi], um_per_px: float = 1.0) -> LayerProfile:
    (profile,) = walk(layers, sites, um_per_px).profiles
    return profile


def test_a_sound_layer_has_its_thickness_and_nothing_else() -> None:
    profile = only([slab(30, 20)], [], um_per_px=1.5)
    assert profile.thickness_um == profile.residual_um == 30
    assert (profile.corroded_px, profile.deepest_um, profile.sites, profile.surface) == (0, 0, 0, False)
    assert (profile.layer_px, profile.length_px) == (4000, 200)


def test_a_cavity_inside_the_layer_leaves_its_surface_whole() -> None:
    profile = only([slab(30, 20)], [pit(50, 36, 10, 6)])
    assert (profile.deepest_um, profile.residual_um, profile.surface) == (6, 14, False)
    assert profile.corroded_length_share == pytest.approx(0.05)
    assert profile.corroded_area_share == pytest.approx(60 / 4000)


@pytest.mark.parametrize("y0", [30, 42])
def test_a_pit_from_either_face_breaks_through_the_surface(y0: int) -> None:
    profile = only([slab(30, 20)], [pit(50, y0, 10, 8)])
    assert (profile.deepest_um, profile.surface) == (8, True)


def test_a_layer_eaten_through_has_no_copper_left() -> None:
    profile = only([slab(30, 20)], [pit(50, 28, 10, 24)])
    assert (profile.deepest_um, profile.residual_um) == (20, 0)


def test_a_notch_in_the_envelope_is_bridged_from_its_sound_neighbours() -> None:
    notched = slab(30, 20)
    notched.mask[30:42, 80:100] = False
    profile = only([notched], [pit(80, 30, 20, 12)])
    assert profile.layer_px == 4000
    assert (profile.thickness_um, profile.deepest_um, profile.surface) == (20, 12, True)


def test_two_sites_over_one_another_never_eat_more_than_the_layer() -> None:
    profile = only([slab(30, 20)], [pit(50, 30, 10, 15), pit(50, 34, 10, 16)])
    assert profile.deepest_um == 20
    assert profile.residual_um == 0
    assert profile.sites == 2


def test_extents_are_measured_across_a_tilted_layer() -> None:
    profile = only([slab(20, 20, tilt=0.3)], [])
    assert profile.thickness_um == pytest.approx(20 / np.hypot(1, 0.3), abs=0.3)


def test_layers_are_named_from_the_top_and_each_has_its_own_sites() -> None:
    walked = walk([slab(80, 20), slab(20, 10)], [pit(10, 22, 5, 4), pit(60, 84, 5, 4), pit(90, 84, 5, 4)], 1.0)
    assert [(profile.layer, profile.sites) for profile in walked.profiles] == [("L1", 1), ("L2", 2)]
    assert walked.strays == ()


def test_a_layer_found_in_two_pieces_is_one_layer() -> None:
    whole = slab(30, 20, tilt=0.1)
    left, right = (Roi(whole.mask[:, half], x0, 0) for half, x0 in ((slice(0, 110), 0), (slice(120, 200), 120)))
    twice = Roi(whole.mask[:, :60], 0, 0)
    (profile,) = walk([right, left, twice], [pit(112, 50, 6, 5)], 1.0).profiles
    (expected,) = walk([whole], [pit(112, 50, 6, 5)], 1.0).profiles
    assert (profile.length_px, profile.sites) == (200, 1)
    assert profile.thickness_um == pytest.approx(expected.thickness_um, abs=0.1)
    assert profile.deepest_um == pytest.approx(expected.deepest_um, abs=0.1)


def test_neighbouring_layers_are_not_joined() -> None:
    assert len(walk([slab(20, 10), slab(34, 10)], [], 1.0).profiles) == 2


def test_a_site_in_the_laminate_belongs_to_no_layer() -> None:
    assert walk([slab(20, 10)], [pit(10, 70, 5, 4)], 1.0).strays == (0,)
    assert walk([], [pit(10, 70, 5, 4)], 1.0).strays == (0,)


@pytest.mark.parametrize("board_seed", range(12))
def test_true_masks_give_the_simulators_own_figures(board_seed: int) -> None:
    seen = section(77, board_seed, defect_probability=1.0)
    layers = [Roi(truth.mask, 0, 0) for truth in seen.truths if truth.label == "copper_layer"]
    sites = [Roi(truth.mask, 0, 0) for truth in seen.truths if truth.label == "corrosion"]
    for profile, truth in zip(walk(layers, sites, 1.0).profiles, seen.layers, strict=True):
        assert profile.layer == truth.name
        assert profile.thickness_um == pytest.approx(truth.thickness_px, rel=0.03)
        assert profile.deepest_um == pytest.approx(truth.deepest_px, abs=2)  # along columns there, across here
        assert profile.corroded_px == pytest.approx(truth.corroded.sum(), rel=0.05, abs=6)
