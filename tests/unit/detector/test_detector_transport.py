"""A template's lines are moved to where a line-scan camera's picture has them, and defects stay what they are."""

import numpy as np
import pytest

from detector.aligning.transport import MOST_PX, in_step
from detector.evidence import shown
from detector.inputs import Pair, contrast_of, lay_template
from detector.judge import Finding
from detector.masks import Roi
from taktwatch.records import Registration
from taktwatch.simulator import BOARD_DEFECTS, SimulatedPicture, board, product_look

SIDE = 384
LEAST_PX = 10
PLACED = Registration(matrix=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), quality=1.0)


def drawn(seed: int, defects: tuple[str, ...] = ()) -> SimulatedPicture:
    return board(seed, 1, size=(SIDE, SIDE), defects=defects, look=product_look(seed, "binary", "varied"))


def walk(seed: int) -> np.ndarray:
    """Return for each line which one the camera took in its place: the board ran a little too fast, then too slow."""
    rng = np.random.default_rng(seed)
    knots = np.clip(np.cumsum(rng.uniform(-2, 2, SIDE // 32 + 1)), 1 - MOST_PX, MOST_PX - 1)
    off = np.interp(np.arange(SIDE), np.arange(len(knots)) * 32, knots)
    return np.clip(np.rint(np.arange(SIDE) + off), 0, SIDE - 1).astype(int)


def pulled(picture: np.ndarray, lines: np.ndarray, axis: int) -> np.ndarray:
    return np.ascontiguousarray(np.take(picture, lines, axis=axis))


def off(seen: np.ndarray, golden: np.ndarray) -> float:
    """Return the share of px that differ by more than half of the contrast."""
    return float((np.abs(seen.astype(np.float32) - golden) > 127).mean())


@pytest.mark.parametrize("axis", [0, 1])
def test_lines_are_found_where_the_picture_has_them(axis: int) -> None:
    added = left = 0.0
    for seed in range(5_600_000, 5_600_008):
        still = drawn(seed)
        laid = lay_template(still.picture, still.template)
        seen, least = pulled(laid.seen, walk(seed), axis), off(laid.seen, laid.lit)
        added += off(seen, laid.lit) - least
        left += off(seen, in_step(seen, laid.lit)) - least
    assert added > 0.1
    assert left < 0.12 * added


def test_a_picture_in_step_gives_the_template_as_it_is() -> None:
    for seed in range(5_600_000, 5_600_006):
        still = drawn(seed, ("open", "mousebite"))
        laid = lay_template(still.picture, still.template)
        assert in_step(laid.seen, laid.lit) is laid.lit


def test_an_empty_picture_is_in_step() -> None:
    even = np.full((64, 64), 90, np.uint8)
    golden = even.astype(np.float32)
    assert in_step(even, golden) is golden


def test_what_is_off_on_part_of_a_line_stays_off() -> None:
    golden = np.full((SIDE, SIDE), 230, np.uint8)
    for column in range(12, SIDE - 12, 24):
        golden[:, column : column + 10] = 20
    seen = golden.copy()
    seen[:60] = np.roll(golden[:60], 4, axis=1)
    step = in_step(seen, golden.astype(np.float32))
    assert off(seen[:60], step[:60]) > 0.9 * off(seen[:60], golden[:60])
    assert off(seen[60:], step[60:]) == 0


def test_defects_are_shown_on_boards_that_run_unevenly_as_on_others() -> None:
    defects, still_shown, pulled_shown = 0, 0, 0
    for seed in range(5_600_000, 5_600_008):
        one = drawn(seed, BOARD_DEFECTS)
        laid = lay_template(one.picture, one.template)
        lines = walk(seed)
        seen = pulled(laid.seen, lines, 1)
        stepped = Pair(seen, in_step(seen, laid.lit), contrast_of(one.template), PLACED)
        for truth in one.truths:
            defects += 1
            still_shown += len(shown([finding(truth.label, truth.mask)], laid, LEAST_PX))
            pulled_shown += len(shown([finding(truth.label, pulled(truth.mask, lines, 1))], stepped, LEAST_PX))
    assert defects > 30
    assert pulled_shown >= still_shown - 1


def finding(label: str, mask: np.ndarray) -> Finding:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    tight = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Finding(label, 1.0, Roi(tight, int(columns[0]), int(rows[0])))
