"""Where only one of picture and template was scanned nothing is found, and the board does not pass either."""

import numpy as np
import pytest

from detector.aligning.ends import LEAST_PX, MOST_PX, unscanned
from detector.inputs import template_inputs
from detector.reference import differences
from detector.unexplained import unexplained
from taktwatch.config import ClassConfig, ProductConfig
from taktwatch.records import Doubt
from taktwatch.simulator import board, product_look

PRODUCT = ProductConfig(model="board-sim", um_per_px=20.0, classes={"open": ClassConfig()})
LIGHT, DARK = 235, 25
SIDE = 240


def scanned(end: int, turns: int = 0) -> np.ndarray:
    """Return dark traces on light ground, columns from `end` on not scanned; turned by 90 degrees each."""
    board = np.full((SIDE, SIDE), LIGHT, np.uint8)
    for row in range(10, SIDE - 10, 30):
        board[row : row + 12, :end] = DARK
    return np.ascontiguousarray(np.rot90(board, turns))


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("ends", [(150, 160), (160, 150)])
def test_the_strip_between_two_ends_was_not_scanned_on_any_side(turns: int, ends: tuple[int, int]) -> None:
    seen, golden = (scanned(end, turns) for end in ends)
    missed = unscanned(seen, golden.astype(np.float32))
    assert missed is not None
    strip = np.rot90(missed, -turns)
    assert strip[:, 148:162].all()
    assert not strip[:, :147].any()
    assert not strip[:, 163:].any()
    assert (seen != golden)[~missed].sum() == 0


@pytest.mark.parametrize("shift", [-10, 10])
def test_what_was_not_scanned_shows_no_difference_and_the_board_does_not_pass(shift: int) -> None:
    golden = board(5_600_000, 3, size=(512, 512), defects=(), look=product_look(5_600_000, "binary", "varied")).template
    seen = np.roll(golden, shift, axis=1)  # it lay elsewhere, and the scan ended where the template's had
    seen[:, 420:] = golden[:, 420:] = 255
    inputs = template_inputs(seen, golden)
    assert inputs.pair is not None
    assert inputs.pair.missed is not None
    strip = inputs.pair.missed.all(axis=0)
    assert strip[min(420, 420 + shift) : max(420, 420 + shift)].all()
    assert not inputs.channels[2][:, strip].any()
    (reason,) = differences(inputs, [], PRODUCT, None)
    assert "scan ends at another line" in reason.words
    assert reason.doubt is Doubt.UNEXPLAINED


def test_a_defect_elsewhere_on_such_a_picture_is_shown() -> None:
    seen = scanned(150)
    seen[40:52, 60:68] = LIGHT
    missed = unscanned(seen, scanned(160).astype(np.float32))
    assert missed is not None
    assert not missed[40:52, 60:68].any()


@pytest.mark.parametrize("gap", [0, LEAST_PX - 1, MOST_PX + 1])
def test_ends_that_wander_and_other_drawings_are_looked_at_as_ever(gap: int) -> None:
    assert unscanned(scanned(150), scanned(150 + gap).astype(np.float32)) is None


def test_copper_that_is_missing_at_the_end_of_one_trace_is_no_end_of_the_scan() -> None:
    golden = np.full((SIDE, SIDE), LIGHT, np.uint8)
    for number, row in enumerate(range(10, SIDE - 10, 30)):
        golden[row : row + 12, : 150 + 6 * number] = DARK  # a drawing that ends here and there
    seen = golden.copy()
    last = int(np.flatnonzero((golden == DARK).any(axis=1))[-1])
    seen[last - 11 : last + 1, 180:] = LIGHT
    assert unscanned(seen, golden.astype(np.float32)) is None


def test_spurious_copper_beyond_the_end_is_seen() -> None:
    golden = scanned(150)
    seen = golden.copy()
    seen[100:110, 155:165] = DARK
    assert unscanned(seen, golden.astype(np.float32)) is None
    assert unexplained(seen, golden.astype(np.float32), [])


def test_a_picture_of_one_tone_has_no_end() -> None:
    even = np.full((SIDE, SIDE), LIGHT, np.uint8)
    assert unscanned(even, even.astype(np.float32)) is None
