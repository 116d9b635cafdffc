"""Regions of interest: the network looks at the part around them alone; findings lie where they lie on the frame."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from exact_engine import Differences, marked
from tiny_model import TINY, card

from detector.aligning.registration import matrix_of
from detector.evaluation.labelled import Item, Labelled
from detector.evaluation.runner import Runner
from detector.inspect import Inspector
from detector.model import build_model
from detector.pieces.cropping import crop_for, holds
from detector.products.product import load_product, make_product
from detector.registry import pack_weights, save_model
from detector.steps import Inspection
from taktwatch.config import LineConfig, parse_config
from taktwatch.pictures import encode_png
from taktwatch.records import Verdict
from taktwatch.rle import bbox
from taktwatch.simulator import board, golden

SIZE = (600, 900)
TEMPLATE = golden(4, size=SIZE)
ROI = ((400, 200), (520, 200), (520, 340), (400, 340))
INSIDE, OUTSIDE = (440, 250, 454, 264), (700, 450, 714, 464)
SHIFT = (9, -6)


def settings(**product: object) -> LineConfig:
    table = {"model": "tiny", "um_per_px": 20.0, "classes": {"open": {"score": 0.1}}}
    return parse_config({"products": {"p": table | product}}, "test", {})


def inspected(picture: np.ndarray, config: LineConfig, **told: object) -> tuple[Inspection, Differences]:
    engine = Differences()
    inspector = Inspector(config, engines={"tiny": engine})
    return inspector.inspect_batch([inspector.prepare("p", picture, TEMPLATE, **told)])[0], engine  # type: ignore[arg-type]


def shifted(picture: np.ndarray) -> np.ndarray:
    """The board lies a little off."""
    matrix = np.array([[1, 0, SHIFT[0]], [0, 1, SHIFT[1]]], np.float64)
    return cv2.warpAffine(picture, matrix, SIZE[::-1], borderMode=cv2.BORDER_REFLECT)


def test_the_network_gets_the_smaller_picture_and_findings_lie_on_the_frame() -> None:
    picture = shifted(marked(TEMPLATE, [INSIDE, OUTSIDE]))
    whole, all_of_it = inspected(picture, settings())
    said, engine = inspected(picture, settings(roi=ROI))
    assert all_of_it.shapes == [(3, *SIZE)]
    assert engine.shapes[0][1] * engine.shapes[0][2] < 0.3 * SIZE[0] * SIZE[1]
    assert len(whole.detections) == 2
    (found,) = said.detections
    wanted = np.add(INSIDE, SHIFT * 2)
    assert np.abs(np.subtract(found.box_px, wanted)).max() <= 3
    assert found.mask.size == SIZE
    assert np.abs(np.subtract(bbox(found.mask), wanted)).max() <= 3
    assert said.verdict is Verdict.FAIL
    assert said.reasons[0] in whole.reasons  # the same place in the same words
    assert said.registration is not None
    assert whole.registration is not None
    corner = np.array([450.0, 260.0, 1.0])
    here, there = (matrix_of(one) @ corner for one in (said.registration, whole.registration))
    assert np.abs(here / here[2] - there / there[2]).max() < 0.5


def test_what_differs_in_the_region_and_nobody_finds_is_told_where_it_lies() -> None:
    picture = marked(TEMPLATE, [(444, 254, 454, 264)])
    unlisted = settings(roi=ROI, classes={"short": {}})
    said, engine = inspected(picture, unlisted)
    assert engine.shapes[0][1:] != SIZE
    assert said.detections == ()
    assert said.verdict is Verdict.REVIEW
    (reason,) = said.reasons
    x, y = (int(word) for word in reason[reason.index("(") + 1 : reason.index(")")].split(", "))
    assert abs(x - 449) <= 3
    assert abs(y - 259) <= 3


def test_what_is_ignored_in_the_region_stays_a_mask() -> None:
    x0, y0, x1, y1 = INSIDE
    hole = [(x0 - 10, y0 - 10), (x1 + 10, y0 - 10), (x1 + 10, y1 + 10), (x0 - 10, y1 + 10)]
    said, _ = inspected(shifted(marked(TEMPLATE, [INSIDE])), settings(roi=ROI, ignore=[hole]))
    assert (said.detections, said.verdict) == ((), Verdict.PASS)


def test_places_on_a_panel_are_told_on_the_panel() -> None:
    on_panel = settings(roi=[(x + 1000, y + 500) for x, y in ROI])
    said, engine = inspected(marked(TEMPLATE, [INSIDE]), on_panel, origin=(1000, 500))
    assert engine.shapes[0][1:] != SIZE
    (found,) = said.detections
    assert np.abs(np.subtract(found.box_px, INSIDE)).max() <= 3
    x0, y0, x1, y1 = found.box_px
    middle = f"({round((x0 + x1) / 2 + 1000)}, {round((y0 + y1) / 2 + 500)})"
    assert middle in said.reasons[0]


def test_a_part_that_shows_no_copper_is_looked_at_with_the_whole_picture() -> None:
    template = TEMPLATE.copy()
    template[:350, :350] = 120
    engine = Differences()
    bare = settings(roi=[(10, 10), (60, 10), (60, 60), (10, 60)])
    inspector = Inspector(bare, engines={"tiny": engine})
    picture = marked(template, [(20, 20, 45, 45)])
    said = inspector.inspect_batch([inspector.prepare("p", picture, template)])[0]
    assert engine.shapes == [(3, *SIZE)]
    assert len(said.detections) == 1


def test_a_crop_holds_what_registration_can_bring_into_it() -> None:
    crop = crop_for(ROI, SIZE)
    assert crop is not None
    assert holds(crop, ROI, np.array([[1.0, 0, 40], [0, 1, -40], [0, 0, 1]]))
    assert not holds(crop, ROI, np.array([[1.0, 0, 140], [0, 1, 0], [0, 0, 1]]))
    assert holds(replace(crop, box=(0, 0, 900, 600)), ROI, np.array([[1.0, 0, -600], [0, 1, 0], [0, 0, 1]]))


def test_an_evaluation_tells_findings_in_px_of_the_picture(tmp_path: Path) -> None:
    weights = pack_weights(build_model(TINY))
    known = card(TINY).model_copy(update={"weights_sha256": hashlib.sha256(weights).hexdigest()})
    save_model(tmp_path / "tiny", known, weights)
    line = settings(roi=ROI)
    detector = line.detector.model_copy(update={"models_dir": tmp_path, "device": "cpu", "threads": 1})
    runner = Runner(line.model_copy(update={"detector": detector}), tmp_path / "tiny", "p")
    engine = Differences()
    runner.engine, runner.inspector.engines = engine, {"tiny": engine}
    outcome = runner.inspect(Item("a", "b", lambda: Labelled(marked(TEMPLATE, [INSIDE]), TEMPLATE, ())))
    assert engine.shapes[0][1:] != SIZE
    assert outcome.size == SIZE
    (found,) = outcome.found
    assert found.reported
    assert found.mask.size == SIZE
    assert np.abs(np.subtract(found.box_px, INSIDE)).max() <= 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A product of boards that each show a little less of the left side."""
    root = tmp_path_factory.mktemp("product")
    files = []
    for seed in range(3):
        picture = board(4, seed, size=(256, 320), defects=()).picture
        matrix = np.array([[1, 0, 12.0 * seed], [0, 1, 0]])
        files.append(root / f"{seed}.png")
        files[-1].write_bytes(encode_png(cv2.warpAffine(picture, matrix, (320, 256))))
    make_product("p", files, root, um_per_px=20.0, now=datetime(2026, 3, 3, tzinfo=UTC))
    return root / "p"


