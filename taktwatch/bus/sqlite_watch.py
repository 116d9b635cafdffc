"""How waiting readers learn that something changed: at once from this bus, within a tick from other processes."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from taktwatch.errors import TaktwatchError

__all__ = ["GROUP", "TOPIC", "Name", "Watch"]

TICK_S = 0.05
"""How often other processes' changes are looked for while somebody waits."""

TOPIC = "topic"
GROUP = "group"
Name = tuple[str, str]
"""What is watched: (`TOPIC`, topic) or (`GROUP`, group)."""


@dataclass(frozen=True, eq=False)
class Waiting:
    """Somebody who waits, and for what."""

    names: frozenset[Name]
    changed: asyncio.Event


class Watch:
    """Counts changes by name. `probe` returns the present state of names; a state unlike the last one is a change."""

    def __init__(self, probe: Callable[[frozenset[Name]], Awaitable[Mapping[Name, object]]]) -> None:
        self._probe = probe
        self._versions: dict[Name, int] = {}
        self._states: dict[Name, object] = {}
        self._waiting: list[Waiting] = []
        self._ticking: asyncio.Task[None] | None = None

    def versions(self, names: Sequence[Name]) -> list[int]:
        """Return how often each name has changed; taken before reading, it makes `wait` miss nothing."""
        return [self._versions.get(name, 0) for name in names]

    def touch(self, name: Name) -> None:
        """Count a change, and wake those who wait for it."""
        self._versions[name] = self._versions.get(name, 0) + 1
        self._wake(name)

    async def wait(self, names: Sequence[Name], seen: Sequence[int], timeout_s: float) -> None:
        """Return when any of the names changed since `seen`, or after the timeout. May return for no reason."""
        if self.versions(names) != list(seen):
            return
        waiting = Waiting(frozenset(names), asyncio.Event())
        self._waiting.append(waiting)
        if self._ticking is None or self._ticking.done():
            self._ticking = asyncio.create_task(self._tick())
        try:
            async with asyncio.timeout(timeout_s):
                await waiting.changed.wait()
        except TimeoutError:
            pass
        finally:
            self._waiting.remove(waiting)

    async def close(self) -> None:
        """Stop looking."""
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)

    async def _tick(self) -> None:
        while self._waiting:
            names = frozenset().union(*(waiting.names for waiting in self._waiting))
            try:
                states = await self._probe(names)
            except TaktwatchError:
                for name in names:  # whoever waits finds the error when it reads
                    self._wake(name)
            else:
                for name, state in states.items():
                    if self._states.get(name) != state:
                        self._states[name] = state
                        self.touch(name)
            await asyncio.sleep(TICK_S)

    def _wake(self, name: Name) -> None:
        for waiting in self._waiting:
            if name in waiting.names:
                waiting.changed.set()
