"""The documents: links lead somewhere, commands are real, and those of the README are run."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer

from taktwatch.cli import app
from taktwatch.pictures import encode_png
from taktwatch.simulator import BoardLook, board

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), ROOT / "deploy" / "README.md"])
START = "2026-03-03T06:00:00Z"


def commands(page: Path) -> list[list[str]]:
    """Every `taktwatch ...` behind a `$ ` in a console block."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line[2:] for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.startswith("$ ")]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("taktwatch ")]


ALL = [
    pytest.param(command, id=f"{page.name}: {' '.join(command)[:60]}") for page in PAGES for command in commands(page)
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("command", ALL)
def test_every_documented_command_and_option_exists(command: list[str]) -> None:
    found: Any = typer.main.get_command(app)
    group = found
    words = list(command)
    while words and words[0] in getattr(found, "commands", {}):
        found = found.commands[words.pop(0)]
    assert found is not group, f"no command {command[0]!r}"
    known = {name for parameter in found.params for name in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known | {"--help"}


def test_every_command_is_documented() -> None:
    group: Any = typer.main.get_command(app)
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    undocumented = [name for name in group.commands if not re.search(rf"taktwatch( \[[^\]]*\])? {name}\b", text)]
    assert undocumented == []


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an earlier demo left, for `ledger` and `replay`, and a folder of pictures to look at."""
    folder = tmp_path_factory.mktemp("kept")
    run(folder, "demo", "--boards", "6", "--exit", "--start", START, "--data-dir", str(folder / "data"))
    pictures = folder / "pictures"
    pictures.mkdir()
    for number in range(2):
        shot = board(5, number, size=(320, 320), look=BoardLook(camera="binary"), defect_probability=1.0)
        assert shot.template is not None
        (pictures / f"{number:03}_test.png").write_bytes(encode_png(shot.picture))
        (pictures / f"{number:03}_temp.png").write_bytes(encode_png(shot.template))
    return folder


def run(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    data = {"TAKTWATCH_DATA_DIR": str(folder / "data"), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "taktwatch", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        env=os.environ | data | environ,
    )
    assert done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
    return done


@pytest.mark.slow
@pytest.mark.parametrize("command", [pytest.param(c, id=" ".join(c)[:70]) for c in commands(ROOT / "README.md")])
def test_the_commands_of_the_readme_run(
    command: list[str], kept: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    environ: dict[str, str] = {}
    if any(word.startswith("kafka://") for word in command):
        environ = request.getfixturevalue("influx").environ
    if command[0] == "run":
        run_for_a_while(command, tmp_path)
        return
    swaps = {"300": "4", "100": "2", "PICTURES": str(kept / "pictures")}
    pictures = {"board.png": "000_test.png", "golden.png": "000_temp.png"}
    words = [swaps.get(word, str(kept / "pictures" / pictures[word]) if word in pictures else word) for word in command]
    words = [with_servers(word, request) for word in words]
    run(kept, *words, **environ)


def with_servers(word: str, request: pytest.FixtureRequest) -> str:
    """Put the addresses of real servers in place of the documented ones."""
    if word.startswith("kafka://"):
        return f"kafka://{request.getfixturevalue('kafka_broker')}"
    if word.startswith("influxdb://"):
        return f"influxdb://{request.getfixturevalue('influx').address}"
    return word


def run_for_a_while(command: list[str], folder: Path) -> None:
    """Start an endless command, see it run, and stop it as a supervisor would."""
    settings = {"TAKTWATCH_DATA_DIR": str(folder), "TAKTWATCH_CONSOLE__PORT": "0", "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "taktwatch", *command], cwd=ROOT, stdout=log, stderr=log, env=os.environ | settings
        )
        deadline = time.monotonic() + 60
        while "running" not in (folder / "log").read_text(encoding="utf-8") and time.monotonic() < deadline:
            assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")
            time.sleep(0.2)
        time.sleep(5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, (folder / "log").read_text(encoding="utf-8")
