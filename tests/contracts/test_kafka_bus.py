"""What only Kafka has: topic settings, a broker with smaller limits, TLS and passwords."""

import asyncio
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from contracts.bus_backends import KafkaBackend
from contracts.bus_helpers import everything, numbered, opened, poll_count, run, values
from servers.kafka import KafkaBroker, Security

from taktwatch.bus import Outgoing, TopicSpec
from taktwatch.bus.kafka import KafkaBus
from taktwatch.bus.kafka_consumer import KafkaConsumer
from taktwatch.bus.kafka_link import stop_consumer
from taktwatch.bus.kafka_records import BRIEFLY_MS, PATIENTLY_MS
from taktwatch.config import KafkaConfig
from taktwatch.errors import BackendUnavailable, ConfigError, RecordTooLarge

SHORT = timedelta(seconds=8)


async def topic_config(address: str, topic: str) -> dict[str, str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        responses: Any = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        return {entry[0]: entry[1] for entry in responses[0].resources[0][4]}
    finally:
        await admin.close()


@pytest.mark.kafka
def test_topics_are_made_for_large_records_log_times_and_their_retention(kafka_broker: str) -> None:
    async def main() -> None:
        backend = KafkaBackend(f"kafka://{kafka_broker}")
        kept = TopicSpec(backend.name("kept"), 2, None)
        week = TopicSpec(backend.name("week"), 1, timedelta(days=7))
        compacted = TopicSpec(backend.name("checkpoints"), 1, None, compacted=True)
        async with opened(backend, kept, week, compacted) as bus:
            for spec, retention, policy in (
                (kept, "-1", "delete"),
                (week, "604800000", "delete"),
                (compacted, "-1", "compact"),
            ):
                config = await topic_config(kafka_broker, spec.name)
                assert (config["retention.ms"], config["cleanup.policy"]) == (retention, policy)
                assert int(config["max.message.bytes"]) > 16 * 2**20
                assert config["message.timestamp.type"] == "LogAppendTime"
            await bus.ensure([TopicSpec(week.name, 1, timedelta(days=1))])
            changed = await topic_config(kafka_broker, week.name)
            assert (changed["retention.ms"], changed["message.timestamp.type"]) == ("86400000", "LogAppendTime")

    run(main())


@pytest.mark.kafka
def test_a_topic_that_somebody_made_with_a_smaller_limit_refuses_by_name(kafka_broker: str) -> None:
    async def main() -> None:
        backend = KafkaBackend(f"kafka://{kafka_broker}")
        topic = backend.name("small")
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka_broker)
        await admin.start()
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": "1000"})])
        await admin.close()
        async with opened(backend) as bus:
            with pytest.raises(RecordTooLarge, match=f"100,001 bytes for {topic}; raise the topic's max.message.bytes"):
                await bus.publish([Outgoing(topic, b"k", bytes(100_000))])
            await bus.publish(numbered(topic, range(1)))
            assert values(await everything(bus, topic)) == [0]

    run(main())


def secured(folder: Path) -> Security:
    certificate, key = folder / "broker.pem", folder / "broker.key"
    name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate), "-days", "2"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *files, *name], check=True, capture_output=True
    )
    return Security("line", "a-secret", certificate, key)


@pytest.mark.kafka
def test_a_broker_with_tls_and_passwords_takes_who_knows_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        security = secured(tmp_path)
        broker = KafkaBroker(tmp_path / "kafka", security)

        def bus(**changes: Any) -> KafkaBus:
            known = {"username": security.username, "ca_file": security.certificate, "sasl_mechanism": "PLAIN"}
            config = KafkaConfig.model_validate({"security": "SASL_SSL", **known, **changes})
            return KafkaBus(broker.bootstrap, config, client="test", timeout=SHORT)

        try:
            await asyncio.to_thread(broker.start)
            monkeypatch.setenv("TAKTWATCH_KAFKA_PASSWORD", security.password)
            friend = bus()
            await friend.ensure([TopicSpec("t", 1)])
            await friend.publish(numbered("t", range(3)))
            async with friend.consumer("g", ["t"], member="m") as consumer:
                assert values(await poll_count(consumer, 3)) == [0, 1, 2]
            await friend.close()
            monkeypatch.setenv("TAKTWATCH_KAFKA_PASSWORD", "a-guess")
            await refused(bus())
            monkeypatch.setenv("TAKTWATCH_KAFKA_PASSWORD", security.password)
            await refused(bus(ca_file=None))
        finally:
            broker.kill()

    run(main())


