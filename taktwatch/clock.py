"""The one place that reads a clock. Services call it; pure modules take time as an argument."""

import time
from datetime import UTC, datetime

__all__ = ["now", "us_since"]


def now() -> datetime:
    """Return the present time, UTC with microseconds."""
    return datetime.now(UTC)


def us_since(began_ns: int) -> int:
    """Return the microseconds since a reading of `time.perf_counter_ns`."""
    return (time.perf_counter_ns() - began_ns) // 1000
