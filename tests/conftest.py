"""Fixtures that tests of several rooms share: real servers, started once a session, and addresses of embedded ones."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings
from servers.influx import influx, own_influx  # noqa: F401 - fixtures, for every test by their names
from servers.kafka import KafkaBroker, running_bootstrap

# No test is timed: machines are shared. `--hypothesis-profile nightly --timeout 0` tries 10,000 cases of each property.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("nightly", settings.get_profile("steady"), max_examples=10_000)
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def fresh_logging() -> Iterator[None]:
    """Undo what a command run in this process set: its level would hide log lines from later tests."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address (host:port) of a real Kafka broker for the whole session; each test takes topic names of its own."""
    if running := running_bootstrap():
        yield running
        return
    broker = KafkaBroker(tmp_path_factory.mktemp("kafka"))
    try:
        yield broker.start().bootstrap
    finally:
        broker.kill()


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[Callable[[], KafkaBroker]]:
    """Make brokers of the test's own, to be stopped, killed and restarted."""
    brokers: list[KafkaBroker] = []

    def start() -> KafkaBroker:
        broker = KafkaBroker(tmp_path / f"kafka-{len(brokers)}")
        brokers.append(broker)
        return broker.start()

    yield start
    for broker in brokers:
        broker.kill()


@pytest.fixture
def sqlite_bus_url(tmp_path: Path) -> str:
    """The address of an embedded bus in a folder of the test's own."""
    return f"sqlite:///{tmp_path / 'bus'}"
