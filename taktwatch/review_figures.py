"""Rates of what people said of boards, from the sums of `ReviewWindow`s: the same from the store and the topic. Pure.

Boards that somebody opened out of curiosity say nothing about the rest and are left out of the escape rate.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from taktwatch.instants import EPOCH
from taktwatch.kpis import ANY, Rate, proportion, wilson
from taktwatch.records import ReviewWindow
from taktwatch.reviews import EXAMPLES, SUMS, minutes_of
from taktwatch.store.reading import floor_time

__all__ = ["ReviewFigures", "ReviewStep", "effective_n", "escape_rate", "false_call_rate", "figures", "series"]


EXAMPLE = ReviewWindow(
    start=EXAMPLES[0].reviewed_at,
    line="line-1",
    station="top",
    product="demo-board",
    revision=5,
    **{name: sum(getattr(minute, name) for minute in minutes_of(EXAMPLES)) for name in SUMS},
)
"""The sums of four stopped boards and two drawn ones, used by the examples below."""


@dataclass(frozen=True)
class ReviewFigures:
    """What the reviews of a span of time say. Each board counts once, by the last word on it.

    confirmed, overruled: boards the machine passed or failed, and what people made of it.
    settled: boards the machine sent to review, and that got their verdict from a person.
    escapes_found: passed boards that were overruled without having been drawn; in no rate.
    effective_n: how many equally weighted boards the escape rate is worth (Kish): at most its n.
    """

    confirmed: int
    overruled: int
    settled: int
    escapes_found: int
    false_call_rate: Rate
    escape_rate: Rate
    effective_n: float


@dataclass(frozen=True)
class ReviewStep:
    """The figures of the reviews made in one step of time."""

    step: datetime
    figures: ReviewFigures


def false_call_rate(window: ReviewWindow) -> Rate:
    """Share of reviewed fails that were overruled, 0 to 1, with its Wilson interval. n: reviewed fails.

    >>> false_call_rate(EXAMPLE).value, false_call_rate(EXAMPLE).n
    (0.25, 4)
    """
    return proportion(window.false_calls, window.failed)


def escape_rate(window: ReviewWindow) -> Rate:
    """Share of passed boards that are defective, 0 to 1, estimated from drawn passes. n: drawn passes reviewed.

    Each drawn board stands for the 1 / rate boards it was drawn from (inverse-probability weights, Hajek's estimator):
    sum of weights of overruled ones / sum of weights. The interval is Wilson's at Kish's effective sample size,
    (sum of weights)^2 / (sum of squared weights), which is n where the rate never changed.

    >>> rate = escape_rate(EXAMPLE)
    >>> rate.value, rate.n, round(rate.low, 3), round(rate.high, 3)
    (0.5, 2, 0.095, 0.905)
    """
    if not window.drawn:
        return Rate(None, 0)
    share, worth = window.escaped_weight_milli / window.weight_milli, effective_n(window)
    low, high = wilson(share * worth, worth)  # type: ignore[arg-type]  # a weighted n is not whole
    return Rate(share, window.drawn, low, high)


def effective_n(window: ReviewWindow) -> float:
    """Return how many equally weighted boards the drawn ones are worth (Kish 1965); 0 where there are none.

    >>> import msgspec
    >>> uneven = {"weight_milli": 140_000, "weight_squares_milli2": 2 * 20_000**2 + 100_000**2}
    >>> effective_n(EXAMPLE), effective_n(msgspec.structs.replace(EXAMPLE, drawn=3, **uneven))
    (2.0, 1.8148148148148149)
    """
    squares = window.weight_squares_milli2
    return window.weight_milli * window.weight_milli / squares if squares else 0.0


def figures(windows: Iterable[ReviewWindow]) -> ReviewFigures:
    """Return the figures of all windows taken together.

    >>> found = figures(minutes_of(EXAMPLES))
    >>> found.confirmed, found.overruled, found.settled, found.effective_n
    (4, 2, 0, 2.0)
    """
    kept = list(windows)
    sums = {name: sum(getattr(window, name) for window in kept) for name in SUMS}
    whole = ReviewWindow(start=EPOCH, line=ANY, station=ANY, product=ANY, revision=0, **sums)
    return ReviewFigures(
        confirmed=whole.confirmed,
        overruled=whole.overruled,
        settled=whole.settled,
        escapes_found=whole.escapes_found,
        false_call_rate=false_call_rate(whole),
        escape_rate=escape_rate(whole),
        effective_n=effective_n(whole),
    )


def series(windows: Iterable[ReviewWindow], step: timedelta) -> list[ReviewStep]:
    """Return the figures step by step of `reviewed_at`; a minute belongs to the step it starts in.

    Steps without reviews are absent, and those that later words emptied: nobody looked is not nothing found.

    >>> [(one.step.minute, one.figures.false_call_rate.n) for one in series(minutes_of(EXAMPLES), timedelta(minutes=3))]
    [(3, 1), (6, 3), (9, 0)]
    """
    steps: defaultdict[datetime, list[ReviewWindow]] = defaultdict(list)
    for window in windows:
        if window.confirmed or window.overruled or window.settled:
            steps[floor_time(window.start, step)].append(window)
    return [ReviewStep(begin, figures(made)) for begin, made in sorted(steps.items())]
