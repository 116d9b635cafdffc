"""What people said of the machine's verdicts, as figures of their own. They never change a KPI window. Pure.

Two questions: how often is a stopped board good (false calls), and how often is a passed board defective (escapes)?
Stopped boards are looked at anyway. Passed boards are not, so some are drawn at random for checking: those whose board
id hashes below the configured rate, whoever asks and whenever. Boards that somebody opened out of curiosity say nothing
about the rest and are left out of the escape rate. A board counts once, however many pictures it has.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from taktwatch.kpis import Rate, proportion, wilson
from taktwatch.records import Review, Verdict, board_id
from taktwatch.store.reading import floor_time

__all__ = [
    "ReviewFigures",
    "ReviewStep",
    "board_of",
    "draw_at",
    "escape_rate",
    "false_call_rate",
    "figures",
    "is_drawn",
    "newest",
    "series",
]

SALT = b"taktwatch review sample"


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


EXAMPLES = tuple(
    Review(
        frame_id=f"{number:032x}",
        line="line-1",
        station="top",
        product="demo-board",
        session="s1",
        visit=number,
        event_at=datetime(2026, 3, 3, 12, number, tzinfo=UTC),
        machine=machine,
        human=human,
        reviewer="Kim",
        reason="dust, no short" if machine is not human else "",
        reviewed_at=datetime(2026, 3, 3, 12, number + 5, tzinfo=UTC),
        sampled=machine is Verdict.PASS,
        weight=50.0 if machine is Verdict.PASS else 1.0,
    )
    for number, (machine, human) in enumerate(
        [
            (Verdict.FAIL, Verdict.FAIL),
            (Verdict.FAIL, Verdict.PASS),
            (Verdict.FAIL, Verdict.FAIL),
            (Verdict.FAIL, Verdict.FAIL),
            (Verdict.PASS, Verdict.PASS),
            (Verdict.PASS, Verdict.FAIL),
        ]
    )
)
"""Four stopped boards and two drawn ones, used by the examples below."""


def board_of(review: Review) -> str:
    """Return the id of the board that a review is about.

    >>> board_of(EXAMPLES[0]) == board_id("line-1", "top", "s1", 0)
    True
    """
    return board_id(review.line, review.station, review.session, review.visit)


def draw_at(board: str) -> float:
    """Return where in [0, 1) a board stands, by its id: below the rate it is drawn. Even, and the same for ever.

    >>> draw_at("0" * 32) == draw_at("0" * 32) != draw_at("1" * 32)
    True
    """
    digest = hashlib.blake2b(board.encode(), digest_size=8, key=SALT).digest()
    return (int.from_bytes(digest) >> 11) / 2**53


def is_drawn(board: str, verdict: Verdict | None, rate: float) -> bool:
    """Say whether a board was drawn for checking: it passed, and its id hashes below `rate` (0 to 1).

    A board drawn at one rate is drawn at every higher one.

    >>> is_drawn("0" * 32, Verdict.PASS, 1.0), is_drawn("0" * 32, Verdict.FAIL, 1.0)
    (True, False)
    """
    return verdict is Verdict.PASS and draw_at(board) < rate


def newest(reviews: Iterable[Review]) -> list[Review]:
    """Return the last word on each board, reviews being given in the order they were logged.

    >>> import msgspec
    >>> second_thought = msgspec.structs.replace(EXAMPLES[0], human=Verdict.PASS, reason="a scratch on the lens")
    >>> [str(review.human) for review in newest([*EXAMPLES[:2], second_thought])]
    ['pass', 'pass']
    """
    return list({board_of(review): review for review in reviews}.values())


def false_call_rate(reviews: Iterable[Review]) -> Rate:
    """Share of reviewed fails that were overruled, 0 to 1, with its Wilson interval. n: reviewed fails.

    >>> false_call_rate(EXAMPLES).value, false_call_rate(EXAMPLES).n
    (0.25, 4)
    """
    fails = [review for review in reviews if review.machine is Verdict.FAIL]
    return proportion(sum(review.human is Verdict.PASS for review in fails), len(fails))


def escape_rate(reviews: Iterable[Review]) -> Rate:
    """Share of passed boards that are defective, 0 to 1, estimated from drawn passes. n: drawn passes reviewed.

    Each drawn board stands for the 1 / rate boards it was drawn from (inverse-probability weights, Hajek's estimator):
    sum of weights of overruled ones / sum of weights. The interval is Wilson's at Kish's effective sample size,
    (sum of weights)^2 / (sum of squared weights), which is n where the rate never changed.

    >>> rate = escape_rate(EXAMPLES)
    >>> rate.value, rate.n, round(rate.low, 3), round(rate.high, 3)
    (0.5, 2, 0.095, 0.905)
    """
    drawn = [review for review in reviews if review.sampled and review.machine is Verdict.PASS]
    if not drawn:
        return Rate(None, 0)
    weights = [review.weight for review in drawn]
    share = sum(review.weight for review in drawn if review.human is Verdict.FAIL) / sum(weights)
    effective = effective_n(weights)
    low, high = wilson(share * effective, effective)  # type: ignore[arg-type]  # a weighted n is not whole
    return Rate(share, len(drawn), low, high)


def effective_n(weights: Sequence[float]) -> float:
    """Return how many equally weighted boards these are worth (Kish 1965); 0 where there are none.

    >>> effective_n([50.0, 50.0, 50.0]), effective_n([20.0, 20.0, 100.0])
    (3.0, 1.8148148148148149)
    """
    squares = sum(weight * weight for weight in weights)
    return sum(weights) ** 2 / squares if squares else 0.0


def figures(reviews: Iterable[Review]) -> ReviewFigures:
    """Return the figures of reviews given in the order they were logged.

    >>> found = figures(EXAMPLES)
    >>> found.confirmed, found.overruled, found.settled, found.effective_n
    (4, 2, 0, 2.0)
    """
    last = newest(reviews)
    judged = [review for review in last if review.machine is not Verdict.REVIEW]
    overruled = [review for review in judged if review.human is not review.machine]
    return ReviewFigures(
        confirmed=len(judged) - len(overruled),
        overruled=len(overruled),
        settled=len(last) - len(judged),
        escapes_found=sum(review.machine is Verdict.PASS and not review.sampled for review in overruled),
        false_call_rate=false_call_rate(last),
        escape_rate=escape_rate(last),
        effective_n=effective_n([review.weight for review in last if review.sampled]),
    )


def series(reviews: Iterable[Review], step: timedelta) -> list[ReviewStep]:
    """Return the figures step by step of `reviewed_at`; a board counts in the step of the last word on it.

    Steps without reviews are absent: nobody looked is not nothing found.

    >>> [(one.step.minute, one.figures.false_call_rate.n) for one in series(EXAMPLES, timedelta(minutes=3))]
    [(3, 1), (6, 3), (9, 0)]
    """
    steps: defaultdict[datetime, list[Review]] = defaultdict(list)
    for review in newest(reviews):
        steps[floor_time(review.reviewed_at, step)].append(review)
    return [ReviewStep(begin, figures(made)) for begin, made in sorted(steps.items())]
