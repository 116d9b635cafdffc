"""From the spool to the bus: frames in order, marks about once a second, and both again after the bus was away."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from time import monotonic

import msgspec
import structlog

from ingest import metrics
from ingest.entries import Spooled
from ingest.frames import dead_letter, head_of
from ingest.marks import mark_of
from ingest.spool import Spool
from ingest.station import StationRun
from ingest.waiting import stopped_within
from taktwatch.assets import make_asset, publish_asset
from taktwatch.bus import Bus, Outgoing
from taktwatch.config import LineConfig
from taktwatch.errors import BackendUnavailable, RecordTooLarge, UnknownProduct
from taktwatch.pictures import probe
from taktwatch.records import MarkState, Outcome, Record, StationMark, outcome_of
from taktwatch.topics import Topics
from taktwatch.wire import encode

__all__ = ["Sender"]

log = structlog.get_logger()

BATCH_FRAMES = 64
BATCH_BYTES = 8 * 2**20
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0


class Sender:
    """Publishes what the spool holds. The only writer of marks, so that none overtakes another.

    A session's first mark goes before its first frame, its closing one after its last.
    """

    def __init__(
        self,
        config: LineConfig,
        bus: Bus,
        topics: Topics,
        spool: Spool,
        runs: Sequence[StationRun],
        *,
        published_templates: set[str],
        arrived: asyncio.Event,
        clock: Callable[[], datetime],
    ) -> None:
        """Blocking: looks into the spool. `published_templates` is filled here, `arrived` is set for what is new."""
        self._config = config
        self._bus = bus
        self._topics = topics
        self._spool = spool
        self._published = published_templates
        self._arrived = arrived
        self._clock = clock
        self._ready = False
        self._runs = {(run.station.name, run.session.session): run for run in runs}
        self._abandoned = {
            (session.station, session.session): session
            for session in spool.sessions()
            if not session.closed and (session.station, session.session) not in self._runs
        }
        self._unclosed = {*self._runs, *self._abandoned}
        self._marked: dict[tuple[str, str], tuple[MarkState, float]] = {}

    async def run(self, stop: asyncio.Event) -> bool:
        """Send until every session is closed (True), or until `stop` (False): then what is in hand, and last marks."""
        pause_s = FIRST_PAUSE_S
        while True:
            stopping = stop.is_set()
            if stopping:
                await asyncio.gather(*(run.ended.wait() for run in self._runs.values()))
            self._arrived.clear()
            try:
                sent = await self._step(every_mark=stopping)
            except BackendUnavailable as error:
                metrics.BUS_FAILURES.labels(self._config.line).inc()
                if stopping:
                    return False
                if pause_s == FIRST_PAUSE_S:
                    log.warning("bus away; frames gather in the spool", line=self._config.line, error=str(error))
                await stopped_within(stop, pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                continue
            pause_s = FIRST_PAUSE_S
            if not self._unclosed:
                return True
            if stopping:
                return False
            if not sent:
                await stopped_within(self._arrived, self._config.ingest.mark_interval_s)

    async def _step(self, *, every_mark: bool) -> bool:
        """Send due marks and the oldest frames once; say whether there were frames."""
        if not self._ready:
            await self._bus.ensure(self._topics.specs(self._config.retention))
            self._ready = True
        batch = await asyncio.to_thread(self._spool.head, max_entries=BATCH_FRAMES, max_bytes=BATCH_BYTES)
        await self._send_marks(self._due_marks(every_mark=every_mark))
        if batch:
            await self._send_templates(batch)
            await self._send_frames(batch)
            await asyncio.to_thread(self._spool.forget, batch)
            self._count(batch)
        metrics.SPOOL_FRAMES.labels(self._config.line).set(self._spool.waiting_frames)
        metrics.SPOOL_BYTES.labels(self._config.line).set(self._spool.waiting_bytes)
        await self._close_done()
        return bool(batch)

    def _due_marks(self, *, every_mark: bool) -> list[StationMark]:
        """Return the marks to be written now: first ones, changed states, and once per interval."""
        now_s = monotonic()
        marks = [
            mark_of(self._config.line, self._abandoned[key], self._abandoned[key].last_at, MarkState.OPEN)
            for key in self._unclosed & self._abandoned.keys() - self._marked.keys()
        ]
        for key in self._unclosed & self._runs.keys():
            run = self._runs[key]
            state, at_s = self._marked.get(key, (None, 0.0))
            if every_mark or state is not run.state or now_s - at_s >= self._config.ingest.mark_interval_s:
                marks.append(run.mark())
        return marks

    async def _send_marks(self, marks: Sequence[StationMark]) -> None:
        """Publish marks and remember when."""
        await self._publish([self._outgoing(self._topics.results, self._config.line, mark) for mark in marks])
        for mark in marks:
            self._marked[mark.station, mark.session] = mark.state, monotonic()

    async def _send_templates(self, batch: Sequence[Spooled]) -> None:
        """Publish the golden templates that these frames name and the bus does not have yet."""
        for sha256 in {entry.template_sha256 for entry in batch} - self._published:
            body = None if sha256 is None else await asyncio.to_thread(self._spool.template, sha256)
            if sha256 is not None and body is not None:
                try:
                    await publish_asset(self._bus, self._topics, make_asset(body, "template", probe(body).media_type))
                except RecordTooLarge as error:  # its frames go on; whoever misses the template says so of each
                    log.error("template not sent", line=self._config.line, error=str(error))  # noqa: TRY400 - a setting
                self._published.add(sha256)
                await asyncio.to_thread(self._spool.forget_template, sha256)

    async def _send_frames(self, batch: Sequence[Spooled]) -> None:
        """Publish frames in order; one that the bus finds too large becomes a dead letter, the others go on."""
        try:
            await self._publish([record for entry in batch for record in self._records(entry)])
        except RecordTooLarge:
            for entry in batch:
                try:
                    await self._publish(self._records(entry))
                except RecordTooLarge as error:
                    await self._publish(self._rejected(entry, f"{entry.source}: {error}"))

    def _records(self, entry: Spooled) -> list[Outgoing]:
        """Return what goes on the bus for an accepted frame."""
        match entry.outcome:
            case Outcome.INSPECTED:
                return [Outgoing(self._topics.frames, entry.headers["ce_id"], entry.value, entry.headers)]
            case Outcome.DEAD:
                return self._rejected(entry, entry.reason)
            case Outcome.SKIPPED:
                return [self._outcome(entry, Outcome.SKIPPED, entry.reason)]

    def _rejected(self, entry: Spooled, error: str) -> list[Outgoing]:
        """Return the dead letter of a frame and its outcome."""
        frame = entry.frame
        if error != entry.reason:
            frame = msgspec.structs.replace(frame, image=head_of(frame.image))
        letter = dead_letter(frame, error, f"{entry.station}: {entry.source}", entry.whole_bytes)
        return [
            self._outgoing(self._topics.dead, frame.frame_id, letter),
            self._outcome(entry, Outcome.DEAD, error),
        ]

    def _outcome(self, entry: Spooled, outcome: Outcome, reason: str) -> Outgoing:
        """Return the terminal outcome of a frame that is not inspected."""
        frame = entry.frame
        try:
            config_sha256 = self._config.product_sha256(frame.product)
        except UnknownProduct:
            config_sha256 = ""
        result = outcome_of(frame, outcome, reason, config_sha256=config_sha256, at=self._clock())
        return self._outgoing(self._topics.results, self._config.line, result)

    def _outgoing(self, topic: str, key: str, record: Record) -> Outgoing:
        """Encode a record for a topic."""
        return Outgoing(topic, key.encode(), *encode(record))

    async def _publish(self, records: Sequence[Outgoing]) -> None:
        """Publish, where there is anything."""
        if records:
            await self._bus.publish(records)

    def _count(self, batch: Sequence[Spooled]) -> None:
        """Keep the books of what the bus has."""
        for entry in batch:
            metrics.SENT.labels(self._config.line, entry.station).inc()
            if (run := self._runs.get((entry.station, entry.session))) is not None:
                run.progress.sent += 1

    async def _close_done(self) -> None:
        """Close the sessions that get no more frames and whose frames the bus has."""
        for key in sorted(self._unclosed):
            run = self._runs.get(key)
            if run is not None and not run.exhausted:
                continue
            session = self._abandoned[key] if run is None else run.session
            if await asyncio.to_thread(self._spool.waiting, session):
                continue
            mark = mark_of(self._config.line, session, session.last_at, MarkState.CLOSED) if run is None else run.mark()
            await self._send_marks([msgspec.structs.replace(mark, state=MarkState.CLOSED)])
            await asyncio.to_thread(self._spool.set_closed, session, finished=run is not None)
            self._unclosed.discard(key)
