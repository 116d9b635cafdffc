"""Patterns that a process in control shows rarely, each in a fixed amount of state.

Sources: Western Electric, Statistical Quality Control Handbook, 1956, tests for instability (1 to 4); L. S. Nelson, The
Shewhart control chart - tests for special causes, Journal of Quality Technology 16(4), 1984 (1 to 8).

Zones are measured in standard deviations of the plotted value (z). A point signals when it completes a pattern, and
again as long as the pattern lasts. A point on the centre line ends a run on one side; equal neighbours end a trend.
"So many of" patterns signal only at a point that is itself beyond the zone.
"""

from enum import StrEnum

import msgspec

__all__ = ["LIMITS_ONLY", "NELSON", "WESTERN_ELECTRIC", "Rule", "RunState", "watch"]


class Rule(StrEnum):
    """A rule, in the words it is shown with."""

    BEYOND_LIMITS = "1 point beyond the control limits"
    TWO_OF_THREE = "2 of 3 points beyond 2 sigma on the same side"
    FOUR_OF_FIVE = "4 of 5 points beyond 1 sigma on the same side"
    EIGHT_ON_ONE_SIDE = "8 points in a row on one side of the centre line"
    NINE_ON_ONE_SIDE = "9 points in a row on one side of the centre line"
    SIX_IN_TREND = "6 points in a row all rising or all falling"
    FOURTEEN_ALTERNATING = "14 points in a row alternating up and down"
    FIFTEEN_NEAR_CENTRE = "15 points in a row within 1 sigma of the centre line"
    EIGHT_FAR_FROM_CENTRE = "8 points in a row beyond 1 sigma, on either side"
    ZEROS_IN_A_ROW = "more events without a good unit between them than chance allows"


LIMITS_ONLY = (Rule.BEYOND_LIMITS,)

WESTERN_ELECTRIC = (Rule.BEYOND_LIMITS, Rule.TWO_OF_THREE, Rule.FOUR_OF_FIVE, Rule.EIGHT_ON_ONE_SIDE)
"""Tests 1 to 4, in order."""

NELSON = (
    Rule.BEYOND_LIMITS,
    Rule.NINE_ON_ONE_SIDE,
    Rule.SIX_IN_TREND,
    Rule.FOURTEEN_ALTERNATING,
    Rule.TWO_OF_THREE,
    Rule.FOUR_OF_FIVE,
    Rule.FIFTEEN_NEAR_CENTRE,
    Rule.EIGHT_FAR_FROM_CENTRE,
)
"""Tests 1 to 8, in order."""


class RunState(msgspec.Struct, frozen=True, tag="run", array_like=True):
    """What the rules remember, none of it growing with the history.

    `side`: points in a row above (positive) or below (negative) the centre. `trend`: the same, rising or falling.
    `zigzag`: points in a row that alternate. `above_1` ... `below_2`: the last points beyond 1 or 2 sigma on that side,
    one bit each, the newest lowest. `near`, `far`: points in a row within, beyond 1 sigma.
    """

    last: float | None = None
    side: int = 0
    trend: int = 0
    zigzag: int = 0
    above_1: int = 0
    below_1: int = 0
    above_2: int = 0
    below_2: int = 0
    near: int = 0
    far: int = 0


def watch(state: RunState, z: float, *, beyond: bool) -> tuple[RunState, frozenset[Rule]]:
    """Take one point, `z` standard deviations from the centre; `beyond`: it lies outside its limits.

    >>> state = RunState()
    >>> for z in (0.1, 0.4, 0.2, 0.9, 0.3, 0.1, 0.5, 0.2):
    ...     state, found = watch(state, z, beyond=False)
    >>> [str(rule) for rule in found]
    ['8 points in a row on one side of the centre line']
    """
    step = 0 if state.last is None else (z > state.last) - (z < state.last)
    new = RunState(
        last=z,
        side=continued(state.side, (z > 0) - (z < 0)),
        trend=trend(state.trend, step),
        zigzag=zigzag(state, step),
        above_1=(state.above_1 << 1 | (z > 1)) & 0b11111,
        below_1=(state.below_1 << 1 | (z < -1)) & 0b11111,
        above_2=(state.above_2 << 1 | (z > 2)) & 0b111,  # noqa: PLR2004 - 2 sigma
        below_2=(state.below_2 << 1 | (z < -2)) & 0b111,  # noqa: PLR2004 - same
        near=state.near + 1 if abs(z) < 1 else 0,
        far=state.far + 1 if abs(z) > 1 else 0,
    )
    return new, frozenset(rule for rule, holds in judged(new, beyond=beyond) if holds)


def judged(state: RunState, *, beyond: bool) -> tuple[tuple[Rule, bool], ...]:
    """Return each rule with whether the newest point completes it."""
    return (
        (Rule.BEYOND_LIMITS, beyond),
        (Rule.TWO_OF_THREE, enough(state.above_2, 2) or enough(state.below_2, 2)),
        (Rule.FOUR_OF_FIVE, enough(state.above_1, 4) or enough(state.below_1, 4)),
        (Rule.EIGHT_ON_ONE_SIDE, abs(state.side) >= 8),  # noqa: PLR2004 - as named
        (Rule.NINE_ON_ONE_SIDE, abs(state.side) >= 9),  # noqa: PLR2004 - as named
        (Rule.SIX_IN_TREND, abs(state.trend) >= 6),  # noqa: PLR2004 - as named
        (Rule.FOURTEEN_ALTERNATING, state.zigzag >= 14),  # noqa: PLR2004 - as named
        (Rule.FIFTEEN_NEAR_CENTRE, state.near >= 15),  # noqa: PLR2004 - as named
        (Rule.EIGHT_FAR_FROM_CENTRE, state.far >= 8),  # noqa: PLR2004 - as named
    )


def continued(run: int, sign: int) -> int:
    """Return a signed run, one longer where `sign` (-1, 0, 1) goes on with it, begun anew where it does not.

    >>> continued(3, 1), continued(3, -1), continued(3, 0)
    (4, -1, 0)
    """
    return run + sign if run * sign > 0 else sign


def trend(run: int, step: int) -> int:
    """Return the signed number of points in a row that rise or fall; the first point of a trend counts.

    >>> trend(0, 1), trend(2, 1), trend(3, -1), trend(3, 0)
    (2, 3, -2, 0)
    """
    return run + step if run * step > 0 else 2 * step


def zigzag(state: RunState, step: int) -> int:
    """Return the number of points in a row of which each goes back on the one before.

    The sign of the step before is that of `trend`.
    """
    if step == 0:
        return 0
    return state.zigzag + 1 if state.trend * step < 0 else 2


def enough(bits: int, least: int) -> bool:
    """Whether the newest point is set, and `least` of the remembered ones.

    >>> enough(0b101, 2), enough(0b110, 2)
    (True, False)
    """
    return bool(bits & 1) and bits.bit_count() >= least
