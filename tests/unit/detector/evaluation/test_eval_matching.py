"""Who found what: the published rule by hand, and pairs that add up whatever was found."""

import numpy as np
from eval_scenes import LABELS, found, outcome, scene, true
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.evaluation.figures import score
from detector.evaluation.matching import RULE_IOU, confusion, pair, pools


def test_a_third_of_overlap_is_not_enough() -> None:
    truth = true("open", (0, 0, 100, 100))
    for width, right in ((33, False), (34, True)):
        one = outcome([truth], [found("open", (0, 0, width, 100), 0.9)])
        assert bool(pools([one], LABELS, RULE_IOU)["open"].hits[0]) is right


def test_a_truth_is_used_once_and_the_better_score_takes_it() -> None:
    one = outcome(
        [true("open", (0, 0, 40, 40))],
        [found("open", (0, 0, 40, 40), 0.6), found("open", (0, 0, 40, 30), 0.9)],
    )
    pairing = pair(one.truths, one.found)
    assert pairing.hits == ((0, 1),)
    assert pairing.false == (0,)


def test_another_name_at_the_right_place_is_confusion_not_a_miss() -> None:
    one = outcome([true("open", (0, 0, 40, 40))], [found("short", (0, 0, 40, 40), 0.9)])
    pairing = pair(one.truths, one.found)
    assert (pairing.hits, pairing.confused, pairing.missed, pairing.false) == ((), ((0, 0),), (), ())
    assert confusion([one], [pairing], LABELS).counts == ((0, 1, 0), (0, 0, 0), (0, 0, 0))


def test_what_is_not_reported_finds_nothing() -> None:
    one = outcome([true("open", (0, 0, 40, 40))], [found("open", (0, 0, 40, 40), 0.4)])
    assert pair(one.truths, one.found).missed == (0,)


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_pairs_add_up(seed: int) -> None:
    one = scene(seed)
    pairing = pair(one.truths, one.found)
    matched = [*pairing.hits, *pairing.confused]
    assert sorted([truth for truth, _ in matched] + list(pairing.missed)) == list(range(len(one.truths)))
    reported = [index for index, each in enumerate(one.found) if each.reported]
    assert sorted([at for _, at in matched] + list(pairing.false)) == reported


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_the_diagonal_counts_the_hits_of_the_rule(seed: int) -> None:
    outcomes = [scene(seed + index) for index in range(5)]
    pairings = [pair(one.truths, one.found) for one in outcomes]
    counts = np.array(confusion(outcomes, pairings, LABELS).counts)
    for index, label in enumerate(LABELS):
        own = [
            (each.truths[truth].label, each.found[at].label)
            for each, one in zip(outcomes, pairings, strict=True)
            for truth, at in one.hits
        ]
        assert counts[index, index] == own.count((label, label))
        assert counts[index].sum() == sum(truth.label == label for one in outcomes for truth in one.truths)
        assert counts[:, index].sum() == sum(f.label == label and f.reported for one in outcomes for f in one.found)


def test_figures_of_a_set_made_by_hand() -> None:
    good = [outcome([], [], name=f"good-{index}", board=f"g{index}") for index in range(3)]
    called = outcome([], [found("short", (0, 0, 20, 20), 0.8)], name="called", board="c")
    caught = outcome(
        [true("open", (0, 0, 40, 40)), true("short", (100, 100, 140, 140))],
        [found("open", (0, 0, 40, 40), 0.9), found("short", (100, 100, 140, 140), 0.3)],
        name="caught",
        board="d",
    )
    escaped = outcome([true("open", (50, 50, 60, 60))], [], name="escaped", board="e")
    figures = score([*good, called, caught, escaped], LABELS, f_threshold=0.25).figures
    head = figures.headline
    # By falling score: hit 0.9, false 0.8, hit 0.3; three truths. F: 2/5 reported, 4/6 at 0.25.
    assert head.f_reported.value == 2 * 1 / (2 + 3)
    assert head.f_validation is not None
    assert head.f_validation.value == 2 * 2 / (3 + 3)
    assert head.best_f.value == 2 * 2 / (3 + 3)
    assert head.ap.value is not None
    assert abs(head.ap.value - (1 + 2 / 3) / 3) < 1e-9
    assert (figures.rates.escapes.events, figures.rates.escapes.n) == (1, 2)
    assert (figures.rates.false_calls.events, figures.rates.false_calls.n) == (1, 4)
    assert (figures.truths, figures.pictures, figures.boards) == (3, 6, 6)
    by_label = {one.label: one for one in figures.classes}
    assert (by_label["open"].found.events, by_label["open"].found.n, by_label["open"].false_calls) == (1, 2, 0)
    assert (by_label["short"].found.events, by_label["short"].false_calls) == (0, 1)
    # Two boards have anything to find: nothing is said about others.
    assert (head.ap.boards.low, head.ap.boards.units) == (None, 2)


def test_a_set_without_defects_has_no_ap_but_false_calls() -> None:
    figures = score(
        [outcome([], [], name=str(index), board=str(index)) for index in range(6)], LABELS, f_threshold=None
    )
    assert figures.figures.headline.ap.value is None
    assert figures.figures.headline.f_validation is None
    assert figures.figures.coco_box.map is None
    assert figures.figures.rates.escapes.value is None
    assert figures.figures.rates.false_calls.value == 0


def test_a_defect_without_a_mask_of_its_own_is_left_out_of_sizes() -> None:
    one = outcome([true("open", (0, 0, 40, 40), sized=False), true("open", (60, 60, 90, 90))], [])
    figures = score([one], LABELS, f_threshold=None).figures
    assert (figures.unsized, figures.detectability.n) == (1, 1)


def test_intervals_hold_their_figures_and_the_seed_decides() -> None:
    outcomes = [scene(seed) for seed in range(40)]
    one, again = (score(outcomes, LABELS, f_threshold=0.5, seed=1).figures for _ in range(2))
    assert one == again
    assert score(outcomes, LABELS, f_threshold=0.5, seed=2).figures != one
    for known in (one.headline.ap, one.headline.mean_ap, one.headline.best_f, one.headline.ap75):
        for estimate in (known.pictures, known.boards):
            assert estimate.low <= estimate.value <= estimate.high
    assert one.headline.ap.boards.units == 7


def test_each_of_a_few_boards_is_told_alone() -> None:
    outcomes = [scene(seed) for seed in range(28)]
    figures = score(outcomes, LABELS, f_threshold=None).figures
    assert [one.board for one in figures.by_board] == [f"board-{index}" for index in range(7)]
    assert sum(one.truths for one in figures.by_board) == figures.truths
    alone = score([one for one in outcomes if one.board == "board-3"], LABELS, f_threshold=None).figures
    assert figures.by_board[3].ap == alone.headline.ap.pictures
    assert alone.by_board == ()


def test_a_layer_is_no_defect_whose_size_matters() -> None:
    one = outcome([true("copper_layer", (0, 0, 200, 40)), true("corrosion", (60, 10, 90, 20))], [])
    sizes = score([one], ("copper_layer", "corrosion"), f_threshold=None).figures.detectability
    assert sizes.n == 1
