"""Pictures in a row: one report each, in order, whatever is wrong with some. Plumbing, on random weights."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_model import TINY, card

from detector.folder import inspect_pictures
from detector.inspect import Inspector
from detector.model import build_model
from detector.overlay import draw_overlay
from detector.registry import pack_weights, save_model
from taktwatch.config import IngestConfig, LineConfig, parse_config
from taktwatch.errors import ConfigError, UnknownProduct
from taktwatch.inspection import inspect_files
from taktwatch.pictures import encode_png
from taktwatch.records import Detection
from taktwatch.rle import encode
from taktwatch.simulator import board, golden

TEMPLATE = golden(3, size=(96, 128))
BODY = encode_png(TEMPLATE)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(5)
    weights = pack_weights(build_model(TINY))
    known = card(TINY).model_copy(update={"weights_sha256": hashlib.sha256(weights).hexdigest()})
    save_model(folder / "tiny", known, weights)
    return folder


def settings(models: Path, **product: object) -> LineConfig:
    table = {"model": "tiny", "um_per_px": 20.0, "classes": {"open": {"score": 0.01}, "short": {"score": 0.01}}}
    tables = {
        "products": {"p": table | product},
        "detector": {"models_dir": str(models), "device": "cpu", "threads": 1},
    }
    return parse_config(tables, "test", {})


def picture(seed: int) -> bytes:
    return encode_png(board(3, seed, size=(96, 128), defects=()).picture)


def test_one_bad_picture_does_not_stop_the_others(models: Path) -> None:
    bodies = [picture(0), b"", b"hello", picture(1)[:3000], picture(2)]
    names = [Path(f"{index}.png") for index in range(5)]
    reports = list(inspect_pictures(settings(models), "p", ((n, b, BODY) for n, b in zip(names, bodies, strict=True))))
    assert [report.path for report in reports] == names
    assert [report.inspection is not None for report in reports] == [True, False, False, False, True]
    for report in reports[1:4]:
        assert str(report.path) in report.error
        assert "\n" not in report.error


def test_a_picture_without_a_template_says_what_to_do(models: Path) -> None:
    (report,) = inspect_pictures(settings(models), "p", [(Path("a.png"), picture(0), None)])
    assert "put ID_temp.* beside the picture" in report.error


def test_the_products_own_template_is_used_where_none_is_given(models: Path, tmp_path: Path) -> None:
    (tmp_path / "golden.png").write_bytes(BODY)
    config = settings(models, template=str(tmp_path / "golden.png"))
    (report,) = inspect_pictures(config, "p", [(Path("a.png"), picture(0), None)])
    assert report.inspection is not None
    missing = settings(models, template=str(tmp_path / "absent.png"))
    with pytest.raises(ConfigError, match=r"absent\.png cannot be read"):
        list(inspect_pictures(missing, "p", [(Path("a.png"), picture(0), None)]))


def test_an_unknown_product_is_refused_before_any_picture_is_read(models: Path) -> None:
    with pytest.raises(UnknownProduct, match="unknown product 'q'"):
        next(inspect_pictures(settings(models), "q", iter([])))


def test_a_batch_of_several_sizes_comes_back_in_its_order(models: Path) -> None:
    inspector = Inspector(settings(models))
    small = board(3, 9, size=(96, 96), defects=())
    assert small.template is not None
    pairs = [(board(3, seed, size=(96, 128), defects=()).picture, TEMPLATE) for seed in range(3)]
    pairs.insert(1, (small.picture, small.template))
    prepared = [inspector.prepare("p", seen, template) for seen, template in pairs]
    together = inspector.inspect_batch(prepared)
    alone = [inspector.inspect_batch([one])[0] for one in prepared]
    for one, other in zip(together, alone, strict=True):
        assert [found.label for found in one.detections] == [found.label for found in other.detections]
        assert one.registration == other.registration
    assert together[1].detections == () or together[1].detections[0].mask.size == (96, 96)


def test_the_overlay_marks_what_was_found_and_leaves_the_picture_alone() -> None:
    mask = np.zeros((64, 64), bool)
    mask[30:40, 20:34] = True
    found = Detection(label="open", score=0.9, box_px=(20, 30, 34, 40), mask=encode(mask), area_px=140, area_um2=140)
    picture = np.full((64, 64, 3), 90, np.uint8)
    drawn = draw_overlay(picture, [found])
    assert (picture == 90).all()
    assert drawn[30, 25].tolist() == [255, 48, 48]
    assert drawn[35, 27].tolist() == [90, 90, 90]


def test_a_picture_over_the_limit_of_one_piece_is_inspected_as_a_panel(models: Path, tmp_path: Path) -> None:
    config = settings(models).model_copy(update={"ingest": IngestConfig(max_picture_px=4096)})
    panel, template, other = (tmp_path / f"{name}.png" for name in ("panel", "template", "other"))
    panel.write_bytes(picture(0))
    template.write_bytes(BODY)
    other.write_bytes(encode_png(TEMPLATE[:60, :60]))
    answers = list(inspect_files(config, "p", [panel, other], template=template, overlay=None))
    assert [answer.verdict is None for answer in answers] == [False, True]
    assert answers[0].detections is not None
    assert "60x60 px, its template" in (answers[1].error or "")
