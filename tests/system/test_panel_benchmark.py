"""The benchmark of panels, on a small one: it runs, writes its table, and the memory it reports is below the target."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_benchmark_of_panels_replaces_its_table_and_leaves_the_rest(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Benchmarks\n\n## Panels\n\nyesterday\n\n## Something else\n\nkept\n", encoding="utf-8")
    command = [sys.executable, "benchmarks/panels.py", "--side", "2100", "--engine", "torch", "--write", str(page)]
    environ = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = page.read_text(encoding="utf-8")
    assert "yesterday" not in text
    assert text.endswith("## Something else\n\nkept\n")
    assert "tiles of 7" in text
    found = re.search(r"peak memory of the process, MB \((\d+) before the panel\) \| ([\d,]+) ", text)
    assert found is not None
    assert int(found[1]) <= int(found[2]) < 2000
