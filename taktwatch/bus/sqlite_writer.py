"""The writing thread of the embedded bus: what arrives while one transaction reaches the disk shares the next one."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta

import structlog

from taktwatch.bus import Outgoing
from taktwatch.bus.sqlite_log import TopicLog
from taktwatch.errors import TaktwatchError
from taktwatch.records import Place

__all__ = ["Writer"]

BATCH_BYTES = 64 * 2**20
"""How much one transaction takes at most, unless one call brings more."""

log = structlog.get_logger()


class Job:
    """One call's records and the places they get."""

    def __init__(self, records: Sequence[Outgoing]) -> None:
        self.records = records
        self.places: list[Place | None] = [None] * len(records)
        self.error: BaseException | None = None
        self.done: Future[list[Place]] = Future()

    def finish(self) -> None:
        """Tell the caller how it went."""
        if not self.done.set_running_or_notify_cancel():
            return
        if self.error is None:
            self.done.set_result([place for place in self.places if place is not None])
        else:
            self.done.set_exception(self.error)


class Writer:
    """Commits the records of many callers together, in the order they came, one transaction per topic."""

    def __init__(
        self, open_log: Callable[[str], TopicLog], clock: Callable[[], datetime], sweep_every: timedelta
    ) -> None:
        self._open_log = open_log
        self._clock = clock
        self._sweep_every = sweep_every
        self._swept: dict[str, datetime] = {}
        self._jobs: list[Job] = []
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "bus-writer")

    def submit(self, records: Sequence[Outgoing]) -> Future[list[Place]]:
        """Queue records; the future holds their places once they are durable."""
        job = Job(records)
        with self._lock:
            self._jobs.append(job)
        self._thread.submit(self._drain)
        return job.done

    def close(self) -> None:
        """Write what is queued, then end the thread."""
        self._thread.shutdown()

    def _drain(self) -> None:
        jobs = self._take()
        if not jobs:
            return
        by_topic: dict[str, list[tuple[Job, int]]] = {}
        for job in jobs:
            for index, record in enumerate(job.records):
                by_topic.setdefault(record.topic, []).append((job, index))
        for topic, entries in by_topic.items():
            self._append(topic, entries)
        for job in jobs:
            job.finish()
        for topic in by_topic:
            self._sweep(topic)

    def _take(self) -> list[Job]:
        with self._lock:
            size = count = 0
            for job in self._jobs:
                size += sum(len(record.value) for record in job.records)
                if count and size > BATCH_BYTES:
                    break
                count += 1
            jobs, self._jobs = self._jobs[:count], self._jobs[count:]
        return jobs

    def _append(self, topic: str, entries: Sequence[tuple[Job, int]]) -> None:
        try:
            places = self._open_log(topic).append([job.records[index] for job, index in entries], self._clock())
        except Exception as error:  # noqa: BLE001 - it is handed to every caller
            for job, _ in entries:
                job.error = error
            return
        for (job, index), (partition, offset) in zip(entries, places, strict=True):
            job.places[index] = Place(topic=topic, partition=partition, offset=offset)

    def _sweep(self, topic: str) -> None:
        now = self._clock()
        if topic in self._swept and now - self._swept[topic] < self._sweep_every:
            return
        self._swept[topic] = now
        try:
            self._open_log(topic).sweep(now)
        except TaktwatchError as error:  # what was published is safe; the next sweep tries again
            log.warning("retention was not applied", topic=topic, error=str(error))
