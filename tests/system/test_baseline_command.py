"""`taktwatch baseline`: from stored windows to limits that the charts take."""

import asyncio
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import msgspec
from kpi_line import eventually, opened, records, running, send
from spc_line import sections, window

from kpi_engine.spc.baseline import Baseline
from kpi_engine.spc_service import GROUP, SpcService
from taktwatch.config import LineConfig, load_config
from taktwatch.records import ControlPoint, SpcBaseline
from taktwatch.store.connect import open_store
from taktwatch.topics import Topics, lag

ROOT = Path(__file__).parents[2]
TOML = """
line = "line-1"
data_dir = "var"
[spc]
min_n = 200
least_n = 50
phase1_subgroups = 30
[[stations]]
name = "top"
product = "board"
source = { kind = "simulator" }
[products.board]
model = "board-sim"
um_per_px = 20.0
"""
SPAN = ("--since", "2026-03-03T06:00:00Z", "--until", "2026-03-03T08:00:00Z", "--station", "top")


def line_in(folder: Path) -> LineConfig:
    """A line over `folder` with an hour of calm minutes in its store, one of them wild."""
    (folder / "line.toml").write_text(TOML)
    config = load_config(folder / "line.toml", {})

    async def fill() -> None:
        store = open_store(config.kpis_url, {})
        await store.prepare()
        dice = random.Random(7)
        calm = [window(minute, failed=sum(dice.random() < 0.02 for _ in range(100))) for minute in range(60)]
        await store.write([*calm[:30], window(30, failed=60), *calm[31:]])
        await store.close()

    asyncio.run(fill())
    return config


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "taktwatch", "baseline", "--config", str(folder / "line.toml"), *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
        check=False,
    )


def test_limits_are_printed_published_versioned_and_taken(tmp_path: Path) -> None:
    config = line_in(tmp_path)
    told = command(tmp_path, *SPAN)
    assert told.returncode == 0, told.stderr
    for words in ("version 1", "defect_rate of board at line-1/top", "5800 in 29 subgroups", "removed in round 1"):
        assert words in told.stdout
    tried = command(tmp_path, *SPAN, "--dry-run", "--json")
    second = msgspec.json.decode(command(tmp_path, *SPAN, "--json").stdout, type=Baseline)
    assert json.loads(tried.stdout)["version"] == second.version == 2
    assert second.replaces in told.stdout

    async def main() -> None:
        topics = Topics(config.prefix)
        async with opened(config.bus_url, topics) as bus, running(SpcService(config, bus, topics)):
            newest = (await records(bus, topics.baselines))[-1]
            assert isinstance(newest, SpcBaseline)
            assert (newest.author, newest.baseline_id) == ("taktwatch baseline", second.baseline_id)
            minute = 100

            async def judged() -> bool:
                nonlocal minute
                await send(bus, [window(minute), window(minute + 1)], topics.kpis)
                minute += 2
                while await lag(bus, GROUP, topics.kpis):  # noqa: ASYNC110 - another task commits
                    await asyncio.sleep(0.02)
                points = [each for each in await records(bus, topics.spc) if isinstance(each, ControlPoint)]
                return points[-1].baseline_id == second.baseline_id and points[-1].upper is not None

            await eventually(judged)

    asyncio.run(main())


def test_limits_of_measured_sections_come_with_their_capability(tmp_path: Path) -> None:
    text = TOML.replace(
        "phase1_subgroups = 30", 'phase1_subgroups = 30\nmetrics = ["defect_rate", "depth"]\nsections = 8'
    )
    (tmp_path / "line.toml").write_text(text.replace("um_per_px = 20.0", 'um_per_px = 20.0\nview = "section"'))
    config = load_config(tmp_path / "line.toml", {})
    dice = random.Random(3)

    async def fill() -> None:
        store = open_store(config.kpis_url, {})
        await store.prepare()
        await store.write([sections(minute, [dice.randrange(80, 160) for _ in range(4)]) for minute in range(60)])
        await store.close()

    asyncio.run(fill())
    told = command(tmp_path, *SPAN, "--metric", "depth", "--dry-run")
    assert told.returncode == 0, told.stderr
    for words in ("depth of board at line-1/top", "240 in 30 subgroups", "Cpk", "at most 0.3, n = 240", "centre  "):
        assert words in told.stdout
    unknown = command(tmp_path, *SPAN, "--metric", "extent")
    assert unknown.returncode == 2
    assert "spc.metrics in line.toml names defect_rate, depth" in unknown.stderr


def test_a_time_that_gives_no_limits_is_refused_in_one_line(tmp_path: Path) -> None:
    line_in(tmp_path)
    short = command(tmp_path, "--since", "2026-03-03T06:00:00Z", "--until", "2026-03-03T06:10:00Z", "--station", "top")
    assert short.returncode == 2
    assert "5 of 5 chosen subgroups" in short.stderr
    assert "Traceback" not in short.stderr
    unknown = command(tmp_path, *SPAN[:-1], "bottom")
    assert unknown.returncode == 2
    assert "no station 'bottom'" in unknown.stderr
