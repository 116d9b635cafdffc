"""Layer sections: known depth, known extent, and the same picture again from the same seeds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taktwatch.simulator import SECTION_CLASSES, section


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
