"""What the network reports and the picture does not show is no finding; what it shows stays, however faint."""

import cv2
import numpy as np
import pytest

from detector.engines import RawDetections
from detector.evidence import reported, shown, shown_px
from detector.inputs import Pair, contrast_of, lay_template
from detector.judge import Finding
from detector.masks import Roi
from detector.scores import Calibration, ClassCalibration, Costs, Scores
from detector.spec import SPECS
from taktwatch.config import ClassConfig, ProductConfig
from taktwatch.records import Registration
from taktwatch.simulator import BOARD_DEFECTS, board, product_look
from taktwatch.simulator.look import Camera

LEAST_PX = 10
PLACED = Registration(matrix=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), quality=1.0)


def pair(seen: np.ndarray, golden: np.ndarray) -> Pair:
    return Pair(seen, golden.astype(np.float32), contrast_of(golden), PLACED)


def striped() -> np.ndarray:
    """Return copper lines of 10 px on laminate."""
    board = np.full((100, 100), 60, np.uint8)
    board[:, 20:30] = board[:, 60:70] = 180
    return cv2.GaussianBlur(board, (0, 0), 0.8)


def at(x: int, y: int, side: int = 8) -> Finding:
    return Finding("mousebite", 0.9, Roi(np.ones((side, side), bool), x, y))


def test_an_edge_that_wandered_by_a_pixel_is_no_defect_and_a_bite_is() -> None:
    golden = striped()
    wandered = np.roll(golden, 1, axis=1)
    assert shown([at(26, 40)], pair(wandered, golden), LEAST_PX) == []
    bitten = golden.copy()
    bitten[42:48, 25:30] = 60
    assert len(shown([at(26, 40)], pair(bitten, golden), LEAST_PX)) == 1


@pytest.mark.parametrize(("side", "kept"), [(3, 0), (5, 1)])
def test_a_grain_of_dust_is_no_hole_and_a_hole_is(side: int, kept: int) -> None:
    golden = striped()
    dusty = golden.copy()
    dusty[44 : 44 + side, 45 : 45 + side] = 150
    assert len(shown([at(43, 42)], pair(dusty, golden), LEAST_PX)) == kept


def test_a_difference_elsewhere_shows_nothing_here() -> None:
    golden = striped()
    spoiled = golden.copy()
    spoiled[80:95, 40:55] = 180
    assert shown([at(26, 20)], pair(spoiled, golden), LEAST_PX) == []
    assert shown_px(pair(spoiled, golden), at(42, 82).roi, 10.0) >= LEAST_PX


def test_without_a_template_every_finding_stays() -> None:
    found = [at(1, 1)]
    assert shown(found, None, LEAST_PX) == found


@pytest.mark.parametrize(
    ("score", "side", "stated", "kept"),
    [
        (0.6, 6, None, 1),  # more likely than not, and clearly to be seen
        (0.4, 6, None, 0),
        (0.6, 3, None, 0),  # as large as a grain of dust
        (0.6, 6, 0.75, 0),
        (0.8, 6, None, 1),
        (0.8, 3, None, 0),
        (0.98, 3, None, 1),  # the network has hardly a doubt
        (0.98, 2, None, 0),
    ],
)
def test_the_surer_of_two_witnesses_makes_up_for_the_other(
    score: float, side: int, stated: float | None, kept: int
) -> None:
    golden = striped()
    spoiled = golden.copy()
    spoiled[44 : 44 + side, 42 : 42 + side] = 180
    classes = {"spurious_copper": ClassConfig(score=stated)}
    product = ProductConfig(model="board-sim", um_per_px=20.0, min_shown_px=LEAST_PX, classes=classes)
    assert (
        len(reported(one_detection(score), SPECS["board-sim"], learnt(product), (100, 100), pair(spoiled, golden)))
        == kept
    )


def one_detection(score: float) -> RawDetections:
    label = SPECS["board-sim"].classes.index("spurious_copper") + 1
    return RawDetections(
        boxes=np.array([[41, 43, 49, 51]], np.float32),
        labels=np.array([label], np.int64),
        scores=np.array([score], np.float32),
        masks=np.ones((1, 28, 28), np.float32),
    )


def learnt(product: ProductConfig) -> Scores:
    """Return scores whose only threshold, 0.7, was learnt."""
    known = Calibration(
        model_id="board-sim-1",
        engine="torch",
        precision="float32",
        domain="simulated",
        dataset="sim:board",
        dataset_sha256="",
        expected_defect_rate=0.1,
        costs=Costs(escape=20, false_call=1),
        defective_boards=1,
        good_boards=1,
        expected_cost=0.1,
        classes={"spurious_copper": ClassCalibration(threshold=0.7, n=0, right=0)},
    )
    return Scores(product, known)


@pytest.mark.parametrize("camera", ["colour", "grey", "binary"])
def test_true_defects_are_shown_under_every_camera(camera: Camera) -> None:
    defects, seen = 0, 0
    for seed in range(40, 48):
        look = product_look(seed, camera, "varied")
        drawn = board(seed, 1, size=(320, 320), defects=BOARD_DEFECTS, look=look)
        laid = lay_template(drawn.picture, drawn.template)
        for truth in drawn.truths:
            rows, cols = np.flatnonzero(truth.mask.any(axis=1)), np.flatnonzero(truth.mask.any(axis=0))
            tight = truth.mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
            defects += 1
            seen += len(shown([Finding(truth.label, 1.0, Roi(tight, int(cols[0]), int(rows[0])))], laid, LEAST_PX))
    assert defects > 30
    assert seen >= 0.95 * defects
