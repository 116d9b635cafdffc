"""Screen first: where a picture differs from its template, what the network then sees, and where its answers belong."""

import hashlib
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import torch
from exact_engine import REF, Differences, marked
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_model import TINY, card

from detector.beside import hashed
from detector.dataset import HELD_OUT
from detector.engines import Channels, RawDetections
from detector.engines.screened import ScreenedEngine
from detector.engines.torch_engine import TorchEngine
from detector.inputs import Contrast, template_channels, template_inputs
from detector.inspect import Inspector
from detector.masks import Roi
from detector.model import build_model
from detector.registry import LoadedModel, pack_weights, save_model
from detector.screen import LEVELS, METHOD, Crop, Sheet, boxes_of, carried_back, covers, lay_out, strength
from detector.screening import Screening, measured_for, objection, read_screenings, save_screenings, screened
from detector.serving.swap import warm
from taktwatch.config import LineConfig, ProductConfig, parse_config
from taktwatch.errors import ModelError
from taktwatch.simulator import board, golden, product_look

THRESHOLD = 0.4
SIDE = 512
TEMPLATE = golden(4, size=(SIDE, SIDE))
CONTRAST = Contrast(float(TEMPLATE.mean()), float(TEMPLATE.std()))
NAME = "a" * 64

Mark = tuple[int, int, int, int]


def channels(marks: tuple[Mark, ...]) -> Channels:
    return template_channels(marked(TEMPLATE, marks)[..., 0], TEMPLATE[..., 0], CONTRAST)


def filled(x0: int, y0: int, x1: int, y1: int) -> Roi:
    return Roi(np.ones((y1 - y0, x1 - x0), bool), x0, y0)


def found(engine: Differences | ScreenedEngine, marks: tuple[Mark, ...]) -> list[tuple[float, ...]]:
    (raw,) = engine.infer([channels(marks)])
    return sorted(tuple(box) for box in raw.boxes.tolist())


def test_a_picture_without_difference_never_calls_the_network() -> None:
    engine = Differences()
    screen = ScreenedEngine(engine, THRESHOLD, NAME)
    (raw,) = screen.infer([channels(())])
    assert engine.shapes == []
    assert (raw.boxes.shape, raw.masks.shape) == ((0, 4), (0, 28, 28))


def test_the_network_sees_a_small_sheet_and_boxes_come_back_where_they_are() -> None:
    engine = Differences()
    marks = ((20, 30, 40, 50), (210, 100, 250, 112), (480, 490, 512, 512))
    assert found(ScreenedEngine(engine, THRESHOLD, NAME), marks) == found(Differences(), marks)
    assert [shape[1] * shape[2] <= SIDE * SIDE // 8 for shape in engine.shapes] == [True]


@settings(max_examples=40, deadline=None)
@example([(163, 138, 36, 40), (203, 107, 40, 34), (245, 180, 40, 40)])  # one crop shows part of what another is around
@given(
    st.lists(
        st.tuples(st.integers(0, SIDE - 40), st.integers(0, SIDE - 40), st.integers(10, 40), st.integers(10, 40)),
        max_size=6,
    )
)
def test_wherever_marks_lie_the_screened_engine_finds_what_the_engine_finds(
    places: list[tuple[int, int, int, int]],
) -> None:
    marks = tuple((x, y, x + width, y + height) for x, y, width, height in places)
    assert found(ScreenedEngine(Differences(), THRESHOLD, NAME), marks) == found(Differences(), marks)


def test_a_picture_that_differs_everywhere_is_seen_whole() -> None:
    engine = Differences()
    marks = tuple((x, y, x + 20, y + 20) for x in range(10, 490, 70) for y in range(10, 490, 70))
    assert found(ScreenedEngine(engine, THRESHOLD, NAME), marks) == found(Differences(), marks)
    assert engine.shapes == [(3, SIDE, SIDE)]
    assert lay_out([(0, 0, SIDE, 4)], (SIDE, SIDE)) is None  # as long as the picture: on no sheet
    assert lay_out([(x, x, x + 1, x + 1) for x in range(65)], (9000, 9000)) is None


def test_crops_that_overlap_are_one_crop() -> None:
    sheet = lay_out([(100, 100, 110, 108), (118, 100, 125, 108), (400, 400, 410, 410)], (640, 640))
    assert sheet is not None
    assert sorted(len(crop.differences) for crop in sheet.crops) == [1, 2]
    assert covers(sheet, filled(100, 100, 125, 108))
    assert not covers(sheet, filled(100, 100, 405, 405))
    assert covers(None, filled(0, 0, 640, 640))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 560), st.integers(0, 400), st.integers(1, 80), st.integers(1, 80)), max_size=30)
)
def test_every_difference_is_in_a_crop_and_crops_share_no_place_of_the_sheet(places: list[Mark]) -> None:
    boxes = [(x, y, x + width, y + height) for x, y, width, height in places]
    sheet = lay_out(boxes, (480, 640))
    if sheet is None:
        return
    assert all(covers(sheet, filled(*box)) for box in boxes)
    assert sorted(box for crop in sheet.crops for box in crop.differences) == sorted(boxes)
    taken = np.zeros(sheet.size, int)
    for crop in sheet.crops:
        x0, y0, x1, y1 = crop.box
        assert x0 < 640
        assert x1 > 0
        assert y0 < 480
        assert y1 > 0
        taken[crop.y : crop.y + y1 - y0, crop.x : crop.x + x1 - x0] += 1
        assert crop.y + y1 - y0 <= sheet.size[0]
        assert crop.x + x1 - x0 <= sheet.size[1]
    assert taken.max(initial=0) <= 1


