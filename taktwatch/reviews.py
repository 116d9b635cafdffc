"""What people said of boards: who is asked to say something, and the words folded into minutes. Pure.

Two questions stand behind it: how often is a stopped board good (false calls), how often a passed one defective
(escapes)? Stopped boards are looked at anyway. Passed boards are not, so some are drawn at random for checking: those
whose board id hashes below the configured rate, whoever asks and whenever. `taktwatch.review_figures` has the answers.

A board counts once, however many pictures it has, in the minute of the last word on it. A last word may come at any
time: it takes the board out of the minute of the word before it. Reviews change no KPI window.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec

from taktwatch.errors import BadRecord
from taktwatch.records import Review, ReviewWindow, Verdict, board_id
from taktwatch.store.reading import floor_time
from taktwatch.wire import decode

__all__ = [
    "MINUTE",
    "SKEW",
    "SUMS",
    "ReviewMinutes",
    "board_of",
    "draw_at",
    "is_drawn",
    "key_of",
    "minutes_of",
    "review_in",
]

SALT = b"taktwatch review sample"

MINUTE = timedelta(minutes=1)
"""The step that words are folded into; longer ones are added up on reading."""

SKEW = timedelta(minutes=10)
"""How far the bus's clock may stand from the clocks that reviews are dated by."""

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
MOST_WEIGHT = 1e6

SUMS = tuple(
    name for name in ReviewWindow.__struct_fields__ if name not in {"start", "line", "station", "product", "revision"}
)
"""What is added up."""

Key = tuple[datetime, str, str, str]
"""Which minute: its start, line, station and product."""


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
"""Four stopped boards and two drawn ones, used by examples."""


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


@dataclass
class ReviewMinutes:
    """Words folded so far, in log order: `minutes` of all of them, and of each board the last word, as a minute alone.

    Whoever folds the same log has the same minutes with the same revisions, wherever it stopped and began anew.
    """

    minutes: dict[Key, ReviewWindow] = field(default_factory=dict)
    words: dict[str, ReviewWindow] = field(default_factory=dict)

    def take(self, review: Review, revision: int) -> list[ReviewWindow]:
        """Fold the next word; return the minutes it changed: its own, and that of the word before it.

        >>> second_thought = msgspec.structs.replace(
        ...     EXAMPLES[0], human=Verdict.PASS, reason="a scratch on the lens", reviewed_at=EXAMPLES[5].reviewed_at
        ... )
        >>> folded = ReviewMinutes()
        >>> [(one.start.minute, one.confirmed, one.overruled) for one in folded.take(EXAMPLES[0], 7)]
        [(5, 1, 0)]
        >>> [(one.start.minute, one.confirmed, one.overruled) for one in folded.take(second_thought, 8)]
        [(5, 0, 0), (10, 0, 1)]
        """
        board, word = board_of(review), word_in(review, revision)
        before = self.words.get(board)
        self.words[board] = word
        changed = {}
        for one, sign in ((before, -1), (word, 1)):
            if one is not None:
                key = key_of(one)
                self.minutes[key] = changed[key] = added(self.minutes.get(key), one, sign, revision)
        return list(changed.values())

    def forget(self, oldest: datetime) -> None:
        """Forget minutes before a time, and the words in them: a later word on such a board takes nothing back."""
        self.minutes = {key: minute for key, minute in self.minutes.items() if minute.start >= oldest}
        self.words = {board: word for board, word in self.words.items() if word.start >= oldest}


def minutes_of(reviews: Iterable[Review]) -> list[ReviewWindow]:
    """Return the minutes of reviews given in the order they were logged.

    >>> [(one.start.minute, one.failed, one.false_calls, one.drawn) for one in minutes_of(EXAMPLES)]
    [(5, 1, 0, 0), (6, 1, 1, 0), (7, 1, 0, 0), (8, 1, 0, 0), (9, 0, 0, 1), (10, 0, 0, 1)]
    """
    folded = ReviewMinutes()
    for number, review in enumerate(reviews):
        folded.take(review, number)
    return [minute for _, minute in sorted(folded.minutes.items())]


def key_of(window: ReviewWindow) -> Key:
    """Return which minute it is, whatever its revision."""
    return window.start, window.line, window.station, window.product


def word_in(review: Review, revision: int) -> ReviewWindow:
    """Return the minute of a word, with its board alone in it."""
    failed, drawn = review.machine is Verdict.FAIL, review.machine is Verdict.PASS and review.sampled
    judged = review.machine is not Verdict.REVIEW
    overruled = judged and review.human is not review.machine
    escaped = drawn and review.human is Verdict.FAIL
    weight_milli = round(1000 * review.weight) if drawn else 0
    return ReviewWindow(
        start=floor_time(review.reviewed_at, MINUTE),
        line=review.line,
        station=review.station,
        product=review.product,
        revision=revision,
        confirmed=int(judged and not overruled),
        overruled=int(overruled),
        settled=int(not judged),
        escapes_found=int(overruled and review.machine is Verdict.PASS and not review.sampled),
        failed=int(failed),
        false_calls=int(failed and review.human is Verdict.PASS),
        drawn=int(drawn),
        escapes=int(escaped),
        weight_milli=weight_milli,
        escaped_weight_milli=weight_milli if escaped else 0,
        weight_squares_milli2=weight_milli * weight_milli,
    )


def added(window: ReviewWindow | None, word: ReviewWindow, sign: int, revision: int) -> ReviewWindow:
    """Return a minute with a word more (`sign` 1) or less (-1)."""
    if window is None:
        return word
    sums = {name: getattr(window, name) + sign * getattr(word, name) for name in SUMS}
    return msgspec.structs.replace(window, revision=revision, **sums)


def review_in(value: bytes, headers: Mapping[str, bytes]) -> Review:
    """Return the review in a message. Raises `BadRecord` for anything else, and for one that cannot be counted."""
    review = decode(value, headers)
    if not isinstance(review, Review):
        raise BadRecord(f"a {type(review).__name__} where reviews are expected")
    if review.reviewed_at.tzinfo is None or not EARLIEST <= review.reviewed_at < LATEST:
        raise BadRecord(
            f"reviewed_at {review.reviewed_at.isoformat()} of frame {review.frame_id} is no time with a zone between "
            f"{EARLIEST.year} and {LATEST.year}"
        )
    if not 1 <= review.weight <= MOST_WEIGHT:
        raise BadRecord(f"weight of frame {review.frame_id} is {review.weight}, not between 1 and {MOST_WEIGHT:g}")
    return review
