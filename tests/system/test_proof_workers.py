"""Worker processes of `taktwatch models verify` end with the process that started them, however that was ended."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny_model import TINY, card

from detector.model import build_model
from detector.registry import pack_weights, save_model
from taktwatch.simulator import BOARD_DEFECTS

ROOT = Path(__file__).parents[2]
KILLED_AT_WORK = """
import multiprocessing, os, signal, sys
from pathlib import Path
from detector.proving import asking
from detector.registry import load_model
from taktwatch.config import LineConfig

if __name__ == "__main__":
    asking.WORKER_BOARDS = 1
    asker = asking.Asker.of(LineConfig(), load_model(Path(sys.argv[1])))
    wanted = [{number: None} for number in range(50)]
    drawn = asking.drawn_all(asker, wanted, 1)
    next(drawn)
    print(*(one.pid for one in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_workers_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    spec = TINY.model_copy(update={"classes": BOARD_DEFECTS})
    torch.manual_seed(5)
    weights = pack_weights(build_model(spec))
    known = card(spec).model_copy(update={"weights_sha256": hashlib.sha256(weights).hexdigest()})
    save_model(tmp_path / "tiny", known, weights)
    script = tmp_path / "killed.py"
    script.write_text(KILLED_AT_WORK)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "tiny")],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    workers = [int(pid) for pid in done.stdout.split()]
    assert workers
    while any(running(pid) for pid in workers):  # the suite's own limit ends a worker that stays
        time.sleep(0.1)


def running(pid: int) -> bool:
    """Whether there is such a process that is not merely waiting to be reaped."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
