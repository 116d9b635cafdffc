"""A line of real processes: one `taktwatch run SERVICE` each, so that a test can kill any of them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]

LINE = """
line = "line-1"
bus = "{bus}"
kpis = "sqlite:///{{data_dir}}/kpis.sqlite"
prefix = "{prefix}"

[[stations]]
name = "top"
product = "demo-board"
boards_per_minute = 150
start = 2026-03-03T06:00:00Z
source = {{ kind = "simulator", seed = 7, layout_seed = 11, boards = {boards}, height_px = 320, width_px = 320 }}

[products.demo-board]
model = "board-sim"
um_per_px = 20.8
opportunities = 250

[detector]
models_dir = "{models}"
threads = 1

[kpi]
max_hold_s = 600

[[alerts.rules]]
name = "defect-rate"
above = 0.25
min_n = 10
"""


class LineProcesses:
    """Services of one line, each in a process of its own; leave the context to end them all."""

    def __init__(self, folder: Path, bus: str, *, boards: int, prefix: str = "taktwatch") -> None:
        """Write a line.toml into `folder`; nothing is started yet."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "line.toml"
        self.config.write_text(
            LINE.format(bus=bus, boards=boards, prefix=prefix, models=ROOT / "models"), encoding="utf-8"
        )
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self, service: str) -> None:
        """Start a service; its log goes to a file in the folder."""
        with (self.folder / f"{service}.log").open("ab") as log:
            self.processes[service] = subprocess.Popen(
                [sys.executable, "-m", "taktwatch", "run", service, "--config", str(self.config), "--member", service],
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )

    def kill(self, service: str) -> None:
        """SIGKILL: no chance to clean up."""
        process = self.processes.pop(service)
        process.kill()
        process.wait()

    def log(self, service: str) -> str:
        """What the service wrote so far."""
        path = self.folder / f"{service}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def ledger(self) -> list[dict[str, Any]]:
        """The ledger of each station, by the command line."""
        shown = subprocess.run(
            [sys.executable, "-m", "taktwatch", "ledger", "--json", "--config", str(self.config)],
            capture_output=True,
            cwd=ROOT,
            check=False,
        )
        lines = shown.stdout.splitlines()
        assert lines, shown.stderr.decode()
        ledger: list[dict[str, Any]] = json.loads(lines[-1])
        return ledger

    def wait_for(self, wanted: Mapping[str, int], *, seconds: float) -> dict[str, Any]:
        """Return the first station's ledger once each wanted figure is reached; fail with every log after `seconds`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for service, process in self.processes.items():
                ended = process.poll()
                assert ended is None or (service == "ingest" and ended == 0), (
                    f"{service} ended with {process.returncode}:\n{self.log(service)[-3000:]}"
                )
            rows = self.ledger()
            if rows and all(rows[0].get(name, 0) >= count for name, count in wanted.items()):
                return rows[0]
            time.sleep(0.5)
        logs = "\n".join(f"--- {service}\n{self.log(service)[-1500:]}" for service in self.processes)
        raise AssertionError(f"no {dict(wanted)} within {seconds} s; ledger {self.ledger()}\n{logs}")
