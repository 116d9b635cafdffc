"""Tells people of a detector that is not as it should be: on the alerts topic, whose readers tell channels and screens.

An engine on its spare or in smaller batches is told of until the detector is restarted, a model that was given up
until somebody activates another. Several detectors say the same of one model: under one name, told once.
"""

import asyncio
from collections import deque
from datetime import datetime
from hashlib import blake2b

import msgspec
import structlog

from taktwatch.alertlog import open_alerts, read_transitions
from taktwatch.bus import Bus, Outgoing
from taktwatch.clock import now
from taktwatch.errors import BadRecord
from taktwatch.records import AlertState, AlertTransition, ModelActivation, Severity
from taktwatch.topics import Topics
from taktwatch.wire import encode

__all__ = ["AUTHOR", "DEGRADED", "RETURNED", "Alarms"]

AUTHOR = "detector"
"""Who activates a model where a detector went back to the one before."""

DEGRADED, RETURNED = "detector-degraded", "model-returned"
"""The rules of these alerts; line.toml does not know them."""

log = structlog.get_logger()


class Alarms:
    """What one detector has to say; `hear` from any thread, the rest on the event loop."""

    def __init__(self, line: str, member: str, bus: Bus, topics: Topics) -> None:
        self.line, self.bus, self.topics = line, bus, topics
        self.own = {"line": line, "detector": member}
        self.heard: deque[tuple[str, datetime]] = deque()
        self.called = asyncio.Event()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.open: dict[str, AlertTransition] = {}

    async def begin(self) -> None:
        """Read what is open; on the first time, what this detector said of itself before it was restarted is over."""
        try:
            known = open_alerts(await read_transitions(self.bus, self.topics))
        except BadRecord as error:
            log.warning("the alerts topic cannot be read; its alerts of this detector stay open", error=str(error))
            known = []
        self.open = {one.alert_id: one for one in known if one.rule in {DEGRADED, RETURNED}}
        if self.loop is None:
            self.loop = asyncio.get_running_loop()
            await self.over(alert_id(DEGRADED, self.own), now(), "the detector was restarted")

    def hear(self, said: str) -> None:
        """Take note of an engine that had to be helped along."""
        if self.loop is not None:
            self.heard.append((said, now()))
            self.loop.call_soon_threadsafe(self.called.set)

    async def tell(self) -> None:
        """Publish what is heard, for ever."""
        while True:
            await self.called.wait()
            self.called.clear()
            await self.tell_rest()

    async def tell_rest(self) -> None:
        """Publish what was heard and not told yet; what is on its way when the bus goes is told again."""
        while self.heard:
            said, at = self.heard[0]
            await self.fire(DEGRADED, self.own, said, began=at, at=at)
            self.heard.popleft()

    async def given_up(self, activation: ModelActivation, said: str) -> None:
        """Say that a model was given up which `activation` had put to work."""
        place = {"line": self.line, "product": activation.product}
        await self.fire(RETURNED, place, said, began=activation.at, at=now())

    async def activated(self, activation: ModelActivation) -> None:
        """Take note of a person's choice: what was said of the product's models before is over."""
        place = {"line": self.line, "product": activation.product}
        words = f"{activation.author} activated {activation.model} for {activation.product}"
        await self.over(alert_id(RETURNED, place), activation.at, words)

    async def fire(self, rule: str, place: dict[str, str], said: str, *, began: datetime, at: datetime) -> None:
        """Publish that an alert fires; `began` names it together with rule and place."""
        name = alert_id(rule, place)
        before = self.open.get(name)
        self.open[name] = AlertTransition(
            alert_id=name,
            rule=rule,
            severity=Severity.WARNING,
            labels=place,
            previous=AlertState.NORMAL if before is None else AlertState.FIRING,
            state=AlertState.FIRING,
            at=at,
            value=None,
            n=0,
            summary=said,
            window_start=began,
            revision=0,
        )
        await self.publish(self.open[name])

    async def over(self, name: str, at: datetime, said: str) -> None:
        """Publish that an alert is over, if it is open."""
        if (fired := self.open.pop(name, None)) is not None:
            await self.publish(
                msgspec.structs.replace(
                    fired,
                    previous=fired.state,
                    state=AlertState.RESOLVED,
                    at=max(at, fired.at),
                    window_start=at,
                    summary=said,
                )
            )

    async def publish(self, transition: AlertTransition) -> None:
        """Put a transition on the alerts topic."""
        log.info("alert", rule=transition.rule, state=transition.state.value, summary=transition.summary)
        await self.bus.publish([Outgoing(self.topics.alerts, transition.alert_id.encode(), *encode(transition))])


def alert_id(rule: str, place: dict[str, str]) -> str:
    """Name an alert by rule and place: 16 hexadecimal digits.

    >>> alert_id(DEGRADED, {"line": "l", "detector": "a"}) == alert_id(DEGRADED, {"line": "l", "detector": "b"})
    False
    """
    return blake2b("\x1f".join([rule, *sorted(place.values())]).encode(), digest_size=8).hexdigest()
