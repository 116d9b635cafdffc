"""Order, duplication and crashes may happen anywhere; the final windows must not know."""

from dataclasses import replace

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from timelines import at, mark, newest, result

from kpi_engine.shifts import Calendar
from kpi_engine.windows import KpiState, Rules, drain, empty, fold, restore, save
from taktwatch.config import ShiftConfig
from taktwatch.instants import microseconds
from taktwatch.kpis import ANY, SUMMED, merge
from taktwatch.records import (
    InspectionResult,
    KpiWindow,
    LayerProfile,
    MarkState,
    Outcome,
    StationMark,
    Verdict,
    WindowState,
)

RULES = Rules(
    horizon_minutes=60,
    hold_us=30_000_000,
    views={"other": 2, "tiles": 3},
    calendar=Calendar(
        "Europe/Berlin",
        {"early": ShiftConfig(start="06:00", end="13:20"), "late": ShiftConfig(start="13:20", end="22:00")},
    ),
)
"""Products of one, two and three pictures a board; a change of shifts at 12:20 UTC."""
Log = list[InspectionResult | StationMark]

CASES = max(200, settings.default.max_examples)
"""The nightly profile (`--hypothesis-profile nightly --timeout 0`) tries 10,000."""

boards = st.tuples(
    st.sampled_from(["top", "section"]),
    st.integers(0, 40 * 60),
    st.sampled_from(["board", "other", "tiles"]),
    st.sampled_from([None, None, "L1", "L2"]),
    st.sampled_from([None, None, "B1", "B2", "B3"]),
    st.sampled_from([Outcome.INSPECTED, Outcome.INSPECTED, Outcome.INSPECTED, Outcome.SKIPPED, Outcome.DEAD]),
    st.sampled_from(list(Verdict)),
)


def clock(seconds: int) -> str:
    return f"{12 + seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def corroded(seconds: int) -> LayerProfile:
    """Return a layer whose corrosion is another at any time."""
    return LayerProfile(
        layer="L1",
        layer_px=10_000,
        corroded_px=seconds,
        length_px=500,
        corroded_length_px=seconds % 500,
        thickness_um=35.0,
        deepest_um=seconds % 35,
        residual_um=1.0,
        sites=1,
        surface=False,
    )


def results_of(draws: list[tuple[str, int, str, str | None, str | None, Outcome, Verdict]]) -> list[InspectionResult]:
    """Return results with dense numbers per station, in the order of their event times."""
    made, numbers = [], {"top": 0, "section": 0}
    for station, seconds, product, lot, serial, outcome, verdict in sorted(draws, key=lambda draw: draw[1]):
        made.append(
            result(
                numbers[station],
                clock(seconds),
                station=station,
                product=product,
                lot=lot,
                visit=numbers[station] // 3,
                serial=serial,
                outcome=outcome,
                verdict=verdict,
                layers=(corroded(seconds),) if station == "section" else (),
            )
        )
        numbers[station] += 1
    return made


def marks_of(results: list[InspectionResult], seconds: list[int]) -> Log:
    """Return what ingest said of both stations at these times, and how it said good-bye."""
    said: Log = []
    for second in sorted(seconds):
        for station in ("top", "section"):
            accepted = [
                found.seq for found in results if found.station == station and found.event_at < at(clock(second))
            ]
            said.append(mark(max(accepted, default=-1), clock(second), station=station))
    return said


def closing(results: list[InspectionResult]) -> Log:
    """Return the marks that end all sessions, let what never came go missing, and make the windows final."""
    ends: Log = []
    for station in ("top", "section"):
        last = max((found.seq for found in results if found.station == station), default=-1)
        ends += [
            mark(last, "12:41:00", station=station),
            mark(last, "12:59:00", MarkState.CLOSED, station=station),
            mark(last, "12:59:01", MarkState.CLOSED, station=station, author="watchdog"),
        ]
    return [*ends, *(mark(-1, "14:40:00", station=station, session="s2") for station in ("top", "section"))]


def interleaved(results: Log, marks: Log, places: list[int]) -> Log:
    """Put marks, in their order, somewhere among results, in theirs."""
    log = list(results)
    for mark_, place in reversed(list(zip(marks, sorted(places), strict=False))):
        log.insert(min(place, len(results)), mark_)
    return log


def folded(
    log: Log, state: KpiState | None = None, start: int = 0, rules: Rules = RULES
) -> dict[tuple[str, ...], KpiWindow]:
    """Fold a log from an offset on; records are logged one a second. Returns the newest of each window."""
    state = state or empty()
    for offset in range(start, len(log)):
        fold(state, log[offset], offset, microseconds(at("13:00:00")) + offset * 60_000_000, rules)
    return latest(drain(state))


def latest(windows: list[KpiWindow]) -> dict[tuple[str, ...], KpiWindow]:
    return {
        (window.window, window.line, window.station, window.product, str(window.start), window.lot or ""): window
        for window in sorted(windows, key=newest)
    }


