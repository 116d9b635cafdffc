"""How two answers are compared, and that an engine which drifts is caught."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_model import TINY, card

from detector.engines import RawDetections
from detector.engines.torch_engine import TorchEngine
from detector.model import build_model
from detector.proving import asking
from detector.proving.answers import AnswerLog
from detector.proving.asking import Asker, reference
from detector.proving.parity import BOUNDS, Agreement, Answer, compare, shortfalls, summed
from detector.proving.verify import verify
from detector.registry import LoadedModel, load_model, pack_weights, save_model
from taktwatch.config import LineConfig
from taktwatch.records import ModelRef, Verdict
from taktwatch.simulator import BOARD_DEFECTS

REF = ModelRef(name="m", model_id="m-1", weights_sha256="0" * 64, engine="e 1", precision="float32", device="cpu")
PASS, FAIL, REVIEW = Verdict.PASS, Verdict.FAIL, Verdict.REVIEW


def detections(*found: tuple[float, float, int, float], inside: float = 0.9) -> RawDetections:
    """Squares of 20 px: x, y, label, score."""
    return RawDetections(
        boxes=np.array([[x, y, x + 20, y + 20] for x, y, _, _ in found], np.float32).reshape(-1, 4),
        labels=np.array([label for _, _, label, _ in found], np.int64),
        scores=np.array([score for _, _, _, score in found], np.float32),
        masks=np.full((len(found), 28, 28), inside, np.float32),
    )


def agreement(one: RawDetections, other: RawDetections, verdicts: tuple[Verdict, Verdict] = (PASS, PASS)) -> Agreement:
    answers = [Answer.of(raw, verdict, (100, 100)) for raw, verdict in zip((one, other), verdicts, strict=True)]
    return compare(*answers, floor=0.05)


def test_the_same_detections_in_another_order_agree() -> None:
    one = detections((0, 0, 1, 0.9), (50, 50, 1, 0.8))
    other = detections((50, 50, 1, 0.8), (0, 0, 1, 0.9))
    found = agreement(one, other)
    assert found.scores.tolist() == [0, 0]
    assert found.areas.tolist() == [0, 0]
    assert found.unmatched == 0


@pytest.mark.parametrize(
    "other",
    [detections(), detections((0, 0, 2, 0.9)), detections((15, 15, 1, 0.9))],
    ids=["missing", "another class", "another place"],
)
def test_what_has_no_partner_is_counted_on_both_sides(other: RawDetections) -> None:
    found = agreement(detections((0, 0, 1, 0.9)), other)
    assert found.scores.size == 0
    assert found.unmatched == 1 + len(other.scores)


def test_a_detection_at_the_floor_may_be_missing() -> None:
    assert agreement(detections((0, 0, 1, 0.06)), detections()).unmatched == 0


def test_areas_are_those_of_masks() -> None:
    one, other = detections((0, 0, 1, 0.9)), detections((0, 0, 1, 0.9))
    other.masks[0, :, :14] = 0
    (area,) = agreement(one, other).areas
    assert area == pytest.approx(0.5, abs=0.06)


def test_only_fail_to_pass_is_an_escape() -> None:
    nothing = detections()
    pairs = [(FAIL, PASS), (PASS, FAIL), (FAIL, REVIEW), (REVIEW, PASS), (FAIL, FAIL)]
    parity = summed([agreement(nothing, nothing, pair) for pair in pairs], REF)
    assert (parity.boards, parity.failed, parity.to_pass, parity.to_fail) == (5, 3, 1, 1)


def test_three_thousand_boards_without_an_escape_bound_it_at_one_in_a_thousand() -> None:
    nothing = agreement(detections(), detections())
    parity = summed([nothing] * 3000, REF)
    assert parity.to_pass_upper == pytest.approx(1 - 0.05 ** (1 / 3000))
    assert parity.to_pass_upper < 1e-3
    assert shortfalls(parity) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_the_bound_on_scores_is_never_above_the_greatest_difference(differences: list[float]) -> None:
    scores = np.array(differences)
    parity = summed([Agreement(scores, scores, 0, PASS, PASS)], REF)
    assert parity.score <= parity.score_most == scores.max()


def test_every_bound_is_said_when_it_is_broken() -> None:
    far = Agreement(np.array([0.5]), np.array([0.9]), 1, FAIL, PASS)
    words = "; ".join(shortfalls(summed([far], REF)))
    for part in ("scores differ by 0.5", "areas differ by 0.9", "have no partner", "boards pass", "3000 are wanted"):
        assert part in words


def test_nothing_found_by_either_falls_short_of_nothing_but_boards() -> None:
    assert shortfalls(summed([], REF)) == ["compared on 0 boards, 3000 are wanted"]


def test_coarser_numbers_get_wider_bounds_but_no_more_escapes() -> None:
    exact = BOUNDS["float32"]
    for bounds in BOUNDS.values():
        assert bounds.score >= exact.score
        assert bounds.escapes == exact.escapes
        assert bounds.boards == exact.boards


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    torch.manual_seed(5)
    built = build_model(TINY).eval().requires_grad_(requires_grad=False)
    sha256 = hashlib.sha256(pack_weights(built)).hexdigest()
    return LoadedModel(card(TINY).model_copy(update={"weights_sha256": sha256}), built)


def test_an_engine_with_slightly_other_weights_is_caught(model: LoadedModel) -> None:
    drifted = build_model(TINY).eval()
    state = {name: value.clone() for name, value in model.network.state_dict().items()}
    for name, value in state.items():
        if name.startswith("roi_heads.box_predictor"):
            value.mul_(1.05)
    drifted.load_state_dict(state)
    engine = TorchEngine(LoadedModel(model.card, drifted), device="cpu", threads=1)
    pictures = [np.random.default_rng(seed).standard_normal((3, 96, 96)).astype(np.float32) for seed in range(3)]
    parity = summed([agreement(reference(model, one), engine.infer([one])[0]) for one in pictures], engine.ref)
    assert any("scores differ" in words or "no partner" in words for words in shortfalls(parity))


@pytest.fixture(scope="module")
def known() -> LoadedModel:
    """A model of all defects, that finds plenty."""
    torch.manual_seed(5)
    spec = TINY.model_copy(update={"classes": BOARD_DEFECTS})
    return LoadedModel(card(spec), build_model(spec).eval().requires_grad_(requires_grad=False))


def line(engines_dir: Path) -> LineConfig:
    return LineConfig.model_validate({"detector": {"device": "cpu", "threads": 1, "engines_dir": engines_dir}})


def test_verify_compares_on_the_same_boards_each_time(known: LoadedModel, tmp_path: Path) -> None:
    done: list[int] = []
    first = verify(line(tmp_path / "one"), known, ["torch"], boards=3, on_boards=done.append)
    again = verify(line(tmp_path / "other"), known, ["torch"], boards=3, on_boards=lambda _: None)
    assert sum(done) == 3
    assert first == again
    assert first["torch"].boards == 3
    assert first["torch"].score < 1e-3
    assert Asker.of(line(tmp_path), known).product.classes.keys() == set(BOARD_DEFECTS)


def test_an_interrupted_comparison_goes_on_and_says_what_a_whole_one_says(known: LoadedModel, tmp_path: Path) -> None:
    class Interrupted(Exception):
        pass

    def stop(count: int) -> None:
        if count:
            raise Interrupted

    with pytest.raises(Interrupted):
        verify(line(tmp_path / "cut"), known, ["torch"], boards=10, on_boards=stop)
    files = sorted((tmp_path / "cut").rglob("*.jsonl"))
    assert [path.name.partition("-")[0] for path in files] == ["reference", "torch"]
    assert [len(path.read_bytes().split()) for path in files] == [8, 8]
    files[0].write_bytes(files[0].read_bytes()[:-40])
    done: list[int] = []
    resumed = verify(line(tmp_path / "cut"), known, ["torch"], boards=10, on_boards=done.append)
    assert done == [0, 8, 2]
    assert [len(path.read_bytes().split()) for path in files] == [11, 10]
    assert resumed == verify(line(tmp_path / "whole"), known, ["torch"], boards=10, on_boards=lambda _: None)
    verify(line(tmp_path / "cut"), known, ["torch"], boards=10, on_boards=done.append)
    assert done[3:] == [10]


def test_a_second_engine_finds_the_answers_of_the_reference_ready(known: LoadedModel, tmp_path: Path) -> None:
    verify(line(tmp_path), known, ["torch"], boards=2, on_boards=lambda _: None)
    (path,) = tmp_path.rglob("reference-*.jsonl")
    before = path.read_bytes()
    both = verify(line(tmp_path), known, ["torch", "onnx"], boards=2, on_boards=lambda _: None)
    assert path.read_bytes() == before
    assert both["torch"].detections == both["onnx"].detections > 0
    assert both["onnx"].recipe_sha256


def test_worker_processes_say_what_one_process_says(
    known: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = pack_weights(known.network)
    named = known.card.model_copy(update={"weights_sha256": hashlib.sha256(weights).hexdigest()})
    save_model(tmp_path / "tiny", named, weights)
    stored = load_model(tmp_path / "tiny")
    here = verify(line(tmp_path / "here"), stored, ["torch"], boards=10, on_boards=lambda _: None)
    monkeypatch.setattr(asking, "WORKER_BOARDS", 1)
    there = verify(line(tmp_path / "there"), stored, ["torch"], boards=10, on_boards=lambda _: None)
    assert here["torch"].detections == there["torch"].detections > 0
    assert there["torch"].score < 1e-3
    assert (here["torch"].failed, here["torch"].unmatched) == (there["torch"].failed, there["torch"].unmatched)


def test_an_answer_comes_back_as_it_was_given_and_a_torn_line_does_not(tmp_path: Path) -> None:
    raw = detections((0, 0, 1, 0.9), (50, 50, 1, 0.123456789))
    given = [Answer.of(raw, FAIL, (100, 100), board=number, picture_sha256="ab") for number in range(3)]
    AnswerLog(tmp_path, "engine", ["key"]).add(given)
    log = AnswerLog(tmp_path, "engine", ["key"])
    assert list(log.known.values()) == given
    assert AnswerLog(tmp_path, "engine", ["another key"]).known == {}
    log.path.write_bytes(log.path.read_bytes()[:-9])
    cut = AnswerLog(tmp_path, "engine", ["key"])
    assert list(cut.known) == [0, 1]
    cut.add(given[2:])
    assert list(AnswerLog(tmp_path, "engine", ["key"]).known.values()) == given
