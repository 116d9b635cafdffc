"""What is open now, folded from the alerts topic."""

from unit.alerts.timeline import fold_windows, window

from taktwatch.alertlog import fold_alert, open_alerts, transition_key
from taktwatch.config import AlertRule
from taktwatch.records import AlertState, AlertTransition

RULE = AlertRule(name="defect-rate", above=0.25, recover_below=0.15, for_windows=2, keep_windows=2, min_n=10)


def log(minutes: str) -> list[AlertTransition]:
    _, told = fold_windows(RULE, [window(word, at) for at, word in enumerate(minutes.split())])
    return [transition for transition in told if transition]


def test_an_alert_is_open_from_pending_until_it_is_resolved() -> None:
    transitions = log("31 31 8 8")
    states = [[each.state.value for each in open_alerts(transitions[:upto])] for upto in range(5)]
    assert states == [[], ["pending"], ["firing"], ["recovering"], []]


def test_a_pending_alert_that_did_not_fire_is_not_open() -> None:
    assert open_alerts(log("31 3")) == []


def test_repeats_after_a_crash_change_nothing() -> None:
    transitions = log("31 31 8 8")
    assert open_alerts([*transitions, *transitions[:2]]) == []
    assert open_alerts([*transitions[:3], *transitions[:2]]) == [transitions[2]]


def test_following_the_topic_gives_what_reading_it_gives() -> None:
    transitions = log("31 31 8 8 31 31 8")
    known: dict[str, AlertTransition] = {}
    for upto, transition in enumerate(transitions, 1):
        known = dict(fold_alert(known, transition))
        assert list(known.values()) == open_alerts(transitions[:upto])


def test_each_transition_has_a_name_of_its_own() -> None:
    transitions = log("31 31 8 31 8 8 31 3 31 31 8 8")
    assert AlertState.NORMAL in {transition.state for transition in transitions}
    assert len({transition_key(transition) for transition in transitions}) == len(transitions)
