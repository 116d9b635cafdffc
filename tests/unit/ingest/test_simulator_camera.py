"""The conveyor: the same boards again, and not a word of truth in what leaves it."""

import threading
from dataclasses import fields
from itertools import islice

import numpy as np
import pytest

from ingest.cameras import Resume, Shot
from ingest.cameras.simulator import SimulatorCamera, View, draw, shot_of, truth_of
from taktwatch.config import SimulatorSource
from taktwatch.pictures import decode

SOURCE = SimulatorSource(kind="simulator", height_px=160, width_px=192, defect_probability=1.0)


def boards(view: View, first: int, count: int) -> list[Shot]:
    events = SimulatorCamera(SOURCE, view).events(Resume(first), threading.Event())
    taken = [event for event in islice(events, count) if isinstance(event, Shot)]
    events.close()  # type: ignore[attr-defined]  # a generator
    return taken


@pytest.mark.parametrize("view", ["board", "section"])
def test_the_same_seed_gives_the_same_bytes_and_a_restart_the_rest_of_them(view: View) -> None:
    whole = boards(view, 0, 6)
    assert boards(view, 0, 6) == whole
    assert boards(view, 4, 2) == whole[4:]
    assert len({shot.data for shot in whole}) == 6


def test_boards_carry_serials_and_one_golden_template() -> None:
    taken = boards("board", 3, 3)
    assert [shot.serial for shot in taken] == ["SN-000003", "SN-000004", "SN-000005"]
    assert len({shot.template for shot in taken}) == 1
    assert taken[0].template is not None
    assert decode(taken[0].template).shape == (160, 192, 3)


def test_sections_have_no_template() -> None:
    assert shot_of(SOURCE, "section", 0).template is None


def test_the_truth_of_a_board_can_be_drawn_again() -> None:
    first, again = truth_of(SOURCE, "board", 5), truth_of(SOURCE, "board", 5)
    assert [truth.label for truth in first] == [truth.label for truth in again]
    assert all(np.array_equal(one.mask, other.mask) for one, other in zip(first, again, strict=True))
    assert any(truth_of(SOURCE, "board", shot) for shot in range(3))


def test_the_picture_travels_as_it_was_drawn() -> None:
    drawn = draw(SOURCE, "board", 2).picture.astype(int)
    assert np.abs(decode(shot_of(SOURCE, "board", 2).data).astype(int) - drawn).mean() < 3


def test_nothing_but_the_picture_tells_a_good_board_from_a_bad_one() -> None:
    good = SOURCE.model_copy(update={"defect_probability": 0.0})
    for shot in range(4):
        bad_shot, good_shot = shot_of(SOURCE, "board", shot), shot_of(good, "board", shot)
        assert truth_of(good, "board", shot) == ()
        told = [field.name for field in fields(Shot) if getattr(bad_shot, field.name) != getattr(good_shot, field.name)]
        assert told in ([], ["data"])
