"""`kill -9` of each service in the middle of a run: ledger and windows equal the undisturbed run, on both buses."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from servers.line import LineProcesses

from taktwatch.audit.compare import NOT_COMPARED
from taktwatch.bus.connect import open_bus
from taktwatch.config import load_config
from taktwatch.kpis import ANY
from taktwatch.records import InspectionResult, KpiWindow
from taktwatch.topics import Topics
from taktwatch.wire import decode

BOARDS = int(os.environ.get("TAKTWATCH_KILL_BOARDS", "40"))
SERVICES = ("ingest", "detector", "kpi", "alerts")

Windows = dict[tuple[str, ...], dict[str, Any]]
Verdicts = dict[str, tuple[str, str | None]]


async def what_is_on_the_bus(config_path: Path) -> tuple[Windows, Verdicts]:
    config = load_config(config_path, {})
    topics = Topics(config.prefix)
    bus = open_bus(config.bus_url, config.kafka, client="test")
    windows: dict[tuple[str, ...], KpiWindow] = {}
    verdicts: Verdicts = {}
    try:
        async for batch in bus.read(topics.kpis):
            for message in batch:
                window = decode(message.value, message.headers)
                assert isinstance(window, KpiWindow)
                name = (window.window, window.station, window.product, window.start.isoformat())
                if name not in windows or window.revision >= windows[name].revision:
                    windows[name] = window
        async for batch in bus.read(topics.results):
            for message in batch:
                result = decode(message.value, message.headers)
                if isinstance(result, InspectionResult):
                    verdicts.setdefault(result.frame_id, (result.outcome, result.verdict))
    finally:
        await bus.close()
    seen = {
        name: {key: value for key, value in msgspec.structs.asdict(window).items() if key not in NOT_COMPARED}
        for name, window in windows.items()
    }
    return seen, verdicts


def run_a_line(
    folder: Path, bus: str, prefix: str, killed: tuple[str, ...]
) -> tuple[dict[str, Any], Windows, Verdicts]:
    with LineProcesses(folder, bus, boards=BOARDS, prefix=prefix) as line:
        for service in SERVICES:
            line.start(service)
        for number, service in enumerate(killed, 1):
            line.wait_for({"inspected": BOARDS * number // (len(killed) + 2)}, seconds=150)
            line.kill(service)
            line.start(service)
        ledger = line.wait_for({"accepted": BOARDS, "inspected": BOARDS}, seconds=240)
        windows, verdicts = asyncio.run(until_all_windows_count(line.config, BOARDS))
    return ledger, windows, verdicts


def counted(windows: Windows, kind: str = "1m", station: str | None = None) -> int:
    """Sum the boards in windows of a kind; of roll-ups, those of all products at a station."""
    return sum(
        window["inspected"]
        for window in windows.values()
        if window["window"] == kind and (station is None or (window["station"], window["product"]) == (station, ANY))
    )


async def until_all_windows_count(config: Path, boards: int) -> tuple[Windows, Verdicts]:
    for _ in range(80):
        windows, verdicts = await what_is_on_the_bus(config)
        if counted(windows) >= boards and counted(windows, "1h", ANY) >= boards:
            break
        await asyncio.sleep(0.5)
    return windows, verdicts


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Windows, Verdicts]:
    return run_a_line(tmp_path_factory.mktemp("undisturbed"), "sqlite:///{data_dir}/bus", "taktwatch", ())


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def bus_address(request: pytest.FixtureRequest) -> Callable[[], str]:
    if request.param == "sqlite":
        return lambda: "sqlite:///{data_dir}/bus"
    broker = request.getfixturevalue("kafka_broker")
    return lambda: f"kafka://{broker}"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killing_each_service_loses_and_doubles_nothing(
    undisturbed: tuple[dict[str, Any], Windows, Verdicts],
    bus_address: Callable[[], str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    calm_ledger, calm_windows, calm_verdicts = undisturbed
    prefix = f"taktwatch.kill{abs(hash(request.node.name)) % 10**6}"
    ledger, windows, verdicts = run_a_line(tmp_path / "line", bus_address(), prefix, SERVICES)
    assert ledger == calm_ledger
    assert ledger["lost"] == ledger["pending"] == 0
    assert verdicts == calm_verdicts
    assert windows == calm_windows
    assert counted(windows) == counted(windows, "1h", ANY) == BOARDS
