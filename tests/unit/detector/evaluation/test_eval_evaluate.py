"""A whole evaluation, on random weights: what is written, what it says, and what is refused before any work."""

import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import torch
from tiny_model import TINY, card

from detector.evaluation.evaluate import evaluate, read_outcomes
from detector.evaluation.report import read_report
from detector.model import build_model
from detector.registry import pack_weights, save_model
from taktwatch.config import LineConfig, parse_config
from taktwatch.errors import BadInput, ConfigError, ModelError, UnknownProduct
from taktwatch.simulator import BOARD_DEFECTS

SMALL = "sim:board?layouts=3&boards=2&height=96&width=96&defective=0.7"
SPEC = TINY.model_copy(update={"classes": BOARD_DEFECTS})
ANNOTATED = SPEC.model_copy(update={"target_margin_px": None})


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name, seed, spec in (("one", 5, SPEC), ("other", 6, SPEC), ("annotated", 5, ANNOTATED)):
        torch.manual_seed(seed)
        weights = pack_weights(build_model(spec))
        known = card(spec).model_copy(
            update={
                "name": name,
                "weights_sha256": hashlib.sha256(weights).hexdigest(),
                "metrics": {"f33_threshold": 0.4},
            }
        )
        save_model(folder / name, known, weights)
    return folder


def settings(models: Path) -> LineConfig:
    classes = {label: {"score": 0.18} for label in BOARD_DEFECTS}
    board = {"model": "one", "um_per_px": 20.0, "box_margin_um": 40.0, "classes": classes}
    tables = {
        "products": {"p": board, "s": {**board, "view": "section"}, "few": {**board, "classes": {"open": {}}}},
        "detector": {"models_dir": str(models), "engines_dir": str(models / "engines"), "device": "cpu", "threads": 1},
    }
    return parse_config(tables, "test", {})


