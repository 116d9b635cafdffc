"""A picture out of focus, too dark or over-exposed is told from good ones of its product."""

import cv2
import numpy as np
import pytest

from detector.products.gates import Baseline, complaints, learn_baseline, picture_figures
from taktwatch.records import Doubt
from taktwatch.simulator import BOARD_DEFECTS, board, product_look
from taktwatch.simulator.look import Camera

CAMERAS: tuple[Camera, ...] = ("colour", "grey", "binary")


def photographed(layout: int, camera: Camera, seed: int, defects: tuple[str, ...] = ()) -> np.ndarray:
    seen = board(layout, seed, size=(320, 320), defects=defects, look=product_look(layout, camera))
    return cv2.cvtColor(seen.picture, cv2.COLOR_RGB2GRAY)


def learnt(layout: int, camera: Camera) -> Baseline:
    return learn_baseline([picture_figures(photographed(layout, camera, seed)) for seed in range(8)])


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("layout", [9000, 9011, 9033])
def test_other_boards_of_the_product_pass_defects_or_not(layout: int, camera: Camera) -> None:
    usual = learnt(layout, camera)
    for seed in range(20, 26):
        figures = picture_figures(photographed(layout, camera, seed, BOARD_DEFECTS[: seed % 4]))
        assert complaints(figures, usual) == ()


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("layout", [9000, 9011, 9033])
def test_a_defocused_picture_is_told(layout: int, camera: Camera) -> None:
    usual = learnt(layout, camera)
    rng = np.random.default_rng(layout)
    blurred = cv2.GaussianBlur(photographed(layout, camera, 30).astype(np.float32), (0, 0), 2.5)
    noisy = np.clip(blurred + rng.normal(0, product_look(layout, camera).noise_sd, blurred.shape), 0, 255)
    (said,) = [
        one.words for one in complaints(picture_figures(noisy.astype(np.uint8)), usual) if one.doubt is Doubt.FOCUS
    ]
    assert said.startswith("out of focus: fine contrast")


@pytest.mark.parametrize(("gain", "words"), [(0.4, "too dark"), (1.9, "too bright")])
def test_a_lamp_that_fails_or_dazzles_is_told(gain: float, words: str) -> None:
    usual = learnt(9000, "colour")
    lit = np.clip(photographed(9000, "colour", 31) * gain, 0, 255).astype(np.uint8)
    assert any(said.words.startswith(words) for said in complaints(picture_figures(lit), usual))


def test_a_reflection_is_told_by_its_white_patch() -> None:
    usual = learnt(9000, "colour")
    dazzled = photographed(9000, "colour", 32)
    cv2.circle(dazzled, (160, 160), 70, 255, -1)
    assert any(said.words.startswith("over-exposed") for said in complaints(picture_figures(dazzled), usual))


def test_a_white_board_that_the_lamp_drives_into_the_sensors_end_is_told() -> None:
    usual = learnt(9074, "grey")
    shares = {seed: picture_figures(photographed(9074, "grey", seed)).white for seed in range(20, 40)}
    told = {seed: complaints(picture_figures(photographed(9074, "grey", seed)), usual) for seed in shares}
    assert any(share > 0.1 for share in shares.values())
    assert all((shares[seed] > 0.09) == bool(said) for seed, said in told.items())


def test_a_covered_lens_is_told_more_than_once() -> None:
    said = complaints(picture_figures(np.zeros((320, 320), np.uint8)), learnt(9000, "colour"))
    assert any(one.words.startswith("too dark") for one in said)
    assert any(one.words.startswith("under-exposed") for one in said)
