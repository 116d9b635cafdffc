"""The review sink: what people said, folded into minutes, becomes rows of the store.

The reviews topic is small and kept for ever, so no state is saved: whoever gets the partition folds again what was
committed, and writes every minute of it. That heals whatever a stale writer, or a store brought back from a copy, left.
A minute is written whole, with the offset of the last word that changed it as its revision.

Where the topic lost its head (somebody gave it a retention), minutes from before what is left would come out too small:
those stay in the store as they are.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from kpi_engine.metrics import REVIEWS_STORED
from kpi_engine.sinks.store import Age, Key, Rows, Source, StoreSink
from taktwatch import clock
from taktwatch.bus import Bus, Message, Partition, Rebalance
from taktwatch.config import LineConfig
from taktwatch.errors import BadRecord
from taktwatch.records import Place, ReviewWindow
from taktwatch.reviews import MINUTE, SKEW, ReviewMinutes, key_of, review_in
from taktwatch.store import KpiStore, StoreState
from taktwatch.store.reading import floor_time
from taktwatch.topics import Topics

__all__ = ["GROUP", "ReviewSink"]

GROUP = "review-store"
HOUR = timedelta(hours=1)
REWRITTEN = timedelta(days=1)
"""Minutes as young as this are written again every hour: a stale writer may have touched them meanwhile."""

ALWAYS = datetime.min.replace(tzinfo=UTC)


class ReviewSink(StoreSink[ReviewWindow]):
    """Keeps the minutes of reviews in the store."""

    def __init__(self, config: LineConfig, bus: Bus, topics: Topics, store: KpiStore, *, member: str = GROUP) -> None:
        rows = Rows(
            group=GROUP,
            topic=topics.reviews,
            kind=ReviewWindow,
            name="minute of reviews",
            names="reviews",
            write=store.write_reviews,
            key_of=key_of,
            age_of=age,
            remembered=0,
            stored=REVIEWS_STORED,
        )
        super().__init__(rows, config, bus, topics, store, member=member)
        self.found: StoreState | None = None
        self.begin()

    def begin(self) -> None:
        """Hold nothing."""
        self.held = self.headless = False
        self.folded = ReviewMinutes()
        self.due: dict[Key, ReviewWindow] = {}
        self.complete_from = ALWAYS
        self.hour = floor_time(clock.now(), HOUR)

    def rebalance(self) -> Rebalance:
        """Fold anew with the partition, forget all without it."""
        return Rebalance(self.assigned, self.revoked)

    async def assigned(self, partitions: frozenset[Partition]) -> Mapping[Partition, int]:
        """Fold what was committed, and go on from there."""
        self.begin()
        positions = {}
        for topic, number in partitions:
            span = (await self.bus.spans(topic))[number]
            position = (await self.bus.committed(GROUP, topic)).get(number, span.first)
            self.headless = span.first > 0
            async for batch in self.bus.read(topic, start={number: span.first}, end={number: position}):
                await asyncio.to_thread(self.fold_again, batch)
            positions[topic, number] = position
            self.held = True
        return positions

    async def revoked(self, partitions: frozenset[Partition]) -> None:
        """Forget what is given away."""
        if partitions:
            self.begin()

    def fold_again(self, messages: Sequence[Message]) -> None:
        """Fold messages that another life has met; what it could not use lies in the dead topic."""
        for message in messages:
            try:
                self.fold(message)
            except BadRecord:
                continue

    def fold(self, message: Message) -> None:
        """Fold a word; the minutes it changed are due. Raises `BadRecord`."""
        if self.headless:
            self.complete_from, self.headless = message.timestamp + MINUTE, False  # what is gone was said before
        review = review_in(message.value, message.headers)
        self.due |= {key_of(minute): minute for minute in self.folded.take(review, message.offset)}

    async def newest(self, messages: Sequence[Message]) -> list[tuple[ReviewWindow, Source]]:
        """Return the minutes that are due; what is no review is a dead letter."""
        for message in messages:
            try:
                self.fold(message)
            except BadRecord as error:
                await self.bury(message, error)
        self.tidy(clock.now())
        due, self.due = self.due, {}
        return [
            (minute, Place(topic=self.topics.reviews, partition=0, offset=minute.revision)) for minute in due.values()
        ]

    def tidy(self, now: datetime) -> None:
        """Once an hour forget what the store forgets, and write again what is young."""
        hour = floor_time(now, HOUR)
        if hour == self.hour:
            return
        self.hour = hour
        if self.found is not None and self.found.retention is not None:
            self.folded.forget(now - self.found.retention)
        young = {key: minute for key, minute in self.folded.minutes.items() if minute.start >= now - REWRITTEN}
        self.due = young | self.due

    async def write(self, found: Sequence[tuple[ReviewWindow, Source]]) -> list[tuple[Source, BadRecord]]:
        """Write what is ours, whole, and no older than the store keeps; the rest is passed over."""
        if not (self.held and found):
            return []
        self.found = self.found or await self.store.state()
        kept = self.found.retention
        oldest = max(self.complete_from, ALWAYS if kept is None else clock.now() - kept + SKEW)
        return await super().write([(minute, source) for minute, source in found if minute.start >= oldest])


def age(minute: ReviewWindow) -> Age:
    """Order of the revisions of one minute."""
    return minute.revision, 0