def raw(*boxes: Mark, scores: tuple[float, ...]) -> RawDetections:
    return RawDetections(
        boxes=np.array(boxes, np.float32),
        labels=np.ones(len(boxes), np.int64),
        scores=np.array(scores, np.float32),
        masks=np.ones((len(boxes), 28, 28), np.float32),
    )


def test_what_two_crops_show_is_found_once_and_answered_for_by_the_crop_it_belongs_to() -> None:
    one = Crop((100, 100, 164, 164), ((116, 116, 130, 130),), 0, 0)
    other = Crop((120, 100, 184, 164), ((125, 116, 150, 130),), 64, 0)
    sheet = Sheet((one, other), (64, 128))
    # The same thing on both crops, and something where nothing differs.
    seen = raw((17, 16, 29, 30), (62, 16, 74, 30), (40, 50, 50, 60), scores=(0.9, 0.8, 0.7))
    done = carried_back(seen, sheet, (640, 640), box_nms=0.4)
    assert done.boxes.tolist() == [[117, 116, 129, 130]]
    assert done.scores.tolist() == pytest.approx([0.9])


def test_at_the_edge_of_a_picture_the_sheet_is_empty_as_its_surroundings_are_to_the_network() -> None:
    sheet = lay_out([(630, 2, 638, 10)], (480, 640))
    assert sheet is not None
    (crop,) = sheet.crops
    assert (crop.box[1] < 0, crop.box[2] > 640) == (True, True)
    drawn = sheet.drawn(np.ones((3, 480, 640), np.float32))
    assert (drawn[:, : -crop.box[1]] == 0).all()
    assert (drawn[:, :, 640 - crop.box[0] :] == 0).all()
    assert drawn.sum() == 3 * crop.box[3] * (640 - crop.box[0])


def test_boxes_end_where_the_picture_does_and_masks_with_them() -> None:
    sheet = lay_out([(620, 100, 640, 120)], (480, 640))
    assert sheet is not None
    (crop,) = sheet.crops
    x, y = 620 - crop.box[0], 100 - crop.box[1]
    seen = raw((x, y, x + 40, y + 20), scores=(0.9,))  # twice as wide as what is inside
    seen.masks[0] = np.arange(28) / 28
    done = carried_back(seen, sheet, (480, 640), box_nms=0.4)
    assert done.boxes.tolist() == [[620, 100, 640, 120]]
    assert done.masks[0, 5, 2:-2] == pytest.approx((np.arange(28)[2:-2] / 2 - 0.25) / 28, abs=0.001)


