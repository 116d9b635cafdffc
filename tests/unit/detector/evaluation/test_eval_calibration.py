"""Chances and thresholds: by hand, against an exhaustive search, and refused where they do not belong."""

import itertools
from pathlib import Path

import msgspec
import numpy as np
import pytest
from eval_scenes import LABELS, found, outcome, true
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.beside import hashed
from detector.evaluation.calibration import _best_threshold, board_cost, board_weights, calibrate
from detector.evaluation.outcomes import Outcome
from detector.scores import Calibration, Costs, open_scores, read_calibrations, save_calibration
from taktwatch.config import ClassConfig, ProductConfig
from taktwatch.errors import BadInput, ModelError
from taktwatch.records import ModelRef

MODEL = ModelRef(
    name="m", model_id="m-1", weights_sha256="0" * 64, engine="torch 2.15.0", precision="float32", device="cpu"
)
PLACE = (10, 10, 50, 50)


def boards(seed: int, count: int = 400) -> list[Outcome]:
    """Half good, half with one open; scores overstate: a detection of score s is right with chance s squared."""
    rng = np.random.default_rng(seed)
    made = []
    for index in range(count):
        score = float(rng.uniform(0.05, 1))
        real = rng.random() < score**2
        truths = [true("open", PLACE)] if real else []
        made.append(outcome(truths, [found("open", PLACE, score)], name=str(index), board=str(index)))
    return made


def calibrated(outcomes: list[Outcome], rate: float = 0.5, escape: float = 1.0, false_call: float = 1.0) -> Calibration:
    return calibrate(
        outcomes,
        LABELS,
        model=MODEL,
        domain="simulated",
        dataset="sim:board",
        dataset_sha256="1" * 64,
        expected_defect_rate=rate,
        costs=Costs(escape=escape, false_call=false_call),
    )


def test_chances_rise_with_scores_and_come_near_the_truth() -> None:
    outcomes = boards(1, 4000)
    share = sum(one.defective for one in outcomes) / len(outcomes)
    one = calibrated(outcomes, rate=share).classes["open"]
    at = np.linspace(0.1, 0.95, 18)
    chances = [one.chance(score) for score in at]
    assert chances == sorted(chances)
    assert np.abs(np.array(chances) - at**2).max() < 0.08


def test_a_rarer_defect_makes_the_same_score_worth_less() -> None:
    outcomes = boards(2, 2000)
    assert calibrated(outcomes, rate=0.01).classes["open"].chance(0.7) < calibrated(outcomes, rate=0.5).classes[
        "open"
    ].chance(0.7)


def test_too_few_detections_leave_scores_as_they_are() -> None:
    one = calibrated(boards(1)).classes["short"]
    assert (one.n, one.scores, one.chance(0.37)) == (0, (), 0.37)


def test_dear_escapes_lower_the_threshold_and_dear_false_calls_raise_it() -> None:
    outcomes = boards(3)
    low, middle, high = (
        calibrated(outcomes, escape=escape, false_call=call).classes["open"].threshold
        for escape, call in ((50, 1), (1, 1), (1, 50))
    )
    assert low < middle < high


def test_where_limits_decide_only_chances_are_learnt() -> None:
    made = calibrate(
        boards(3),
        LABELS,
        model=MODEL,
        domain="section",
        dataset="sim:section",
        dataset_sha256="1" * 64,
        expected_defect_rate=0.5,
        costs=Costs(escape=50, false_call=1),
        stops=False,
    )
    assert {one.threshold for one in made.classes.values()} == {0.5}
    assert made.expected_cost is None
    assert made.classes["open"].scores


def test_a_threshold_stands_in_the_middle_of_the_gap() -> None:
    bad = [outcome([true("open", PLACE)], [found("open", PLACE, 0.8)], name=f"b{i}") for i in range(5)]
    good = [outcome([], [found("open", PLACE, 0.2)], name=f"g{i}") for i in range(5)]
    made = calibrated([*bad, *good])
    assert made.classes["open"].threshold == pytest.approx(0.5)
    assert made.expected_cost == 0


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 100_000))
def test_one_class_gets_the_cheapest_of_all_thresholds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    best = rng.integers(0, 6, (12, 2)) / 6
    defective = rng.random(12) < 0.5
    weights, costs = board_weights(defective, 0.2), Costs(escape=3.0, false_call=1.0)
    thresholds = np.array([0.5, float(rng.uniform(0, 1))])
    at, cost = _best_threshold(best, thresholds, 0, defective, weights, costs)
    every = [
        board_cost(best, np.array([one, thresholds[1]]), defective, weights, costs) for one in np.arange(0.05, 1, 0.05)
    ]
    assert cost <= min(every) + 1e-9
    assert board_cost(best, np.array([at, thresholds[1]]), defective, weights, costs) == pytest.approx(cost)


