"""Golden templates by hash: fetched from the bus once, decoded once, the least recently used given up first."""

import asyncio
from collections import OrderedDict

import numpy as np
import numpy.typing as npt

from taktwatch.assets import fetch_asset
from taktwatch.bus import Bus
from taktwatch.config import IngestConfig
from taktwatch.pictures import decode
from taktwatch.topics import Topics

__all__ = ["Templates"]

Picture = npt.NDArray[np.uint8]


class Templates:
    """At most `capacity` decoded templates, and `most_bytes` of them unless one takes more: strips of panels do."""

    def __init__(
        self, bus: Bus, topics: Topics, limits: IngestConfig, *, capacity: int = 16, most_bytes: int = 2**27
    ) -> None:
        self.bus, self.topics, self.limits = bus, topics, limits
        self.capacity, self.most_bytes = capacity, most_bytes
        self.known: OrderedDict[str, Picture] = OrderedDict()

    @property
    def held_bytes(self) -> int:
        """What the decoded templates take."""
        return sum(template.nbytes for template in self.known.values())

    async def get(self, sha256: str) -> Picture:
        """Return a template, RGB (H, W, 3). Raises `RecordNotFound`, `BadRecord`, `BadPicture`."""
        if sha256 not in self.known:
            asset = await fetch_asset(self.bus, self.topics, sha256)
            limits = self.limits
            self.known[sha256] = await asyncio.to_thread(
                decode,
                asset.body,
                name=f"template {sha256[:12]}",
                max_px=limits.max_picture_px,
                max_side=limits.max_side_px,
            )
            while len(self.known) > self.capacity or (len(self.known) > 1 and self.held_bytes > self.most_bytes):
                self.known.popitem(last=False)
        self.known.move_to_end(sha256)
        return self.known[sha256]