@pytest.mark.parametrize("camera", ["binary", "grey", "colour"])
def test_every_clear_defect_of_a_simulated_board_is_on_the_sheet(camera: str) -> None:
    for seed in range(3):
        layout = HELD_OUT + 4_000_000 + seed
        look = product_look(layout, camera)
        drawn = board(layout, seed, size=(384, 384), defects=["open", "short", "spurious_copper"], look=look)
        assert drawn.template is not None
        seen = template_inputs(drawn.picture, drawn.template).channels
        sheet = lay_out(boxes_of(strength(seen), 0.3), (384, 384))
        for truth in drawn.truths:
            assert covers(sheet, Roi(truth.mask, 0, 0)), (truth.label, seed)


def seen_as(picture: np.ndarray, template: np.ndarray) -> float:
    """Return the strongest difference, in spreads of the template, but at the border."""
    levels = template_channels(picture, template, Contrast(float(template.mean()), float(template.std())))
    return float(strength(levels)[8:-8, 8:-8].max()) / LEVELS


def test_a_hole_in_bright_metal_differs_however_little_of_the_board_is_metal() -> None:
    template = np.full((200, 200), 40.0, np.float32)
    template[90:110, 90:110] = 220.0  # nine spreads above the mean
    picture = template.copy()
    picture[97:102, 97:102] = 160.0
    assert seen_as(picture, template) > 1


