"""Product rules over findings: verdicts, and reasons in words."""

import numpy as np

from detector.doubts import Reason
from detector.engines import RawDetections
from detector.judge import Finding, findings, judge, within
from detector.masks import Roi
from detector.scale import Scale
from detector.scores import Scores
from detector.spec import SPECS
from taktwatch.config import ClassConfig, ProductConfig, SectionConfig
from taktwatch.records import Doubt, Registration, Verdict
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
    return [finding.label for finding in findings(raw(*rows), SPECS["board-sim"], Scores(BOARD), 400, 500)]


def test_a_board_without_findings_passes() -> None:
    said = judge([], BOARD, scale=Scale.square(20), **SIZE)
    assert (said.verdict, said.reasons, said.detections) == (Verdict.PASS, (), ())


def test_a_sure_defect_fails_the_board_and_says_where() -> None:
    said = judge([blob("open", 0.93, 110, 335)], BOARD, scale=Scale.square(20), **SIZE)
    assert said.verdict is Verdict.FAIL
    assert said.reasons == ("open at (120, 340), score 0.93",)


def test_unsure_defects_alone_send_the_board_to_review() -> None:
    assert judge([blob("open", 0.55, 10, 10)], BOARD, scale=Scale.square(20), **SIZE).verdict is Verdict.REVIEW
    both = [blob("open", 0.95, 90, 90), blob("open", 0.55, 10, 10)]
    assert judge(both, BOARD, scale=Scale.square(20), **SIZE).verdict is Verdict.FAIL


def test_a_picture_that_cannot_be_judged_means_review_whatever_was_found() -> None:
    doubts = [Reason("out of focus: fine contrast 2.0", Doubt.FOCUS)]
    said = judge([blob("open", 0.95, 90, 90)], BOARD, scale=Scale.square(20), doubts=doubts, **SIZE)
    assert said.verdict is Verdict.REVIEW
    assert said.reasons == ("out of focus: fine contrast 2.0", "open at (100, 95), score 0.95")
    assert said.doubts == (Doubt.FOCUS,)


def test_a_difference_nobody_explains_stops_a_board_but_does_not_save_it() -> None:
    doubts = [Reason("unexplained: differs from the template at (3, 4), 50 px", Doubt.UNEXPLAINED)]
    assert judge([], BOARD, scale=Scale.square(20), doubts=doubts, **SIZE).verdict is Verdict.REVIEW
    defect = judge([blob("open", 0.95, 90, 90)], BOARD, scale=Scale.square(20), doubts=doubts, **SIZE)
    assert (defect.verdict, defect.doubts) == (Verdict.FAIL, (Doubt.UNEXPLAINED,))


def test_a_defect_about_as_small_as_the_least_is_looked_at_and_a_smaller_one_is_none() -> None:
    sizes = {side: (10.0, 10.0, 10.0 + side, 10.0 + side) for side in (6, 7, 8)}
    said = {
        side: findings(raw(("short", 0.9, box)), SPECS["board-sim"], Scores(BOARD), 400, 500)
        for side, box in sizes.items()
    }
    areas = {side: [one.roi.area_px for one in found] for side, found in said.items()}
    assert areas == {6: [], 7: [49], 8: [64]}  # of at least 50, each unsure by half a px around
    verdicts = {side: judge(found, BOARD, scale=Scale.square(20), **SIZE) for side, found in said.items()}
    assert [verdicts[side].verdict for side in (6, 7, 8)] == [Verdict.PASS, Verdict.REVIEW, Verdict.FAIL]
    assert verdicts[7].doubts == (Doubt.UNCERTAIN,)


def test_a_detection_has_its_mask_its_area_and_a_box_with_margin() -> None:
    (found,) = judge([blob("open", 0.9, 5, 100)], BOARD, scale=Scale.square(20), **SIZE).detections
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
    said = judge([layer()], SECTION, scale=Scale.square(2), **SIZE)
    assert said.verdict is Verdict.PASS
    assert [(one.layer, one.thickness_um) for one in said.layers] == [("L1", 80.0)]


