"""Runs of ordinary records are folded with little work, and into the very state that folding each in full makes."""

from dataclasses import replace

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from timelines import at, mark, result

from kpi_engine.rules import Rules
from kpi_engine.shifts import Calendar
from kpi_engine.slim import SlimResult, slim_result
from kpi_engine.windows import KpiState, drain, drain_verdicts, empty, fold, fold_plainly
from taktwatch.config import ShiftConfig
from taktwatch.instants import microseconds
from taktwatch.records import Detection, InspectionResult, MarkState, Outcome, Rle, StationMark, Verdict
from taktwatch.wire import encode

SHIFTS = {f"{minute}": ShiftConfig(start=f"12:0{minute}", end=f"12:0{minute + 1}") for minute in range(5)}
RULES = Rules(
    hold_us=20_000_000,
    board_hold_us=3_000_000,
    views={"board": 1, "two": 2, "three": 3},
    calendar=Calendar("UTC", SHIFTS),
    verdicts=True,
)
"""Shifts of a minute end, and are final, while stations are at work."""
CASES = max(200, settings.default.max_examples)
FOUND = Detection(
    label="open", score=0.5, box_px=(1, 2, 3, 4), mask=Rle(size=(8, 8), counts="08"), area_px=1, area_um2=1
)
Log = list[SlimResult | StationMark]


def clock(seconds: float) -> str:
    return f"12:{int(seconds // 60):02}:{seconds % 60:06.3f}"


def picture(seq: int, seconds: float, station: str, views: int, kind: int) -> SlimResult:
    """Return a result; what is not quite ordinary about it hangs on `kind`, 0 to 99."""
    product = "three" if kind == 99 else {1: "board", 2: "two", 3: "three"}[views]
    whole = result(
        seq,
        clock(seconds),
        station=station,
        product=product,
        lot=None if kind % 20 == 1 else "L",
        visit=max(0, seq // views - (kind == 98)),
        serial=None if kind == 97 else f"B{seq // views % (4 if kind > 90 else 1000)}",
        outcome=Outcome.SKIPPED if kind == 96 else Outcome.INSPECTED,
        verdict=list(Verdict)[kind % 3 if kind > 60 else 0],
        reasons=("why",) if kind > 80 else (),
        detections=(FOUND,) * (kind % 4 if kind > 60 else 0),
        opportunities=250 - kind % 2,
    )
    return slim_result(encode(whole)[0])


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """Draw a log of one or two stations: boards come about once a second, nearly in order, with marks."""
    placed: list[tuple[float, SlimResult | StationMark]] = []
    for station in draw(st.sampled_from([("top",), ("top", "section")])):
        views, frames = draw(st.integers(1, 3)), draw(st.integers(5, 90))
        kinds = draw(st.lists(st.integers(0, 99), min_size=frames, max_size=frames))
        odd = draw(st.booleans())
        moves = draw(st.lists(st.integers(0, 9), min_size=frames, max_size=frames))
        pace, begins = draw(st.sampled_from([0.3, 0.7, 2.0])), draw(st.sampled_from([0, 50, 100]))
        for seq, (kind, move) in enumerate(zip(kinds, moves, strict=True)):
            seconds = begins + seq * pace - {95: 0.5, 92: 5}.get(kind, 0)
            found = picture(seq, max(0, seconds), station, views, kind if odd else kind % 60)
            if kind != 94:  # lost
                placed.append((seq + move * (0.4 if kind < 90 else 4), found))
            if kind == 93:
                placed.append((seq + 12, found))
        for number, place in enumerate(draw(st.lists(st.integers(1, frames), max_size=frames // 3).map(sorted))):
            state = MarkState.CLOSED if place == frames and number % 2 else MarkState.OPEN
            ahead = kinds[place - 1] % 3
            said = mark(place - 1 + ahead, clock(begins + place * pace), state, station=station, product="board")
            placed.append((place + draw(st.integers(0, 3)) - 0.5, said))
    placed.sort(key=lambda item: item[0])
    return [record for _, record in placed]


def yields(state: KpiState) -> tuple[object, ...]:
    """Return what is published of a state, and all that it knows of its stations."""
    windows = sorted(drain(state), key=lambda w: (w.window, w.start, w.station, w.product, w.lot or "", w.state))
    known = msgspec.to_builtins((state.stations, state.lines), builtin_types=(), str_keys=False, enc_hook=str)
    return windows, drain_verdicts(state), known, state.position


@settings(deadline=None, max_examples=CASES, suppress_health_check=[HealthCheck.too_slow])
@given(logs(), st.data())
def test_a_run_of_records_makes_the_state_that_each_by_itself_makes(log: Log, data: st.DataObject) -> None:
    """Pictures lost, late, repeated, skipped, of other lots and products, boards whose pictures lie far apart."""
    drained = data.draw(st.sets(st.integers(0, len(log)), max_size=4))
    stamp_us = data.draw(st.sampled_from([0, 1000, 700_000]), label="between log times")
    rules = replace(RULES, horizon_minutes=data.draw(st.sampled_from([0, 1, 60])))
    one, other = empty(), empty()
    for offset, record in enumerate(log):
        logged_us = microseconds(at("13:00:00")) + offset * stamp_us
        fold_plainly(one, record, offset, logged_us, rules)
        fold(other, record, offset, logged_us, rules)
        if offset in drained:
            assert yields(one) == yields(other)
    assert yields(one) == yields(other)


def test_a_picture_too_many_corrects_a_board_that_was_counted_in_the_same_run() -> None:
    one, other = empty(), empty()
    for offset, (visit, seconds) in enumerate([(0, 0), (0, 0.1), (0, 0.2), (1, 1), (1, 2), (1, 3), (1, 4)]):
        found = result(offset, clock(seconds), product="three", visit=visit)
        fold_plainly(one, found, offset, 0, RULES)
        fold(other, found, offset, 0, RULES)
    assert yields(one) == yields(other)


def test_most_of_a_steady_log_is_folded_in_runs() -> None:
    """Else the test above would show nothing: after two minutes of boards every record but a few is in the run."""
    state = empty()
    log: list[InspectionResult | StationMark] = []
    for second in range(110):
        log += [
            result(3 * second + view, clock(second + view / 10), product="three", visit=second) for view in (1, 0, 2)
        ]
        log.append(mark(3 * second + 2, clock(second + 1), product="three"))
    in_run = 0
    for offset, record in enumerate(log):
        fold(state, record, offset, microseconds(at("13:00:00")), RULES)
        in_run += bool((run := state.steps["line-1", "top"].run) and run.seqs)
    assert in_run > 0.9 * len(log)