async def refused(bus: KafkaBus) -> None:
    with pytest.raises(BackendUnavailable):
        await bus.spans("t")
    await bus.close()


def test_security_set_up_by_halves_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.delenv("TAKTWATCH_KAFKA_PASSWORD", raising=False)
        for config, named in (
            (KafkaConfig(security="SASL_PLAINTEXT", username="line"), "TAKTWATCH_KAFKA_PASSWORD"),
            (KafkaConfig(security="SSL", ca_file=tmp_path / "missing.pem"), "missing.pem"),
        ):
            bus = KafkaBus("127.0.0.1:1", config, client="test", timeout=SHORT)
            with pytest.raises(ConfigError, match=named):
                await bus.spans("t")
            await bus.close()

    run(main())


@pytest.mark.kafka
def test_stopping_a_consumer_that_waits_to_fetch_again_cancels_nobody(kafka_broker: str) -> None:
    """aiokafka lets the cancellation of such a fetch escape from `stop`."""

    async def main() -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka_broker)
        await consumer.start()
        waiting = asyncio.create_task(asyncio.sleep(3600))
        consumer._fetcher._pending_tasks.add(waiting)
        await asyncio.sleep(0)
        await stop_consumer(consumer)
        assert waiting.cancelled()
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]  # we are in one

    asyncio.run(main())


@pytest.mark.kafka
def test_quiet_partitions_are_asked_briefly_while_records_of_others_wait(kafka_broker: str) -> None:
    """While the broker waits for records of a quiet partition, it is asked for no other."""

    async def main() -> None:
        backend = KafkaBackend(f"kafka://{kafka_broker}")
        topic = TopicSpec(backend.name("uneven"), 2)
        async with opened(backend, topic) as bus:
            await bus.publish(numbered(topic.name, range(20)))
            async with bus.consumer("uneven", [topic.name], member="m") as consumer:
                assert isinstance(consumer, KafkaConsumer)
                assert await poll_count(consumer, 20)
                fetcher = consumer._client._fetcher
                assert fetcher._fetch_max_wait_ms == PATIENTLY_MS
                await bus.publish(numbered(topic.name, range(20)))
                while not await consumer.poll(1, timedelta(seconds=0.1)):
                    pass
                assert (len(fetcher._records), fetcher._fetch_max_wait_ms) == (1, BRIEFLY_MS)
                assert await poll_count(consumer, 19)
                assert (len(fetcher._records), fetcher._fetch_max_wait_ms) == (0, PATIENTLY_MS)

    run(main())


@pytest.mark.kafka
def test_a_reader_who_waits_wakes_a_fetcher_that_missed_an_answer(kafka_broker: str) -> None:
    async def main() -> None:
        backend = KafkaBackend(f"kafka://{kafka_broker}")
        topic = TopicSpec(backend.name("missed"), 1)
        async with opened(backend, topic) as bus, bus.consumer("missed", [topic.name], member="m") as consumer:
            assert isinstance(consumer, KafkaConsumer)
            while not consumer.assigned:
                await consumer.poll(1, timedelta(seconds=0.1))
            sleeping = consumer._client._fetcher._wait_consume_future
            assert not await consumer.poll(1, timedelta(seconds=0.1))
            assert sleeping.done()

    run(main())
