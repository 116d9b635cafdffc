"""One channel's reading of the alerts topic: what is worth telling is delivered, at least once, in order.

The topic is the outbox. A channel has a position of its own in it, saved with the keys it has settled, so that one that
fails holds up nobody else and needs no memory: what waits, waits in the log. A crash between a transition and its
notification is healed by reading on from the position; a crash between delivery and its record repeats the message
with the same idempotency key.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import cast

import msgspec
import structlog

from alerts.channels import ChannelRefused, ChannelUnreachable, Sender
from alerts.metrics import CHANNEL_UP, NOTIFICATIONS, WAITING
from alerts.outbox import Settled, message_key, worth_telling
from taktwatch.bus import Bus, Message, Outgoing
from taktwatch.checkpoints import load_checkpoint, save_checkpoint
from taktwatch.clock import now
from taktwatch.errors import BadRecord, ConfigError
from taktwatch.records import AlertTransition, Checkpoint, Notification, Record
from taktwatch.topics import Topics
from taktwatch.wire import decode, encode

__all__ = ["Notifier", "pause_after"]

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 300.0
STANDBY_S = 0.5
"""How often a process that is not the one looks whether it has become the one."""

SAVE_EVERY = 100
"""Records after which the position is saved although nothing was delivered."""

log = structlog.get_logger()


def pause_after(attempts: int, first_s: float = FIRST_PAUSE_S, longest_s: float = LONGEST_PAUSE_S) -> float:
    """Seconds to wait after so many failed attempts in a row: doubling up to a bound.

    >>> [pause_after(attempts) for attempts in (1, 2, 3, 9, 10, 5000)]
    [1.0, 2.0, 4.0, 256.0, 300.0, 300.0]
    """
    return float(min(first_s * 2 ** min(attempts - 1, 30), longest_s))


class Notifier:
    """Delivers over one channel. Run one at a time of a channel: `active` says when this process is the one."""

    def __init__(
        self,
        sender: Sender,
        bus: Bus,
        topics: Topics,
        *,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        self.sender = sender
        self.bus = bus
        self.topics = topics
        self.first_pause_s = first_pause_s
        self.group = f"alerts-notify-{sender.name}"
        self.settled = Settled()
        self.saved = 0

    async def prepare(self) -> None:
        """Make sure that the channel has a position: a new channel begins at the present end, not with old alarms.

        Call it before anything is published, so that the first alert is not older than the position.
        """
        spans = await self.bus.spans(self.topics.alerts)
        if list(spans) != [0]:
            raise ConfigError(
                f"topic {self.topics.alerts} has {len(spans)} partitions; alerts need exactly one: create it anew"
            )
        if await load_checkpoint(self.bus, self.topics, self.group, (self.topics.alerts, 0)) is None:
            await self.save(spans[0].next)

    async def run(self, stop: asyncio.Event, active: asyncio.Event) -> None:
        """Deliver until `stop`, while `active`. Raises `BackendUnavailable`; run it again then."""
        while not stop.is_set():
            if active.is_set():
                position = await self.restore()
                await self.deliver_from(position, stop, active)
            else:
                await pause(STANDBY_S, stop)

    async def restore(self) -> int:
        """Return the position to read from, knowing what is settled: by the checkpoint, and by the log after it."""
        checkpoint = await load_checkpoint(self.bus, self.topics, self.group, (self.topics.alerts, 0))
        if checkpoint is None:
            raise ConfigError(
                f"channel {self.sender.name!r} has lost its position; was {self.topics.checkpoints} emptied?"
            )
        for key in msgspec.json.decode(checkpoint.state, type=list[str]):
            self.settled.add(key)
        async for batch in self.bus.read(self.topics.alerts, start={0: checkpoint.position}):
            for message in batch:
                if (record := understood(message)) is not None:
                    self.settled.learn(record, self.sender.name)
        self.saved = checkpoint.position
        return checkpoint.position

    async def deliver_from(self, position: int, stop: asyncio.Event, active: asyncio.Event) -> None:
        """Follow the topic from a position and deliver what is worth telling."""
        feed = self.bus.follow(self.topics.alerts, start={0: position})
        async with aclosing(cast("AsyncGenerator[list[Message], None]", feed)) as batches:  # backends write generators
            async for batch in batches:
                for message in batch:
                    if not await self.settle(message, stop, active):
                        return
                if stop.is_set() or not active.is_set():
                    return

    async def settle(self, message: Message, stop: asyncio.Event, active: asyncio.Event) -> bool:
        """Deliver one record of the topic if it is worth telling; False where that must be left to a later run."""
        record = understood(message)
        after = message.offset + 1
        if not isinstance(record, AlertTransition) or not worth_telling(record):
            if after - self.saved >= SAVE_EVERY:
                await self.save(after)
            return True
        key = message_key(record, self.sender.name)
        if key in self.settled:
            return True
        if not await self.deliver(record, key, stop, active):
            return False
        self.settled.add(key)
        await self.save(after)
        return True

    async def deliver(self, transition: AlertTransition, key: str, stop: asyncio.Event, active: asyncio.Event) -> bool:
        """Try until the channel takes the message or refuses it for good, with growing pauses; False if interrupted."""
        attempts = 0
        while not stop.is_set() and active.is_set():
            attempts += 1
            try:
                await self.sender.send(transition, key)
            except ChannelRefused as error:
                await self.record(transition, key, str(error), "refused")
                return True
            except ChannelUnreachable as error:
                await self.record(transition, key, str(error), "failed")
                pause_s = pause_after(attempts, self.first_pause_s)
                WAITING.labels(self.sender.name).set(pause_s)
                await pause(pause_s, stop)
            else:
                await self.record(transition, key, "", "delivered")
                return True
        return False

    async def record(self, transition: AlertTransition, key: str, error: str, outcome: str) -> None:
        """Put one attempt on the alerts topic: the notification log."""
        name = self.sender.name
        delivered = outcome == "delivered"
        NOTIFICATIONS.labels(name, outcome).inc()
        CHANNEL_UP.labels(name).set(1 if delivered else 0)
        if delivered:
            WAITING.labels(name).set(0)
            log.info("notified", channel=name, alert=transition.alert_id, state=transition.state.value)
        else:
            log.warning("notification failed", channel=name, alert=transition.alert_id, outcome=outcome, error=error)
        attempt = Notification(
            key=key,
            alert_id=transition.alert_id,
            channel=name,
            attempted_at=now(),
            delivered=delivered,
            error=error,
        )
        value, headers = encode(attempt)
        await self.bus.publish([Outgoing(self.topics.alerts, transition.alert_id.encode(), value, headers)])

    async def save(self, position: int) -> None:
        """Save the position with the settled keys."""
        state = msgspec.json.encode(list(self.settled))
        topic = self.topics.alerts
        checkpoint = Checkpoint(group=self.group, topic=topic, partition=0, position=position, state=state)
        await save_checkpoint(self.bus, self.topics, checkpoint)
        self.saved = position


def understood(message: Message) -> Record | None:
    """The record in a message, or None where it cannot be read: a bad record must not keep later alerts from people."""
    try:
        return decode(message.value, message.headers)
    except BadRecord as error:
        log.warning("a record on the alerts topic cannot be read", offset=message.offset, error=str(error))
        return None


async def pause(seconds: float, stop: asyncio.Event) -> None:
    """Wait, but not longer than until `stop`."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
