"""Up to when a live source has told everything: what lets a mark say "nothing more until now" and never lie."""

import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime

__all__ = ["Horizon"]


class Horizon:
    """Times of pictures that were captured but are not yet accepted. Capturing and asking may be different threads.

    The clock is read inside the lock, so a picture captured after `bound` was asked is never stamped before its answer
    (as long as the clock itself does not go back).
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        """Use `clock` for both sides."""
        self._clock = clock
        self._lock = threading.Lock()
        self._captured: deque[datetime] = deque()

    def capture(self) -> datetime:
        """Stamp a picture that was just captured; every stamp is followed by one `settled`, in order."""
        with self._lock:
            stamp = self._clock()
            self._captured.append(stamp)
            return stamp

    def settled(self) -> None:
        """Say that the oldest captured picture was accepted (or given up before it was numbered)."""
        with self._lock:
            self._captured.popleft()

    def bound(self) -> datetime:
        """Return a time before which no picture is still on its way.

        >>> from datetime import UTC
        >>> times = iter([datetime(2026, 3, 3, 0, 0, second, tzinfo=UTC) for second in (1, 5, 9)])
        >>> horizon = Horizon(lambda: next(times))
        >>> taken_at = horizon.capture()
        >>> horizon.bound() == taken_at
        True
        >>> horizon.settled()
        >>> horizon.bound().second
        9
        """
        with self._lock:
            present = self._clock()
            return min(self._captured[0], present) if self._captured else present
