"""Which frames go through the network together. Pure: time is an argument.

A network that is free takes what is ready at once: no frame waits for company. What gathers while it is busy goes
together only where a batch was measured to be clearly cheaper for each of its frames. Where it is not, a batch helps
nobody: all its frames wait for the last of them, and so does every frame behind.
"""

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["Candidate", "Costs", "choose"]

KEPT, TRIED = 9, 3
"""Measurements of one size whose median is believed, and from how many on: the first ones start threads."""

REMEASURE_AFTER = 500
"""Batches after which a size that was not used is tried again: machines change."""

PAYS, PAYS_LATE = 0.9, 0.97
"""A larger batch is taken where a frame costs less than this share of what it costs in a smaller one; once frames are
late, throughput alone counts."""


class Costs:
    """Seconds a frame costs by the size of its batch, measured as they go.

    >>> costs = Costs()
    >>> for seconds in (0.9, 0.1, 0.1):
    ...     costs.learn(1, seconds)
    >>> costs.learn(4, 0.2)
    >>> costs.each(1), costs.each(4)
    (0.1, None)
    """

    def __init__(self) -> None:
        self._each: dict[int, deque[float]] = {}
        self._used: dict[int, int] = {}
        self._batches = 0

    def learn(self, size: int, seconds: float) -> None:
        """Note what a batch took."""
        self._batches += 1
        if self._is_old(size):
            self._each[size] = deque(maxlen=KEPT)
        self._each[size].append(seconds / size)
        self._used[size] = self._batches

    def each(self, size: int) -> float | None:
        """Return seconds a frame; None where too few batches of this size were measured lately."""
        return None if self._is_old(size) or len(self._each[size]) < TRIED else median(self._each[size])

    def _is_old(self, size: int) -> bool:
        return size not in self._each or self._batches - self._used[size] > REMEASURE_AFTER


@dataclass(frozen=True, slots=True)
class Candidate:
    """A prepared frame: with which ones it may go (same network, same size), and when its verdict is due, in s."""

    group: Hashable
    due_s: float


def choose(
    candidates: Sequence[Candidate], now_s: float, costs: Callable[[Hashable], Costs], *, most: int
) -> tuple[int, ...]:
    """Choose the next batch, by index: the most urgent frame, and those of its group that had better go with it.

    >>> costs = Costs()
    >>> for size, seconds in ((1, 0.10), (2, 0.12)) * TRIED:
    ...     costs.learn(size, seconds)
    >>> choose([Candidate("m", 5.0), Candidate("m", 4.0)], 3.0, lambda _: costs, most=4)
    (1, 0)
    >>> choose([Candidate("m", 5.0), Candidate("m", 4.0)], 3.9, lambda _: costs, most=4)
    (1,)
    """
    if not candidates:
        return ()
    urgent = min(candidates, key=lambda one: one.due_s)
    members = [index for index, one in enumerate(candidates) if one.group == urgent.group]
    members.sort(key=lambda index: candidates[index].due_s)
    return tuple(members[: best_size(len(members), urgent.due_s - now_s, costs(urgent.group), most)])


def best_size(available: int, slack_s: float, costs: Costs, most: int) -> int:
    """Return how many go together: as many as make a frame cheapest, as long as the most urgent is in time.

    A size that was not measured lately is tried; where nothing is in time any more, the cheapest goes.
    """
    steps = _steps(available, most)
    in_time = [size for size in steps if (costs.each(size) or 0.0) * size <= slack_s]
    pays = PAYS if in_time else PAYS_LATE
    best, cost = 1, costs.each(1)
    for size in in_time or steps:
        each = costs.each(size)
        if each is None:
            best, cost = size, None
        elif cost is not None and each < pays * cost:
            best, cost = size, each
    return best


def _steps(available: int, most: int) -> list[int]:
    """Return the sizes worth telling apart: the powers of two, and the largest allowed. Each is measured by itself.

    >>> _steps(5, 6), _steps(6, 6)
    ([1, 2, 4], [1, 2, 4, 6])
    """
    steps = [1 << power for power in range(min(available, most).bit_length())]
    return [*steps, most] if available >= most > steps[-1] else steps
