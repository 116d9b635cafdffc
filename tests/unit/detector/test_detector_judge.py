"""Product rules over findings: verdicts, and reasons in words."""

import numpy as np

from detector.engines import RawDetections
from detector.judge import Finding, findings, judge, within
from detector.masks import Roi
from detector.spec import SPECS
from taktwatch.config import ClassConfig, ProductConfig, SectionConfig
from taktwatch.records import Registration, Verdict
from taktwatch.rle import area

BOARD = ProductConfig(
    model="board-sim",
    um_per_px=20.0,
    box_margin_um=200.0,
    review_below=0.6,
    min_registration=0.5,
    classes={"open": ClassConfig(score=0.5), "short": ClassConfig(score=0.8, min_area_px=50)},
)
SECTION = ProductConfig(
    view="section",
    model="section-sim",
    um_per_px=2.0,
    review_below=0.6,
    classes={"copper_layer": ClassConfig(), "corrosion": ClassConfig()},
    section=SectionConfig(max_corroded_area_share=0.05, max_depth_share=0.3, allow_surface=False),
)
SIZE = {"height": 400, "width": 500}


def blob(label: str, score: float, x0: int, y0: int, size: tuple[int, int] = (20, 10)) -> Finding:
    width, height = size
    return Finding(label, score, Roi(np.ones((height, width), bool), x0, y0))


def raw(*rows: tuple[str, float, tuple[float, float, float, float]]) -> RawDetections:
    classes = SPECS["board-sim"].classes
    return RawDetections(
        boxes=np.array([box for _, _, box in rows], np.float32).reshape(-1, 4),
        labels=np.array([classes.index(label) + 1 for label, _, _ in rows], np.int64),
        scores=np.array([score for _, score, _ in rows], np.float32),
        masks=np.ones((len(rows), 28, 28), np.float32),
    )


def kept(*rows: tuple[str, float, tuple[float, float, float, float]]) -> list[str]:
    return [finding.label for finding in findings(raw(*rows), SPECS["board-sim"], BOARD, 400, 500)]


def test_a_board_without_findings_passes() -> None:
    said = judge([], BOARD, um_per_px=20, **SIZE)
    assert (said.verdict, said.reasons, said.detections) == (Verdict.PASS, (), ())


def test_a_sure_defect_fails_the_board_and_says_where() -> None:
    said = judge([blob("open", 0.93, 110, 335)], BOARD, um_per_px=20, **SIZE)
    assert said.verdict is Verdict.FAIL
    assert said.reasons == ("open at (120, 340), score 0.93",)


def test_unsure_defects_alone_send_the_board_to_review() -> None:
    assert judge([blob("open", 0.55, 10, 10)], BOARD, um_per_px=20, **SIZE).verdict is Verdict.REVIEW
    both = [blob("open", 0.95, 90, 90), blob("open", 0.55, 10, 10)]
    assert judge(both, BOARD, um_per_px=20, **SIZE).verdict is Verdict.FAIL


def test_a_template_that_does_not_fit_means_review_whatever_was_found() -> None:
    badly = Registration(matrix=(1, 0, 0, 0, 1, 0), quality=0.41)
    said = judge([blob("open", 0.95, 90, 90)], BOARD, um_per_px=20, registration=badly, **SIZE)
    assert said.verdict is Verdict.REVIEW
    assert said.reasons[0] == "the template does not fit: correlation 0.41, at least 0.50"


def test_a_detection_has_its_mask_its_area_and_a_box_with_margin() -> None:
    (found,) = judge([blob("open", 0.9, 5, 100)], BOARD, um_per_px=20, **SIZE).detections
    assert found.box_px == (0, 90, 35, 120)
    assert found.area_px == area(found.mask) == 200
    assert found.area_um2 == 200 * 400


def test_each_class_has_its_own_threshold_and_least_area() -> None:
    large, small = (10, 10, 40, 40), (100, 10, 104, 14)
    assert kept(("open", 0.51, large)) == ["open"]
    assert kept(("open", 0.49, large)) == []
    assert kept(("short", 0.79, large)) == []
    assert kept(("short", 0.81, large), ("open", 0.9, small), ("short", 0.9, small)) == ["open", "short"]


def test_a_class_the_product_does_not_list_is_not_reported() -> None:
    assert kept(("spur", 0.99, (10, 10, 40, 40))) == []


def test_what_lies_outside_the_region_of_interest_or_in_an_ignored_part_is_left_out() -> None:
    found = [blob("open", 0.9, 10, 10), blob("short", 0.9, 100, 60), blob("spur", 0.9, 100, 100)]
    square = ((50.0, 0.0), (200.0, 0.0), (200.0, 150.0), (50.0, 150.0))
    beside = ((90.0, 90.0), (140.0, 90.0), (140.0, 140.0), (90.0, 140.0))
    product = BOARD.model_copy(update={"roi": square, "ignore": (beside,)})
    assert [one.label for one in within(found, product, None, 200, 200)] == ["short"]
    moved = Registration(matrix=(1, 0, 0, 0, 1, 50), quality=1.0)  # the ignored part now lies 50 px lower
    assert [one.label for one in within(found, product, moved, 200, 200)] == ["short", "spur"]
    assert within(found, BOARD, moved, 200, 200) == found


def test_one_place_is_one_defect_named_by_the_better_score() -> None:
    assert kept(("open", 0.7, (10, 10, 40, 40)), ("short", 0.9, (11, 10, 41, 40))) == ["short"]
    assert kept(("open", 0.7, (10, 10, 40, 40)), ("short", 0.9, (60, 10, 90, 40))) == ["short", "open"]


def layer(y0: int = 100) -> Finding:
    return blob("copper_layer", 0.99, 0, y0, (500, 40))


def test_a_sound_section_passes_with_its_profile() -> None:
    said = judge([layer()], SECTION, um_per_px=2, **SIZE)
    assert said.verdict is Verdict.PASS
    assert [(one.layer, one.thickness_um) for one in said.layers] == [("L1", 80.0)]


def test_corrosion_within_the_limits_passes() -> None:
    said = judge([layer(), blob("corrosion", 0.9, 200, 115, (20, 8))], SECTION, um_per_px=2, **SIZE)
    assert said.verdict is Verdict.PASS
    assert len(said.detections) == 2


def test_each_limit_that_is_exceeded_is_a_reason() -> None:
    said = judge([layer(), blob("corrosion", 0.9, 100, 100, (300, 20))], SECTION, um_per_px=2, **SIZE)
    assert said.verdict is Verdict.FAIL
    assert said.reasons == (
        "L1: 30.0% of the area corroded, at most 5.0%",
        "L1: corroded 40.0 um deep, 50% of its thickness, at most 30%",
        "L1: corrosion breaks through the surface",
    )


def test_a_section_without_a_layer_is_looked_at_by_a_person() -> None:
    said = judge([], SECTION, um_per_px=2, **SIZE)
    assert (said.verdict, said.reasons) == (Verdict.REVIEW, ("no copper layer found",))


def test_corrosion_outside_every_layer_or_unsure_is_looked_at() -> None:
    outside = judge([layer(), blob("corrosion", 0.9, 200, 300)], SECTION, um_per_px=2, **SIZE)
    assert outside.verdict is Verdict.REVIEW
    assert outside.reasons == ("corrosion at (210, 305), score 0.90, lies in no layer",)
    unsure = judge([layer(), blob("corrosion", 0.55, 200, 115, (20, 8))], SECTION, um_per_px=2, **SIZE)
    assert unsure.reasons == ("corrosion at (210, 119), score 0.55, is unsure",)
