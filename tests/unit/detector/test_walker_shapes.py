"""The walker on bands whose measures are known: thickness within 0.5 px, extent within 0.5 points."""

import numpy as np
import pytest
from known_bands import HEIGHT, SHAPES, WIDTH, arc, straight

from detector.layers.walker import walk
from detector.masks import Roi
from taktwatch.records import LayerProfile

SIZE = (HEIGHT, WIDTH)
THICK_PX, EXTENT = 0.5, 0.005


def only(layers: list[Roi], sites: list[Roi]) -> LayerProfile:
    (profile,) = walk(layers, sites, 1.0, SIZE).profiles
    return profile


@pytest.mark.parametrize("shape", sorted(SHAPES))
@pytest.mark.parametrize("seed", range(12))
def test_thickness_is_exact_to_half_a_pixel(shape: str, seed: int) -> None:
    band = SHAPES[shape](np.random.default_rng([seed, len(shape)]))
    profile = only([band.roi], [])
    assert profile.thickness_um == pytest.approx(band.thickness, abs=THICK_PX)
    assert profile.residual_um == pytest.approx(
        band.thickness, abs=1.5
    )  # at its thinnest step: a mask's edge is whole px


@pytest.mark.parametrize("thickness", [12.0, 12.3, 12.5, 12.8])
@pytest.mark.parametrize("at", [0.0, 0.2, 0.5, 0.9])
def test_a_band_along_the_rows_is_as_thick_as_it_is_where_shares_of_pixels_are_known(
    thickness: float, at: float
) -> None:
    band = straight(at, thickness)
    shared = Roi(band.mask, 0, 0, band.shares)
    assert only([shared], []).thickness_um == pytest.approx(thickness, abs=0.2)
    assert only([band.roi], []).thickness_um == np.count_nonzero(band.mask[:, WIDTH // 2])


@pytest.mark.parametrize("shape", sorted(SHAPES))
@pytest.mark.parametrize("seed", range(4))
def test_shares_of_pixels_make_every_band_more_exact(shape: str, seed: int) -> None:
    rng = np.random.default_rng([seed, len(shape), 3])
    band = SHAPES[shape](rng)
    start, length, depth = rng.uniform(-60, 20), rng.uniform(15, 60), rng.uniform(0.3, 0.7) * band.thickness
    notch = band.notch(start, length, depth)
    eaten = band.eaten(start, length, depth)
    notched = Roi(band.mask & ~notch.mask, 0, 0, band.shares - eaten)
    profile = only([notched], [Roi(notch.mask, 0, 0, eaten)])
    assert profile.thickness_um == pytest.approx(band.thickness, abs=0.1)
    assert profile.corroded_area_share == pytest.approx(eaten.sum() / band.shares.sum(), abs=EXTENT)


@pytest.mark.parametrize("shape", sorted(SHAPES))
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("upper", [True, False])
def test_extent_depth_and_side_of_a_notch_are_exact(shape: str, seed: int, *, upper: bool) -> None:
    rng = np.random.default_rng([seed, len(shape), 7])
    band = SHAPES[shape](rng)
    length, depth = rng.uniform(15, 60), rng.uniform(0.3, 0.7) * band.thickness
    notch = band.notch(rng.uniform(-60, 20), length, depth, upper=upper)
    notched = Roi(band.mask & ~notch.mask, 0, 0)
    profile = only([notched], [notch])
    assert profile.corroded_length_share == pytest.approx(length / profile.length_px, abs=EXTENT)
    assert profile.corroded_area_share == pytest.approx(notch.area_px / band.roi.area_px, abs=EXTENT)
    assert profile.deepest_um == pytest.approx(depth, abs=2.0)
    assert profile.mean_depth_um == pytest.approx(depth, abs=1.5)  # its ends are slanted by a pixel
    first = upper if shape != "steep" else not upper  # turned by more than 45 degrees, what was above is on the right
    assert (profile.upper_surface, profile.lower_surface) == (first, not first)
    assert (profile.surface, profile.breaks, profile.sites) == (True, 0, 1)
    assert profile.thickness_um == pytest.approx(band.thickness, abs=THICK_PX)


def test_a_cavity_breaks_through_neither_side() -> None:
    band = arc(-40.3, 30.2, 500)
    profile = only([band.roi], [band.cavity(10, 40, 12)])
    assert (profile.surface, profile.upper_surface, profile.lower_surface, profile.breaks) == (False, False, False, 0)
    assert profile.deepest_um == pytest.approx(12, abs=1.5)
    assert profile.residual_um == pytest.approx(18.2, abs=2)


def test_a_layer_eaten_through_twice_is_one_layer_with_two_breaks() -> None:
    band = arc(-30.4, 18.3, 600)
    gone = [band.notch(at, 14, 40) for at in (-120, 60)]
    left = band.mask & ~gone[0].mask & ~gone[1].mask
    whole = only([Roi(left, 0, 0)], gone)
    assert (whole.breaks, whole.sites, whole.residual_um) == (2, 2, 0)
    pieces = [Roi(left & (band.along < -110), 0, 0), Roi(left & (np.abs(band.along + 25) < 85), 0, 0)]
    pieces.append(Roi(left & (band.along > 70), 0, 0))
    apart = only(pieces, gone)
    assert (apart.breaks, apart.sites) == (2, 2)
    assert apart.thickness_um == pytest.approx(18.3, abs=THICK_PX)


def test_layers_that_touch_stay_two_and_each_has_its_own_corrosion() -> None:
    above, below = straight(-10.0, 20.0, 6.0), straight(10.1, 20.0, 6.0)
    notch = below.notch(-30, 30, 8, upper=False)
    walked = walk([above.roi, below.roi], [notch], 1.0, SIZE)
    assert [profile.sites for profile in walked.profiles] == [0, 1]
    assert [profile.thickness_um for profile in walked.profiles] == pytest.approx([20, 20], abs=THICK_PX)
    assert walked.strays == ()


def test_a_branching_layer_is_measured_on_its_paths_and_its_junction_is_left_out() -> None:
    stem, branch = straight(0.0, 20.0), straight(0.0, 20.0, 24.0)
    mask = stem.mask | (branch.mask & (branch.along > 0))
    notch = branch.notch(120, 30, 9, upper=True)
    walked = walk([Roi(mask & ~notch.mask, 0, 0)], [notch], 1.0, SIZE)
    (profile,) = walked.profiles
    assert len(walked.layers[0].courses) == 3
    assert profile.thickness_um == pytest.approx(20, abs=THICK_PX)
    assert profile.deepest_um == pytest.approx(9, abs=2)
    assert 40 < profile.left_out_px < 200
    assert profile.length_px + profile.left_out_px == pytest.approx(WIDTH + 250 / np.cos(np.radians(24)), rel=0.08)
    assert walked.strays == ()


def test_corrosion_where_nothing_is_walked_is_said_and_not_lost() -> None:
    stem, branch = straight(0.0, 20.0), straight(0.0, 20.0, 24.0)
    mask = stem.mask | (branch.mask & (branch.along > 0))
    at_junction = stem.notch(48, 6, 8, upper=False)
    assert walk([Roi(mask, 0, 0)], [at_junction], 1.0, SIZE).strays == (0,)


def test_where_the_picture_cuts_a_layer_nothing_is_measured() -> None:
    band = straight(-HEIGHT / 2 + 4.0, 30.0, 3.0)
    profile = only([band.roi], [])
    assert profile.left_out_px > WIDTH / 4
    assert profile.thickness_um == pytest.approx(30, abs=THICK_PX)


def test_a_rough_mask_has_no_branches() -> None:
    band = straight(0.4, 24.0, 4.0)
    rng = np.random.default_rng(3)
    mask = band.mask.copy()
    for _ in range(40):  # specks on the faces, as masks have them
        x, y = int(rng.integers(20, WIDTH - 20)), HEIGHT // 2 + int(rng.integers(-20, 20))
        mask[y : y + 2, x : x + 3] ^= True
    walked = walk([Roi(mask, 0, 0)], [], 1.0, SIZE)
    assert len(walked.layers[0].courses) == 1
    assert walked.profiles[0].thickness_um == pytest.approx(24, abs=THICK_PX)


def test_layers_are_named_from_the_top_whatever_way_they_run() -> None:
    low, high = straight(90.0, 12.0), arc(-120.0, 18.0, 700)
    profiles = walk([low.roi, high.roi], [], 1.0, SIZE).profiles
    assert [profile.thickness_um for profile in profiles] == pytest.approx([18, 12], abs=THICK_PX)
