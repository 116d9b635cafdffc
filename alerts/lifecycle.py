"""The life of an alert, folded over windows in event time.

    Normal -> Pending -> Firing <-> Recovering -> Resolved (and Normal again)
    Normal -> Pending -> NoData -> Resolved                (rules of kind `no_data`)

Pure. A series is one rule at one place. It keeps the evaluations of the last windows, so that a corrected window is put
in its place and the rule runs again up to the newest window: what *is* (`phase`) depends on the windows alone, in
whatever order their revisions came. What was *told* follows it by rules of its own:

- a new window that decides something tells every change;
- a correction, or a window that decides nothing, tells only that an alert fires now and nobody was told.
"""

from bisect import bisect_left
from datetime import datetime
from hashlib import blake2b

import msgspec

from alerts.rules import Decision, Evaluation, decide, decisions
from alerts.words import summary
from taktwatch.config import AlertRule
from taktwatch.records import AlertState, AlertTransition, Severity

__all__ = ["OPEN_STATES", "Phase", "Series", "Told", "alert_id", "phase_of", "retire", "step"]

ALARMED = frozenset({AlertState.FIRING, AlertState.NO_DATA})
OPEN_STATES = ALARMED | {AlertState.RECOVERING}


class Phase(msgspec.Struct, frozen=True, array_like=True):
    """Where a series is: `streak` windows in a row speak for leaving this state; the episode began at `since`."""

    state: AlertState = AlertState.NORMAL
    streak: int = 0
    since: datetime | None = None


class Told(msgspec.Struct, frozen=True, array_like=True):
    """What the alerts topic says of the series: the state of its newest transition, and of which alert."""

    state: AlertState = AlertState.NORMAL
    alert_id: str = ""


class Series(msgspec.Struct, frozen=True):
    """One rule at one place. `before` is the phase ahead of the first kept window; starts before `reach` are folded."""

    rule: str
    severity: Severity
    labels: dict[str, str]
    kept: tuple[Evaluation, ...] = ()
    before: Phase = Phase()
    reach: datetime | None = None
    told: Told = Told()


def alert_id(rule: str, labels: dict[str, str], since: datetime) -> str:
    """Name an alert by rule, place and the window it began with: 16 hexadecimal digits, the same after any repeat.

    >>> from datetime import UTC
    >>> alert_id("r", {"line": "l"}, datetime(2026, 3, 3, tzinfo=UTC)) == alert_id(
    ...     "r", {"line": "l"}, datetime(2026, 3, 3, tzinfo=UTC))
    True
    """
    place = [f"{key}={value}" for key, value in sorted(labels.items())]
    return blake2b("\x1f".join([rule, *place, since.isoformat()]).encode(), digest_size=8).hexdigest()


def advance(rule: AlertRule, phase: Phase, start: datetime, decision: Decision) -> Phase:
    """Take one decided window; windows that decide nothing neither count nor break a row."""
    if decision is Decision.NOTHING:
        return phase
    alarm, need = (
        (AlertState.NO_DATA, rule.silent_windows) if rule.kind == "no_data" else (AlertState.FIRING, rule.for_windows)
    )
    keep = 1 if rule.kind == "no_data" else rule.keep_windows
    if phase.state in OPEN_STATES:
        if decision is not Decision.BELOW:
            return Phase(alarm, 0, phase.since)
        below = phase.streak + 1
        return Phase() if below >= keep else Phase(AlertState.RECOVERING, below, phase.since)
    if decision is not Decision.ABOVE:
        return Phase()
    above, since = phase.streak + 1, phase.since or start
    return Phase(alarm, 0, since) if above >= need else Phase(AlertState.PENDING, above, since)


def phase_of(rule: AlertRule, series: Series) -> Phase:
    """Run the rule over the kept windows up to the newest."""
    phase = series.before
    for start, decision in decisions(rule, series.kept):
        phase = advance(rule, phase, start, decision)
    return phase


def step(rule: AlertRule, series: Series, evaluation: Evaluation, keep: int) -> tuple[Series, AlertTransition | None]:
    """Take one revision of one window; say what changed for those who listen, if anything.

    A revision that is known, or older than the known one, changes nothing; neither does a window beyond reach.
    `keep` windows (at least 1) stay open to correction.
    """
    newest = not series.kept or evaluation.start > series.kept[-1].start
    merged = merge(series, evaluation)
    if merged is None:
        return series, None
    phase = phase_of(rule, merged)
    fresh = newest and decisions(rule, merged.kept)[-1][1] is not Decision.NOTHING
    state = to_tell(merged.told.state, phase.state, fresh=fresh)
    after = trimmed(rule, merged, keep)
    if state is None:
        return after, None
    transition = transition_of(rule, merged, phase, state, evaluation)
    told = Told() if state in {AlertState.NORMAL, AlertState.RESOLVED} else Told(state, transition.alert_id)
    return msgspec.structs.replace(after, told=told), transition


