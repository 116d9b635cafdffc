"""The first arrays that OpenVINO is handed may come from several threads at once."""

import subprocess
import sys

import pytest

pytest.importorskip("openvino")

AT_ONCE = """
import os, sys, threading
import openvino
from detector.engines.openvino_engine import settle_types
settle_types(openvino)
sys.setswitchinterval(1e-6)
together = threading.Barrier(8)
def first():
    together.wait()
    openvino.Type.f32.to_dtype()
threads = [threading.Thread(target=first, daemon=True) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(20)
os._exit(any(thread.is_alive() for thread in threads))
"""


def test_threads_that_are_first_together_do_not_wait_for_each_other() -> None:
    assert subprocess.run([sys.executable, "-c", AT_ONCE], check=False).returncode == 0
