"""Rows of InfluxDB as windows: those that an older taktwatch wrote are read, too."""

from typing import Any

import msgspec
import pytest

from taktwatch.kpis import EXAMPLE, MEASURED
from taktwatch.records import KpiWindow
from taktwatch.store.influx_points import lines, window_in


def row_of(window: KpiWindow) -> dict[str, Any]:
    """Return the pivoted row of a window, as the client gives it."""
    plain = msgspec.to_builtins(msgspec.structs.replace(window, lot=None), builtin_types=(type(window.start),))
    every = {name: getattr(window, name) for name in KpiWindow.__struct_fields__} | plain
    texts = {name: msgspec.json.encode(every[name]).decode() for name in ("defects", "latency_buckets")}
    end_us = round(window.end.timestamp() * 1_000_000)
    return {**every, **texts, "_time": window.start, "end_us": end_us, "station_state": str(window.station_state)}


def test_a_row_from_before_anything_was_measured_is_a_whole_window() -> None:
    old = row_of(EXAMPLE)
    for name in ("measured", *MEASURED):
        del old[name]
    plain = msgspec.structs.replace(EXAMPLE, measured=0, **dict.fromkeys(MEASURED, 0))
    assert window_in(old) == plain
    assert window_in(row_of(EXAMPLE)) == EXAMPLE
    with pytest.raises(KeyError):  # said to be measured, and nothing of it there: somebody else's point
        window_in({**old, "measured": 4})


def test_boards_without_layers_write_none_of_the_sums_over_them() -> None:
    [line, *_] = lines(msgspec.structs.replace(EXAMPLE, measured=0, **dict.fromkeys(MEASURED, 0)))
    assert "measured=0i" in line
    assert "extent" not in line
    assert "extent_sum_bp=600i" in lines(EXAMPLE)[0]
