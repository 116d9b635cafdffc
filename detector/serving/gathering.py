"""Frames that are ready for the network, and the batches that are made of them."""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import replace
from math import inf

from detector.inspect import Inspector
from detector.serving.batching import Candidate, Costs, choose
from detector.serving.stages import Item
from detector.steps import Prepared

__all__ = ["Gathering"]


class Gathering:
    """`ready` frames, `coming` ones that are being prepared, and `again` those that are to be prepared again.

    `room` bounds the first two, `most` a batch. `now_s` is the clock of due times. What is due first goes first,
    but what `room` others overtook goes before them: all that a flooding station sent earlier is due earlier, too.
    """

    def __init__(self, *, most: int, room: int, now_s: Callable[[], float]) -> None:
        self.most, self.room, self.now_s = most, room, now_s
        self.ready: list[Item] = []
        self.again: deque[Item] = deque()
        self.coming = 0
        self.costs: dict[Hashable, Costs] = {}
        self.prepared = asyncio.Event()
        self._gone = 0
        self._gone_before: dict[int, int] = {}

    @property
    def has_room(self) -> bool:
        """Whether one more may be prepared."""
        return len(self.ready) + self.coming < self.room

    def add(self, item: Item | None) -> None:
        """Take in what came of preparing a frame; None where it cannot be inspected."""
        self.coming -= 1
        if item is not None:
            self.ready.append(item)
            self._gone_before[id(item)] = self._gone
        self.prepared.set()

    async def next_batch(self) -> list[Item]:
        """Return the batch to run now, as soon as anything is ready."""
        while True:
            self.prepared.clear()
            candidates = [Candidate(group_of(item), self._due_s(item)) for item in self.ready]
            if chosen := choose(candidates, self.now_s(), self.costs_of, most=self.most):
                batch = [self.ready[index] for index in chosen]
                self._keep([item for index, item in enumerate(self.ready) if index not in chosen])
                self._gone += len(batch)
                return batch
            await self.prepared.wait()

    def _due_s(self, item: Item) -> float:
        """Return when a frame is due; long ago where too many others went before it."""
        return -inf if self._gone - self._gone_before[id(item)] >= self.room else item.due_s

    def _keep(self, left: list[Item]) -> None:
        """Forget all frames but these."""
        self.ready = left
        self._gone_before = {id(item): self._gone_before[id(item)] for item in left}

    def learn(self, batch: list[Item], seconds: float) -> None:
        """Note what a batch cost."""
        self.costs_of(group_of(batch[0])).learn(len(batch), seconds)

    def costs_of(self, group: Hashable) -> Costs:
        """Return what batches of a group cost."""
        return self.costs.setdefault(group, Costs())

    def give_back(self, inspector: Inspector, batch: list[Item]) -> None:
        """Let a batch, and what is ready for the same models, be prepared again, for others."""
        theirs = [item for item in self.ready if item.inspector is inspector]
        self._keep([item for item in self.ready if item.inspector is not inspector])
        self.again.extend(replace(item, inspector=None, ready=None) for item in [*batch, *theirs])


def group_of(item: Item) -> Hashable:
    """Return what frames must have in common to go through the network together: the model at work, and the size."""
    ready: Prepared | None = item.ready
    assert ready is not None  # noqa: S101 - it waits for the network
    assert item.inspector is not None  # noqa: S101 - same
    return item.inspector.engine(ready.product), ready.size
