"""What the C library does with freed memory."""

import ctypes
import sys

__all__ = ["keep_freed"]

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Names of glibc's settings (malloc.h)."""

LARGEST = 32 * 2**20
"""The most glibc takes for MMAP_THRESHOLD; what a fetch brings is less."""


def keep_freed(most_bytes: int = 256 * 2**20) -> bool:
    """Let this process keep up to so much freed memory, to use again; return whether its C library can (glibc).

    Else the buffers of each fetch are given back and taken anew: the system clears every page of them, which was a
    fifth of the time it took to read a topic.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(TRIM_THRESHOLD, most_bytes) and mallopt(MMAP_THRESHOLD, LARGEST))
