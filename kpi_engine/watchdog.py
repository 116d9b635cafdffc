"""Which stations fell silent: what nobody said within `silent_after_s` is said by a mark of the watchdog.

The silence is first a record, then folded, so a replay of the log decides alike. Marks repeat for as long as it lasts:
windows of a dead camera go on and show that nothing comes. A session that ended with frames still out is kept awake
likewise (its mark says `closed` again), until they are in or missing.
"""

from kpi_engine.sums import share_parts
from kpi_engine.windows import KpiState
from taktwatch.instants import instant
from taktwatch.records import MarkState, StationMark

__all__ = ["AUTHOR", "silent_stations"]

AUTHOR = "watchdog"


def silent_stations(state: KpiState, now_us: int, silent_after_us: int) -> list[StationMark]:
    """Return a mark for every session that nobody spoke of for so long, in microseconds since 1970."""
    marks = []
    for station in state.stations.values():
        for name, session in station.sessions.items():
            silent_us = now_us - session.heard_us
            if session.mark_us is None or session.at_rest or silent_us < silent_after_us:
                continue
            marks.append(
                StationMark(
                    line=station.line,
                    station=station.name,
                    session=name,
                    product=share_parts(session.product)[0],
                    last_seq=session.marked,
                    time=instant(session.mark_us if session.ended else session.mark_us + silent_us),
                    state=MarkState.CLOSED if session.ended else MarkState.LOST,
                    author=AUTHOR,
                )
            )
    return marks
