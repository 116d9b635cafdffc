"""Layer sections: known depth, known extent, and the same picture again from the same seeds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taktwatch.simulator import SECTION_CLASSES, section
from taktwatch.simulator.lookalikes import deep_scratches, delaminations, faded, voids
from taktwatch.simulator.stack import Layer, draw_build, draw_layers


@settings(max_examples=6, deadline=None)
@given(layout_seed=st.integers(0, 2**40), board_seed=st.integers(0, 2**40))
def test_the_same_seeds_give_the_same_section_bit_by_bit(layout_seed: int, board_seed: int) -> None:
    once, again = (section(layout_seed, board_seed, size=(192, 256), sites=2) for _ in range(2))
    assert np.array_equal(once.picture, again.picture)
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(once.truths, again.truths, strict=True))
    assert not np.array_equal(once.picture, section(layout_seed, board_seed + 1, size=(192, 256), sites=2).picture)


@pytest.mark.parametrize("size", [(384, 512), (320, 320), (128, 640)])
def test_a_section_is_rgb_bytes_of_the_size_asked_for_and_has_no_template(size: tuple[int, int]) -> None:
    shown = section(1, 2, size=size, sites=1)
    assert shown.picture.shape == (*size, 3)
    assert shown.picture.dtype == np.uint8
    assert shown.template is None
    assert {truth.label for truth in shown.truths} <= set(SECTION_CLASSES)
    assert all(truth.mask.shape == size and truth.mask.dtype == np.bool_ for truth in shown.truths)


def test_a_good_section_has_layers_and_no_corrosion() -> None:
    shown = section(3, 4, sites=0)
    assert [truth.label for truth in shown.truths] == ["copper_layer"] * len(shown.layers)
    assert all(not layer.corroded.any() and layer.deepest_px == 0 and not layer.surface for layer in shown.layers)


def test_layers_are_named_from_the_top_and_lie_apart() -> None:
    layers = section(5, 6, sites=0).layers
    middles = [np.nonzero(layer.envelope)[0].mean() for layer in layers]
    assert [layer.name for layer in layers] == [f"L{number + 1}" for number in range(len(layers))]
    assert middles == sorted(middles)
    assert np.array([layer.envelope for layer in layers]).sum(axis=0).max() == 1


@pytest.mark.parametrize("board_seed", range(12))
def test_what_is_known_about_a_layer_agrees_with_its_masks(board_seed: int) -> None:
    shown = section(board_seed % 4, board_seed, sites=3)
    sites = [truth.mask for truth in shown.truths if truth.label == "corrosion"]
    envelopes = [truth.mask for truth in shown.truths if truth.label == "copper_layer"]
    assert np.array_equal(
        np.any([*sites, np.zeros_like(envelopes[0])], axis=0), np.any([x.corroded for x in shown.layers], axis=0)
    )
    for layer, envelope in zip(shown.layers, envelopes, strict=True):
        assert np.array_equal(layer.envelope, envelope)
        assert not (layer.corroded & ~layer.envelope).any()
        assert 0 <= layer.deepest_px <= layer.thickness_px
        assert layer.deepest_px == pytest.approx(min(layer.corroded.sum(axis=0).max(), layer.thickness_px), abs=1.0)
        assert layer.thickness_px == pytest.approx(layer.envelope.sum(axis=0).mean(), rel=0.01)
        upper = layer.envelope & ~np.roll(layer.envelope, 1, axis=0)
        lower = layer.envelope & ~np.roll(layer.envelope, -1, axis=0)
        assert layer.surface == bool((layer.corroded & (upper | lower)).any())


def test_corrosion_starts_at_either_face_or_inside_and_sometimes_breaks_a_layer() -> None:
    layers = [layer for seed in range(40) for layer in section(seed % 5, seed, size=(192, 256), sites=2).layers]
    eaten = [layer for layer in layers if layer.corroded.any()]
    assert {layer.surface for layer in eaten} == {True, False}
    assert any(layer.deepest_px > 0.95 * layer.thickness_px for layer in eaten)
    assert any(layer.deepest_px < 0.4 * layer.thickness_px for layer in eaten)


def test_a_section_without_its_corrosion_is_the_same_section() -> None:
    good, bad = section(7, 8, sites=0), section(7, 8, sites=3)
    corroded = np.any([layer.corroded for layer in bad.layers], axis=0)
    away = ~np.asarray(np.lib.stride_tricks.sliding_window_view(np.pad(corroded, 6), (13, 13)).any(axis=(2, 3)))
    assert corroded.any()
    assert np.array_equal(good.picture[away], bad.picture[away])


def test_corrosion_is_darker_than_the_copper_around_it() -> None:
    shown = section(9, 10, sites=4)
    corroded = np.any([layer.corroded for layer in shown.layers], axis=0)
    sound = np.any([layer.envelope for layer in shown.layers], axis=0) & ~corroded
    assert shown.picture[corroded].mean() < 0.7 * shown.picture[sound].mean()


def stack(seed: int, unrest: float = 1.0) -> tuple[Layer, ...]:
    return draw_layers(draw_build(seed, 384), (384, 512), np.random.default_rng(seed), unrest=unrest)


def metal(layers: tuple[Layer, ...]) -> np.ndarray:
    return np.any([layer.envelope for layer in layers], axis=0)


def test_products_differ_in_layers_and_thickness() -> None:
    builds = [draw_build(seed, 384) for seed in range(40)]
    assert {len(build.upper_px) for build in builds} == {2, 3, 4, 5}
    thickness = [value for build in builds for value in build.thickness_px]
    assert min(thickness) < 16
    assert max(thickness) > 35


def test_unrest_tilts_and_bends_layers_within_bounds_and_keeps_them_apart() -> None:
    rises = {}
    for unrest in (1.0, 4.0):
        stacks = [stack(seed, unrest) for seed in range(30)]
        assert all(np.sum([one.envelope for one in layers], axis=0).max() == 1 for layers in stacks)
        rises[unrest] = max(float(np.ptp(layers[0].depth[0])) for layers in stacks)
    assert 1.5 * rises[1.0] < rises[4.0] < 512 * 0.08 + 40


def test_voids_and_delamination_lie_in_the_laminate_alone() -> None:
    for seed in range(12):
        layers, rng = stack(seed), np.random.default_rng(seed)
        hollow, gap = voids(layers, 8, rng), delaminations(layers, 3, rng)
        assert not (hollow & metal(layers)).any()
        assert not (gap & metal(layers)).any()
        beside = np.any([(one.depth > -6) & (one.depth < one.thickness + 6) for one in layers], axis=0)
        assert not (gap & ~beside).any()
        assert gap.any()
    assert hollow.any()


def test_deep_scratches_cross_metal_and_laminate() -> None:
    layers = stack(3)
    marks = deep_scratches((384, 512), 12, np.random.default_rng(1)) > 0.1
    assert (marks & metal(layers)).any()
    assert (marks & ~metal(layers)).any()


def test_contrast_is_taken_away_around_the_mean() -> None:
    picture = np.random.default_rng(1).uniform(0, 255, (20, 20, 3)).astype(np.float32)
    assert faded(picture, 0.6).std() == pytest.approx(0.6 * picture.std(), rel=0.05)
    assert faded(picture, 0.6).mean() == pytest.approx(picture.mean(), abs=0.1)


def test_the_varied_style_has_the_same_truth_about_corrosion_and_another_picture() -> None:
    plain, varied = (section(11, 12, sites=3, style=style) for style in ("plain", "varied"))
    assert not np.array_equal(plain.picture, varied.picture)
    assert [truth.label for truth in plain.truths][: len(plain.layers)] == ["copper_layer"] * len(varied.layers)
    for layer in varied.layers:
        assert not (layer.corroded & ~layer.envelope).any()
    assert not any(layer.corroded.any() for layer in section(11, 12, sites=0, style="varied").layers)
    with pytest.raises(ValueError, match="held out"):
        section(11, 12, style="held-out")