def test_the_folders_region_stands_where_line_toml_states_none(folder: Path) -> None:
    card = load_product(folder).card
    assert min(x for x, _ in card.roi) > 5
    own = Inspector(settings(folder=str(folder)), engines={"tiny": Differences()})
    assert own.rules("p", card.template_sha256).roi == card.roi
    assert own.rules("p", "another").roi is None  # the region is drawn on the folder's own template
    stated = Inspector(settings(folder=str(folder), roi=ROI), engines={"tiny": Differences()})
    assert stated.rules("p", card.template_sha256).roi == ROI


def test_beyond_the_folders_region_nothing_is_inspected(folder: Path) -> None:
    product = load_product(folder)
    assert product.template is not None
    sides = sorted({x for x, _ in product.card.roi})
    inspector = Inspector(settings(folder=str(folder), min_registration=-1), engines={"tiny": Differences()})
    beyond = (int(sides[1]) + 2, 100, 320, 116) if sides[1] < 300 else (0, 100, int(sides[0]) - 2, 116)
    within = (150, 100, 170, 120)
    for mark, count in ((beyond, 0), (within, 1)):
        picture = marked(product.template, [mark])
        prepared = inspector.prepare("p", picture, product.template, template_sha256=product.card.template_sha256)
        assert len(inspector.inspect_batch([prepared])[0].detections) == count
