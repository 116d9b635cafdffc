"""Frames that wait for the detector: one queue per station, taken in turn, and what happens when one grows. Pure."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

__all__ = ["Policy", "Waiting"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Policy:
    """What becomes of a station's frames when `max_waiting` of them wait.

    queue: they wait, however long. sample: every second one is skipped, so that the rest is an even sample.
    refuse: the newest one is skipped. A skip is returned, with its reason, to be recorded.
    """

    overload: Literal["queue", "sample", "refuse"] = "queue"
    max_waiting: int = 32


class Waiting(Generic[T]):
    """The queues of all stations; each in turn gives one, so that a busy station delays no other.

    >>> waiting = Waiting({"a": Policy("refuse", max_waiting=2)})
    >>> for number in range(3):
    ...     skipped = waiting.put("a", number)
    >>> skipped
    [(2, 'overload: 2 frames of the station wait already; its policy is to refuse more')]
    >>> waiting.put("b", 10)
    []
    >>> [waiting.take() for _ in range(4)]
    [0, 10, 1, None]
    """

    def __init__(self, policies: Mapping[str, Policy]) -> None:
        self._policies = policies
        self._queues: dict[str, deque[T]] = {}
        self._turns: deque[str] = deque()

    def __len__(self) -> int:
        """How many wait in all."""
        return sum(len(queue) for queue in self._queues.values())

    def of(self, station: str) -> int:
        """How many of a station wait."""
        return len(self._queues.get(station, ()))

    def put(self, station: str, item: T) -> list[tuple[T, str]]:
        """Take one in at the end of its station's queue; return what is skipped for it, each with the reason."""
        policy = self._policies.get(station, Policy())
        queue = self._queues.setdefault(station, deque())
        if policy.overload == "refuse" and len(queue) >= policy.max_waiting:
            return [(item, f"overload: {len(queue)} frames of the station wait already; its policy is to refuse more")]
        if not queue:
            self._turns.append(station)
        queue.append(item)
        if policy.overload != "sample" or len(queue) <= policy.max_waiting:
            return []
        reason = f"overload: {len(queue)} frames of the station waited; its policy is to inspect a sample"
        kept, skipped = list(queue)[::2], list(queue)[1::2]
        self._queues[station] = deque(kept)
        return [(one, reason) for one in skipped]

    def take(self) -> T | None:
        """Return the oldest of the station whose turn it is; None where nothing waits."""
        if not self._turns:
            return None
        station = self._turns.popleft()
        queue = self._queues[station]
        item = queue.popleft()
        if queue:
            self._turns.append(station)
        else:
            del self._queues[station]
        return item

    def drop(self, unwanted: Callable[[T], bool]) -> None:
        """Forget those that are another's now."""
        left = {station: deque(item for item in queue if not unwanted(item)) for station, queue in self._queues.items()}
        self._queues = {station: queue for station, queue in left.items() if queue}
        self._turns = deque(station for station in self._turns if station in self._queues)
