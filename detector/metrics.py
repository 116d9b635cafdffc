"""What Prometheus sees of the detector."""

from prometheus_client import Counter, Gauge, Histogram

__all__ = [
    "BAD_RECORDS",
    "BATCH_FRAMES",
    "DEGRADED",
    "DOUBTS",
    "FRAMES",
    "INFERENCE_SECONDS",
    "IN_HAND",
    "LATENCY_SECONDS",
    "QUEUE_FRAMES",
    "SCREENED",
    "SHADOW_FRAMES",
    "STAGE_SECONDS",
]

FRAMES = Counter(
    "taktwatch_detector_frames", "Frames that got their outcome.", ["station", "product", "outcome", "verdict"]
)
DOUBTS = Counter(
    "taktwatch_detector_doubts", "Frames in doubt, by what a person has to settle.", ["station", "product", "doubt"]
)
BAD_RECORDS = Counter("taktwatch_detector_bad_records", "Records on the frames topic that are no frames.")
INFERENCE_SECONDS = Histogram(
    "taktwatch_detector_inference_seconds",
    "Seconds in the network per frame.",
    ["model"],
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
LATENCY_SECONDS = Histogram(
    "taktwatch_detector_latency_seconds",
    "Seconds from a frame's arrival at ingest to its result on the bus.",
    ["station"],
    buckets=(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60),
)
STAGE_SECONDS = Histogram(
    "taktwatch_detector_stage_seconds",
    "Seconds of a frame in each stage: wait (to be begun), decode, prepare, queue (for the network), network (of its "
    "batch), infer (its share of that), judge.",
    ["stage"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
BATCH_FRAMES = Histogram("taktwatch_detector_batch_frames", "Frames per batch.", buckets=(1, 2, 4, 8, 16, 32, 64))
IN_HAND = Gauge("taktwatch_detector_in_hand_frames", "Frames polled whose results are not published yet.")
QUEUE_FRAMES = Gauge("taktwatch_detector_queue_frames", "Frames in each stage's queue.", ["stage"])
SHADOW_FRAMES = Counter(
    "taktwatch_detector_shadow_frames",
    "Frames for a model beside the counted one.",
    ["outcome"],
)
DEGRADED = Gauge(
    "taktwatch_detector_degraded", "1 where an engine runs on its spare or in smaller batches, or was given up."
)
SECOND_LOOKS = Counter(
    "taktwatch_detector_second_looks",
    "Pictures that were shown to the network once more, turned around, for it was in doubt.",
    ["model"],
)
SCREENED = Counter(
    "taktwatch_detector_screened_pictures",
    "Pictures that passed a screen, by what of them the network saw: nothing, crops, or the whole.",
    ["model", "seen"],
)
