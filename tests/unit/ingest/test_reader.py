"""From the camera's thread to the event loop: in order, bounded, and nothing lost without a word."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from ingest.cameras import Event, Found, Lost, Resume, Shot
from ingest.reader import END, PICTURES, Reader
from taktwatch.errors import ConfigError


class Counting:
    """A camera that counts: `gate` is awaited before each shot where there is one."""

    def __init__(self, shots: int, *, gate: threading.Semaphore | None = None) -> None:
        self.shots = shots
        self.gate = gate
        self.yielded = 0
        self.closed = threading.Event()

    def events(self, resume: Resume, stop: threading.Event) -> Iterator[Event]:
        try:
            for number in range(resume.shot, self.shots):
                if stop.is_set():
                    return
                if self.gate is not None:
                    self.gate.acquire()
                self.yielded += 1
                yield Shot(name=str(number), data=b"picture")
        finally:
            self.closed.set()


async def drain(reader: Reader) -> list[object]:
    found: list[object] = []
    while not found or found[-1] is not END:
        found.extend(await reader.get_some(3))
    return found


def names(items: list[object]) -> list[str]:
    return [item.name for item in items if isinstance(item, Shot)]


def test_shots_come_in_order_and_then_the_end() -> None:
    async def main() -> None:
        async with Reader(Counting(50), Resume()) as reader:
            items = await drain(reader)
        assert names(items) == [str(number) for number in range(50)]

    asyncio.run(main())


def test_a_limit_counts_the_shots_before_the_restart() -> None:
    async def main() -> None:
        async with Reader(Counting(50), Resume(4), limit=6) as reader:
            assert names(await drain(reader)) == ["4", "5"]

    asyncio.run(main())


def test_a_camera_that_can_wait_waits_when_nobody_reads() -> None:
    async def main() -> None:
        camera = Counting(1000)
        async with Reader(camera, Resume()) as reader:
            await reader.get_some(1)
            await asyncio.sleep(0.05)
            assert camera.yielded <= PICTURES + 2
        assert camera.closed.is_set()

    asyncio.run(main())


def test_a_live_camera_goes_on_and_what_found_no_place_is_named() -> None:
    async def main() -> None:
        camera = Counting(PICTURES + 5)
        async with Reader(camera, Resume(), pausable=False) as reader:
            await asyncio.to_thread(camera.closed.wait)
            items = [item for item in await drain(reader) if isinstance(item, Shot)]
        assert names(list(items)) == [str(number) for number in range(PICTURES + 5)]
        assert [bool(item.data) for item in items] == [True] * PICTURES + [False] * 5
        assert {item.missed for item in items[PICTURES:]} == {"ingest too slow: the disk does not keep up"}

    asyncio.run(main())


def test_what_a_live_camera_captured_before_the_halt_is_still_given() -> None:
    async def main() -> None:
        camera = Counting(1000, gate=threading.Semaphore(3))
        async with Reader(camera, Resume(), pausable=False) as reader:
            assert camera.gate is not None
            halting = asyncio.create_task(reader.halt())
            camera.gate.release(2)
            await halting
            items = await drain(reader)
        assert names(items) == [str(number) for number in range(camera.yielded)]

    asyncio.run(main())


def test_an_error_of_the_camera_is_raised_where_its_events_are_read() -> None:
    class Broken:
        def events(self, resume: Resume, stop: threading.Event) -> Iterator[Event]:
            yield Lost(f"gone at {resume.shot}")
            if not stop.is_set():
                yield Found()
            raise ConfigError("the video x.avi cannot be opened")

    async def main() -> None:
        async with Reader(Broken(), Resume()) as reader:
            with pytest.raises(ConfigError, match=r"x\.avi"):
                await drain(reader)

    asyncio.run(main())