def merge(series: Series, evaluation: Evaluation) -> Series | None:
    """Put an evaluation in its place, or None where it says nothing new."""
    if series.reach is not None and evaluation.start < series.reach:
        return None
    place = (evaluation.start, evaluation.product)
    at = bisect_left(series.kept, place, key=lambda known: (known.start, known.product))
    rest = at
    if at < len(series.kept) and (series.kept[at].start, series.kept[at].product) == place:
        if evaluation.revision <= series.kept[at].revision:
            return None
        rest = at + 1
    return msgspec.structs.replace(series, kept=(*series.kept[:at], evaluation, *series.kept[rest:]))


def trimmed(rule: AlertRule, series: Series, keep: int) -> Series:
    """Fold the oldest starts into the phase before the kept ones, so that memory stays bounded."""
    decided = decisions(rule, series.kept)
    if len(decided) <= keep:
        return series
    before = series.before
    for start, decision in decided[:-keep]:
        before = advance(rule, before, start, decision)
    reach = decided[-keep][0]
    kept = tuple(evaluation for evaluation in series.kept if evaluation.start >= reach)
    return msgspec.structs.replace(series, kept=kept, before=before, reach=reach)


def to_tell(told: AlertState, state: AlertState, *, fresh: bool) -> AlertState | None:
    """The state to announce, or None. `fresh`: the newest window is new and decided something.

    >>> to_tell(AlertState.NORMAL, AlertState.FIRING, fresh=False)
    <AlertState.FIRING: 'firing'>
    >>> to_tell(AlertState.FIRING, AlertState.NORMAL, fresh=False) is None
    True
    >>> to_tell(AlertState.FIRING, AlertState.NORMAL, fresh=True)
    <AlertState.RESOLVED: 'resolved'>
    """
    if state is told:
        return None
    if told not in OPEN_STATES:
        # Nobody was told of an alert: one that only recovers is not worth a call.
        tell = state in ALARMED or (fresh and state is not AlertState.RECOVERING)
        return state if tell else None
    if not fresh or state is AlertState.PENDING:
        return None  # pending again under an alert that was told: it stays told until it is normal
    return AlertState.RESOLVED if state is AlertState.NORMAL else state


def transition_of(
    rule: AlertRule, series: Series, phase: Phase, state: AlertState, cause: Evaluation
) -> AlertTransition:
    """Describe the change as of the newest window; `cause` is the revision that brought it."""
    newest = series.kept[-1]
    said = speaker(rule, series, state)
    words = summary(rule, series.labels, state, said, phase.streak)
    if cause.start < newest.start:
        words += f" (found by a correction of the window of {cause.start:%Y-%m-%d %H:%M} UTC)"
    return AlertTransition(
        alert_id=series.told.alert_id or alert_id(rule.name, series.labels, phase.since or newest.start),
        rule=rule.name,
        severity=rule.severity,
        labels=series.labels,
        previous=series.told.state,
        state=state,
        at=newest.end,
        value=said.value,
        n=said.n,
        summary=words,
        window_start=newest.start,
        revision=cause.revision,
    )


def speaker(rule: AlertRule, series: Series, state: AlertState) -> Evaluation:
    """The newest window that bears the state out; the newest of all where none does."""
    wanted = Decision.ABOVE if state in ALARMED or state is AlertState.PENDING else Decision.BELOW
    return next((known for known in reversed(series.kept) if decide(rule, known) is wanted), series.kept[-1])


def retire(series: Series) -> AlertTransition | None:
    """Close what was told of a rule that line.toml no longer has; otherwise it would stay open for ever."""
    if series.told.state is AlertState.NORMAL or not series.kept:
        return None
    newest = series.kept[-1]
    return AlertTransition(
        alert_id=series.told.alert_id,
        rule=series.rule,
        severity=series.severity,
        labels=series.labels,
        previous=series.told.state,
        state=AlertState.RESOLVED if series.told.state in OPEN_STATES else AlertState.NORMAL,
        at=newest.end,
        value=newest.value,
        n=newest.n,
        summary=f"rule {series.rule} is no longer in line.toml",
        window_start=newest.start,
        revision=newest.revision,
    )
