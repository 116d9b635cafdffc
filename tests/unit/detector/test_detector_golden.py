"""A golden template is what good boards share; a product folder proves that it was not touched since."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from detector.aligning.light import lit_like
from detector.aligning.regions import inspected_area
from detector.aligning.registration import matrix_of, register
from detector.products.golden import build_golden
from detector.products.product import find_boards, load_product, make_product
from taktwatch.errors import BadInput, ConfigError
from taktwatch.pictures import encode_png
from taktwatch.simulator import board, golden, product_look

LAYOUT, SIZE = 11, (320, 320)
NOW = datetime(2026, 3, 3, 6, tzinfo=UTC)


def good_boards(count: int, layout: int = LAYOUT) -> list[np.ndarray]:
    look = replace(product_look(layout), noise_sd=4.0, gradient=0.2)
    return [board(layout, seed, size=SIZE, defects=(), look=look).picture for seed in range(count)]


def grey(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)


def named(count: int) -> list[str]:
    return [f"board{index}.png" for index in range(count)]


def test_the_median_of_good_boards_is_cleaner_than_any_of_them() -> None:
    boards = good_boards(7)
    truth = grey(golden(LAYOUT, size=SIZE))
    made = build_golden(boards, named(7))
    high = [_fine(grey(picture)) for picture in (made.template, *boards)]
    assert high[0] < 0.75 * min(high[1:])
    assert register(grey(made.template), truth)[0].quality > 0.97


def _fine(picture: np.ndarray) -> float:
    """Noise: the median of what a 3x3 median takes away."""
    return float(np.mean(np.abs(picture.astype(float) - cv2.medianBlur(picture, 3))))


def test_one_defect_on_one_board_leaves_no_mark_in_the_template_or_the_tolerance() -> None:
    boards = good_boards(7)
    clean = build_golden(boards, named(7))
    spoiled = [picture.copy() for picture in boards]
    spoiled[2][150:170, 150:170] = 255
    made = build_golden(spoiled, named(7))
    near = np.s_[140:180, 140:180]
    assert np.abs(made.template[near].astype(int) - clean.template[near].astype(int)).max() < 40
    assert made.tolerance[near].mean() < 2 * clean.tolerance[near].mean()


def test_another_good_board_stays_within_the_tolerance_and_defects_do_not() -> None:
    made = build_golden(good_boards(9), named(9))
    look = replace(product_look(LAYOUT), noise_sd=4.0, gradient=0.2)
    seen = board(LAYOUT, 99, size=SIZE, defects=("short", "open"), look=look)
    picture, spoiled = grey(seen.picture), np.any([truth.mask for truth in seen.truths], axis=0)
    found, warped = register(picture, grey(made.template))
    tolerance = cv2.warpPerspective(made.tolerance, matrix_of(found), SIZE[::-1])
    stray = cv2.medianBlur(np.clip(np.abs(picture - lit_like(warped, picture)), 0, 255).astype(np.uint8), 3) > tolerance
    area = inspected_area(SIZE, matrix_of(found), roi=made.roi)
    beside = area & ~cv2.dilate(spoiled.astype(np.uint8), np.ones((9, 9))).astype(bool)
    assert len(seen.truths) == 2
    assert stray[beside].mean() < 0.04
    for truth in seen.truths:
        assert stray[truth.mask].mean() > 0.2, truth.label


def test_the_region_of_interest_lies_inside_and_every_board_shows_it() -> None:
    made = build_golden(good_boards(5), named(5))
    (x0, y0), _, (x1, y1), _ = made.roi
    assert 0 <= min(x0, y0) <= max(x0, y0) < 25
    assert 295 < min(x1, y1) <= max(x1, y1) <= 319
    area = inspected_area(SIZE, np.eye(3), roi=made.roi)
    assert np.count_nonzero(area) == (x1 - x0 + 1) * (y1 - y0 + 1)


@pytest.mark.parametrize("place", range(5))
def test_a_board_of_another_product_is_refused_by_name(place: int) -> None:
    boards = good_boards(5)
    boards[place] = good_boards(1, layout=12)[0]
    with pytest.raises(BadInput, match=f"board{place}.png does not fit the other boards"):
        build_golden(boards, named(5))


def test_a_turned_board_is_refused_by_name() -> None:
    boards = good_boards(4)
    boards[3] = np.ascontiguousarray(boards[3][::-1, ::-1])
    with pytest.raises(BadInput, match=r"board3\.png does not fit .* turned around"):
        build_golden(boards, named(4))


def test_too_few_boards_and_boards_of_two_sizes_are_refused() -> None:
    boards = good_boards(3)
    with pytest.raises(BadInput, match="3 to 64 pictures of good boards, not 2"):
        build_golden(boards[:2], named(2))
    with pytest.raises(BadInput, match=r"board1\.png is 300x320 px, board0\.png 320x320"):
        build_golden([boards[0], boards[1][:, :300], boards[2]], named(3))


def write_boards(folder: Path) -> list[Path]:
    folder.mkdir()
    for index, picture in enumerate(good_boards(4)):
        (folder / f"b{index}.png").write_bytes(encode_png(picture))
    (folder / "notes.txt").write_text("taken on Monday")
    return find_boards(folder)


def test_a_product_comes_back_as_it_was_made_and_counts_its_versions(tmp_path: Path) -> None:
    files = write_boards(tmp_path / "good")
    first = make_product("widget", files, tmp_path / "products", um_per_px=20.8, now=NOW)
    product = load_product(tmp_path / "products" / "widget")
    assert product.card == first
    assert first.version == 1
    assert product.template.shape == (320, 320, 3)
    assert product.tolerance.shape == (320, 320)
    assert [source.file for source in first.sources] == ["b0.png", "b1.png", "b2.png", "b3.png"]
    again = make_product("widget", files, tmp_path / "products", um_per_px=20.8, now=NOW)
    assert again.version == 2
    assert again.template_sha256 == first.template_sha256


def test_an_edited_template_is_refused(tmp_path: Path) -> None:
    make_product("widget", write_boards(tmp_path / "good"), tmp_path, um_per_px=20.8, now=NOW)
    edited = load_product(tmp_path / "widget").template.copy()
    edited[:8] = 0
    (tmp_path / "widget" / "template.png").write_bytes(encode_png(edited))
    with pytest.raises(ConfigError, match=r"template\.png is not the file that product\.json names"):
        load_product(tmp_path / "widget")


def test_a_missing_or_broken_card_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"product\.json cannot be read"):
        load_product(tmp_path / "nothing")
    (tmp_path / "product.json").write_bytes(msgspec.json.encode({"name": "x"}))
    with pytest.raises(ConfigError, match=r"product\.json is no product card"):
        load_product(tmp_path)


def test_a_refused_board_leaves_the_earlier_version_in_place(tmp_path: Path) -> None:
    files = write_boards(tmp_path / "good")
    first = make_product("widget", files, tmp_path, um_per_px=20.8, now=NOW)
    files[1].write_bytes(files[1].read_bytes()[:5000])
    with pytest.raises(BadInput, match=r"b1\.png"):
        make_product("widget", files, tmp_path, um_per_px=20.8, now=NOW)
    assert load_product(tmp_path / "widget").card == first


@pytest.mark.parametrize("name", ["../evil", "", "a b", "x" * 65])
def test_a_product_name_cannot_leave_its_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="product name"):
        make_product(name, [], tmp_path, um_per_px=20.8, now=NOW)
