"""From a camera's thread to the event loop, with a bound on the pictures in between."""

import asyncio
import threading
from collections.abc import Generator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Self, TypeAlias, cast

from ingest.cameras import Camera, Event, Resume, Shot

__all__ = ["END", "End", "Reader"]

PICTURES: Final = 8
"""Pictures held between camera and spool."""
WORDS: Final = 4096
"""Events without a picture held in between: lost, found, and live pictures that found no place."""

LOOK_S: Final = 0.2
"""How often a waiting camera thread looks whether it is to stop."""


class End:
    """The source is exhausted."""


END: Final = End()

Item: TypeAlias = Event | End | BaseException


@dataclass
class Bounds:
    """Free places for pictures and for all events; taken by the camera's thread, given back by the event loop."""

    pictures: threading.Semaphore
    words: threading.Semaphore


class Reader:
    """Runs a camera in a thread of its own. Enter it to start, leave it to stop.

    A pausable camera waits when the places are taken. A live one cannot wait: its pictures go on without their bytes,
    with the reason, so that each is still numbered and accounted for.
    """

    def __init__(self, camera: Camera, resume: Resume, *, limit: int | None = None, pausable: bool = True) -> None:
        """`limit`: the number of shots after which the source counts as exhausted, those before `resume` included."""
        self._camera = camera
        self._resume = resume
        self._limit = limit
        self._pausable = pausable
        self._bounds = Bounds(threading.Semaphore(PICTURES), threading.Semaphore(WORDS))
        self._items: asyncio.Queue[Item] = asyncio.Queue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="camera", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        """Start the camera."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the camera and wait for its thread."""
        await self.halt()

    async def halt(self) -> None:
        """Stop the camera; what it captured before can still be had, then comes `END`."""
        self._stop.set()
        await asyncio.to_thread(self._thread.join)

    async def get_some(self, most: int) -> list[Event | End]:
        """Wait for events; return at most so many. `END` is the last. Raises what the camera raised."""
        found = [self._opened(await self._items.get())]
        while len(found) < most and not self._items.empty():
            found.append(self._opened(self._items.get_nowait()))
        return found

    def _opened(self, item: Item) -> Event | End:
        """Give the item's places back."""
        if isinstance(item, BaseException):
            raise item
        if not isinstance(item, End):
            self._bounds.words.release()
            if isinstance(item, Shot) and not item.missed:
                self._bounds.pictures.release()
        return item

    def _read(self) -> None:
        """Do the thread's work: drive the camera until it ends or is stopped."""
        last: Item = END
        shots = self._resume.shot
        events = cast("Generator[Event]", self._camera.events(self._resume, self._stop))
        try:
            while self._limit is None or shots < self._limit:
                event = next(events, None)
                if event is None:
                    break
                placed = self._placed(event)
                if placed is None:
                    return
                shots += isinstance(placed, Shot)
                self._hand_over(placed)
        except BaseException as error:  # noqa: BLE001 - raised again where the events are read
            last = error
        finally:
            events.close()
            self._hand_over(last)

    def _placed(self, event: Event) -> Event | None:
        """Take the places of an event; None where the reader was stopped while waiting for one."""
        if not self._waited(self._bounds.words):
            return None
        if not isinstance(event, Shot):
            return event
        if self._pausable:
            return event if self._waited(self._bounds.pictures) else None
        if self._bounds.pictures.acquire(blocking=False):
            return event
        return replace(event, data=b"", template=None, missed="ingest too slow: the disk does not keep up")

    def _waited(self, places: threading.Semaphore) -> bool:
        """Wait for a place, unless stopped."""
        while not places.acquire(timeout=LOOK_S):
            if self._stop.is_set():
                return False
        return True

    def _hand_over(self, item: Item) -> None:
        """Put an item on the event loop's queue."""
        assert self._loop is not None  # noqa: S101 - the thread is started after the loop is known
        self._loop.call_soon_threadsafe(self._items.put_nowait, item)
