"""Pictures too large for the network in one piece: in tiles, and put together again."""

import threading
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from exact_engine import Differences, Levels, marked

from detector.aligning.registration import matrix_of
from detector.engines import Channels, RawDetections
from detector.inspect import Inspector
from detector.masks import Roi, to_rle
from detector.panel import PanelFile, inspect_panel
from detector.pieces.joining import Said, join, registration_on
from detector.pieces.tiles import Compass, shifted
from detector.steps import Inspection
from taktwatch.config import LineConfig, parse_config
from taktwatch.errors import BadPicture
from taktwatch.pictures import encode_png
from taktwatch.records import Detection, Registration, Verdict, defect_words
from taktwatch.rle import bbox, decode
from taktwatch.simulator import golden


def settings(**product: object) -> LineConfig:
    table = {"model": "tiny", "um_per_px": 20.0, "min_registration": -1, "classes": {"open": {"score": 0.1}}}
    tables = {"products": {"p": table | product}, "detector": {"tile_px": 256, "tile_overlap_px": 48, "max_batch": 3}}
    return parse_config(tables, "test", {})


TEMPLATE = golden(4, size=(600, 900))
MARKS = ((20, 30, 40, 50), (210, 100, 262, 112), (440, 300, 470, 330), (880, 580, 900, 600), (100, 190, 130, 275))


def inspected(
    picture: np.ndarray, config: LineConfig, origin: tuple[int, int] = (0, 0)
) -> tuple[Inspection, Differences]:
    engine = Differences()
    inspector = Inspector(config, engines={"tiny": engine})
    prepared = inspector.prepare("p", picture, TEMPLATE, origin=origin)
    return inspector.inspect_batch([prepared])[0], engine


def test_every_defect_of_a_large_picture_is_found_once_wherever_the_seams_are() -> None:
    said, engine = inspected(marked(TEMPLATE, MARKS), settings())
    assert len(engine.shapes) > 12
    assert len(set(engine.shapes)) == 1
    assert engine.most == 3
    found = sorted(found.box_px for found in said.detections)
    for got, mark in zip(found, sorted(MARKS), strict=True):
        assert np.abs(np.subtract(got, mark)).max() <= 3
    for detection in said.detections:
        x0, y0, x1, y1 = bbox(detection.mask)
        assert detection.mask.size == (600, 900)
        assert detection.area_px == int(decode(detection.mask).sum()) == (x1 - x0) * (y1 - y0)
    assert said.verdict is Verdict.FAIL


def test_reasons_name_places_on_the_panel_and_each_defect_once() -> None:
    said, _ = inspected(marked(TEMPLATE, MARKS), settings(), origin=(10_000, 700))
    expected = {
        defect_words(one.label, one.score, tuple(np.add(one.box_px, (10_000, 700) * 2))) for one in said.detections
    }
    assert len(said.reasons) == len(MARKS)
    assert len(expected & set(said.reasons)) >= 3  # those no seam cuts, to the pixel


def test_the_product_s_regions_lie_on_the_whole_template() -> None:
    ignoring = settings(ignore=[[(430, 290), (480, 290), (480, 340), (430, 340)]])
    assert len(inspected(marked(TEMPLATE, MARKS), ignoring)[0].detections) == len(MARKS) - 1
    on_panel = settings(ignore=[[(1430, 790), (1480, 790), (1480, 840), (1430, 840)]])
    assert len(inspected(marked(TEMPLATE, MARKS), on_panel, origin=(1000, 500))[0].detections) == len(MARKS) - 1
    assert len(inspected(marked(TEMPLATE, MARKS), on_panel)[0].detections) == len(MARKS)


