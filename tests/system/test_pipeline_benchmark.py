"""The benchmark of the whole path, on small pictures: it runs, writes its tables, and no frame fails or is lost."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_benchmark_of_the_pipeline_writes_its_tables_and_loses_no_frame(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    old = "<!-- pipeline, memory torch: begin -->\nold\n<!-- pipeline, memory torch: end -->\n"
    page.write_text(
        f"# Benchmarks\n\n<!-- pipeline: begin -->\n{old}\n<!-- pipeline: end -->\n\nkept\n", encoding="utf-8"
    )
    command = [sys.executable, "benchmarks/pipeline.py", "--engine", "torch", "--write", str(page)]
    command += ["--side", "192", "--frames", "4", "--turns", "1", "--seconds", "8"]
    command += ["--memory-frames", "500", "--memory-px", "96"]
    environ = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = page.read_text(encoding="utf-8")
    assert "\nold\n" not in text
    assert text.endswith("<!-- pipeline: end -->\n\nkept\n")
    for part in ("Whole path", "Latency under load", "Another model under load", "Memory", "After the network"):
        assert text.count(f"### {part} (torch)\n") == 1
    swap = text.partition("### Another model under load (torch)")[2]
    frames, failed, lost = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \|", swap, re.MULTILINE)[0]
    assert (int(frames) >= 8, int(failed), int(lost)) == (True, 0, 0)
