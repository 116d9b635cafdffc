"""Minutes of reviews as InfluxDB line protocol, and rows of the pivoted measurement back as minutes. Pure.

Measurement `review`, tags line, station, product; time: the minute's start. Every write has every sum, as integers.
"""

from collections.abc import Mapping
from typing import Any

from taktwatch.errors import BadRecord
from taktwatch.instants import microseconds
from taktwatch.records import ReviewWindow
from taktwatch.store.influx_points import INT64, tag, untag

__all__ = ["minute_in", "review_line"]

TAGS = ("line", "product", "station")
FIELDS = tuple(name for name in ReviewWindow.__struct_fields__ if name not in {"start", *TAGS})


def review_line(window: ReviewWindow) -> str:
    """Return a minute as a line. Raises `BadRecord` for numbers that InfluxDB cannot hold."""
    tags = ",".join(f"{name}={tag(getattr(window, name))}" for name in TAGS)
    fields = []
    for name in FIELDS:
        number = getattr(window, name)
        if number not in INT64:
            raise BadRecord(
                f"{name}={number} of the reviews of {window.line}/{window.station} at {window.start.isoformat()} "
                "exceeds 64 bits"
            )
        fields.append(f"{name}={number}i")
    return f"review,{tags} {','.join(fields)} {microseconds(window.start) * 1000}"


def minute_in(row: Mapping[str, Any]) -> ReviewWindow:
    """Return the minute of a pivoted row: its tags, its fields as columns, `_time` its start."""
    parts: dict[str, Any] = {name: untag(row[name]) for name in TAGS} | {name: int(row[name]) for name in FIELDS}
    return ReviewWindow(start=row["_time"], **parts)