@pytest.mark.parametrize("shift_px", [0.2, 0.35, 0.5])
def test_an_edge_beside_its_place_by_a_fraction_of_a_pixel_differs_less_than_a_bite_out_of_it(shift_px: float) -> None:
    drawn = np.where((np.arange(120) // 20) % 2, 200.0, 60.0).astype(np.float32)
    template = cv2.GaussianBlur(np.tile(drawn, (120, 1)), (0, 0), 1.0)
    move = np.array([[1, 0, shift_px], [0, 1, 0]], np.float64)
    beside = cv2.warpAffine(template, move, (120, 120), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    bitten = template.copy()
    bitten[58:63, 60:64] = template.min()
    assert 5 * seen_as(beside, template) < seen_as(bitten, template)


def test_a_speck_counts_no_more_for_being_bright() -> None:
    template = TEMPLATE[..., 0].astype(np.float32)
    bright, brighter = (template.copy() for _ in range(2))
    bright[200:202, 200:202] += 3 * CONTRAST.spread
    brighter[200:202, 200:202] += 30 * CONTRAST.spread
    assert 0 < seen_as(brighter, template) == pytest.approx(seen_as(bright, template), abs=0.1)


def test_a_picture_alone_gives_what_it_gives_in_a_batch_of_sheets_of_other_sizes() -> None:
    torch.manual_seed(3)
    model = LoadedModel(card(TINY), build_model(TINY).eval())
    screen = ScreenedEngine(TorchEngine(model, device="cpu", threads=1), THRESHOLD, NAME)
    batch = [
        channels(((20, 30, 40, 50),)),
        channels(()),
        channels(((20, 30, 40, 50), (200, 100, 290, 190))),
        channels(((0, 200, SIDE, 220),)),
    ]
    for alone, together in zip(batch, screen.infer(batch), strict=True):
        (expected,) = screen.infer([alone])
        np.testing.assert_allclose(together.boxes, expected.boxes, atol=1e-3)
        np.testing.assert_array_equal(together.labels, expected.labels)


def measured(**changes: object) -> Screening:
    values: dict[str, object] = {
        "model_id": "0",
        "engine": "test",
        "precision": "float32",
        "domain": "p",
        "dataset": "sim:board",
        "dataset_sha256": "0",
        "method": METHOD,
        "threshold": THRESHOLD,
        "chosen_on": 300,
        "pictures": 100,
        "defects": 400,
        "uncovered": 0,
        "lost": 0,
        "unasked": 40,
        "whole": 1,
        "seen": 0.1,
    }
    made = msgspec.convert(values | changes, Screening)
    return msgspec.structs.replace(made, sha256=hashed(made))


def product(**changes: object) -> ProductConfig:
    return ProductConfig.model_validate({"model": "tiny", "um_per_px": 20.0, "classes": {"open": {}}} | changes)


def test_a_screen_is_used_only_where_the_bound_is_within_the_products_limit(tmp_path: Path) -> None:
    save_screenings(tmp_path, [measured()])
    engine = Differences()
    assert measured().upper == pytest.approx(1 - 0.05 ** (1 / 400))
    behind = screened(engine, tmp_path, "p", product())
    assert isinstance(behind, ScreenedEngine)
    assert behind.threshold == THRESHOLD
    assert behind.ref.engine == f"{REF.engine} + screen {measured().sha256[:12]}"
    assert screened(engine, tmp_path, "p", product(screen="off")) is engine
    assert screened(engine, tmp_path, "p", product(screen_max_miss=0.005)) is engine
    assert screened(engine, tmp_path, "p", product(domain="other")) is engine
    assert measured_for(tmp_path, msgspec.structs.replace(REF, engine="openvino 1"), "p") == measured()
    assert measured_for(tmp_path, msgspec.structs.replace(REF, precision="int8"), "p") is None
    assert screened(engine, tmp_path / "nothing", "p", product()) is engine


def test_too_many_misses_and_another_method_are_objected_to_in_words() -> None:
    assert objection(measured(), product()) is None
    assert "missed 4 of 400 defects" in str(objection(measured(uncovered=1, lost=3), product()))
    assert "another version" in str(objection(measured(method=METHOD + 1), product()))


def test_a_measurement_edited_by_hand_is_refused_and_one_of_other_weights_is_not_read(tmp_path: Path) -> None:
    path = save_screenings(tmp_path, [measured()])
    assert read_screenings(tmp_path, "0") == [measured()]
    assert read_screenings(tmp_path, "other weights") == []
    save_screenings(tmp_path, [measured(domain="q")])
    assert [one.domain for one in read_screenings(tmp_path, "0")] == ["p", "q"]
    path.write_text(path.read_text().replace('"lost": 0', '"lost": 1'))
    with pytest.raises(ModelError, match="edited by hand"):
        read_screenings(tmp_path, "0")


@pytest.fixture
def line(tmp_path: Path) -> LineConfig:
    torch.manual_seed(5)
    weights = pack_weights(build_model(TINY))
    known = card(TINY).model_copy(update={"weights_sha256": hashlib.sha256(weights).hexdigest()})
    save_model(tmp_path / "tiny", known, weights)
    save_screenings(
        tmp_path / "tiny",
        [measured(model_id=known.model_id, engine=f"torch {torch.__version__.split('+')[0]}")],
    )
    table = {"model": "tiny", "um_per_px": 20.0, "classes": {"open": {}, "short": {}}}
    tables = {
        "products": {"p": table, "q": table | {"screen": "off"}},
        "detector": {"models_dir": str(tmp_path), "device": "cpu", "threads": 1},
    }
    return parse_config(tables, "test", {})


def test_results_name_the_screen_and_products_of_one_model_may_differ_in_it(line: LineConfig) -> None:
    inspector = Inspector(line)
    drawn = board(HELD_OUT, 3, size=(384, 384), defects=["short"])
    ready = [inspector.prepare(name, drawn.picture, drawn.template) for name in ("p", "q")]
    behind, plain = inspector.inspect_batch(ready)
    (measurement,) = read_screenings(line.detector.models_dir / "tiny", behind.model.model_id)
    assert behind.model.engine == f"{plain.model.engine} + screen {measurement.sha256[:12]}"
    assert len(inspector.engines) == 1


def test_a_model_is_warmed_through_its_network_although_an_empty_picture_passes_the_screen(line: LineConfig) -> None:
    inspector = Inspector(line, engines={"tiny": Differences()})
    inspector.used["p"] = (inspector.engines["tiny"], ScreenedEngine(inspector.engines["tiny"], THRESHOLD, NAME))
    warm(inspector, "p", "")
    engine = inspector.engines["tiny"]
    assert isinstance(engine, Differences)
    assert len(engine.shapes) == 1
