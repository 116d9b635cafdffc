"""Cameras whose pixels are of another size than the product's: drawn in um, once for each, never resampled here."""

import numpy as np
import pytest
from exact_engine import Differences

from detector.aligning.registration import matrix_of
from detector.inspect import Inspector
from detector.scale import Zoom, zoom_of
from detector.steps import Inspection
from taktwatch.config import LineConfig, parse_config
from taktwatch.errors import BadPicture
from taktwatch.records import Verdict
from taktwatch.rle import bbox

PRODUCT_UM = 20.0
SIDES_UM = (9600.0, 12800.0)
OFF_UM = (150.0, -90.0)
DEFECT_UM = (6000.0, 4000.0, 6480.0, 4480.0)


def drawn(um_per_px: float, *, off: tuple[float, float] = (0, 0), defect: bool = False) -> np.ndarray:
    """A board of discs and bars as a camera of this scale shows it: each px the mean of 4 x 4 places on it."""
    height, width = (round(side / um_per_px) for side in SIDES_UM)
    inside = (np.arange(4) + 0.5) / 4
    y = ((np.arange(height)[:, None] + inside).ravel() * um_per_px - off[1])[:, None]
    x = ((np.arange(width)[:, None] + inside).ravel() * um_per_px - off[0])[None]
    rng = np.random.default_rng(5)
    level = np.full((y.size, x.size), 60.0)
    for _ in range(120):
        at_x, at_y, long, thick = rng.uniform((0, 0, 500, 150), (*SIDES_UM[::-1], 2600, 420))
        sides = (long, thick) if rng.random() < 0.5 else (thick, long)
        level[(abs(y - at_y) < sides[1] / 2) & (abs(x - at_x) < sides[0] / 2)] = 190
        level[(x - at_x) ** 2 + (y - at_y) ** 2 < thick**2] = 190
    if defect:
        x0, y0, x1, y1 = DEFECT_UM
        level[(x > x0) & (x < x1) & (y > y0) & (y < y1)] = 250 - level[(x > x0) & (x < x1) & (y > y0) & (y < y1)]
    mean = level.reshape(height, 4, width, 4).mean((1, 3))
    return np.repeat(np.rint(mean).astype(np.uint8)[..., None], 3, axis=2)


TEMPLATE = drawn(PRODUCT_UM)


def settings(**product: object) -> LineConfig:
    table = {"model": "tiny", "um_per_px": PRODUCT_UM, "classes": {"open": {"score": 0.1}}}
    return parse_config({"products": {"p": table | product}}, "test", {})


def inspected(picture: np.ndarray, um_per_px: float, config: LineConfig) -> tuple[Inspection, Differences]:
    engine = Differences()
    inspector = Inspector(config, engines={"tiny": engine})
    prepared = inspector.prepare("p", picture, TEMPLATE, um_per_px=um_per_px)
    return inspector.inspect_batch([prepared])[0], engine


@pytest.mark.parametrize("um_per_px", [40.0, 30.0, 13.0])
def test_a_frame_of_another_scale_is_seen_in_the_products_and_told_in_its_own(um_per_px: float) -> None:
    picture = drawn(um_per_px, off=OFF_UM, defect=True)
    said, engine = inspected(picture, um_per_px, settings())
    assert np.abs(np.subtract(engine.shapes[0][1:], TEMPLATE.shape[:2])).max() <= 1
    (found,) = said.detections
    wanted = np.add(DEFECT_UM, OFF_UM * 2) / um_per_px
    assert found.mask.size == picture.shape[:2]
    assert np.abs(np.subtract(found.box_px, wanted)).max() <= 3
    assert np.abs(np.subtract(bbox(found.mask), wanted)).max() <= 3
    x0, y0, x1, y1 = DEFECT_UM
    assert found.area_um2 == pytest.approx((x1 - x0) * (y1 - y0), rel=0.25)
    assert said.verdict is Verdict.FAIL
    assert said.registration is not None
    for place_um in (1000.0, 2000.0), (9000.0, 7000.0):
        at = (*(side / PRODUCT_UM - 0.5 for side in place_um), 1.0)
        there = matrix_of(said.registration) @ at
        expected = [(side + off) / um_per_px - 0.5 for side, off in zip(place_um, OFF_UM, strict=True)]
        assert np.abs(there[:2] / there[2] - expected).max() < 0.5


def test_a_good_board_of_half_the_resolution_passes() -> None:
    said, _ = inspected(drawn(40.0, off=OFF_UM), 40.0, settings())
    assert (said.verdict, said.reasons) == (Verdict.PASS, ())


def test_regions_and_least_areas_are_those_of_the_product() -> None:
    picture = drawn(40.0, off=OFF_UM, defect=True)
    around = [(side / PRODUCT_UM) for side in (5800.0, 3800.0, 6700.0, 4700.0)]
    x0, y0, x1, y1 = around
    hole = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    assert inspected(picture, 40.0, settings(ignore=[hole]))[0].detections == ()
    assert len(inspected(picture, 40.0, settings(roi=hole))[0].detections) == 1
    area_px = (24 * 24, 48 * 48)  # of the defect at the product's scale: 576 px; of one twice as large
    for least, count in ((area_px[0] // 2, 1), (area_px[1], 0)):
        limits = settings(classes={"open": {"score": 0.1, "min_area_px": least}}, unsure_px=0)
        assert len(inspected(picture, 40.0, limits)[0].detections) == count


def test_a_large_picture_of_another_scale_is_seen_in_tiles_of_the_products_scale() -> None:
    config = settings()
    config = config.model_copy(update={"detector": config.detector.model_copy(update={"tile_px": 256})})
    said, engine = inspected(drawn(40.0, off=OFF_UM, defect=True), 40.0, config)
    assert len(engine.shapes) > 4
    assert max(max(shape[1:]) for shape in engine.shapes) <= 257
    (found,) = said.detections
    assert np.abs(np.subtract(found.box_px, np.add(DEFECT_UM, OFF_UM * 2) / 40.0)).max() <= 3


def test_sizes_that_scales_do_not_explain_are_refused_with_the_remedy() -> None:
    inspector = Inspector(settings(), engines={"tiny": Differences()})
    with pytest.raises(BadPicture, match=r"320x240 px, its template 640x480, at 20 and 20 um per px; .*stations"):
        inspector.prepare("p", drawn(40.0), TEMPLATE)
    with pytest.raises(BadPicture, match="at 100 and 20 um per px"):
        inspector.prepare("p", drawn(100.0), TEMPLATE, um_per_px=100.0)
    assert zoom_of(20.0, 21.0, (480, 640), (480, 640)) == Zoom()  # one camera, told better since


def test_views_without_a_template_are_zoomed_by_what_their_frames_say() -> None:
    assert zoom_of(1.5, 3.0, (300, 400), None) == Zoom(0.5, 0.5)
    assert zoom_of(1.5, 1.51, (300, 400), None) == Zoom()
