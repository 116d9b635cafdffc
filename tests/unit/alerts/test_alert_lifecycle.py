"""Timelines of alerts: boards failing per minute above, what people are told below."""

import msgspec
import pytest
from unit.alerts.timeline import MINUTE, START, fold_windows, play, window, words

from alerts.rules import Decision, decide, evaluate
from alerts.words import title
from taktwatch.config import AlertRule
from taktwatch.records import AlertState, MarkState, Severity, WindowState

DRIFT = AlertRule(
    name="defect-rate",
    metric="defect_rate",
    above=0.25,
    recover_below=0.15,
    for_windows=2,
    keep_windows=2,
    min_n=10,
    severity=Severity.CRITICAL,
)
EAGER = AlertRule(name="eager", metric="defect_rate", above=0.25, min_n=10)
SILENCE = AlertRule(name="camera-silent", kind="no_data", silent_windows=2)


def test_an_alert_lives_from_pending_to_resolved() -> None:
    assert play(DRIFT, "3 31 31 40 8 8 3") == "- pending firing - recovering resolved -"


def test_one_bad_minute_is_not_an_alert() -> None:
    assert play(DRIFT, "3 31 3 31 20 3") == "- pending normal pending normal -"


def test_without_for_and_keep_an_alert_fires_and_resolves_at_once() -> None:
    assert play(EAGER, "3 31 3") == "- firing resolved"


def test_the_threshold_itself_is_not_above_it() -> None:
    assert play(EAGER, "25 26") == "- firing"


def test_between_the_thresholds_a_firing_alert_stays() -> None:
    assert play(DRIFT, "31 31 20 20 20") == "pending firing - - -"


def test_a_relapse_while_recovering_fires_on_and_is_no_new_alert() -> None:
    _, told = fold_windows(DRIFT, [window(word, at) for at, word in enumerate(["31", "31", "8", "31", "8", "8"])])
    assert words(told) == "pending firing recovering firing recovering resolved"
    assert len({transition.alert_id for transition in told if transition}) == 1


def test_between_the_thresholds_recovery_starts_over() -> None:
    assert play(DRIFT, "31 31 8 20 8 8") == "pending firing recovering firing recovering resolved"


def test_few_boards_decide_nothing() -> None:
    assert play(DRIFT, "90/9 90/9 90/9") == "- - -"
    assert play(DRIFT, "31 31 0/9 0/9 0/9 8 8") == "pending firing - - - recovering resolved"
    assert play(DRIFT, "31 90/9 31") == "pending - firing"


def test_absent_data_resolves_nothing() -> None:
    assert play(EAGER, "31 . . lost lost closed 31 3") == "firing - - - - - - resolved"


def test_missing_frames_fire_without_any_picture_and_stay_until_pictures_come() -> None:
    rule = AlertRule(name="missing-frames", metric="missing", above=0, min_n=0)
    windows = [window("0", 0), window(".", 1, missing=3), window(".", 2), window("0", 3)]
    _, told = fold_windows(rule, windows)
    assert words(told) == "- firing - resolved"


def test_a_silent_station_is_a_state_of_its_own() -> None:
    assert play(SILENCE, "3 . . . 3") == "- pending no_data - resolved"
    assert play(SILENCE, "3 lost lost") == "- pending no_data"


def test_one_silent_minute_is_not_an_alert() -> None:
    assert play(SILENCE, "3 . 3 . 3") == "- pending normal pending normal"


def test_a_station_closed_on_purpose_is_not_silent() -> None:
    assert play(SILENCE, "3 closed closed closed") == "- - - -"
    assert play(SILENCE, ". . closed") == "pending no_data resolved"


def test_a_station_that_shows_another_product_is_not_silent() -> None:
    windows = [
        window("3", 0),
        window(".", 1),
        window("3", 1, product="other"),
        window(".", 2),
        window("3", 2, product="other"),
    ]
    _, told = fold_windows(SILENCE, windows)
    assert AlertState.NO_DATA not in {transition.state for transition in told if transition}


def test_open_windows_decide_nothing() -> None:
    windows = [window("90", 0, state=WindowState.OPEN), window(".", 1, state=WindowState.OPEN)]
    for rule in (EAGER, SILENCE):
        assert fold_windows(rule, windows) == (None, [None, None])


def test_other_kinds_of_window_decide_nothing() -> None:
    hour = msgspec.structs.replace(window("90", 0), window="1h")
    assert fold_windows(EAGER, [hour]) == (None, [None])


def test_a_rule_for_one_station_ignores_the_others() -> None:
    rule = EAGER.model_copy(update={"station": "top"})
    _, told = fold_windows(rule, [window("90", 0, station="section"), window("90", 0)])
    assert words(told) == "- firing"


def test_a_final_window_without_news_tells_nothing() -> None:
    windows = [window("31", 0), window("31", 1), window("31", 0, state=WindowState.FINAL)]
    _, told = fold_windows(DRIFT, windows)
    assert words(told) == "pending firing -"