def essence(windows: dict[tuple[str, ...], KpiWindow]) -> dict[tuple[str, ...], KpiWindow]:
    """Leave out what may differ between deliveries, and windows that only repeats or corrections passed through."""
    plain = {key: msgspec.structs.replace(window, revision=0, late_or_repeat=0) for key, window in windows.items()}
    return {key: window for key, window in plain.items() if window.accepted or window.marks}


logs = st.lists(boards, min_size=1, max_size=25).map(results_of)


@settings(deadline=None, max_examples=CASES, suppress_health_check=[HealthCheck.too_slow])
@given(logs, st.data())
def test_any_order_and_any_repetition_gives_the_same_final_windows(
    results: list[InspectionResult], data: st.DataObject
) -> None:
    """Some frames are lost for ever; marks come in their order, but anywhere among the results."""
    lost = set(data.draw(st.lists(st.integers(0, len(results) - 1), max_size=5), label="lost"))
    marks = marks_of(results, data.draw(st.lists(st.integers(0, 40 * 60), max_size=4), label="marks"))
    arrived: Log = [found for index, found in enumerate(results) if index not in lost]
    shuffled: Log = data.draw(st.permutations(arrived), label="order")
    repeats: Log = data.draw(st.lists(st.sampled_from(arrived), max_size=10) if arrived else st.just([]))
    places = st.lists(st.integers(0, len(results)), min_size=len(marks), max_size=len(marks))
    one = interleaved(arrived, marks, data.draw(places, label="one"))
    other = interleaved([*shuffled, *repeats], marks, data.draw(places, label="other"))
    ends = closing(results)
    windows = essence(folded([*one, *ends]))
    assert windows == essence(folded([*other, *ends]))
    early = [window for window in windows.values() if window.end <= at("13:00:00")]
    assert {window.state for window in early} == {WindowState.FINAL}


@settings(deadline=None, max_examples=CASES, suppress_health_check=[HealthCheck.too_slow])
@given(logs, st.data())
def test_a_crash_anywhere_after_any_checkpoint_changes_nothing(
    results: list[InspectionResult], data: st.DataObject
) -> None:
    lost = set(data.draw(st.lists(st.integers(0, len(results) - 1), max_size=5)))
    arrived: Log = [found for index, found in enumerate(results) if index not in lost]
    log = [*arrived, *closing(results)]
    saved_at = data.draw(st.sets(st.integers(0, len(log)), min_size=1), label="checkpoints")
    crash_at = data.draw(st.integers(min(saved_at), len(log)), label="crash")
    block_bytes = data.draw(st.sampled_from([1, 300, 2**20]), label="block")
    rules = replace(RULES, horizon_minutes=data.draw(st.sampled_from([2, 60]), label="horizon"))
    state, published = empty(), []
    checkpoint = save(state)
    for offset in range(crash_at):
        if offset in saved_at:
            checkpoint = save(state, block_bytes)
        fold(state, log[offset], offset, microseconds(at("13:00:00")) + offset * 60_000_000, rules)
        published += drain(state)
    if crash_at in saved_at:
        checkpoint = save(state, block_bytes)
    back = restore(checkpoint)
    again = folded(log, back, back.position, rules)
    assert latest([*published, *again.values()]) == folded(log, rules=rules)


@settings(deadline=None, max_examples=CASES, suppress_health_check=[HealthCheck.too_slow])
@given(logs, st.data())
def test_when_windows_are_drained_does_not_matter(results: list[InspectionResult], data: st.DataObject) -> None:
    """Roll-ups are brought up to date now and then; what comes out in the end is the same, revisions included."""
    log: Log = [*data.draw(st.permutations(results)), *closing(results)]
    drained_at = data.draw(st.sets(st.integers(0, len(log))), label="drains")
    state, published = empty(), []
    for offset, record in enumerate(log):
        fold(state, record, offset, microseconds(at("13:00:00")) + offset * 60_000_000, RULES)
        if offset in drained_at:
            published += drain(state)
    published += drain(state)
    assert latest(published) == folded(log)


@settings(deadline=None, max_examples=CASES, suppress_health_check=[HealthCheck.too_slow])
@given(logs, st.data())
def test_roll_ups_are_the_sums_of_their_minutes(results: list[InspectionResult], data: st.DataObject) -> None:
    windows = folded([*data.draw(st.permutations(results)), *closing(results)]).values()
    minutes = [window for window in windows if window.window == "1m"]
    for whole in (window for window in windows if window.window in {"1h", "shift"}):
        parts = [
            part
            for part in minutes
            if whole.start <= part.start < whole.end
            and whole.station in {part.station, ANY}
            and whole.product in {part.product, ANY}
        ]
        total = merge(parts)
        assert total is not None
        for name in (*SUMMED, "defects", "latency_buckets", "deepest_um"):
            assert getattr(whole, name) == getattr(total, name), name
    lots = [window for window in windows if window.window == "lot" and ANY not in {window.station, window.product}]
    assert sum(window.accepted for window in lots) == sum(found.lot is not None for found in results)
