"""Data sets: what is in them comes out, and what is wrong is named before anything is inspected."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as oracle

from detector.evaluation.coco_folder import to_rle
from detector.evaluation.datasets import open_dataset
from detector.evaluation.deeppcb import defect_mask
from taktwatch.errors import BadInput
from taktwatch.pictures import encode_png
from taktwatch.rle import area, decode

SIZE = (60, 80)


def black(size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.zeros((*size, 3), np.uint8)


def pair(folder: Path, name: str, boxes: list[tuple[int, int, int, int, int]], *, spot: bool = True) -> None:
    """Write a picture whose defects are white squares inside their padded boxes."""
    picture = black()
    for x0, y0, x1, y1, _ in boxes:
        if spot:
            picture[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3] = 255
    (folder / f"{name}_test.png").write_bytes(encode_png(picture))
    (folder / f"{name}_temp.png").write_bytes(encode_png(black()))
    (folder / f"{name}.txt").write_text("".join(" ".join(map(str, box)) + "\n" for box in boxes))


@pytest.fixture
def deeppcb(tmp_path: Path) -> Path:
    pair(tmp_path, "00041200", [(10, 10, 30, 30, 3), (40, 20, 60, 50, 1)])
    pair(tmp_path, "00041201", [(5, 5, 25, 25, 6)], spot=False)
    pair(tmp_path, "12300001", [])
    return tmp_path


def test_deeppcb_pairs_become_truths_with_masks(deeppcb: Path) -> None:
    data = open_dataset(str(deeppcb))
    assert (data.kind, data.view, len(data.items)) == ("deeppcb", "board", 3)
    assert [item.board for item in data.items] == ["00041", "00041", "12300"]
    first = data.items[0].load()
    assert [(one.label, one.box_px) for one in first.truths] == [
        ("mousebite", (10, 10, 30, 30)),
        ("open", (40, 20, 60, 50)),
    ]
    mask = decode(first.truths[0].mask)
    assert mask.sum() == first.truths[0].area_px == 14 * 14
    assert mask[13:27, 13:27].all()
    assert first.truths[0].sized


def test_a_box_that_shows_no_difference_stands_for_its_defect(deeppcb: Path) -> None:
    (only,) = open_dataset(str(deeppcb)).items[1].load().truths
    assert (only.area_px, only.sized) == (400, False)


def test_specks_of_one_pixel_are_no_defect() -> None:
    picture = black()
    picture[15, 15] = picture[18, 20] = 255
    mask, sized = defect_mask(picture, black(), (10, 10, 30, 30))
    assert mask.all()
    assert not sized


def test_the_hash_names_the_content(deeppcb: Path) -> None:
    before = open_dataset(str(deeppcb)).sha256
    assert open_dataset(str(deeppcb)).sha256 == before
    (deeppcb / "00041200.txt").write_text("10 10 30 30 3\n")
    assert open_dataset(str(deeppcb)).sha256 != before


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("10 10 30 30 7", "unknown class 7"),
        ("10 10 90 30 1", "outside the 80x60 picture"),
        ("10 10 10 30 1", "is empty or outside"),
        ("-1 10 30 30 1", "is empty or outside"),
        ("10 10 30 1", "is not x1 y1 x2 y2 type"),
        ("a b c d e", "is not x1 y1 x2 y2 type"),
    ],
)
def test_a_wrong_line_is_named(deeppcb: Path, line: str, words: str) -> None:
    (deeppcb / "00041200.txt").write_text(f"10 10 30 30 3\n{line}\n")
    with pytest.raises(BadInput, match=rf"00041200\.txt, line 2: .*{words}"):
        open_dataset(str(deeppcb))


def test_what_is_missing_is_named(deeppcb: Path) -> None:
    whole = deeppcb.parent / "whole"
    shutil.copytree(deeppcb, whole)
    for name, words in (
        ("00041200_temp.png", r"00041200_test\.png: its template 00041200_temp\.png is missing"),
        ("00041200.txt", r"its truth 00041200\.txt is missing"),
        ("00041200_test.png", r"truth without its picture 00041200_test"),
    ):
        shutil.rmtree(deeppcb)
        shutil.copytree(whole, deeppcb)
        (deeppcb / name).unlink()
        with pytest.raises(BadInput, match=words):
            open_dataset(str(deeppcb))


def test_a_template_of_another_size_is_refused(deeppcb: Path) -> None:
    (deeppcb / "12300001_temp.png").write_bytes(encode_png(black((60, 81))))
    with pytest.raises(BadInput, match=r"12300001_temp\.png: 81x60 px, its picture 80x60"):
        open_dataset(str(deeppcb))


def test_a_file_that_is_no_picture_is_refused(deeppcb: Path) -> None:
    (deeppcb / "12300001_test.png").write_bytes(b"hello")
    with pytest.raises(BadInput, match=r"12300001_test\.png: not a picture"):
        open_dataset(str(deeppcb))


SQUARE = [[10, 10, 30, 10, 30, 30, 10, 30]]


def describe(folder: Path, **changes: Any) -> Path:
    """Write a COCO set of one picture; `changes` go into its annotation."""
    (folder / "images").mkdir(exist_ok=True)
    (folder / "templates").mkdir(exist_ok=True)
    for name in ("images", "templates"):
        (folder / name / "a.png").write_bytes(encode_png(black()))
    annotation = {"id": 7, "image_id": 1, "category_id": 2, "segmentation": SQUARE, "bbox": [10, 10, 20, 20]} | changes
    tables = {
        "images": [{"id": 1, "file_name": "a.png", "width": 80, "height": 60, "board": "b-1"}],
        "annotations": [annotation],
        "categories": [{"id": 1, "name": "open"}, {"id": 2, "name": "short"}],
    }
    (folder / "instances.json").write_text(json.dumps(tables))
    return folder


def test_coco_masks_become_truths(tmp_path: Path) -> None:
    data = open_dataset(str(describe(tmp_path)))
    assert (data.kind, data.labels) == ("coco", ("open", "short"))
    (item,) = data.items
    loaded = item.load()
    assert (item.name, item.board) == ("a.png", "b-1")
    assert loaded.template is not None
    (truth,) = loaded.truths
    assert (truth.label, truth.box_px, truth.area_px) == ("short", (10, 10, 30, 30), 400)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"category_id": 9}, "unknown class 9"),
        ({"image_id": 4}, "picture 4 is not listed"),
        ({"segmentation": []}, "no mask"),
        ({"segmentation": [[10, 10, 10, 10, 10, 10]]}, "an empty mask"),
        ({"bbox": [10, 10, 200, 20]}, "outside the 80x60 picture"),
        ({"bbox": [10, 10, 0, 20]}, "is empty or outside"),
        ({"iscrowd": 1}, "a crowd"),
        ({"segmentation": {"size": [10, 10], "counts": "0P3"}}, "its picture 80x60"),
        ({"segmentation": {"size": [60, 80], "counts": "!"}}, "its mask cannot be read"),
    ],
)
def test_a_wrong_annotation_is_named(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=rf"instances\.json, annotation 7: .*{words}"):
        open_dataset(str(describe(tmp_path, **changes)))


def test_a_coco_picture_that_is_missing_or_of_another_size_is_named(tmp_path: Path) -> None:
    describe(tmp_path)
    (tmp_path / "templates" / "a.png").write_bytes(encode_png(black((50, 80))))
    with pytest.raises(BadInput, match=r"templates/a\.png: 80x50 px, instances\.json says 80x60"):
        open_dataset(str(tmp_path))
    (tmp_path / "images" / "a.png").unlink()
    with pytest.raises(BadInput, match=r"picture a\.png is missing"):
        open_dataset(str(tmp_path))


def test_a_name_that_leaves_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    describe(folder)
    (tmp_path / "b.png").write_bytes(encode_png(black()))
    text = (folder / "instances.json").read_text().replace('"a.png"', '"../b.png"')
    (folder / "instances.json").write_text(text)
    with pytest.raises(BadInput, match="is missing"):
        open_dataset(str(folder))


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 60), st.floats(0, 50)), min_size=3, max_size=8))
def test_polygons_cover_what_pycocotools_says(points: list[tuple[float, float]]) -> None:
    flat = [float(end) for point in points for end in point]
    expected = oracle.merge(oracle.frPyObjects([flat], 60, 80))
    assert to_rle([flat], 60, 80).counts == expected["counts"].decode()
    assert area(to_rle([flat], 60, 80)) == oracle.area(expected)


def test_a_simulated_set_is_the_same_again_and_groups_by_product() -> None:
    where = "sim:board?layouts=2&boards=2&height=96&width=128&defective=1"
    one, again = open_dataset(where), open_dataset(where)
    assert one.sha256 == again.sha256
    assert [item.board for item in one.items] == ["layout-6000000"] * 2 + ["layout-6000001"] * 2
    for first, second in zip(one.items, again.items, strict=True):
        a, b = first.load(), second.load()
        assert np.array_equal(a.picture, b.picture)
        assert a.truths == b.truths
        assert a.picture.shape == (96, 128, 3)
    assert open_dataset(where + "&first=7").sha256 != one.sha256


def test_good_boards_alone_can_be_asked_for() -> None:
    data = open_dataset("sim:board?layouts=3&boards=2&height=96&width=96&defective=0")
    assert all(item.load().truths == () for item in data.items)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("sim:side", "no simulated view 'side'"),
        ("sim:board?layout=3", "unknown setting 'layout'; there are: layouts"),
        ("sim:board?layouts=many", "layouts=many is no number"),
        ("sim:board?layouts=0", "at least 1"),
        ("sim:board?defective=2", "no share"),
        ("sim:board?camera=infrared", "no camera 'infrared'"),
        ("sim:board?height=10", "below 96 px"),
        ("sim:board?view=section", "unknown setting 'view'"),
        ("sim:section?style=held-out", "no style 'held-out'; there are: plain, varied"),
        ("sim:board?style=fancy", "no style 'fancy'; there are: plain, varied, held-out"),
        ("sim:board?reimaged=-1", "reimaged=-1"),
        ("sim:section?reimaged=1", "boards of the board view are re-imaged"),
        ("/nowhere/at/all", "not a folder"),
    ],
)
def test_words_that_mean_nothing_are_refused(where: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        open_dataset(where)


def test_an_empty_folder_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="neither ID_test"):
        open_dataset(str(tmp_path))


def test_a_style_changes_the_boards_of_a_simulated_set_and_not_their_number() -> None:
    words = "sim:board?layouts=2&boards=1&height=96&width=96&defective=0"
    plain, other = (open_dataset(f"{words}&style={style}") for style in ("plain", "held-out"))
    assert plain.sha256 != other.sha256
    assert not np.array_equal(plain.items[0].load().picture, other.items[0].load().picture)
    assert np.array_equal(open_dataset(words).items[0].load().picture, plain.items[0].load().picture)


def test_a_good_board_is_re_imaged_between_defective_ones_that_are_each_their_own() -> None:
    words = "sim:board?layouts=1&boards=12&height=96&width=96&camera=binary&defective=0.4"
    fresh, again = (list(open_dataset(words + more).items) for more in ("", "&reimaged=1"))
    good: list[np.ndarray] = []
    for one, other in zip(fresh, again, strict=True):
        alone, seen = one.load(), other.load()
        assert bool(alone.truths) == bool(seen.truths)
        assert np.array_equal(alone.template, seen.template)
        if seen.truths:
            assert np.array_equal(alone.picture, seen.picture)
        else:
            good.append(seen.picture)
    assert len(good) > 3
    assert all(not np.array_equal(good[0], picture) for picture in good[1:])
    assert open_dataset(words).sha256 != open_dataset(words + "&reimaged=1").sha256
    assert open_dataset(words).sha256 == open_dataset(words + "&reimaged=0").sha256
