"""Quix Streams' tumbling windows over a results topic: PYTHON benchmarks/kpi_quix.py HOST:PORT TOPIC OUT_TOPIC RECORDS.

Runs under an interpreter that has quixstreams, which this project does not need. One-minute windows in event time per
key (the line: grouping by station would cost it a second topic), the sums of each station kept in them, final windows
published, state committed every second. Prints JSON: records, wall and CPU seconds from the first record in hand.
"""

import json
import sys
import tempfile
import time
from datetime import datetime

from quixstreams import Application


class Clock:
    """Counts records, and the time from the first to the last one wanted; then stops the application."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.records = 0
        self.began = self.took = (0.0, 0.0)
        self.app: Application | None = None

    def count(self, value: dict) -> dict:
        """Count a record."""
        now = time.perf_counter(), time.process_time()
        if not self.records:
            self.began = now
        self.records += 1
        if self.records == self.wanted:
            self.took = now[0] - self.began[0], now[1] - self.began[1]
            self.app.stop()
        return value


def event_ms(value: dict, _headers: object, _timestamp: float, _kind: object) -> int:
    """Event time of a record."""
    return int(datetime.fromisoformat(value.get("event_at") or value["time"]).timestamp() * 1000)


def first(value: dict) -> dict:
    """Return the sums of one record."""
    return add({}, value)


def add(sums: dict, value: dict) -> dict:
    """Add a record to the sums of its station."""
    mine = sums.setdefault(value["station"], {"inspected": 0, "failed": 0, "defects": {}})
    if "verdict" in value:
        mine["inspected"] += 1
        mine["failed"] += value["verdict"] == "fail"
        for found in value.get("detections", ()):
            mine["defects"][found["class"]] = mine["defects"].get(found["class"], 0) + 1
    return sums


def main(servers: str, topic: str, out: str, wanted: int) -> None:
    """Run until so many records are processed."""
    clock = Clock(wanted)
    with tempfile.TemporaryDirectory() as folder:
        app = Application(
            broker_address=servers,
            consumer_group=f"quix-{time.time_ns()}",
            auto_offset_reset="earliest",
            commit_interval=1.0,
            state_dir=folder,
            loglevel="WARNING",
            auto_create_topics=True,
        )
        clock.app = app
        results = app.topic(topic, value_deserializer="json", key_deserializer="str", timestamp_extractor=event_ms)
        windows = (
            app.dataframe(results)
            .apply(clock.count)
            .tumbling_window(duration_ms=60_000, grace_ms=3_600_000)
            .reduce(reducer=add, initializer=first)
            .final()
        )
        windows.to_topic(app.topic(out, value_serializer="json"))
        app.run()
    print(json.dumps({"records": wanted, "wall_s": clock.took[0], "cpu_s": clock.took[1]}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
