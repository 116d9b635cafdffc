"""The worst mistakes: in order of weight, and shown with what was seen there."""

import base64

import numpy as np
from eval_scenes import SIDE, found, outcome, true

from detector.evaluation.labelled import Dataset, Item, Labelled
from detector.evaluation.matching import pair
from detector.evaluation.outcomes import Outcome
from detector.evaluation.worst import Mistake, picture_of, worst_false_calls, worst_misses
from taktwatch.pictures import decode


def mistaken() -> list[Outcome]:
    return [
        outcome(
            [true("open", (0, 0, 10, 10)), true("short", (100, 100, 140, 140))],
            [found("open", (0, 0, 10, 2), 0.9), found("short", (60, 60, 70, 70), 0.6)],
        ),
        outcome([true("open", (20, 20, 40, 40))], [found("open", (20, 20, 40, 40), 0.3)]),
    ]


def test_the_largest_misses_come_first_and_say_what_was_seen() -> None:
    outcomes = mistaken()
    misses = worst_misses(outcomes, [pair(one.truths, one.found) for one in outcomes], 2)
    assert [(one.picture, one.words) for one in misses] == [
        (0, "short, 1600 px, nothing seen there"),
        (1, "open, 400 px, seen as open, score 0.30, IoU 1.00"),
    ]


def test_the_surest_false_calls_come_first() -> None:
    outcomes = mistaken()
    calls = worst_false_calls(outcomes, [pair(one.truths, one.found) for one in outcomes], 5)
    assert [one.words for one in calls] == ["open, score 0.90", "short, score 0.60"]


def test_a_mistake_at_the_edge_is_shown_beside_its_template() -> None:
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    labelled = Labelled(picture, picture + 255, ())
    data = Dataset("made", "coco", "board", (), [Item("a", "a", lambda: labelled)], "0" * 64)
    source = picture_of(Mistake(0, (0, 0, 12, 10), "edge"), data)
    head, _, body = source.partition(",")
    shown = decode(base64.b64decode(body))
    assert head == "data:image/png;base64"
    assert shown.shape == (192, 192 * 2 + 4, 3)
    assert (shown[96, 200:] == 255).any()
    assert (shown[:, :192] == (214, 40, 40)).all(axis=2).any()
