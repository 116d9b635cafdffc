"""What a camera yields: shots as captured, and word of having vanished or come back."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias

from taktwatch.config import FolderSource, SimulatorSource, SourceConfig, VideoSource
from taktwatch.records import Tile

__all__ = ["HEAD_BYTES", "Camera", "Event", "Found", "Lost", "Resume", "Shot", "Traits", "traits"]

HEAD_BYTES = 64 * 1024
"""How much of a file too large for the bus is kept."""


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One picture as captured, in memory, not yet numbered.

    `taken_at` None: to be stamped by the takt. `key` names a file that must not be taken twice. `whole_bytes` and
    `sha256` are those of the whole file where `data` is only its head. `fault` says why it cannot be inspected,
    `missed` why it was not kept at all. `sound` pictures were encoded by the camera itself and need no check.
    `tile`: which piece of a panel it is; the pieces of one come in order, and make one visit.
    """

    name: str
    data: bytes
    media_type: str = "application/octet-stream"
    taken_at: datetime | None = None
    serial: str | None = None
    template: bytes | None = None
    key: str | None = None
    whole_bytes: int | None = None
    sha256: str | None = None
    fault: str = ""
    missed: str = ""
    sound: bool = False
    tile: Tile | None = None


@dataclass(frozen=True)
class Lost:
    """The camera does not answer any more."""

    reason: str


@dataclass(frozen=True)
class Found:
    """A lost camera answers again; a shot says the same."""


Event: TypeAlias = Shot | Lost | Found


@dataclass(frozen=True)
class Resume:
    """Where a source goes on: `shot` numbers the next one, `after` names the last, `seen` the keys already taken."""

    shot: int = 0
    after: str | None = None
    seen: frozenset[str] = frozenset()


class Camera(Protocol):
    """A source of pictures, read in a thread of its own."""

    def events(self, resume: Resume, stop: threading.Event) -> Iterator[Event]:
        """Yield shots and word of the camera until the source is exhausted or `stop` is set.

        May block, but looks at `stop` about once a second. Raises `ConfigError` where it can never work.
        """


@dataclass(frozen=True)
class Traits:
    """How a source behaves: it never ends by itself; its pictures wait for us; a clock stamps them, not the takt."""

    endless: bool
    pausable: bool
    clocked: bool


def traits(source: SourceConfig) -> Traits:
    """Return how a source behaves.

    >>> traits(SimulatorSource(kind="simulator", boards=3))
    Traits(endless=False, pausable=True, clocked=False)
    """
    match source:
        case SimulatorSource():
            return Traits(endless=source.boards is None, pausable=True, clocked=False)
        case FolderSource():
            return Traits(endless=source.watch and source.boards is None, pausable=True, clocked=source.watch)
        case VideoSource():
            live = source.live or source.target.isdigit() or "://" in source.target
            return Traits(endless=live and source.boards is None, pausable=not live, clocked=live)
