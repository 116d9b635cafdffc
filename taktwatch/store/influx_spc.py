"""Points of control charts as InfluxDB line protocol, and rows of the pivoted measurement back as points. Pure.

Measurement `spc`, tags line, station, product, metric, chart, panel; time: the subgroup's start. InfluxDB keeps a field
that a later write leaves out, so `limits` and `valued` say whether centre, lower, upper and value still stand.
`signalled` counts signals, for panels that mark them.
"""

from collections.abc import Mapping
from math import isfinite
from typing import Any

import msgspec

from taktwatch.errors import BadRecord
from taktwatch.instants import instant, microseconds
from taktwatch.records import ControlPoint
from taktwatch.store.influx_points import INT64, quoted, tag, untag

__all__ = ["SPC_FIELDS", "point_in", "spc_line"]

TAGS = ("chart", "line", "metric", "panel", "product", "station")
WHOLE = ("amount", "n", "revision", "collected", "wanted", "squares")
FLOATS = ("value", "centre", "lower", "upper", "sigma_z")
SPC_FIELDS = frozenset({*WHOLE, *FLOATS, "end_us", "limits", "valued", "signals", "signalled", "baseline_id"})
"""Every field that is written."""


def spc_line(point: ControlPoint) -> str:
    """Return a point as a line. Raises `BadRecord` for numbers that InfluxDB cannot hold."""
    tags = ",".join(f"{name}={tag(getattr(point, name))}" for name in TAGS)
    fields = [f"{name}={whole(point, name)}" for name in WHOLE]
    for name in FLOATS:
        value = getattr(point, name)
        if value is not None:
            if not isfinite(value):
                raise BadRecord(f"{name}={value} of {named(point)} is no number InfluxDB can hold")
            fields.append(f"{name}={float(value)!r}")
    fields += [
        f"end_us={microseconds(point.end)}i",
        f"limits={'true' if point.centre is not None else 'false'}",
        f"valued={'true' if point.value is not None else 'false'}",
        f"signals={quoted(msgspec.json.encode(point.signals).decode())}",
        f"signalled={len(point.signals)}i",
        f"baseline_id={quoted(point.baseline_id)}",
    ]
    return f"spc,{tags} {','.join(fields)} {microseconds(point.start) * 1000}"


def whole(point: ControlPoint, name: str) -> str:
    """Write an integer field. Raises `BadRecord` beyond 64 bits."""
    number = getattr(point, name)
    if number not in INT64:
        raise BadRecord(f"{name}={number} of {named(point)} exceeds 64 bits")
    return f"{number}i"


def named(point: ControlPoint) -> str:
    """Name a point for a person."""
    return f"the control point of {point.line}/{point.station} at {point.start.isoformat()}"


def point_in(row: Mapping[str, Any]) -> ControlPoint:
    """Return the point of a pivoted row: its tags, its fields as columns, `_time` its start."""
    limits = bool(row["limits"])
    return ControlPoint(
        start=row["_time"],
        end=instant(row["end_us"]),
        value=row["value"] if row["valued"] else None,
        centre=row["centre"] if limits else None,
        lower=row["lower"] if limits else None,
        upper=row["upper"] if limits else None,
        sigma_z=row["sigma_z"],
        signals=msgspec.json.decode(row["signals"], type=tuple[str, ...]),
        baseline_id=row["baseline_id"] or "",  # the client reads an empty string as none
        **named_parts(row),
    )


def named_parts(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return names and whole numbers of a row; `squares` are younger than the first points that were written."""
    counts = {name: int(row[name]) for name in WHOLE if name != "squares"}
    return {name: untag(row[name]) for name in TAGS} | counts | {"squares": int(row.get("squares") or 0)}
