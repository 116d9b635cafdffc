"""The models in the repository: small, whole, licensed, and good enough on products they never saw."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from detector.cards import Ancestor, ModelCard
from detector.engines.exported import open_export
from detector.engines.torch_engine import TorchEngine
from detector.evaluate import Boxes, Matched, match, pooled
from detector.inspect import Inspector
from detector.masks import Roi
from detector.proving.parity import shortfalls
from detector.proving.proofs import shipped
from detector.registry import EXPORTS, load_model
from detector.spec import SHIPPED, SPECS
from taktwatch.config import LineConfig, load_config
from taktwatch.records import Verdict
from taktwatch.rle import decode
from taktwatch.simulator import BOARD_DEFECTS, Truth, board, section
from taktwatch.simulator.look import product_look

ROOT = Path(__file__).parents[3]
LIMIT_BYTES = 10_000_000
UNSEEN = 7_000_000
SIZE = (448, 448)


@pytest.fixture(scope="module")
def line() -> LineConfig:
    config = load_config(ROOT / "line.toml", {})
    return config.model_copy(update={"detector": config.detector.model_copy(update={"device": "cpu", "threads": 1})})


@pytest.fixture(scope="module")
def inspector(line: LineConfig) -> Inspector:
    return Inspector(line)


def boxes(truths: list[Truth]) -> Boxes:
    found = [Roi(truth.mask, 0, 0).box for truth in truths]
    return Boxes(np.array(found, np.float64).reshape(-1, 4), np.ones(len(found)))


def centre(mask: np.ndarray) -> np.ndarray:
    """Middle (x, y) of a mask's pixels."""
    rows, cols = np.nonzero(mask)
    return np.array([cols.mean(), rows.mean()])


def beginnings(one: ModelCard | Ancestor) -> list[str]:
    """Where everything began that a model descends from, in its card's words."""
    return [words for parent in one.parents for words in beginnings(parent)] or [one.ancestry]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_is_small_whole_and_free_for_commercial_use(name: str) -> None:
    folder = ROOT / "models" / name
    loaded = load_model(folder)
    assert loaded.card.name == name
    assert loaded.spec == SPECS[name]
    assert loaded.card.commercial_use
    assert all("random weights" in first for first in beginnings(loaded.card))
    assert (folder / "weights.safetensors").stat().st_size < LIMIT_BYTES


def test_the_export_in_8_bits_that_was_proven_is_shipped() -> None:
    model = load_model(ROOT / "models" / "board-sim")
    (folder,) = (ROOT / "models" / "board-sim" / EXPORTS).iterdir()
    export = open_export(folder, model.card)
    proofs = [one for one in shipped(model.folder, model.card) if one.precision == "int8"]
    assert {one.device for one in proofs} == {"cpu avx512_core_bf16", "cpu avx512_core_amx"}
    for proof in proofs:
        assert proof.recipe_sha256 == export.card.recipe_sha256
        assert not shortfalls(proof)
        assert proof.boards >= 3000


def test_board_defects_of_unseen_products_are_found_with_few_false_calls(inspector: Inspector) -> None:
    parts: list[Matched] = []
    false_calls = 0
    for layout in range(UNSEEN, UNSEEN + 16):
        seen = board(layout, 1, size=SIZE, defects=BOARD_DEFECTS)
        prepared = inspector.prepare("demo-board", seen.picture, seen.template)
        (said,) = inspector.inspect_batch([prepared])
        for label in BOARD_DEFECTS:
            mine = [found for found in said.detections if found.label == label]
            found = Boxes(
                np.array([one.box_px for one in mine], np.float64).reshape(-1, 4), np.array([one.score for one in mine])
            )
            parts.append(match(found, boxes([truth for truth in seen.truths if truth.label == label]), 0.33))
        clean = board(layout, 2, size=SIZE, defects=())
        (said,) = inspector.inspect_batch([inspector.prepare("demo-board", clean.picture, clean.template)])
        false_calls += len(said.detections)
    everything = pooled(parts)
    recall = everything.hits.sum() / everything.truths
    precision = everything.hits.mean()
    assert everything.truths > 70
    assert recall > 0.85
    assert precision > 0.8
    assert false_calls <= 2


def test_masks_lie_where_the_defects_are_to_a_fraction_of_a_pixel(inspector: Inspector) -> None:
    away: list[np.ndarray] = []
    for layout in range(UNSEEN, UNSEEN + 16):
        seen = board(layout, 3, size=SIZE, defects=BOARD_DEFECTS, look=product_look(layout, "binary", "varied"))
        (said,) = inspector.inspect_batch([inspector.prepare("demo-board", seen.picture, seen.template)])
        for truth in seen.truths:
            middles = [centre(decode(found.mask)) for found in said.detections if found.label == truth.label]
            nearest = min((middle - centre(truth.mask) for middle in middles), key=np.linalg.norm, default=None)
            if nearest is not None and np.linalg.norm(nearest) < 4:
                away.append(nearest)
    assert len(away) > 60
    assert np.abs(np.median(away, axis=0)).max() < 0.25


def test_sections_of_unseen_products_are_measured_and_judged(inspector: Inspector) -> None:
    right = Counter[bool]()
    errors: list[float] = []
    for layout in range(UNSEEN, UNSEEN + 8):
        for board_seed in range(2):
            seen = section(layout, board_seed, sites=3 * board_seed)
            (said,) = inspector.inspect_batch([inspector.prepare("demo-section", seen.picture, None)])
            assert [profile.layer for profile in said.layers] == [truth.name for truth in seen.layers]
            errors += [
                abs(profile.thickness_um / 1.5 - truth.thickness_px)
                for profile, truth in zip(said.layers, seen.layers, strict=True)
            ]
            corroded = any(truth.corroded.any() for truth in seen.layers)
            right[(said.verdict is not Verdict.PASS) == corroded] += 1
    assert right[True] >= 15
    assert np.mean(errors) < 1.5


def test_the_engine_gives_a_frame_alone_what_it_gives_it_in_a_batch(inspector: Inspector) -> None:
    engine = TorchEngine(load_model(ROOT / "models" / "board-sim"), device="cpu", threads=1)
    pictures = [board(UNSEEN, seed, size=(320, 320), defects=("open", "short", "spur")) for seed in range(3)]
    prepared = [inspector.prepare("demo-board", seen.picture, seen.template).inputs.channels for seen in pictures]
    for one, together in zip(prepared, engine.infer(prepared), strict=True):
        (alone,) = engine.infer([one])
        assert alone.labels.tolist() == together.labels.tolist()
        assert np.allclose(alone.scores, together.scores, atol=1e-4)
        assert np.allclose(alone.boxes, together.boxes, atol=1e-2)