def test_a_panel_turned_by_more_than_a_tile_may_be_shifted_is_still_compared_tile_by_tile() -> None:
    template = golden(3, size=(512, 2400))
    turn = cv2.getRotationMatrix2D((0, 256), -1.5, 1.0)  # 63 px at the far end
    picture = cv2.warpAffine(
        marked(template, [(2300, 190, 2330, 220)]), turn, (2400, 512), borderMode=cv2.BORDER_REFLECT
    )
    inspector = Inspector(settings(min_registration=0.5), engines={"tiny": Differences()})
    said = inspector.inspect_batch([inspector.prepare("p", picture, template)])[0]
    x, y = turn @ (2315, 205, 1)
    assert any(abs(f.box_px[0] + 15 - x) < 8 and abs(f.box_px[1] + 15 - y) < 8 for f in said.detections)
    assert said.registration is not None


def test_a_blank_rim_has_no_template_that_could_fit_badly() -> None:
    template = TEMPLATE.copy()
    template[:, :300] = 120
    said, _ = inspected_with(template, template.copy(), settings(min_registration=0.8))
    assert (said.verdict, said.reasons) == (Verdict.PASS, ())
    assert said.registration is not None
    assert said.registration.quality > 0.95


def inspected_with(picture: np.ndarray, template: np.ndarray, config: LineConfig) -> tuple[Inspection, Differences]:
    engine = Differences()
    inspector = Inspector(config, engines={"tiny": engine})
    return inspector.inspect_batch([inspector.prepare("p", picture, template)])[0], engine


def test_a_wrong_board_is_for_review_by_its_worst_tile() -> None:
    said, _ = inspected_with(golden(8, size=(600, 900)), TEMPLATE, settings(min_registration=0.5))
    assert said.verdict is Verdict.REVIEW
    assert any(reason.startswith("wrong product") for reason in said.reasons)


@pytest.mark.parametrize("grey", [False, True])
def test_a_panel_s_file_is_inspected_strip_by_strip_and_its_seams_leave_no_mark(tmp_path: Path, *, grey: bool) -> None:
    pictures = {"panel": marked(TEMPLATE, MARKS), "golden": TEMPLATE}
    for name, picture in pictures.items():
        shown = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY if grey else cv2.COLOR_RGB2BGR)
        assert cv2.imwrite(str(tmp_path / f"{name}.png"), shown)
    engine = Differences()
    inspector = Inspector(settings(), engines={"tiny": engine})
    panel = PanelFile(tmp_path / "panel.png", tmp_path / "golden.png")
    said = inspect_panel(inspector, "p", panel, strip_px=900 * 280)
    assert len(set(engine.shapes)) == 1
    assert len(said.reasons) == len(said.detections) == len(MARKS)
    for got, mark in zip(sorted(found.box_px for found in said.detections), sorted(MARKS), strict=True):
        assert np.abs(np.subtract(got, mark)).max() <= 3
    assert {found.mask.size for found in said.detections} == {(600, 900)}


def test_a_panel_s_template_of_another_size_or_a_damaged_one_is_refused_by_name(tmp_path: Path) -> None:
    panel, small, short = (tmp_path / f"{name}.png" for name in ("panel", "small", "short"))
    panel.write_bytes(encode_png(TEMPLATE))
    small.write_bytes(encode_png(TEMPLATE[:500]))
    short.write_bytes(encode_png(TEMPLATE)[:-50_000])
    inspector = Inspector(settings(), engines={"tiny": Differences()})
    with pytest.raises(BadPicture, match=r"panel\.png: 900x600 px, its template .*small\.png 900x500"):
        inspect_panel(inspector, "p", PanelFile(panel, small))
    with pytest.raises(BadPicture, match=r"short\.png: a truncated PNG \(after row \d+ of 600\)"):
        inspect_panel(inspector, "p", PanelFile(panel, short), strip_px=900 * 280)


def test_a_tile_that_fails_stops_the_picture_and_leaves_no_thread() -> None:
    class Broken(Differences):
        def infer(self, batch: Sequence[Channels]) -> list[RawDetections]:
            raise MemoryError(len(batch))

    inspector = Inspector(settings(), engines={"tiny": Broken()})
    prepared = inspector.prepare("p", TEMPLATE, TEMPLATE)
    with pytest.raises(MemoryError):
        inspector.inspect_batch([prepared])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("tiles")]


