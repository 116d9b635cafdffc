"""What ingest tells Prometheus."""

from prometheus_client import Counter, Gauge

__all__ = [
    "ACCEPTED",
    "BUS_FAILURES",
    "CAMERA_UP",
    "DEAD",
    "SENT",
    "SKIPPED",
    "SPOOL_BYTES",
    "SPOOL_FRAMES",
]

LABELS = ("line", "station")

ACCEPTED = Counter("taktwatch_ingest_accepted_total", "Frames made durable in the spool.", LABELS)
SENT = Counter("taktwatch_ingest_sent_total", "Accepted frames that the bus has confirmed.", LABELS)
DEAD = Counter("taktwatch_ingest_dead_total", "Accepted pictures that could not be used.", LABELS)
SKIPPED = Counter(
    "taktwatch_ingest_skipped_total", "Accepted pictures not kept: the spool was full or the disk too slow.", LABELS
)
CAMERA_UP = Gauge("taktwatch_ingest_camera_up", "1 while the station's camera answers, else 0.", LABELS)
SPOOL_FRAMES = Gauge("taktwatch_ingest_spool_frames", "Frames that wait for the bus.", ("line",))
SPOOL_BYTES = Gauge("taktwatch_ingest_spool_bytes", "Bytes that wait for the bus.", ("line",))
BUS_FAILURES = Counter("taktwatch_ingest_bus_failures_total", "Times the bus did not take what was sent.", ("line",))
