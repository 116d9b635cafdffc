"""What the spool takes and gives: accepted frames, and what is to become of them."""

from collections.abc import Mapping

import msgspec

from taktwatch.records import Frame, Outcome
from taktwatch.wire import decode

__all__ = ["Entry", "SpoolFull", "Spooled", "without_picture"]

OVERHEAD_BYTES = 2_048
"""What an entry takes beside its picture."""


class SpoolFull(Exception):
    """The spool has reached its limit; room comes when the bus takes what waits."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A frame to accept. `outcome` INSPECTED: it goes on to be inspected; DEAD or SKIPPED: for `reason` it does not.

    `source` names it in its source, `key` a file that must not be taken twice. `whole_bytes` exceeds the image's where
    only its head is kept. `template` is the golden template's bytes where the bus does not have them yet.
    """

    frame: Frame
    source: str
    outcome: Outcome = Outcome.INSPECTED
    reason: str = ""
    whole_bytes: int
    key: str | None = None
    template: bytes | None = None

    @property
    def size(self) -> int:
        """Bytes it takes in the spool."""
        return len(self.frame.image) + len(self.template or b"") + OVERHEAD_BYTES


class Spooled(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted frame on its way to the bus; `value` and `headers` are the encoded frame."""

    number: int
    station: str
    session: str
    outcome: Outcome
    reason: str
    source: str
    whole_bytes: int
    template_sha256: str | None
    headers: Mapping[str, bytes]
    value: bytes
    size: int

    @property
    def frame(self) -> Frame:
        """The frame, decoded."""
        frame = decode(self.value, self.headers)
        assert isinstance(frame, Frame)  # noqa: S101 - narrows the type; the spool stores frames alone
        return frame


def without_picture(entry: Entry, reason: str) -> Entry:
    """Return the record of a picture that found no room: it keeps its number and its hash, and is skipped."""
    frame = msgspec.structs.replace(entry.frame, image=b"", template_sha256=None)
    return msgspec.structs.replace(
        entry, frame=frame, outcome=Outcome.SKIPPED, reason=f"{entry.source}: {reason}", template=None
    )
