"""Which records of a partition are done, and up to where all of them are: only so far may be committed. Pure.

Frames overtake each other on their way through the stages; a commit never does.
"""

from collections import deque
from collections.abc import Iterable

from taktwatch.bus import Partition

__all__ = ["Positions"]


class Positions:
    """Offsets taken from each partition, in log order, and which of them are settled.

    >>> positions = Positions()
    >>> for offset in (7, 8, 9):
    ...     positions.take(("frames", 0), offset)
    >>> positions.settle(("frames", 0), 8)
    >>> positions.committable()
    {}
    >>> positions.settle(("frames", 0), 7)
    >>> positions.committable()
    {('frames', 0): 9}
    """

    def __init__(self) -> None:
        self._open: dict[Partition, deque[int]] = {}
        self._settled: dict[Partition, set[int]] = {}
        self._next: dict[Partition, int] = {}

    def take(self, partition: Partition, offset: int) -> None:
        """Note a record that was read; offsets of a partition grow."""
        self._open.setdefault(partition, deque()).append(offset)

    def settle(self, partition: Partition, offset: int) -> None:
        """Note that what a record led to is durable; of partitions that were forgotten, nothing is noted."""
        offsets = self._open.get(partition)
        if offsets is None:
            return
        settled = self._settled.setdefault(partition, set())
        settled.add(offset)
        while offsets and offsets[0] in settled:
            settled.remove(offsets[0])
            self._next[partition] = offsets.popleft() + 1

    def committable(self) -> dict[Partition, int]:
        """Return the next offset to read of each partition that moved on since this was asked."""
        moved, self._next = self._next, {}
        return moved

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Forget partitions that are another's now."""
        for partition in partitions:
            self._open.pop(partition, None)
            self._settled.pop(partition, None)
            self._next.pop(partition, None)