class Outside(HTMLParser):
    """Collects what a page would fetch, and pictures without words."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        for name in ("src", "href", "srcset", "data"):
            if (value := known.get(name)) and not value.startswith("data:"):
                self.fetched.append(value)
        self.fetched += [tag] if tag in {"script", "link", "iframe"} else []
        self.silent += (tag == "img" and not known.get("alt")) or (tag == "svg" and known.get("role") != "img")


def test_a_report_holds_figures_page_and_outcomes(models: Path, tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    report = evaluate(
        settings(models), "one", SMALL, tmp_path / "out", against="other", on_progress=lambda *step: steps.append(step)
    )
    assert steps[0] == ("one", 0, 6)
    assert steps[-1] == ("other", 6, 6)
    assert read_report(tmp_path / "out" / "metrics.json") == report
    assert report.origin.product == "p"
    assert report.figures.headline.f_validation is not None
    assert report.comparison is not None
    assert report.origin.model.model_id == report.comparison.first
    outcomes = read_outcomes(tmp_path / "out" / "outcomes.json")
    assert [one.name for one in outcomes][:2] == ["layout-6000000-board-0", "layout-6000000-board-1"]
    assert sum(len(one.truths) for one in outcomes) == report.figures.truths
    assert any(found.reported for one in outcomes for found in one.found)
    assert any(not found.reported for one in outcomes for found in one.found)


def test_the_page_shows_both_models_beside_each_other(models: Path, tmp_path: Path) -> None:
    report = evaluate(settings(models), "one", SMALL, tmp_path / "both", against="other")
    alone = evaluate(settings(models), "other", SMALL, tmp_path / "alone")
    assert report.comparison is not None
    assert report.comparison.second_classes == alone.figures.classes
    assert report.comparison.second_rates == alone.figures.rates
    page = (tmp_path / "both" / "report.html").read_text().partition(" against ")[2]
    for first, second in zip(report.figures.classes, alone.figures.classes, strict=True):
        told = [
            str(first.truths),
            *("&ndash;" if ap is None else f"{100 * ap:.2f} %" for ap in (first.ap.value, second.ap.value)),
        ]
        told += [f"{one.found.events} of {one.found.n}" for one in (first, second)]
        told += [str(one.false_calls) for one in (first, second)]
        row = "".join(f"<td>{cell}</td>" for cell in told)
        assert f'<th scope="row">{first.label}</th>{row}' in page
    for side, rates in (("first", report.figures.rates), ("second", alone.figures.rates)):
        for name, rate in (("escapes", rates.escapes), ("false calls", rates.false_calls)):
            assert f'<th scope="row">{name}: {side}</th><td>{rate.events} of {rate.n}</td>' in page


def test_a_model_is_compared_with_itself_on_another_engine(models: Path, tmp_path: Path) -> None:
    report = evaluate(settings(models), "one", SMALL, tmp_path, engine="onnx", against_engine="torch")
    assert report.origin.model.engine.startswith("onnxruntime")
    assert report.comparison is not None
    assert report.comparison.first.endswith(" on onnxruntime float32")
    assert report.comparison.second.endswith(" on torch float32")
    assert report.origin.command.endswith("--engine onnx --against one --against-engine torch")
    with pytest.raises(ConfigError, match="no engine is called 'abacus'"):
        evaluate(settings(models), "one", SMALL, tmp_path, engine="abacus")


def test_the_page_needs_nothing_else_and_speaks_without_pictures(models: Path, tmp_path: Path) -> None:
    evaluate(settings(models), "one", SMALL, tmp_path)
    text = (tmp_path / "report.html").read_text()
    page = Outside()
    page.feed(text)
    assert page.fetched == []
    assert page.silent == 0
    assert "url(" not in text
    for drawn in re.findall(r"<svg.*?</svg>", text):
        root = ET.fromstring(drawn)  # noqa: S314 - our own page
        assert root.find("title") is not None
        assert root.find("desc") is not None
    assert text.count("<h1>") == 1
    assert 'lang="en"' in text


def test_the_same_evaluation_gives_the_same_figures(models: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        evaluate(settings(models), "one", SMALL, tmp_path / name)
    one, other = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("a", "b"))
    assert one == other


def test_boxes_are_grown_by_the_products_margin(models: Path, tmp_path: Path) -> None:
    evaluate(settings(models), "one", SMALL, tmp_path)
    from taktwatch.rle import bbox  # noqa: PLC0415

    for one in read_outcomes(tmp_path / "outcomes.json"):
        for found in one.found:
            x0, y0, x1, y1 = bbox(found.mask)
            assert found.box_px == (max(x0 - 2, 0), max(y0 - 2, 0), min(x1 + 2, 96), min(y1 + 2, 96))


def test_a_model_that_learned_the_annotators_boxes_is_measured_by_its_own(models: Path, tmp_path: Path) -> None:
    for name in ("one", "annotated"):
        evaluate(settings(models), name, SMALL, tmp_path / name)
    plain, own = (read_outcomes(tmp_path / name / "outcomes.json") for name in ("one", "annotated"))
    assert sum(len(one.found) for one in own) > 0
    for one, other in zip(plain, own, strict=True):  # the same weights: what differs is whose boxes are told
        assert [found.mask for found in one.found] == [found.mask for found in other.found]
        assert all(found.box_px != told.box_px for found, told in zip(one.found, other.found, strict=True))


def test_mistakes_are_refused_before_any_picture_is_inspected(models: Path, tmp_path: Path) -> None:
    config, began = settings(models), []
    for kind, words, asked in (
        (ModelError, "card.json is missing", {"model": "nosuch", "dataset": SMALL}),
        (ModelError, "card.json is missing", {"model": "one", "dataset": SMALL, "against": "nosuch"}),
        (BadInput, "unknown setting", {"model": "one", "dataset": "sim:board?x=1"}),
        (UnknownProduct, "unknown product", {"model": "one", "dataset": SMALL, "product": "q"}),
        (ConfigError, "is a section view", {"model": "one", "dataset": SMALL, "product": "s"}),
        (BadInput, "unknown class 'short'", {"model": "one", "dataset": SMALL, "product": "few"}),
    ):
        with pytest.raises(kind, match=words):
            evaluate(config, out=tmp_path, on_progress=lambda *step: began.append(step), **asked)
    assert began == []
    assert list(tmp_path.iterdir()) == []
