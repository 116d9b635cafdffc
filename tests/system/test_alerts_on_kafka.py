"""The alerts service on a real Kafka broker: the same transitions and deliveries as on the embedded bus."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from servers.kafka import KafkaBroker
from unit.alerts.receiver import Receiver, receiver
from unit.alerts.timeline import window

from alerts.service import AlertsService
from taktwatch.alertlog import read_transitions
from taktwatch.bus import Bus, Outgoing
from taktwatch.bus.connect import open_bus
from taktwatch.config import AlertRule, AlertsConfig, KafkaConfig, LineConfig, WebhookChannel
from taktwatch.topics import Topics
from taktwatch.wire import encode

RULE = AlertRule(name="defect-rate", above=0.25, recover_below=0.15, for_windows=2, min_n=10)


@asynccontextmanager
async def running(config: LineConfig, bus: Bus, topics: Topics) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(AlertsService(config, bus, topics, member="alerts", first_pause_s=0.05).run(stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def publish(bus: Bus, topics: Topics, minutes: str, first: int) -> None:
    for at, word in enumerate(minutes.split(), first):
        await bus.publish([Outgoing(topics.kpis, b"line-1", *encode(window(word, at)))])


async def delivered(mes: Receiver, states: list[str]) -> None:
    while mes.states != states:  # noqa: ASYNC110 - the receiver lives in a thread
        await asyncio.sleep(0.05)


@pytest.mark.kafka
def test_alerts_on_kafka_go_on_over_a_restart_and_are_told_once(kafka_broker: str) -> None:
    topics = Topics(f"alerts-{uuid.uuid4().hex[:8]}")

    async def main() -> None:
        with receiver() as mes:
            channel = WebhookChannel(kind="webhook", name="mes", url=f"http://127.0.0.1:{mes.port}/")
            config = LineConfig(alerts=AlertsConfig(rules=(RULE,), channels=(channel,)))
            bus = open_bus(f"kafka://{kafka_broker}", KafkaConfig(), client="test")
            try:
                await bus.ensure(topics.specs(None))
                async with running(config, bus, topics):
                    await publish(bus, topics, "3 31 31", first=0)
                    await delivered(mes, ["firing"])
                async with running(config, bus, topics):
                    await publish(bus, topics, "20 8", first=3)
                    await delivered(mes, ["firing", "resolved"])
                told = [transition.state.value for transition in await read_transitions(bus, topics)]
            finally:
                await bus.close()
        assert told == ["pending", "firing", "resolved"]
        assert len(mes.posts) == 2

    asyncio.run(main())


@pytest.mark.kafka
@pytest.mark.slow
def test_a_broker_that_goes_away_is_waited_for(own_kafka: Callable[[], KafkaBroker]) -> None:
    topics = Topics()

    async def main() -> None:
        broker = own_kafka()
        with receiver() as mes:
            channel = WebhookChannel(kind="webhook", name="mes", url=f"http://127.0.0.1:{mes.port}/")
            config = LineConfig(alerts=AlertsConfig(rules=(RULE,), channels=(channel,)))
            bus = open_bus(f"kafka://{broker.bootstrap}", KafkaConfig(), client="test")
            try:
                await bus.ensure(topics.specs(None))
                async with running(config, bus, topics):
                    await publish(bus, topics, "3 31 31", first=0)
                    await delivered(mes, ["firing"])
                    await asyncio.to_thread(broker.kill)
                    await asyncio.to_thread(broker.restart)
                    await publish(bus, topics, "8", first=3)
                    await delivered(mes, ["firing", "resolved"])
            finally:
                await bus.close()
        assert len(set(mes.keys)) == 2

    asyncio.run(main())
