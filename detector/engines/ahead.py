"""Pictures on their way to a device before anybody asks about them, while it computes the batch before.

Each goes through pinned memory, on a stream that is not the one that computes, as soon as it is ready; a batch is then
put together on the device. Works without streams, too, on the CPU.
"""

import weakref
from collections.abc import Sequence
from typing import Any

import torch

from detector.engines import Channels

__all__ = ["Ahead"]


class Ahead:
    """What was brought to a device, by the array that it came from; forgotten with the array."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream: Any = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.brought: dict[int, tuple[weakref.ref[Channels], torch.Tensor, Any]] = {}

    def bring(self, picture: Channels) -> None:
        """Start to copy a picture (3, H, W), which nobody changes any more; any thread."""
        key = id(picture)
        there, arrived = self._copied(picture)
        self.brought[key] = weakref.ref(picture, lambda _: self.brought.pop(key, None)), there, arrived

    def take(self, batch: Sequence[Channels]) -> torch.Tensor:
        """Return pictures of one size together, (N, 3, H, W), on the device; those not brought yet are brought now."""
        found = [self._there(picture) or self._copied(picture) for picture in batch]
        for there, arrived in found:
            if arrived is not None:
                arrived.wait()  # the stream that computes waits, not this thread
                there.record_stream(torch.cuda.current_stream(self.device))
        return torch.stack([there for there, _ in found])

    def _there(self, picture: Channels) -> tuple[torch.Tensor, Any] | None:
        """Hand out what was brought of a picture, once."""
        of, there, arrived = self.brought.pop(id(picture), (None, None, None))
        return None if of is None or of() is not picture or there is None else (there, arrived)

    def _copied(self, picture: Channels) -> tuple[torch.Tensor, Any]:
        """Start a copy; the event tells when it is there, None where it is already."""
        host = torch.from_numpy(picture)
        if self.stream is None:
            return host.to(self.device, copy=True), None
        with torch.cuda.stream(self.stream):
            there = host.pin_memory().to(self.device, non_blocking=True)
            return there, self.stream.record_event()
