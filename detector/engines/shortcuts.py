"""A faster way for shapes that repeat: tried once the shape has come a few times, kept if it is equal and faster.

On CUDA that is a graph: the kernels of one call, recorded and launched together
(https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).
"""

import time
from collections.abc import Callable, Sequence

import structlog
import torch

__all__ = ["Run", "Shortcuts", "captured", "timed_on_cuda"]

Run = Callable[[torch.Tensor], Sequence[torch.Tensor]]

AFTER = 3
"""A shape is worth a shortcut when it comes for this time."""
MOST = 6
"""Shapes that are given one, that of the race for `auto` among them: each holds its memory for good."""
PAYS = 0.95
"""A shortcut is kept where it takes less than this share of the time."""
TURNS = 5
WARM_UP = 3

log = structlog.get_logger()


class Shortcuts:
    """Runs `plain`, or what `make` made of it for a shape, whichever `timed` (seconds) found faster.

    What it returns is overwritten by its next run. A shortcut that cannot be made, or whose numbers are not the very
    same, is not taken.
    """

    def __init__(
        self, plain: Run, make: Callable[[Run, torch.Tensor], Run], timed: Callable[[Run, torch.Tensor], float]
    ) -> None:
        self.plain, self.make, self.timed = plain, make, timed
        self.seen: dict[tuple[int, ...], int] = {}
        self.chosen: dict[tuple[int, ...], Run] = {}

    def __call__(self, numbers: torch.Tensor) -> Sequence[torch.Tensor]:
        """Run it the fastest way known for these numbers' shape."""
        shape = (*numbers.shape, *numbers.stride())
        if shape in self.chosen:
            return self.chosen[shape](numbers)
        self.seen[shape] = self.seen.get(shape, 0) + 1
        if self.seen[shape] < AFTER or len(self.chosen) >= MOST:
            return self.plain(numbers)
        expected = self.plain(numbers)
        self.chosen[shape] = self._faster(numbers, expected)
        return expected

    def _faster(self, numbers: torch.Tensor, expected: Sequence[torch.Tensor]) -> Run:
        """Return the shortcut for a shape where it may be taken and pays, else the plain way."""
        try:
            shortcut = self.make(self.plain, numbers)
            found = shortcut(numbers)
            equal = len(found) == len(expected) and all(map(torch.equal, found, expected))
        except RuntimeError as error:
            log.info("no shortcut for a shape", shape=tuple(numbers.shape), why=str(error).partition("\n")[0])
            return self.plain
        if not equal:
            log.info("no shortcut for a shape", shape=tuple(numbers.shape), why="its numbers differ")
            return self.plain
        pairs = [(self.timed(self.plain, numbers), self.timed(shortcut, numbers)) for _ in range(TURNS)]
        plain_s, shortcut_s = (min(column) for column in zip(*pairs, strict=True))
        pays = shortcut_s < PAYS * plain_s
        log.info("a shortcut was tried", shape=tuple(numbers.shape), plain_s=plain_s, shortcut_s=shortcut_s, kept=pays)
        return shortcut if pays else self.plain


def captured(plain: Run, example: torch.Tensor) -> Run:
    """Return a CUDA graph of a call for numbers of one shape. Raises `RuntimeError` where it cannot be recorded."""
    given = example.clone()
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            plain(given)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads bring pictures meanwhile
        outputs = plain(given)

    def run(numbers: torch.Tensor) -> Sequence[torch.Tensor]:
        given.copy_(numbers)
        graph.replay()
        return outputs

    return run


def timed_on_cuda(run: Run, numbers: torch.Tensor) -> float:
    """Return the seconds of one call until the device is done."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    run(numbers)
    torch.cuda.synchronize()
    return time.perf_counter() - began
