"""A picture as registration looks at it: halved again and again, without the lamp, and where its edges are. Pure.

A template is compared with thousands of pictures: what is made of it is made once and kept.
"""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

import cv2
import numpy as np
import numpy.typing as npt

from detector.aligning.alignment import Edges, find_edges
from detector.aligning.consensus import Witnesses, call_witnesses
from detector.aligning.light import flattened

__all__ = ["Pattern", "Patterns"]

Grey = npt.NDArray[np.uint8]
Field = npt.NDArray[np.float32]

BLOCK_PX = 32  # of the full picture: slower changes of brightness are the lamp's
LEAST_BLOCK = 8
KEPT_SHARE = 4  # bytes that a pattern keeps for each px, at most


class Pattern:
    """A grey picture (H, W) in sizes; `coarsest` is how many times smaller the smallest is: odd rests are left out.

    Any thread may ask: the same thing made twice is the same.

    >>> board = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    >>> pattern = Pattern(board)
    >>> pattern.size(4, 2).shape, pattern.clear(4, 2) is pattern.clear(4, 2)
    ((32, 32), True)
    """

    def __init__(self, grey: Grey) -> None:
        self.grey = grey
        self._sizes: dict[tuple[int, int], Grey] = {}
        self._clear: dict[tuple[int, int], Field] = {}
        self._edges: dict[tuple[int, int, int], Edges | None] = {}
        self._witnesses: dict[tuple[int, int, int], Witnesses | None] = {}

    def size(self, coarsest: int, factor: int) -> Grey:
        """Return the picture `factor` times smaller."""
        if (coarsest, factor) not in self._sizes:
            height, width = (side // coarsest * coarsest for side in self.grey.shape)
            self._sizes[coarsest, factor] = (
                self.grey[:height, :width] if factor == 1 else _half(self.size(coarsest, factor // 2))
            )
        return self._sizes[coarsest, factor]

    def clear(self, coarsest: int, factor: int) -> Field:
        """Return it `factor` times smaller without the lamp, blurred so that a map nearly right already agrees."""
        if (coarsest, factor) not in self._clear:
            block = max(BLOCK_PX // factor, LEAST_BLOCK)
            flat = cv2.GaussianBlur(flattened(self.size(coarsest, factor), block), (0, 0), 1.0)
            self._clear[coarsest, factor] = np.asarray(flat, np.float32)
        return self._clear[coarsest, factor]

    def searched(self, coarsest: int) -> Field:
        """Return the smallest one as it is searched."""
        return flattened(self.size(coarsest, coarsest), max(2 * BLOCK_PX // coarsest, LEAST_BLOCK))

    def edges(self, coarsest: int, factor: int, count: int) -> Edges | None:
        """Return at most `count` of its strongest edge points, `factor` times smaller."""
        if (coarsest, factor, count) not in self._edges:
            self._edges[coarsest, factor, count] = find_edges(self.clear(coarsest, factor), count)
        return self._edges[coarsest, factor, count]

    def witnesses(self, coarsest: int, factor: int, count: int) -> Witnesses | None:
        """Return those of its edge points that are asked where most of them lie, `factor` times smaller."""
        if (coarsest, factor, count) not in self._witnesses:
            edges = self.edges(coarsest, factor, count)
            called = None if edges is None else call_witnesses(self.clear(coarsest, factor), edges)
            self._witnesses[coarsest, factor, count] = called
        return self._witnesses[coarsest, factor, count]


class Patterns:
    """The patterns of templates by hash, the least recently used given up first; any thread may ask.

    >>> patterns = Patterns(capacity=1)
    >>> one = patterns.get("a", (8, 8), lambda: np.zeros((8, 8), np.uint8))
    >>> patterns.get("a", (8, 8), lambda: np.zeros((8, 8), np.uint8)) is one
    True
    """

    def __init__(self, *, capacity: int = 16, most_bytes: int = 2**27) -> None:
        self.capacity, self.most_bytes = capacity, most_bytes
        self._known: OrderedDict[tuple[str, tuple[int, int]], Pattern] = OrderedDict()
        self._lock = Lock()

    def get(self, sha256: str, size: tuple[int, int], grey: Callable[[], Grey]) -> Pattern:
        """Return the pattern of a template of `size` (H, W); `grey` gives it (H, W) where it is not known yet."""
        key = (sha256, size)
        with self._lock:
            pattern = self._known.get(key) or self._known.setdefault(key, Pattern(grey()))
            self._known.move_to_end(key)
            while len(self._known) > 1 and (len(self._known) > self.capacity or self._bytes() > self.most_bytes):
                self._known.popitem(last=False)
            return pattern

    def _bytes(self) -> int:
        return sum(KEPT_SHARE * pattern.grey.size for pattern in self._known.values())


def _half(grey: Grey) -> Grey:
    size = (grey.shape[1] // 2, grey.shape[0] // 2)
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
