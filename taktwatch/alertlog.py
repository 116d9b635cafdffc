"""The alerts topic, read: which alerts are open, and how a transition is recognised when it is repeated."""

from collections.abc import Iterable, Mapping

from taktwatch.bus import Bus
from taktwatch.records import AlertState, AlertTransition
from taktwatch.topics import Topics
from taktwatch.wire import decode

__all__ = ["fold_alert", "open_alerts", "read_transitions", "transition_key"]

OVER = frozenset({AlertState.NORMAL, AlertState.RESOLVED})


def transition_key(transition: AlertTransition) -> str:
    """Name a transition; a repeat after a crash has the same name.

    >>> from datetime import UTC, datetime
    >>> noon = datetime(2026, 3, 3, 12, tzinfo=UTC)
    >>> transition_key(AlertTransition(alert_id="a1", rule="r", severity="critical", labels={}, previous="pending",
    ...     state=AlertState.FIRING, at=noon, value=0.3, n=9, summary="", window_start=noon, revision=7))
    'a1-firing-20260303T120000-7'
    """
    return (
        f"{transition.alert_id}-{transition.state.value}-{transition.window_start:%Y%m%dT%H%M%S}-{transition.revision}"
    )


def supersedes(transition: AlertTransition, before: AlertTransition | None) -> bool:
    """Whether a transition is newer than the known one of its alert; what is repeated after a crash may be older."""
    return before is None or transition.at >= before.at


def fold_alert(known: Mapping[str, AlertTransition], transition: AlertTransition) -> Mapping[str, AlertTransition]:
    """Take one more transition into what is known by alert id, forgetting alerts that are over.

    For those who follow the topic; give transitions in log order.
    """
    if not supersedes(transition, known.get(transition.alert_id)):
        return known
    others = {name: other for name, other in known.items() if name != transition.alert_id}
    return others if transition.state in OVER else {**others, transition.alert_id: transition}


def open_alerts(transitions: Iterable[AlertTransition]) -> list[AlertTransition]:
    """Return the newest transition of each alert that is not over, in the order they were first heard of.

    Pending alerts are among them; look at `state` to leave them out. `transitions` are in log order, repeats allowed.
    """
    known: dict[str, AlertTransition] = {}
    for transition in transitions:
        if supersedes(transition, known.get(transition.alert_id)):
            known[transition.alert_id] = transition
    return [transition for transition in known.values() if transition.state not in OVER]


async def read_transitions(bus: Bus, topics: Topics) -> list[AlertTransition]:
    """Return every transition the alerts topic holds, in log order; notifications are left out.

    Raises `BackendUnavailable`, and `BadRecord` for bytes that are no record.
    """
    return [
        record
        async for batch in bus.read(topics.alerts)
        for message in batch
        if isinstance(record := decode(message.value, message.headers), AlertTransition)
    ]
