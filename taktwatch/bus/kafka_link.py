"""What every Kafka client of a bus shares: the address, security, time limits, and how errors are told."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import aiokafka.conn
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    CommitFailedError,
    GroupAuthorizationFailedError,
    IllegalStateError,
    KafkaError,
    OffsetOutOfRangeError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
)
from aiokafka.helpers import create_ssl_context

from taktwatch.bus import MAX_RECORD_BYTES
from taktwatch.bus.kafka_reading import PiecesProtocol
from taktwatch.config import KafkaConfig
from taktwatch.errors import BackendUnavailable, ConfigError, OffsetLost

__all__ = ["FETCH_BYTES", "PARTITION_BYTES", "REQUEST_BYTES", "Link", "stop_consumer"]

PASSWORD = "TAKTWATCH_KAFKA_PASSWORD"  # noqa: S105 - the name of the variable, not the password

REQUEST_BYTES = MAX_RECORD_BYTES + 64 * 2**10
"""The largest record as Kafka counts it: ours and its framing. Producer and topic are set up alike."""

PARTITION_BYTES = 4 * 2**20
FETCH_BYTES = 4 * PARTITION_BYTES
"""How much a fetch brings at most, of one partition and of all; a batch larger than that comes alone, and whole."""

aiokafka.conn.READER_LIMIT = FETCH_BYTES
"""A response is read whole, however large; below its size aiokafka would only stop the socket, 64 kB by 64 kB."""

aiokafka.conn.AIOKafkaProtocol = PiecesProtocol  # type: ignore[misc, assignment]
"""And it is put together once."""

MEMBERSHIP = (CommitFailedError, IllegalStateError)
"""The cluster answers, and the group has moved on: for the consumer to handle."""

REFUSALS = (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
)


@dataclass(frozen=True)
class Link:
    """How to reach the cluster. `servers` is host:port[,host:port]; `timeout` bounds every call."""

    servers: str
    config: KafkaConfig
    client: str
    timeout: timedelta

    @property
    def url(self) -> str:
        """The address as it was configured."""
        return f"kafka://{self.servers}"

    def settings(self) -> dict[str, Any]:
        """Return the keyword arguments that all clients take. Raises `ConfigError` for security set up by halves."""
        config = self.config
        settings: dict[str, Any] = {
            "bootstrap_servers": self.servers.split(","),
            "client_id": self.client,
            "security_protocol": config.security,
            "metadata_max_age_ms": 60_000,
        }
        if config.security in {"SSL", "SASL_SSL"}:
            settings["ssl_context"] = self._ssl_context()
        if config.security.startswith("SASL"):
            password = os.environ.get(PASSWORD)
            if not config.username or not password:
                raise ConfigError(f"kafka.security {config.security} needs kafka.username and {PASSWORD} (environment)")
            settings |= {
                "sasl_mechanism": config.sasl_mechanism,
                "sasl_plain_username": config.username,
                "sasl_plain_password": password,
            }
        return settings

    def _ssl_context(self) -> Any:
        files = (self.config.ca_file, self.config.cert_file, self.config.key_file)
        ca_file, cert_file, key_file = (None if path is None else str(path) for path in files)
        try:
            return create_ssl_context(cafile=ca_file, certfile=cert_file, keyfile=key_file)
        except (OSError, ValueError) as error:
            named = ", ".join(path for path in (ca_file, cert_file, key_file) if path)
            raise ConfigError(f"kafka: cannot use the certificate files {named}: {error}") from error

    @asynccontextmanager
    async def explained(self, limit: timedelta | None = None) -> AsyncIterator[None]:
        """Bound what is inside by `limit` (default: the link's timeout), and tell the driver's errors as ours."""
        try:
            async with asyncio.timeout((limit or self.timeout).total_seconds()):
                yield
        except MEMBERSHIP:
            raise
        except OffsetOutOfRangeError as error:
            raise offset_lost(error) from error
        except REFUSALS as error:
            raise BackendUnavailable(
                f"Kafka at {self.url} refuses {self.config.username or 'this client'}: {error!r}"
            ) from error
        except (KafkaError, OSError) as error:  # TimeoutError is an OSError
            raise self.unavailable(error) from error

    def unavailable(self, error: BaseException | None = None) -> BackendUnavailable:
        """Return the error for a cluster that does not answer."""
        reason = "" if error is None or isinstance(error, TimeoutError) else f" ({type(error).__name__}: {error})"
        known = "" if self.config.security == "PLAINTEXT" else " does it know this user, and we its certificate?"
        return BackendUnavailable(f"Kafka at {self.url} does not answer; is it running?{known}{reason}")


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Stop a consumer.

    aiokafka cancels fetches that wait to be tried again, and lets their cancellation escape as if it were ours: whoever
    stopped a consumer while its broker was away would end with it.
    """
    try:
        await consumer.stop()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        await consumer._client.close()  # noqa: SLF001 - what `stop` would have closed last


def offset_lost(error: OffsetOutOfRangeError) -> OffsetLost:
    """Return our error for an offset that the broker no longer, or not yet, has."""
    lost: dict[Any, int] = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    places = ", ".join(
        f"{partition.topic}/{partition.partition}: offset {offset}" for partition, offset in lost.items()
    )
    return OffsetLost(
        f"{places or 'an offset'} is gone from the log; records were not read in time: "
        "lengthen retention_days, or start the group anew"
    )
