"""Reviews: a person confirms or overrules the verdict on a board, and what all such reviews say together.

A review is a record on a topic of its own, appended and never changed; no KPI window knows of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Header, HTTPException, Query

from dashboards.console.context import Context, Here, board_or_404, verdict_on
from dashboards.console.figures import rate_out, step_for
from dashboards.console.present import board_out, review_out
from dashboards.console.schema import (
    ErrorOut,
    ReviewFiguresOut,
    ReviewOut,
    ReviewSaid,
    ReviewSeriesOut,
    ReviewsOut,
    ReviewStepOut,
    SampleOut,
)
from dashboards.console.view import Board, board_named, is_alone, to_check
from taktwatch import clock
from taktwatch.bus import Bus, Outgoing
from taktwatch.errors import BadInput
from taktwatch.instants import MICROSECOND
from taktwatch.records import Review, ReviewWindow, Verdict
from taktwatch.review_figures import ReviewFigures, figures, series
from taktwatch.reviews import MINUTE, SKEW, board_of, is_drawn, minutes_of, review_in
from taktwatch.store import ReviewQuery
from taktwatch.store.reading import floor_time
from taktwatch.wire import encode

__all__ = ["router"]

FOREIGN = frozenset({"cross-site", "same-site"})

router = APIRouter(
    prefix="/v1/reviews",
    tags=["reviews"],
    responses={401: {"model": ErrorOut}, 422: {"model": ErrorOut}, 503: {"model": ErrorOut}},
)


@router.post("", status_code=201, responses={403: {"model": ErrorOut}, 404: {"model": ErrorOut}})
async def say(console: Here, said: ReviewSaid, sec_fetch_site: Annotated[str | None, Header()] = None) -> ReviewOut:
    """Confirm or overrule the verdict on the board that a frame shows. Its last review counts, all are kept."""
    if sec_fetch_site in FOREIGN:
        raise HTTPException(
            403, "reviews are taken from the console's own page and from programs, not from other sites"
        )
    board = await board_or_404(console, said.frame_id, said.logged_after)
    verdict = await verdict_on(console, board)
    if verdict is None and board.result.verdict is not None and not is_alone(console.live.view, board.result):
        raise HTTPException(
            422, f"frame {said.frame_id} shows a board of several pictures whose verdict is not known yet; try again"
        )
    review = review_of(board, verdict, said, console.live.config.reviews.sample_rate, clock.now())
    value, headers = encode(review)
    await console.live.bus.publish([Outgoing(console.live.topics.reviews, review.line.encode(), value, headers)])
    return review_out(review)


def review_of(board: Board, machine: Verdict | None, said: ReviewSaid, sample_rate: float, now: datetime) -> Review:
    """Make the record of a review. Raises 422 for a board without verdict, and for an overruling without reason."""
    result, human = board.result, Verdict(said.verdict)
    if machine is None:
        raise HTTPException(422, f"frame {result.frame_id} was {result.outcome}: there is no verdict to review")
    if human is not machine and machine is not Verdict.REVIEW and not said.reason:
        raise HTTPException(422, f"reason: say why {human}, where the machine said {machine}")
    sampled = is_drawn(board_named(result), machine, sample_rate)
    return Review(
        frame_id=result.frame_id,
        line=result.line,
        station=result.station,
        product=result.product,
        session=result.session,
        visit=result.visit,
        event_at=result.event_at,
        machine=machine,
        human=human,
        reviewer=said.reviewer,
        reason=said.reason,
        reviewed_at=now,
        serial=result.serial,
        model_id="" if result.model is None else result.model.model_id,
        sampled=sampled,
        weight=1 / sample_rate if sampled else 1.0,
    )


@dataclass(frozen=True)
class Asked:
    """Which reviews a question is about: of whole minutes in [since, until), at a station, of a product."""

    since: datetime
    until: datetime
    step: timedelta
    station: str | None
    product: str | None

    def series_out(self, minutes: Sequence[ReviewWindow]) -> ReviewSeriesOut:
        """Return the figures of these minutes, all in all and step by step."""
        return ReviewSeriesOut(
            since=self.since,
            until=self.until,
            step_s=int(self.step.total_seconds()),
            figures=figures_out(figures(minutes)),
            steps=tuple(
                ReviewStepOut(step=one.step, figures=figures_out(one.figures)) for one in series(minutes, self.step)
            ),
        )


async def asked(
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    minutes: Annotated[
        int, Query(ge=1, le=60 * 24 * 366, description="how far back, where `since` is not given")
    ] = 1440,
    station: str | None = None,
    product: str | None = None,
    step_s: Annotated[int | None, Query(ge=60, le=31 * 86400)] = None,
) -> Asked:
    """Make a question; the minutes that `since` and `until` lie in are all of it. Raises 422 for a range of nothing."""
    until = until or clock.now()
    since = since or until - timedelta(minutes=minutes)
    if since.tzinfo is None or until.tzinfo is None or since >= until:
        raise HTTPException(422, "since must be before until, both with a time zone, as in 2026-03-03T12:00:00Z")
    step = timedelta(seconds=step_s or step_for(until - since))
    until = floor_time(until - MICROSECOND, MINUTE) + MINUTE
    return Asked(floor_time(since, MINUTE), until, step, station, product)


Question = Annotated[Asked, Depends(asked)]


@router.get("")
async def reviews(
    *,
    console: Here,
    question: Question,
    frame_id: Annotated[str | None, Query(pattern="^[0-9a-f]{32}$")] = None,
    board_id: Annotated[str | None, Query(pattern="^[0-9a-f]{32}$")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="how many reviews are listed; figures count all")] = 100,
) -> ReviewsOut:
    """Give reviews by `reviewed_at`, newest first, with false-call rate, escape rate, their n and intervals.

    All is read from the log, so it knows a review at once; a board counts in the minute of the last word on it.
    """
    wanted = {
        "line": console.live.config.line,
        "station": question.station,
        "product": question.product,
        "frame_id": frame_id,
    }
    said = [
        review
        for review in await logged(console.live.bus, console.live.topics.reviews, question.since)
        if all(text in (None, getattr(review, name)) for name, text in wanted.items())
        and board_id in (None, board_of(review))
    ]
    made = [review for review in said if question.since <= review.reviewed_at < question.until]
    counted = [minute for minute in minutes_of(said) if question.since <= minute.start < question.until]
    return ReviewsOut(
        reviews=tuple(review_out(review) for review in reversed(made[-limit:])), **dict(question.series_out(counted))
    )


@router.get("/series")
async def review_series(console: Here, question: Question) -> ReviewSeriesOut:
    """Give the same figures from the KPI store, where Grafana reads them: a second or two later, and over any range."""
    query = ReviewQuery(question.since, question.until, console.live.config.line, question.station, question.product)
    return question.series_out(await console.store.read_reviews(query))


@router.get("/sample")
async def sample(console: Here, limit: Annotated[int, Query(ge=1, le=200)] = 24) -> SampleOut:
    """Give the passed boards drawn for checking that nobody has reviewed yet, newest first."""
    return sample_out(console, limit)


def sample_out(console: Context, limit: int) -> SampleOut:
    """Return the boards that wait for a person."""
    waiting = to_check(console.live.view)
    return SampleOut(
        sample_rate=console.live.view.sample_rate,
        waiting=len(waiting),
        boards=tuple(board_out(board) for board in waiting[:limit]),
    )


async def logged(bus: Bus, topic: str, since: datetime) -> list[Review]:
    """Return what was said from `since` on (and a little before), in log order; what cannot be counted is left out.

    Raises `BackendUnavailable`.
    """
    found = []
    async for batch in bus.read(topic, start=since - SKEW):
        for message in batch:
            try:
                found.append(review_in(message.value, message.headers))
            except BadInput:
                continue  # the review sink puts it aside
    return found


def figures_out(found: ReviewFigures) -> ReviewFiguresOut:
    """Return figures with their n and intervals."""
    return ReviewFiguresOut(
        confirmed=found.confirmed,
        overruled=found.overruled,
        settled=found.settled,
        escapes_found=found.escapes_found,
        false_call_rate=rate_out(found.false_call_rate),
        escape_rate=rate_out(found.escape_rate),
        effective_n=found.effective_n,
    )
