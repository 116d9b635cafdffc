"""The lamp is taken out of the comparison; copper and defects are not."""

import cv2
import numpy as np
import pytest

from detector.aligning.light import flattened, lit_like
from taktwatch.simulator import golden, product_look

ACROSS = np.linspace(-1, 1, 640)[None, :]
DOWN = np.linspace(-1, 1, 640)[:, None]
LAMPS = {
    "a slanted lamp": (1 + 0.25 * ACROSS - 0.15 * DOWN, 0.0),
    "dark corners": (1.1 - 0.2 * (ACROSS**2 + DOWN**2), 0.0),
    "gain and offset": (0.8, 15.0),
    "a slanted lamp and a black too low": (1 + 0.2 * ACROSS, -12.0),
}


def template_of(layout: int) -> np.ndarray:
    return cv2.cvtColor(golden(layout, look=product_look(layout, "grey")), cv2.COLOR_RGB2GRAY)


def photographed(template: np.ndarray, lamp: str) -> np.ndarray:
    gain, offset = LAMPS[lamp]
    return np.clip(np.rint(template * gain + offset), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("layout", [9000, 9004, 9007, 9010])
@pytest.mark.parametrize("lamp", LAMPS)
def test_a_known_lamp_is_found_to_a_few_grey_levels(layout: int, lamp: str) -> None:
    template = template_of(layout)
    picture = photographed(template, lamp)
    told = (picture > 0) & (picture < 255)
    before, after = (
        np.abs(one - picture)[told].mean() for one in (template.astype(np.float32), lit_like(template, picture))
    )
    assert before > 2
    assert after < 2


@pytest.mark.parametrize("layout", [9000, 9004, 9007])
def test_a_large_missing_pour_stays_missing(layout: int) -> None:
    template = template_of(layout)
    picture = photographed(template, "a slanted lamp")
    patch = np.s_[200:300, 240:340]
    changed = picture.copy()
    changed[patch] = np.where(picture[patch] > 90, 30, 170)
    clean, spoiled = lit_like(template, picture), lit_like(template, changed)
    assert np.abs(spoiled - clean).mean() < 3
    assert np.abs(changed - spoiled)[patch].mean() > 0.85 * np.abs(changed - clean)[patch].mean()


def test_the_same_picture_is_lit_alike() -> None:
    template = template_of(9001)
    assert np.abs(lit_like(template, template) - template).max() < 0.5


def test_what_is_not_used_does_not_count() -> None:
    template = template_of(9002)
    picture = photographed(template, "gain and offset")
    picture[:, :250] = 255
    use = np.ones(template.shape, bool)
    use[:, :250] = False
    assert np.abs(lit_like(template, picture, use=use) - picture)[:, 250:].mean() < 2


def test_a_board_without_contrast_takes_the_pictures_level() -> None:
    even, darker = np.full((128, 96), 150, np.uint8), np.full((128, 96), 90, np.uint8)
    assert np.abs(lit_like(even, darker) - 90).max() < 1
    assert np.isfinite(lit_like(np.zeros((64, 64), np.uint8), darker[:64, :64])).all()


def test_flattening_takes_the_slope_and_keeps_the_edges() -> None:
    template = template_of(9000)
    steep = np.clip(template * 0.5 + 60 * (1 + ACROSS), 0, 255).astype(np.uint8)
    one, two = flattened(template, 32), flattened(steep, 32)
    assert abs(np.corrcoef(np.broadcast_to(ACROSS, steep.shape).ravel(), two.ravel())[0, 1]) < 0.1
    assert np.corrcoef(one.ravel(), two.ravel())[0, 1] > 0.97
