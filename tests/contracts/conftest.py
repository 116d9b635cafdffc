"""The backends and the other processes of the bus contract."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from contracts.bus_backends import Backend, KafkaBackend, SqliteBackend
from contracts.bus_helpers import Process


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """Each backend in turn; its topics have names of their own."""
    if request.param == "sqlite":
        return SqliteBackend(f"sqlite:///{tmp_path / 'bus'}")
    return KafkaBackend(f"kafka://{request.getfixturevalue('kafka_broker')}")


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Start `bus_process.py` with these arguments; what still runs at the end is killed."""
    processes: list[Process] = []

    def one(*arguments: str) -> Process:
        processes.append(Process(*arguments))
        return processes[-1]

    yield one
    for process in processes:
        process.close()
