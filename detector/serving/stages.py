"""What happens to one record on its way through the detector, each stage a function that may run in any thread."""

import hashlib
import time
from dataclasses import dataclass, replace

import msgspec

from detector.inspect import Inspector
from detector.large import Tiled
from detector.metrics import BAD_RECORDS, DOUBTS, FRAMES, INFERENCE_SECONDS, STAGE_SECONDS
from detector.serving.outcomes import dead_frame, dead_record, dead_result, inspected, place_on_panel, skipped_result
from detector.steps import Inspection, Picture, Prepared, Seen
from taktwatch.bus import Message, Outgoing, Partition
from taktwatch.clock import now, us_since
from taktwatch.errors import BadInput
from taktwatch.pictures import decode as decode_picture
from taktwatch.records import DeadLetter, Frame, InspectionResult
from taktwatch.topics import Topics
from taktwatch.wire import decode, encode

__all__ = ["Item", "Moments", "frame_in", "judged", "made_ready", "outgoing", "records_of", "taken", "without_picture"]


@dataclass(frozen=True, slots=True)
class Moments:
    """When a frame was read, begun, ready for the network, in it and out of it, in s by the event loop's clock."""

    read_s: float = 0.0
    begun_s: float = 0.0
    ready_s: float = 0.0
    network_s: float = 0.0
    seen_s: float = 0.0

    @property
    def waits_us(self) -> dict[str, int]:
        """Microseconds it waited to be begun and for the network to be free, and its whole batch was in the network.

        >>> Moments(1.0, 1.25, 1.5, 2.0, 2.5).waits_us
        {'wait': 250000, 'queue': 500000, 'network': 500000}
        """
        seconds = {
            "wait": self.begun_s - self.read_s,
            "queue": self.network_s - self.ready_s,
            "network": self.seen_s - self.network_s,
        }
        return {stage: round(spent_s * 1e6) for stage, spent_s in seconds.items()}


@dataclass(frozen=True, eq=False, slots=True)
class Item:
    """A record on its way: its frame (None: it was none), and what each stage added.

    `due_s` is when its verdict is due, by the event loop's clock, `at` when it reached each stage. `inspector` is the
    one that took it and will end it. `error`: why it cannot be inspected; `skipped`: why it is not. `kept` is False
    where the picture was let go of while the frame waits, and is to be fetched again.
    """

    message: Message
    frame: Frame | None = None
    due_s: float = 0.0
    inspector: Inspector | None = None
    ready: Prepared | None = None
    said: Inspection | None = None
    error: str = ""
    skipped: str = ""
    kept: bool = True
    at: Moments = Moments()

    @property
    def partition(self) -> Partition:
        """Where it was read from."""
        return self.message.topic, self.message.partition

    def seen(self, network_s: float, seen_s: float) -> "Item":
        """Return this as it comes out of the network, having gone in at `network_s`."""
        return replace(self, at=replace(self.at, network_s=network_s, seen_s=seen_s))


def taken(message: Message, now_s: float, budgets: dict[str, float]) -> Item:
    """Take a record in; whatever is wrong with it becomes the item's error."""
    try:
        frame = frame_in(message)
    except BadInput as error:
        return Item(message, error=str(error))
    return Item(message, frame, due_s=now_s + budgets.get(frame.station, 1.0), at=Moments(read_s=now_s))


def frame_in(message: Message) -> Frame:
    """Return the frame in a message. Raises `BadRecord`, and `BadInput` for another record."""
    record = decode(message.value, message.headers)
    if not isinstance(record, Frame):
        raise BadInput(f"a {type(record).__name__} on {message.topic}, which takes frames alone")
    return record


def without_picture(item: Item) -> Item:
    """Return an item that waits without its picture."""
    assert item.frame is not None  # noqa: S101 - frames alone wait
    bare = msgspec.structs.replace(item.message, value=b"")
    return replace(item, message=bare, frame=msgspec.structs.replace(item.frame, image=b""), kept=False)


def made_ready(inspector: Inspector, frame: Frame, template: Picture | None) -> Prepared:
    """Decode a frame's picture, register its template, give what the network sees. Raises what `prepare` raises."""
    began = time.perf_counter_ns()
    limits = inspector.config.ingest
    picture = decode_picture(
        frame.image, name=f"frame {frame.frame_id}", max_px=limits.max_picture_px, max_side=limits.max_side_px
    )
    decoded_us = us_since(began)
    prepared = inspector.prepare(
        frame.product,
        picture,
        template,
        um_per_px=frame.um_per_px,
        origin=place_on_panel(frame, picture.shape[:2]),
        template_sha256=frame.template_sha256,
        taken_at=frame.event_at,
    )
    return prepared.timed("decode", decoded_us)


def judged(item: Item, seen: Seen | Tiled) -> Item:
    """Turn what the network found into masks, measures and a verdict."""
    assert item.inspector is not None  # noqa: S101 - the network had it
    assert item.ready is not None  # noqa: S101 - same
    said = item.inspector.end(item.ready, seen)
    return replace(item, said=replace(said, timings_us=said.timings_us | item.at.waits_us), ready=None)


def records_of(item: Item, topics: Topics, inspector: Inspector) -> list[Outgoing]:
    """Return the result of an item, or its dead letter with a dead result where it was a frame.

    `inspector` names the product's settings where the item never met one.
    """
    message, frame = item.message, item.frame
    if frame is None:
        BAD_RECORDS.inc()
        sha256 = hashlib.sha256(message.value).hexdigest()
        return [outgoing(topics.dead, message.key, dead_record(message, item.error, sha256))]
    config = (item.inspector or inspector).config
    settings = config.products.get(frame.product)
    sha256 = config.product_sha256(frame.product) if settings else ""
    if item.skipped:
        skipped = skipped_result(frame, message.place, item.skipped, config_sha256=sha256, at=now())
        FRAMES.labels(frame.station, frame.product, skipped.outcome, "").inc()
        return [outgoing(topics.results, frame.line.encode(), skipped)]
    said = item.said
    if said is None or settings is None:
        result = dead_result(frame, message.place, item.error, config_sha256=sha256, at=now())
        letter = dead_frame(frame, message.place, item.error, message.timestamp)
        FRAMES.labels(frame.station, frame.product, result.outcome, "").inc()
        return [
            outgoing(topics.results, frame.line.encode(), result),
            outgoing(topics.dead, message.key, letter),
        ]
    result = inspected(frame, message.place, said, opportunities=settings.opportunities, config_sha256=sha256, at=now())
    FRAMES.labels(frame.station, frame.product, result.outcome, said.verdict).inc()
    for doubt in result.doubts:
        DOUBTS.labels(frame.station, frame.product, doubt).inc()
    INFERENCE_SECONDS.labels(said.model.name).observe(said.timings_us["infer"] / 1e6)
    for stage, spent_us in said.timings_us.items():
        STAGE_SECONDS.labels(stage).observe(spent_us / 1e6)
    return [outgoing(topics.results, frame.line.encode(), result)]


def outgoing(topic: str, key: bytes, record: InspectionResult | DeadLetter) -> Outgoing:
    """Return a record on its way out."""
    value, headers = encode(record)
    return Outgoing(topic, key, value, headers)
