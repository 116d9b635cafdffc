"""One station: shots of its camera, accepted into the spool at the line's beat."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

import msgspec
import structlog

from ingest import metrics
from ingest.cameras import Found, Lost, Resume, Shot, open_camera, traits
from ingest.cameras.folder import still_there
from ingest.cameras.panels import PanelCutter, PanelLimits
from ingest.entries import Entry, SpoolFull, without_picture
from ingest.horizon import Horizon
from ingest.intake import Intake
from ingest.marks import clocked_time, mark_of, stamped_time
from ingest.pacing import Pace, Takt
from ingest.reader import Reader
from ingest.sessions import Session, choose_session, is_exhausted
from ingest.spool import Spool
from ingest.waiting import stopped_within
from taktwatch.config import FolderSource, LineConfig, StationConfig
from taktwatch.errors import BackendUnavailable
from taktwatch.records import MarkState, Outcome, StationMark

__all__ = ["Progress", "StationRun"]

log = structlog.get_logger()

BATCH = 16
"""Shots accepted in one transaction where no takt holds them back."""
FULL_PAUSE_S = 0.1
BROKEN_PAUSE_S = 1.0


@dataclass
class Progress:
    """How far a station is: frames of its session accepted and on the bus, of `total` where the source says.

    `dead` and `skipped` count since this process began.
    """

    accepted: int = 0
    sent: int = 0
    dead: int = 0
    skipped: int = 0
    total: int | None = None


class StationRun:
    """Takes a station's pictures in until its source is exhausted or it is told to stop.

    `session` is what the spool holds of it; `state` what its camera does; `ended` says that nothing more is accepted.
    """

    def __init__(
        self,
        config: LineConfig,
        station: StationConfig,
        spool: Spool,
        *,
        published_templates: set[str],
        arrived: asyncio.Event,
        clock: Callable[[], datetime],
    ) -> None:
        """Open the station: its session, its camera, its product's template. Blocking. Raises `ConfigError`.

        `published_templates` is shared with the sender; `arrived` is set when there is something to send.
        """
        self.config = config
        self.station = station
        self.ended = asyncio.Event()
        self.state = MarkState.OPEN
        self._spool = spool
        self._arrived = arrived
        self._clock = clock
        self._traits = traits(station.source)
        self._horizon = Horizon(clock)
        self._labels = (config.line, station.name)
        self._open(published_templates)

    def _open(self, published_templates: set[str]) -> None:
        """Choose the session and open the camera."""
        station, now = self.station, self._clock()
        earlier = [session for session in self._spool.sessions() if session.station == station.name]
        self.session: Session = choose_session(station, earlier, now)
        self._takt = Takt(self.session.start, station.boards_per_minute)
        lead_s = (self._takt.stamp(self.session.next_seq) - now).total_seconds() if station.start is None else 0.0
        self._began_s = monotonic()
        self._pace = (
            Pace(self._takt, self.session.next_seq, lead_s) if station.paced and not self._traits.clocked else None
        )
        self._intake = Intake(self.config, station, self.session.session, published_templates)
        self._camera = open_camera(
            station.source,
            self._intake.view,
            max_bytes=self.config.ingest.max_picture_bytes,
            stamp=self._horizon.capture,
            cutter=self._cutter(),
        )
        self._spool.begin(self.session)
        waiting = self._spool.waiting(self.session)
        self.progress = Progress(self.session.next_seq, self.session.next_seq - waiting, total=station.source.boards)
        metrics.CAMERA_UP.labels(*self._labels).set(1)

    def _cutter(self) -> PanelCutter:
        """Return what cuts panels for this station; strips of its golden template lie beside the spool."""
        limits, product = self.config.ingest, self.config.products.get(self.station.product)
        return PanelCutter(
            PanelLimits(limits.max_picture_bytes, limits.max_panel_px, limits.max_side_px, limits.panel_overlap_px),
            None if product is None else product.template,
            self.config.data_dir / "golden" / self.station.name,
        )

    @property
    def exhausted(self) -> bool:
        """Whether the session will get no more frames."""
        return is_exhausted(self.station, self.session)

    def mark(self) -> StationMark:
        """Return what is true of the station now."""
        if self._traits.clocked:
            bound = self._horizon.bound()
            return mark_of(self.config.line, self.session, clocked_time(self.session, bound), self.state)
        time = stamped_time(self.session, self._takt, self._pace, monotonic() - self._began_s)
        return mark_of(self.config.line, self.session, time, self.state)

    async def run(self, stop: asyncio.Event) -> None:
        """Accept shots until the source is exhausted or `stop` is set. Raises what the camera cannot survive."""
        try:
            if not self.exhausted:
                await self._take_all(stop)
        finally:
            self.ended.set()
            self._arrived.set()

    async def _take_all(self, stop: asyncio.Event) -> None:
        """Read the camera to its end."""
        resume = await asyncio.to_thread(self._resume)
        reader = Reader(self._camera, resume, limit=self.station.source.boards, pausable=self._traits.pausable)
        async with reader:
            halting = asyncio.create_task(halt_on(stop, reader))
            try:
                await self._take(reader, stop)
            finally:
                halting.cancel()

    def _resume(self) -> Resume:
        """Say where the source goes on. Blocking."""
        source = self.station.source
        taken: frozenset[str] = frozenset()
        if isinstance(source, FolderSource) and source.watch:
            taken = self._spool.taken(self.station.name)
            kept = still_there(source.path, taken)
            self._spool.forget_taken(self.station.name, taken - kept)
            taken = kept
        return Resume(self.session.next_shot, self.session.last_name, taken)

    async def _take(self, reader: Reader, stop: asyncio.Event) -> None:
        """Accept what the reader gives, in order, until its end. At most one shot is accepted on a paced beat."""
        while True:
            shots: list[Shot] = []
            for event in await reader.get_some(BATCH if self._pace is None else 1):
                if isinstance(event, Shot):
                    shots.append(event)
                    continue
                await self._accept(shots, stop)
                shots = []
                if isinstance(event, Lost | Found):
                    self._hear(event)
                    continue
                if not stop.is_set():
                    await asyncio.to_thread(self._spool.finish, self.session)
                    self.session = msgspec.structs.replace(self.session, finished=True)
                return
            await self._accept(shots, stop)

    def _hear(self, event: Lost | Found) -> None:
        """Take note of a camera that vanished or came back."""
        if isinstance(event, Lost) and self.state is not MarkState.LOST:
            log.warning("camera lost", line=self.config.line, station=self.station.name, reason=event.reason)
            self._become(MarkState.LOST)
        if isinstance(event, Found) and self.state is not MarkState.OPEN:
            log.info("camera found", line=self.config.line, station=self.station.name)
            self._become(MarkState.OPEN)

    def _become(self, state: MarkState) -> None:
        """Change the station's state; the sender marks it at once."""
        self.state = state
        metrics.CAMERA_UP.labels(*self._labels).set(state is MarkState.OPEN)
        self._arrived.set()

    async def _accept(self, shots: Sequence[Shot], stop: asyncio.Event) -> None:
        """Accept shots. What a pausable source gave after `stop` is left: it gives it again after a restart."""
        if shots:
            self._hear(Found())
        if shots and await self._is_due(stop):
            await self._store(await asyncio.to_thread(self._entries, shots), stop)
        if self._traits.clocked:
            for _ in shots:
                self._horizon.settled()

    async def _is_due(self, stop: asyncio.Event) -> bool:
        """Wait for the beat of a paced belt; False where `stop` came and the source can wait."""
        if self._pace is not None:
            delay_s = self._pace.due_s(self.session.next_seq) - (monotonic() - self._began_s)
            await stopped_within(stop, delay_s)
        return not (stop.is_set() and self._traits.pausable)

    async def _store(self, entries: Sequence[Entry], stop: asyncio.Event) -> None:
        """Make entries durable: together, or one by one as there is room, until `stop`."""
        if len(entries) > 1:
            with suppress(SpoolFull, BackendUnavailable):
                await self._commit(entries)
                return
        for entry in entries:
            if not await self._store_one(entry, stop):
                return

    async def _store_one(self, entry: Entry, stop: asyncio.Event) -> bool:
        """Make an entry durable as soon as there is room; a live picture does not wait, it is skipped on the record.

        False where `stop` came before.
        """
        while True:
            try:
                await self._commit([entry])
            except SpoolFull:
                if not self._traits.pausable:
                    entry = without_picture(entry, "spool full: the bus takes nothing")
                elif await stopped_within(stop, FULL_PAUSE_S):
                    return False
            except BackendUnavailable as error:
                log.warning("spool fails", line=self.config.line, station=self.station.name, error=str(error))
                if await stopped_within(stop, BROKEN_PAUSE_S):
                    return False
            else:
                return True

    async def _commit(self, entries: Sequence[Entry]) -> None:
        """Put entries into the spool, all or none, and keep the books."""
        self.session = await asyncio.to_thread(self._spool.accept, self.session, entries)
        self._count(entries)

    def _count(self, entries: Sequence[Entry]) -> None:
        """Keep the books of what was accepted."""
        dead = sum(entry.outcome is Outcome.DEAD for entry in entries)
        skipped = sum(entry.outcome is Outcome.SKIPPED for entry in entries)
        self.progress.accepted = self.session.next_seq
        self.progress.dead += dead
        self.progress.skipped += skipped
        metrics.ACCEPTED.labels(*self._labels).inc(len(entries))
        metrics.DEAD.labels(*self._labels).inc(dead)
        metrics.SKIPPED.labels(*self._labels).inc(skipped)
        self._arrived.set()

    def _entries(self, shots: Sequence[Shot]) -> list[Entry]:
        """Check and number shots. Blocking: it decodes pictures."""
        received_at = self._clock()
        numbers = range(self.session.next_seq, self.session.next_seq + len(shots))
        return [
            self._intake.entry(
                shot,
                seq=seq,
                visit=self.session.first_shot + seq - (0 if shot.tile is None else shot.tile.index),
                taken_at=shot.taken_at or self._takt.stamp(seq),
                received_at=received_at,
            )
            for seq, shot in zip(numbers, shots, strict=True)
        ]


async def halt_on(stop: asyncio.Event, reader: Reader) -> None:
    """Stop the reader when everything is told to stop."""
    await stop.wait()
    await reader.halt()
