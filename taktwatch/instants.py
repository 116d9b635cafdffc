"""Times as whole microseconds since 1970, as files and databases keep them, and back. Pure."""

from datetime import UTC, datetime, timedelta

__all__ = ["EPOCH", "MICROSECOND", "instant", "microseconds"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def microseconds(time: datetime) -> int:
    """Microseconds since 1970 of an aware time.

    >>> microseconds(datetime(1970, 1, 1, 0, 1, 0, 5, tzinfo=UTC))
    60000005
    """
    return (time - EPOCH) // MICROSECOND


def instant(us: int) -> datetime:
    """Return the time so many microseconds after 1970, UTC.

    >>> instant(60_000_005).isoformat()
    '1970-01-01T00:01:00.000005+00:00'
    """
    return EPOCH + timedelta(microseconds=us)
