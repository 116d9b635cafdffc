"""KPI windows as InfluxDB line protocol, and rows of the pivoted measurement back as windows. Pure.

Measurement `kpi`, tags line, station, product, window, and of a lot's windows the lot; time: the window's start.
Measurement `kpi_class` has the tag `class` besides, and a count. InfluxDB merges the fields of equal points and keeps
points that a later write leaves out, so every write of a window carries every field, and a point for every class known
of its product, counts of 0 included: a correction may take the last board, or the last defect of a class, out of it.
Sums over `measured` pictures are left out where there are none: whatever the point holds of them counts for nothing
then. Rates are for readers to divide: sums always stand. Latencies alone ride along as floats, for Flux cannot read
histograms; where `inspected` is 0 they are 0 and mean nothing.
"""

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from taktwatch.errors import BadRecord
from taktwatch.instants import instant, microseconds
from taktwatch.kpis import MEASURED, METRICS
from taktwatch.records import KpiWindow, MarkState, WindowState

__all__ = ["DERIVED", "flux_string", "lines", "tag", "untag", "window_in"]

EMPTY_TAG = "%"
"""Stands for the empty string, which line protocol cannot say; a percent sign in a name becomes %25."""

TAGS = frozenset({"window", "line", "station", "product", "lot"})
DICTS = frozenset({"defects", "latency_buckets"})
SUMS = tuple(
    name
    for name in KpiWindow.__struct_fields__
    if name not in TAGS | DICTS | {"start", "end", "state", "station_state", "shift", "measured", *MEASURED}
)
DERIVED = ("latency_p50_s", "latency_p95_s", "latency_p99_s")
"""Figures written as float fields beside the sums."""

INT64 = range(-(2**63), 2**63)
BARE = {*"\\%", *map(chr, range(32)), "\x7f"}


def lines(window: KpiWindow, classes: Collection[str] = ()) -> list[str]:
    """Return a window as lines: one point of `kpi`, and one of `kpi_class` for each of its classes and of `classes`.

    Raises `BadRecord` for numbers that InfluxDB cannot hold.
    """
    tags = ",".join(
        f"{name}={tag(text)}"
        for name, text in (
            ("line", window.line),
            ("lot", window.lot),
            ("product", window.product),
            ("station", window.station),
            ("window", window.window),
        )
        if text is not None
    )
    time_ns = microseconds(window.start) * 1000
    points = [f"kpi,{tags} {','.join(fields(window))} {time_ns}"]
    points += [
        f"kpi_class,class={tag(name)},{tags} count={integer(window, 'defects', window.defects.get(name, 0))} {time_ns}"
        for name in sorted(window.defects.keys() | set(classes))
    ]
    return points


def fields(window: KpiWindow) -> list[str]:
    """Return every field of the `kpi` measurement as `name=value`."""
    names = (*SUMS, "measured", *(MEASURED if window.measured else ()))
    found = [f"{name}={integer(window, name, getattr(window, name))}" for name in names]
    found.append(f"end_us={microseconds(window.end)}i")
    found.append(f"state={quoted(window.state.value)}")
    if window.shift is not None:
        found.append(f"shift={quoted(window.shift)}")
    found.append(f"station_state={quoted(window.station_state.value)}")
    found += [
        f"{name}={quoted(msgspec.json.encode(dict(sorted(getattr(window, name).items()))).decode())}"
        for name in sorted(DICTS)
    ]
    found += [f"{name}={METRICS[name](window).value or 0.0!r}" for name in DERIVED]
    return found


def integer(window: KpiWindow, name: str, number: int) -> str:
    """Write an integer field. Raises `BadRecord` beyond 64 bits."""
    if number not in INT64:
        raise BadRecord(
            f"{name}={number} of {window.line}/{window.station} at {window.start.isoformat()} exceeds 64 bits"
        )
    return f"{number}i"


def quoted(text: str) -> str:
    r"""Write a string field.

    >>> print(quoted('say "hi" \\'))
    "say \"hi\" \\"
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def tag(text: str) -> str:
    r"""Write a tag value. What line protocol cannot say (backslashes, control characters, nothing) is percent-encoded.

    >>> print(tag("a b,c=d"), tag("C:\\"), tag("100%"), tag(""))
    a\ b\,c\=d C:%5C 100%25 %
    """
    return bare(text).replace(" ", "\\ ").replace(",", "\\,").replace("=", "\\=")


def bare(text: str) -> str:
    """Return a name as InfluxDB keeps it in a tag."""
    return "".join(f"%{ord(c):02X}" if c in BARE else c for c in text) or EMPTY_TAG


def untag(kept: str) -> str:
    r"""Return the name that a tag stands for.

    >>> untag("C:%5C"), untag("%"), untag("100%25")
    ('C:\\', '', '100%')
    """
    return "" if kept == EMPTY_TAG else unquote(kept)


def flux_string(text: str) -> str:
    r"""Write a string of Flux: quotes, backslashes and interpolation mean nothing inside.

    >>> print(flux_string('a"b${c}'))
    "a\"b\${c}"
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${")
    return f'"{escaped}"'


def window_in(row: Mapping[str, Any]) -> KpiWindow:
    """Return the window of a pivoted row: its tags, its fields as columns, `_time` its start.

    Points written before there was a field `measured` have nothing measured.
    """
    measured = int(row.get("measured") or 0)
    return KpiWindow(
        window=untag(row["window"]),
        start=row["_time"],
        end=instant(row["end_us"]),
        line=untag(row["line"]),
        station=untag(row["station"]),
        product=untag(row["product"]),
        lot=untag(row["lot"]) if row.get("lot") is not None else None,
        shift=row.get("shift"),
        state=WindowState(row["state"]),
        station_state=MarkState(row["station_state"]),
        defects=msgspec.json.decode(row["defects"], type=dict[str, int]),
        latency_buckets=msgspec.json.decode(row["latency_buckets"], type=dict[int, int]),
        measured=measured,
        **{name: int(row[name]) for name in (*SUMS, *(MEASURED if measured else ()))},
    )
