"""The one place that reads a clock. Services call it; pure modules take time as an argument."""

from datetime import UTC, datetime

__all__ = ["now"]


def now() -> datetime:
    """Return the present time, UTC with microseconds."""
    return datetime.now(UTC)
