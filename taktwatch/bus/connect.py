"""From an address to a bus: the one place that knows every backend."""

from pathlib import Path

from taktwatch.bus import Bus
from taktwatch.config import KafkaConfig
from taktwatch.errors import ConfigError

__all__ = ["open_bus"]


def open_bus(url: str, kafka: KafkaConfig, *, client: str) -> Bus:
    """Return the bus at an address; it connects at first use. `client` names this process to a Kafka broker.

    `sqlite:///FOLDER` (a fourth slash makes the path absolute) or `kafka://HOST:PORT[,HOST:PORT...]`.
    Raises `ConfigError` for any other address.
    """
    # Backends are imported where they are chosen: the embedded bus needs no Kafka client, and the other way round.
    match url.partition("://"):
        case ("sqlite", _, path) if path.removeprefix("/"):
            from taktwatch.bus.sqlite import SqliteBus  # noqa: PLC0415

            return SqliteBus(Path(path.removeprefix("/")))
        case ("kafka", _, servers) if servers:
            from taktwatch.bus.kafka import KafkaBus  # noqa: PLC0415

            return KafkaBus(servers, kafka, client=client)
        case _:
            raise ConfigError(f"bus: {url!r} is neither sqlite:///FOLDER nor kafka://HOST:PORT")
