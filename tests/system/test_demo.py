"""The demo as a new user runs it: one command, a ledger that balances, verdicts against truth."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
START = "2026-03-03T06:00:00Z"


def taktwatch(*arguments: str, status: int = 0, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "taktwatch", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        timeout=170,
    )
    assert done.returncode == status, f"exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done


def demo(*arguments: str) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(taktwatch("demo", "--exit", "--json", *arguments).stdout)
    return summary


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("demo")
    return demo("--boards", "30", "--seed", "7", "--start", START, "--data-dir", str(folder)), folder


@pytest.mark.slow
def test_the_ledger_of_every_station_balances(embedded: tuple[dict[str, Any], Path]) -> None:
    summary, _ = embedded
    assert {row["station"]: row["accepted"] for row in summary["stations"]} == {"top": 20, "section": 10}
    for row in summary["stations"]:
        assert row["accepted"] == row["inspected"] + row["skipped"] + row["dead"] + row["pending"] + row["lost"]
        assert row["inspected"] == row["accepted"]


@pytest.mark.slow
def test_the_windows_count_every_board_once(embedded: tuple[dict[str, Any], Path]) -> None:
    summary, _ = embedded
    assert sum(window.get("inspected", 0) for window in summary["windows"]) == 30
    for window in summary["windows"]:
        decided = window.get("passed", 0) + window.get("failed", 0) + window.get("review", 0)
        assert decided == window.get("inspected", 0)


@pytest.mark.slow
def test_verdicts_are_better_than_chance_against_the_simulators_truth(embedded: tuple[dict[str, Any], Path]) -> None:
    summary, _ = embedded
    tables = summary["truth"].values()
    right = sum(table["defective_stopped"] + table["good_passed"] for table in tables)
    assert right >= 0.8 * 30


@pytest.mark.slow
def test_a_replay_of_the_demo_agrees_with_it_and_another_threshold_does_not(
    embedded: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    _, folder = embedded
    config = (ROOT / "line.toml").read_text(encoding="utf-8")
    same = tmp_path / "line.toml"
    models = f'\n[detector]\nmodels_dir = "{ROOT / "models"}"\n'
    same.write_text(config.replace('data_dir = "var"', f'data_dir = "{folder}"') + models, encoding="utf-8")
    arguments = ("--since", START, "--until", "2026-03-03T07:00:00Z", "--station", "top", "--json")
    comparison = json.loads(taktwatch("replay", "--config", str(same), *arguments).stdout)
    assert comparison["compared"] == comparison["agreeing"] == 20
    assert comparison["windows_compared"] > 0
    assert comparison["windows_differing"] == []

    strict = tmp_path / "strict.toml"
    strict.write_text(same.read_text(encoding="utf-8").replace(" = {}", " = { score = 0.999999 }"), encoding="utf-8")
    changed = json.loads(taktwatch("replay", "--config", str(strict), *arguments, status=1).stdout)
    assert changed["differences"]


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.influxdb
def test_kafka_and_influxdb_give_the_same_counts_frame_for_frame(
    embedded: tuple[dict[str, Any], Path], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = request.getfixturevalue("kafka_broker")
    influx = request.getfixturevalue("influx")
    for name, value in influx.environ.items():
        monkeypatch.setenv(name, value)
    there = demo(
        "--boards",
        "30",
        "--seed",
        "7",
        "--start",
        START,
        "--bus",
        f"kafka://{broker}",
        "--kpis",
        f"influxdb://{influx.address}",
    )
    here, _ = embedded
    assert there["digest"] == here["digest"]
    assert there["stations"] == here["stations"]
    assert [counts(window) for window in there["windows"]] == [counts(window) for window in here["windows"]]


def counts(window: dict[str, Any]) -> dict[str, Any]:
    return {
        name: window.get(name) for name in ("station", "start", "inspected", "passed", "failed", "review", "defects")
    }


@pytest.mark.slow
def test_ctrl_c_stops_the_demo_cleanly_with_a_summary() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "taktwatch", "demo", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "Console:" in line:
            break
    time.sleep(8)
    process.send_signal(signal.SIGINT)
    printed, complaints = process.communicate(timeout=60)
    assert "Ledger" in printed, complaints
    assert "Traceback" not in complaints
    assert process.returncode in (0, 1)  # 1: boards were still on their way when it stopped
