"""Server-sent events to many pages: each has a bounded queue; one that does not keep up is sent away to start anew."""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dashboards.console.metrics import CLIENTS, CLIENTS_DROPPED, EVENTS

__all__ = ["Event", "Hub", "Subscription"]

KEEP_EVENTS = 512
QUEUE_EVENTS = 256


@dataclass(frozen=True)
class Event:
    """One event: a name, a JSON text, and the id by which a client goes on after a break ('' makes it start anew)."""

    id: str
    name: str
    data: str

    def encode(self) -> bytes:
        r"""Return the event as it goes over the line.

        >>> Event("a-1", "mark", "{}").encode()
        b'id: a-1\nevent: mark\ndata: {}\n\n'
        """
        return f"id: {self.id}\nevent: {self.name}\ndata: {self.data}\n\n".encode()


@dataclass(eq=False)
class Subscription:
    """One client. `missed` are the events since its last one; None where those are gone and a snapshot is due."""

    missed: list[Event] | None
    depth: int
    queue: "asyncio.Queue[Event | None]" = field(default_factory=asyncio.Queue)

    def offer(self, event: Event) -> bool:
        """Queue an event. False where the client is too slow: it gets `resync` and the end of the stream instead."""
        if self.queue.qsize() < self.depth:
            self.queue.put_nowait(event)
            return True
        while not self.queue.empty():
            self.queue.get_nowait()
        self.queue.put_nowait(Event("", "resync", "{}"))
        self.queue.put_nowait(None)
        return False


class Hub:
    """Numbers events and hands them to all subscribers; the newest are kept for clients that come back.

    `epoch` tells this run of the service from the last one: ids of another epoch get a snapshot. For one event loop.
    """

    def __init__(self, epoch: str, *, keep: int = KEEP_EVENTS, depth: int = QUEUE_EVENTS) -> None:
        self.epoch = epoch
        self.depth = depth
        self.number = 0
        self.kept: deque[Event] = deque(maxlen=keep)
        self.clients: set[Subscription] = set()
        self.closed = False

    @property
    def last_id(self) -> str:
        """The id of the newest event."""
        return f"{self.epoch}-{self.number}"

    def publish(self, name: str, data: str) -> None:
        """Send an event to every client; never waits."""
        self.number += 1
        event = Event(self.last_id, name, data)
        self.kept.append(event)
        EVENTS.labels(event=name).inc()
        for client in [client for client in self.clients if not client.offer(event)]:
            self.clients.discard(client)
            CLIENTS_DROPPED.inc()

    @contextmanager
    def subscribe(self, last_event_id: str | None) -> Iterator[Subscription]:
        """Take part from the event after `last_event_id` on, for as long as the block runs."""
        client = Subscription(missed=self.missed_since(last_event_id), depth=self.depth)
        if self.closed:
            client.queue.put_nowait(None)
        self.clients.add(client)
        CLIENTS.inc()
        try:
            yield client
        finally:
            self.clients.discard(client)
            CLIENTS.dec()

    def missed_since(self, last_event_id: str | None) -> list[Event] | None:
        """Return the events after an id, or None where it is not among those kept."""
        if last_event_id == self.last_id:
            return []
        kept = list(self.kept)
        at = next((i for i, event in enumerate(kept) if event.id == last_event_id), None)
        return None if at is None else kept[at + 1 :]

    def close(self) -> None:
        """End all streams, now and to come."""
        self.closed = True
        for client in self.clients:
            client.queue.put_nowait(None)