def test_thresholds_of_two_classes_cost_no_more_than_equal_ones() -> None:
    rng = np.random.default_rng(5)
    made = []
    for index in range(200):
        real = index % 2 == 0
        marks = [
            found("open", PLACE, float(np.clip(rng.normal(0.7 if real else 0.4, 0.15), 0.06, 0.99))),
            found("short", (100, 100, 140, 140), float(np.clip(rng.normal(0.3 if real else 0.1, 0.1), 0.06, 0.99))),
        ]
        made.append(outcome([true("open", PLACE)] if real else [], marks, name=str(index)))
    best = np.array([[f.score for f in one.found] for one in made])
    defective = np.array([one.defective for one in made])
    weights, costs = board_weights(defective, 0.1), Costs(escape=20, false_call=1)
    grid = np.arange(0.05, 1, 0.05)
    equal = min(board_cost(best, np.array([at, at]), defective, weights, costs) for at in grid)
    pairs = min(board_cost(best, np.array(two), defective, weights, costs) for two in itertools.product(grid, grid))
    found_cost = calibrated(made, rate=0.1, escape=20, false_call=1).expected_cost
    assert found_cost <= equal
    assert found_cost <= pairs * 1.1


PRODUCT = ProductConfig(model="m", um_per_px=20, domain="simulated", classes={"open": {}, "short": {}})


def test_a_calibration_is_used_for_its_own_pictures_and_precision_alone(tmp_path: Path) -> None:
    made = calibrated(boards(1))
    save_calibration(tmp_path, [made])
    scores = open_scores(tmp_path, MODEL, "p", PRODUCT)
    assert scores.calibration == made
    assert scores.threshold("open") == made.classes["open"].threshold
    assert scores.chance("open", 0.7) == made.classes["open"].chance(0.7) < 0.7
    newer = msgspec.structs.replace(MODEL, engine="torch 2.16.1")
    assert open_scores(tmp_path, newer, "p", PRODUCT).calibration == made
    exact = msgspec.structs.replace(MODEL, engine="openvino 2026.1")
    assert open_scores(tmp_path, exact, "p", PRODUCT).calibration == made  # engines in float32 agree
    others = (
        (msgspec.structs.replace(exact, precision="bfloat16"), PRODUCT),
        (msgspec.structs.replace(MODEL, precision="int8"), PRODUCT),
        (MODEL, PRODUCT.model_copy(update={"domain": "real"})),
        (MODEL, PRODUCT.model_copy(update={"domain": ""})),
    )
    for model, product in others:
        plain = open_scores(tmp_path, model, "p", product)
        assert (plain.calibration, plain.threshold("open"), plain.chance("open", 0.7)) == (None, 0.5, 0.7)
    assert open_scores(tmp_path, MODEL, "simulated", others[3][1]).calibration == made


def test_what_line_toml_states_goes_before_what_was_learnt(tmp_path: Path) -> None:
    save_calibration(tmp_path, [calibrated(boards(1))])
    stated = ProductConfig(model="m", um_per_px=20, domain="simulated", classes={"open": ClassConfig(score=0.9)})
    scores = open_scores(tmp_path, MODEL, "p", stated)
    assert scores.threshold("open") == 0.9
    assert scores.chance("open", 0.7) < 0.7


def test_a_model_has_one_calibration_for_each_kind_of_pictures_and_engine(tmp_path: Path) -> None:
    first, second = calibrated(boards(1)), calibrated(boards(2))
    other = msgspec.structs.replace(first, engine="openvino 2026.1", sha256="")
    other = msgspec.structs.replace(other, sha256=hashed(other))
    save_calibration(tmp_path, [first, other])
    save_calibration(tmp_path, [second])
    assert {one.engine: one for one in read_calibrations(tmp_path, "m-1")} == {
        "torch 2.15.0": second,
        "openvino 2026.1": other,
    }


def test_an_edited_or_foreign_calibration_is_refused_and_none_is_none(tmp_path: Path) -> None:
    assert read_calibrations(tmp_path, "m-1") == []
    path = save_calibration(tmp_path, [calibrated(boards(1))])
    with pytest.raises(ModelError, match=r"made for m-1, this is m-2; delete it, or calibrate again"):
        read_calibrations(tmp_path, "m-2")
    path.write_text(path.read_text().replace('"simulated"', '"real"'))
    with pytest.raises(ModelError, match="edited by hand"):
        read_calibrations(tmp_path, "m-1")
    path.write_text("{}")
    with pytest.raises(ModelError, match="not a calibration"):
        read_calibrations(tmp_path, "m-1")
    assert len(read_calibrations(save_calibration(tmp_path, [calibrated(boards(1))]).parent, "m-1")) == 1


def test_what_cannot_be_weighed_is_refused() -> None:
    outcomes = boards(1)
    with pytest.raises(BadInput, match="no good boards"):
        calibrated([one for one in outcomes if one.defective])
    with pytest.raises(BadInput, match="no defective boards"):
        calibrated([one for one in outcomes if not one.defective])
    with pytest.raises(BadInput, match="defect rate of 0"):
        calibrated(outcomes, rate=0)
    with pytest.raises(BadInput, match="costs above 0"):
        calibrated(outcomes, escape=0)
