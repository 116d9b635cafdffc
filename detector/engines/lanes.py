"""Threads in which torch's small steps run on one core each, while a runtime shares out the cores its own way."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import torch

__all__ = ["lanes"]


def lanes(count: int, name: str) -> ThreadPoolExecutor:
    """Start so many threads; torch's number of threads elsewhere stays as it is.

    Otherwise torch's workers would wait busily, after each small step, on cores that the runtime wants.
    """
    everywhere = torch.get_num_threads()
    together = Barrier(count)

    def settle() -> None:
        together.wait()  # so that each of the tasks meets a thread of its own
        torch.get_num_threads()  # the first call in a thread takes what holds everywhere; then its own number lasts
        torch.set_num_threads(1)

    pool = ThreadPoolExecutor(count, name)
    for done in [pool.submit(settle) for _ in range(count)]:
        done.result()
    torch.set_num_threads(everywhere)
    return pool