def test_masks_at_a_seam_are_united() -> None:
    def part(box: tuple[int, int, int, int], x0: int, x1: int) -> Said:
        roi = Roi(np.ones((4, x1 - x0), np.bool_), x0 - box[0], 10 - box[1])
        mask = to_rle(roi, box[3] - box[1], box[2] - box[0])
        detection = Detection(
            label="short",
            score=0.9,
            box_px=tuple(map(float, roi.box)),
            mask=mask,
            area_px=roi.area_px,
            area_um2=4 * roi.area_px,
        )
        return Said(box, (detection,), (defect_words("short", 0.9, (x0, 10, x1, 14)),))

    (one,), reasons = join([part((0, 0, 60, 60), 30, 60), part((40, 0, 100, 60), 40, 80)], (60, 100))
    assert (bbox(one.mask), one.area_px, one.area_um2) == ((30, 10, 80, 14), 200, 800)
    assert len(reasons) == 1


def test_the_compass_takes_the_nearest_tile_that_fitted() -> None:
    compass = Compass()
    box = (100, 0, 200, 100)
    assert compass.template_at(box, (400, 1000)) == (100, 0)
    compass.learn((0, 0, 100, 100), Registration(matrix=(1, 0, 7, 0, 1, -9), quality=0.9))
    compass.learn((100, 0, 200, 100), Registration(matrix=(1, 0, 90, 0, 1, 90), quality=0.2))
    assert compass.template_at(box, (400, 1000)) == (93, 9)
    assert compass.template_at((0, 0, 100, 100), (400, 1000)) == (0, 9)


def test_a_tile_s_map_holds_between_the_wholes() -> None:
    found = Registration(matrix=(1.01, 0.02, 3.0, -0.01, 0.99, -2.0), tilt=(1e-5, 2e-5), quality=0.9)
    matrix = matrix_of(registration_on(found, (300, 200), (295, 204)))
    there = matrix_of(found) @ (10, 20, 1)
    whole = matrix @ (305, 224, 1)
    assert np.allclose(whole[:2] / whole[2], there[:2] / there[2] + (300, 200))


def test_a_product_without_regions_is_left_as_it_is() -> None:
    product = settings().product("p")
    assert shifted(product, 5, 5) is product


def test_a_section_larger_than_the_network_takes_is_walked_as_one() -> None:
    y, x = np.mgrid[:400, :1500]
    picture = np.full((400, 1500, 3), 40, np.uint8)
    middles = (100 + 0.06 * x, 290 - 25 * np.sin(x / 300))
    for middle in middles:
        picture[np.abs(y + 0.5 - middle) < 14] = 250
    pits = [(250, 40), (700, 60), (1200, 30)]  # the first and the second across seams
    for start, length in pits:
        there = (x >= start) & (x < start + length) & (np.abs(y + 0.5 - middles[1]) < 14)
        picture[there & (y + 0.5 < middles[1] - 4)] = 170
    classes = {"copper_layer": {"score": 0.5}, "corrosion": {"score": 0.5}}
    config = settings(view="section", classes=classes)
    engine = Levels()
    inspector = Inspector(config, engines={"tiny": engine})
    said = inspector.inspect_batch([inspector.prepare("p", picture, None)])[0]
    assert len(engine.shapes) > 10
    assert len(set(engine.shapes)) == 1
    one, other = said.layers
    assert (one.layer, one.sites, other.layer, other.sites) == ("L1", 0, "L2", 3)
    assert one.thickness_um == pytest.approx(20 * 28 * np.cos(np.arctan(0.06)), rel=0.04)
    assert one.length_px + one.left_out_px == pytest.approx(1500 * np.hypot(1, 0.06), rel=0.01)
    assert other.corroded_length_px == pytest.approx(130, abs=12)
    assert other.deepest_um == pytest.approx(200, abs=40)
    assert (other.upper_surface, other.lower_surface, other.breaks) == (True, False, 0)
    assert sum(found.label == "corrosion" for found in said.detections) == 3
    assert said.verdict is Verdict.FAIL
