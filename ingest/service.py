"""The ingest service: every station's camera into one spool, and the spool onto the bus."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime

from ingest.sender import Sender
from ingest.spool import Spool
from ingest.station import Progress, StationRun
from taktwatch import clock
from taktwatch.bus import Bus
from taktwatch.config import LineConfig
from taktwatch.topics import Topics

__all__ = ["IngestService", "Progress"]


class IngestService:
    """Runs the stations of a line.

    `progress` says per station how far it is, once `run` has begun. `finished` is set when every station's source came
    to its end, the bus has every frame and every session is closed; `run` then returns by itself.
    """

    def __init__(
        self, config: LineConfig, bus: Bus, topics: Topics, *, now: Callable[[], datetime] = clock.now
    ) -> None:
        """Nothing is opened before `run`."""
        self.config = config
        self.finished = asyncio.Event()
        self.progress: Mapping[str, Progress] = {}
        self._bus = bus
        self._topics = topics
        self._now = now
        self._arrived = asyncio.Event()
        self._published_templates: set[str] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Accept and send until `stop` is set or nothing is left to do.

        A bus that is away is waited for: frames gather in the spool. Raises `ConfigError` where a station can never
        work, `BackendUnavailable` where the spool cannot be opened.
        """
        path = self.config.data_dir / "spool" / f"{self.config.line}.sqlite"
        spool = await asyncio.to_thread(Spool, path, self.config.ingest.spool_max_bytes)
        try:
            runs, sender = await asyncio.to_thread(self._open, spool)
            self.progress = {run.station.name: run.progress for run in runs}
            if await self._run_all(runs, sender, stop):
                self.finished.set()
        finally:
            await asyncio.to_thread(spool.close)

    def _open(self, spool: Spool) -> tuple[list[StationRun], Sender]:
        """Open the stations and the sender. Blocking."""
        runs = [
            StationRun(
                self.config,
                station,
                spool,
                published_templates=self._published_templates,
                arrived=self._arrived,
                clock=self._now,
            )
            for station in self.config.stations
        ]
        sender = Sender(
            self.config,
            self._bus,
            self._topics,
            spool,
            runs,
            published_templates=self._published_templates,
            arrived=self._arrived,
            clock=self._now,
        )
        return runs, sender

    async def _run_all(self, runs: list[StationRun], sender: Sender, stop: asyncio.Event) -> bool:
        """Run stations and sender side by side; say whether everything is finished. The first error ends them all."""
        try:
            async with asyncio.TaskGroup() as tasks:
                waker = tasks.create_task(self._wake_on(stop))
                for run in runs:
                    tasks.create_task(run.run(stop), name=f"station {run.station.name}")
                finished = await tasks.create_task(sender.run(stop), name="sender")
                waker.cancel()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        return finished

    async def _wake_on(self, stop: asyncio.Event) -> None:
        """Let the sender see at once that it is to stop."""
        await stop.wait()
        self._arrived.set()