def test_corrosion_within_the_limits_passes() -> None:
    said = judge([layer(), blob("corrosion", 0.9, 200, 115, (20, 8))], SECTION, scale=Scale.square(2), **SIZE)
    assert said.verdict is Verdict.PASS
    assert len(said.detections) == 2


def test_each_limit_that_is_exceeded_is_a_reason() -> None:
    said = judge([layer(), blob("corrosion", 0.9, 100, 100, (300, 20))], SECTION, scale=Scale.square(2), **SIZE)
    assert said.verdict is Verdict.FAIL
    assert said.doubts == ()
    assert said.reasons == (
        "L1: 30.0% of the area corroded, at most 5.0%",
        "L1: corroded 40.0 um deep, 50% of its thickness, at most 30%",
        "L1: corrosion breaks through the surface",
    )


def test_a_section_without_a_layer_is_looked_at_by_a_person() -> None:
    said = judge([], SECTION, scale=Scale.square(2), **SIZE)
    assert (said.verdict, said.reasons) == (Verdict.REVIEW, ("no copper layer found",))


def test_corrosion_outside_every_layer_or_unsure_is_looked_at() -> None:
    outside = judge([layer(), blob("corrosion", 0.9, 200, 300)], SECTION, scale=Scale.square(2), **SIZE)
    assert outside.verdict is Verdict.REVIEW
    assert outside.reasons == ("corrosion at (210, 305), score 0.90, lies in no layer",)
    unsure = judge([layer(), blob("corrosion", 0.55, 200, 115, (20, 8))], SECTION, scale=Scale.square(2), **SIZE)
    assert unsure.reasons == ("corrosion at (210, 119), score 0.55, is unsure",)


def pitted(depth_px: int) -> list[Finding]:
    """A layer of 40 px with a pit inside it, 30 % of its thickness allowed."""
    return [layer(), blob("corrosion", 0.9, 200, 115, (20, depth_px))]


def test_a_depth_nearer_to_its_limit_than_it_was_measured_is_looked_at() -> None:
    verdicts = {}
    for depth in (11, 12, 13):
        verdicts[depth] = judge(pitted(depth), SECTION, scale=Scale.square(2), **SIZE)
    assert [said.verdict for said in verdicts.values()] == [Verdict.PASS, Verdict.REVIEW, Verdict.FAIL]
    assert verdicts[12].doubts == (Doubt.UNCERTAIN,)
    assert verdicts[12].reasons == (
        "L1: corroded 24.0 um deep, 30% of its thickness, at most 30%: nearer than the 0.013 it is unsure by",
    )


def test_the_cameras_uncertainty_counts_where_a_limit_is_in_micrometres() -> None:
    product = SECTION.model_copy(update={"unsure_px": 0.0, "section": SectionConfig(min_residual_um=59.0)})
    sure = judge(pitted(10), product, scale=Scale.square(2), **SIZE)  # 60 um are left
    unsure = judge(pitted(10), product, scale=Scale(2, 2, unsure_share=0.05), **SIZE)
    too_thin = judge(pitted(11), product, scale=Scale.square(2), **SIZE)
    assert [said.verdict for said in (sure, unsure, too_thin)] == [Verdict.PASS, Verdict.REVIEW, Verdict.FAIL]
    assert unsure.doubts == (Doubt.UNCERTAIN,)
    assert too_thin.reasons == ("L1: 58.0 um of copper left, at least 59 um",)


def test_a_camera_may_see_lengths_and_depths_in_different_scales() -> None:
    said = judge(pitted(8), SECTION, scale=Scale(x=1.0, y=2.0), **SIZE)
    assert said.layers[0].deepest_um == 16.0
    assert said.detections[1].area_um2 == 160 * 2
