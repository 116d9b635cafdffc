"""Which frames go through the network together, and until when to wait for company. Pure: time is an argument.

No batch waits to be full. It waits while frames that would join it are being prepared, if a larger batch was measured
to be cheaper for each of them, and never beyond the time at which the most urgent of them must go to be in time.
"""

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["Candidate", "Choice", "Costs", "choose"]

KEPT = 9
"""Measurements of one size whose median is believed."""

REMEASURE_AFTER = 500
"""Batches after which a size that was not used is tried again: machines change."""

PAYS = 0.9
"""Company is worth a wait where a frame costs less than this share of what it costs without."""

ALIKE = 0.95
"""A larger batch is taken only where a frame costs less than this share: else it only makes its frames late."""


class Costs:
    """Seconds a frame costs by the size of its batch, measured as they go. Sizes are kept by their power of two.

    >>> costs = Costs()
    >>> costs.learn(1, 0.1)
    >>> costs.learn(4, 0.2)
    >>> costs.each(1), costs.each(3), costs.each(2)
    (0.1, 0.05, None)
    """

    def __init__(self) -> None:
        self._each: dict[int, deque[float]] = {}
        self._used: dict[int, int] = {}
        self._batches = 0

    def learn(self, size: int, seconds: float) -> None:
        """Note what a batch took."""
        step = (size - 1).bit_length()
        self._batches += 1
        if self._is_old(step):
            self._each[step] = deque(maxlen=KEPT)
        self._each[step].append(seconds / size)
        self._used[step] = self._batches

    def each(self, size: int) -> float | None:
        """Return seconds a frame; None where no batch of about this size was measured lately."""
        step = (size - 1).bit_length()
        return None if self._is_old(step) else median(self._each[step])

    def _is_old(self, step: int) -> bool:
        return step not in self._each or self._batches - self._used[step] > REMEASURE_AFTER


@dataclass(frozen=True, slots=True)
class Candidate:
    """A prepared frame: with which ones it may go (same network, same size), and when its verdict is due, in s."""

    group: Hashable
    due_s: float


@dataclass(frozen=True, slots=True)
class Choice:
    """Which candidates go now, by index; none: look again at `wait_until_s`, or when one more was prepared."""

    indices: tuple[int, ...] = ()
    wait_until_s: float | None = None


def choose(
    candidates: Sequence[Candidate], now_s: float, costs: Callable[[Hashable], Costs], *, most: int, coming: int
) -> Choice:
    """Choose the next batch, of the group of the most urgent frame; `coming` frames are being prepared.

    >>> costs = Costs()
    >>> costs.learn(1, 0.1), costs.learn(2, 0.12)
    (None, None)
    >>> choose([Candidate("m", 5.0)], 3.0, lambda _: costs, most=4, coming=1)
    Choice(indices=(), wait_until_s=4.88)
    >>> choose([Candidate("m", 5.0)], 3.0, lambda _: costs, most=4, coming=0)
    Choice(indices=(0,), wait_until_s=None)
    """
    if not candidates:
        return Choice()
    urgent = min(candidates, key=lambda one: one.due_s)
    members = [index for index, one in enumerate(candidates) if one.group == urgent.group]
    members.sort(key=lambda index: candidates[index].due_s)
    known, slack_s = costs(urgent.group), urgent.due_s - now_s
    size = best_size(len(members), slack_s, known, most)
    if size == len(members) < most and coming:
        alone, together = known.each(size), known.each(size + 1)
        if alone is not None and together is not None and together < PAYS * alone:
            until_s = urgent.due_s - together * (size + 1)
            if until_s > now_s:
                return Choice(wait_until_s=until_s)
    return Choice(tuple(members[:size]))


def best_size(available: int, slack_s: float, costs: Costs, most: int) -> int:
    """Return how many go together: as many as make a frame cheapest, as long as the most urgent is in time.

    A size that was not measured lately is tried; where nothing is in time any more, the cheapest goes.
    """
    sizes = [size for size in _steps(min(available, most)) if (costs.each(size) or 0.0) * size <= slack_s]
    best, cost = 1, costs.each(1)
    for size in sizes or _steps(min(available, most)):
        each = costs.each(size)
        if each is None:
            best, cost = size, None
        elif cost is not None and each < ALIKE * cost:
            best, cost = size, each
    return best


def _steps(most: int) -> list[int]:
    """Return the sizes worth telling apart up to `most`: the powers of two, and itself.

    >>> _steps(6)
    [1, 2, 4, 6]
    """
    steps = [1 << power for power in range(most.bit_length())]
    return steps if steps[-1] == most else [*steps, most]