def test_a_correction_pages_when_an_alert_fires_now_and_nobody_was_told() -> None:
    windows = [window("3", 0), window("31", 1), window("31", 0, revision=7)]
    _, told = fold_windows(DRIFT, windows)
    assert words(told) == "- pending firing"
    assert told[2] is not None
    assert told[2].at == START + 2 * MINUTE
    assert told[2].revision == 7
    assert "found by a correction of the window of 2026-03-03 12:00 UTC" in told[2].summary


def test_a_correction_of_what_is_long_over_tells_nobody() -> None:
    windows = [
        window("3", 0),
        window("3", 1),
        window("3", 2),
        window("3", 3),
        window("31", 0, revision=8),
        window("31", 1, revision=9),
    ]
    assert words(fold_windows(DRIFT, windows)[1]) == "- - - - - -"


def test_a_correction_resolves_nothing_by_itself_but_the_next_minute_does() -> None:
    windows = [window("31", 0), window("31", 1), window("3", 1, revision=8), window("3/5", 2), window("3", 3)]
    _, told = fold_windows(DRIFT, windows)
    assert words(told) == "pending firing - - resolved"


def test_an_alert_that_by_correction_fired_and_already_recovers_is_told_only_if_it_fires_again() -> None:
    slow = DRIFT.model_copy(update={"keep_windows": 3})
    corrected = [window("3", 0), window("31", 1), window("8", 2), window("31", 0, revision=7), window("8", 3)]
    assert words(fold_windows(slow, [*corrected, window("8", 4)])[1]) == "- pending normal - - -"
    assert words(fold_windows(slow, [*corrected, window("31", 4)])[1]) == "- pending normal - - firing"


def test_a_told_alert_stays_told_while_by_correction_it_is_only_pending_again() -> None:
    windows = [window("31", 0), window("31", 1), window("3", 1, revision=7), window("31", 2)]
    assert words(fold_windows(DRIFT, [*windows, window("31", 3)])[1]) == "pending firing - - -"
    assert words(fold_windows(DRIFT, [*windows, window("3", 3)])[1]) == "pending firing - - resolved"


def test_a_correction_does_not_page_twice() -> None:
    windows = [window("31", 0), window("31", 1), window("40", 0, revision=8), window("41", 1, revision=9)]
    assert words(fold_windows(DRIFT, windows)[1]) == "pending firing - -"


def test_a_late_correction_of_an_alert_that_was_resolved_reopens_the_same_alert() -> None:
    windows = [window("31", 0), window("31", 1), window("8", 2), window("8", 3), window("31", 3, revision=9)]
    _, told = fold_windows(DRIFT, windows)
    assert words(told) == "pending firing recovering resolved firing"
    assert len({transition.alert_id for transition in told if transition}) == 1


def test_a_window_beyond_reach_is_not_folded_again() -> None:
    windows = [window("3", at) for at in range(10)]
    series, _ = fold_windows(DRIFT, windows, keep=3)
    assert series is not None
    assert len(series.kept) == 3
    after, told = fold_windows(DRIFT, [window("90", 2, revision=99)], series, keep=3)
    assert after == series
    assert told == [None]


def test_what_left_the_kept_windows_still_counts() -> None:
    assert play(DRIFT, "31 31 20 20 20 20 8 8", keep=2) == "pending firing - - - - recovering resolved"


def test_two_alerts_of_one_rule_have_names_of_their_own() -> None:
    _, told = fold_windows(EAGER, [window(word, at) for at, word in enumerate(["31", "3", "31", "3"])])
    first, _, second, _ = [transition.alert_id for transition in told if transition]
    assert first != second


def test_the_summary_says_value_n_and_threshold_in_words() -> None:
    _, told = fold_windows(DRIFT, [window("31/42", 0), window("31/42", 1), window("8/40", 2), window("8/40", 3)])
    assert [transition.summary for transition in told if transition] == [
        "defect rate 31 % (n = 42) above 25 % at line-1/top for 1 of 2 windows",
        "defect rate 31 % (n = 42) above 25 % at line-1/top for 2 windows",
        "defect rate 7.5 % (n = 40) at or below 15 % at line-1/top for 1 of 2 windows",
        "defect rate 7.5 % (n = 40) no longer above 25 % at line-1/top",
    ]
    assert told[1] is not None
    assert title(told[1]) == "FIRING (critical): defect-rate at line-1/top"


def test_silence_is_told_in_words() -> None:
    _, told = fold_windows(SILENCE, [window(word, at) for at, word in enumerate([".", ".", "3", ".", ".", "closed"])])
    assert [transition.summary for transition in told if transition] == [
        "no picture from line-1/top for 1 of 2 windows",
        "no picture from line-1/top for 2 windows",
        "pictures from line-1/top again (n = 100)",
        "no picture from line-1/top for 1 of 2 windows",
        "no picture from line-1/top for 2 windows",
        "line-1/top was closed on purpose",
    ]


@pytest.mark.parametrize("state", list(MarkState))
def test_a_station_with_pictures_is_heard_whatever_its_state(state: MarkState) -> None:
    heard = msgspec.structs.replace(window("3", 0), station_state=state)
    assert decide(SILENCE, evaluate(SILENCE, heard)) is Decision.BELOW
