"""KPI windows as InfluxDB line protocol, and rows of the pivoted measurement back as windows. Pure.

Measurement `kpi`, tags line, station, product, window, and of a lot's windows the lot; time: the window's start.
InfluxDB merges the fields of equal points, so every write carries every sum. Derived figures ride along for panels that
cannot divide; one without a value is left out. That is safe where its n never shrinks, since it never loses its value
again; first-pass yield's n may (an earlier visit arrives later), so panels divide first_pass_passed by first_pass
themselves. Measurement `kpi_class` has tag `class` besides, and a count; counts of a window never fall back to none.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any
from urllib.parse import unquote

import msgspec

from taktwatch.errors import BadRecord
from taktwatch.kpis import METRICS
from taktwatch.records import KpiWindow, MarkState, WindowState

__all__ = ["DERIVED", "flux_string", "lines", "tag", "untag", "window_in"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EMPTY_TAG = "%"
"""Stands for the empty string, which line protocol cannot say; a percent sign in a name becomes %25."""

TAGS = frozenset({"window", "line", "station", "product", "lot"})
DICTS = frozenset({"defects", "latency_buckets"})
SUMS = tuple(
    name
    for name in KpiWindow.__struct_fields__
    if name not in TAGS | DICTS | {"start", "end", "state", "station_state", "shift"}
)
DERIVED = tuple(sorted(METRICS.keys() - {"completeness", "first_pass_yield", "missing"}))
"""Figures written as float fields beside the sums; `missing` is a sum, and `completeness` follows from it."""

INT64 = range(-(2**63), 2**63)
BARE = {*"\\%", *map(chr, range(32)), "\x7f"}


def lines(window: KpiWindow) -> list[str]:
    """Return a window as lines: one point of `kpi`, and one of `kpi_class` for each class.

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
    time_ns = (window.start - EPOCH) // timedelta(microseconds=1) * 1000
    points = [f"kpi,{tags} {','.join(fields(window))} {time_ns}"]
    points += [
        f"kpi_class,class={tag(name)},{tags} count={integer(window, 'defects', count)} {time_ns}"
        for name, count in sorted(window.defects.items())
    ]
    return points


def fields(window: KpiWindow) -> list[str]:
    """Return every field of the `kpi` measurement as `name=value`."""
    found = [f"{name}={integer(window, name, getattr(window, name))}" for name in SUMS]
    found.append(f"end_us={(window.end - EPOCH) // timedelta(microseconds=1)}i")
    found.append(f"state={quoted(window.state.value)}")
    if window.shift is not None:
        found.append(f"shift={quoted(window.shift)}")
    found.append(f"station_state={quoted(window.station_state.value)}")
    found += [
        f"{name}={quoted(msgspec.json.encode(dict(sorted(getattr(window, name).items()))).decode())}"
        for name in sorted(DICTS)
    ]
    for name in DERIVED:
        value = METRICS[name](window).value
        if value is not None and isfinite(value):
            found.append(f"{name}={value!r}")
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
    """Return the window of a pivoted row: its tags, its fields as columns, `_time` its start."""
    return KpiWindow(
        window=untag(row["window"]),
        start=row["_time"],
        end=EPOCH + timedelta(microseconds=row["end_us"]),
        line=untag(row["line"]),
        station=untag(row["station"]),
        product=untag(row["product"]),
        lot=untag(row["lot"]) if row.get("lot") is not None else None,
        shift=row.get("shift"),
        state=WindowState(row["state"]),
        station_state=MarkState(row["station_state"]),
        defects=msgspec.json.decode(row["defects"], type=dict[str, int]),
        latency_buckets=msgspec.json.decode(row["latency_buckets"], type=dict[int, int]),
        **{name: int(row[name]) for name in SUMS},
    )
