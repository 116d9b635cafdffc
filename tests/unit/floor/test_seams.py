"""Cutting into overlapping pieces, and counting once what several pieces show."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from taktwatch.seams import Seen, groups, hull
from taktwatch.strips import cut, cut_panel, spans

LEFT, RIGHT = (0.0, 0.0, 100.0, 100.0), (80.0, 0.0, 180.0, 100.0)


@given(st.integers(1, 50_000), st.integers(2, 4_000), st.data())
def test_spans_cover_everything_overlap_enough_and_are_all_of_one_size(
    length: int, most: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, most - 1 if most < 3 else most // 2))
    found = spans(length, most, overlap)
    assert found[0][0] == 0
    assert found[-1][1] == length
    assert len({end - start for start, end in found}) == 1
    assert all(one[1] - other[0] >= overlap for one, other in pairwise(found))
    assert found[0][1] <= most


@given(st.integers(1, 30_000), st.integers(1, 30_000), st.integers(1_000_000, 12_000_000))
def test_strips_of_a_panel_cover_it_and_none_is_too_large(width: int, height: int, px: int) -> None:
    boxes = cut_panel(width, height, px, 96)
    assert max((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes) <= px
    assert (min(box[0] for box in boxes), min(box[1] for box in boxes)) == (0, 0)
    assert (max(box[2] for box in boxes), max(box[3] for box in boxes)) == (width, height)


def test_pieces_of_a_grid_come_row_by_row() -> None:
    assert cut(100, 90, (60, 50), 10) == [(0, 0, 55, 50), (45, 0, 100, 50), (0, 40, 55, 90), (45, 40, 100, 90)]


def test_a_defect_that_two_pieces_show_whole_is_one() -> None:
    twins = [Seen((84, 40, 96, 52), LEFT, "spur", 0.8), Seen((83, 40, 96, 53), RIGHT, "mousebite", 0.7)]
    assert groups(twins) == [[0, 1]]


def test_a_defect_longer_than_the_overlap_is_one_and_its_box_is_the_hull() -> None:
    parts = [Seen((30, 40, 100, 50), LEFT, "short", 0.8), Seen((80, 41, 150, 50), RIGHT, "short", 0.9)]
    assert groups(parts) == [[1, 0]]
    assert hull([part.box for part in parts]) == (30, 40, 150, 50)


def test_what_the_seam_cuts_is_named_by_the_piece_that_shows_it_whole() -> None:
    cut_off, whole = Seen((92, 40, 100, 50), LEFT, "spur", 0.99), Seen((92, 40, 120, 50), RIGHT, "short", 0.6)
    assert groups([cut_off, whole]) == [[1, 0]]


def test_neighbours_are_two_defects() -> None:
    assert len(groups([Seen((84, 10, 96, 20), LEFT, "open", 0.9), Seen((84, 22, 96, 32), RIGHT, "open", 0.9)])) == 2
    assert len(groups([Seen((60, 10, 78, 20), LEFT, "open", 0.9), Seen((101, 10, 120, 20), RIGHT, "open", 0.9)])) == 2


def test_two_defects_that_one_piece_saw_apart_stay_two_whatever_the_other_saw() -> None:
    apart = [Seen((82, 10, 88, 20), LEFT, "open", 0.9), Seen((90, 10, 97, 20), LEFT, "open", 0.9)]
    together = Seen((82, 10, 97, 20), RIGHT, "open", 0.5)
    assert sorted(map(len, groups([*apart, together]))) == [1, 2]


def test_a_defect_in_the_corner_of_four_pieces_is_one() -> None:
    pieces = cut(180, 180, (100, 100), 20)
    seen = [Seen((85, 85, 95, 95), piece, "pin_hole", 0.5 + index / 10) for index, piece in enumerate(pieces)]
    assert groups(seen) == [[3, 2, 1, 0]]


@given(st.lists(st.tuples(st.integers(0, 160), st.integers(0, 90), st.sampled_from([LEFT, RIGHT])), max_size=12))
def test_every_finding_is_in_exactly_one_group(
    places: list[tuple[int, int, tuple[float, float, float, float]]],
) -> None:
    seen = [Seen((x, y, x + 10, y + 10), piece, "open", 0.5) for x, y, piece in places]
    assert sorted(index for group in groups(seen) for index in group) == list(range(len(seen)))
