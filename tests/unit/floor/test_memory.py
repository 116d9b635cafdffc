"""Freed memory is used again."""

import platform
import subprocess
import sys

import pytest

TAKE = """
import resource
from taktwatch.memory import keep_freed
print(keep_freed())
for turn in range(20):
    if turn == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    parts = [bytes(2**20) for _ in range(16)]
    del parts
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc gives freed memory back, and can be told not to"
)
def test_a_process_that_keeps_freed_memory_takes_no_new_pages() -> None:
    done = subprocess.run([sys.executable, "-c", TAKE], capture_output=True, text=True, check=True)
    kept, pages = done.stdout.split()
    assert kept == "True"
    assert int(pages) < 400, "160 buffers of a megabyte are 40,960 pages"
