"""What the compiled library takes in ends in the very state that folding each record in full makes."""

from dataclasses import replace

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kafka_packs import Logged, Raw, batch, pack_of, raw
from servers.require import missing
from timelines import at, mark, result

from kpi_engine.boards import board_group
from kpi_engine.checks import readable
from kpi_engine.compiled import read_board, read_rows, read_taken, read_verdicts, read_visits
from kpi_engine.rules import Rules
from kpi_engine.runs import end, take_back, take_back_serial
from kpi_engine.shifts import Calendar
from kpi_engine.slim import slim_result
from kpi_engine.step import step_at
from kpi_engine.windows import KpiState, drain, drain_verdicts, empty, fold, fold_plainly, restore, save
from taktwatch.bus import Sheaf
from taktwatch.bus.kafka_packs import SheafBatch, messages_in, others_in
from taktwatch.config import ShiftConfig
from taktwatch.errors import BackendUnavailable, BadRecord
from taktwatch.instants import microseconds
from taktwatch.native import Engine, available
from taktwatch.records import (
    BoardVerdict,
    Detection,
    InspectionResult,
    KpiWindow,
    MarkState,
    Outcome,
    Rle,
    StationMark,
    Verdict,
)
from taktwatch.wire import decode, encode, headers_of

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
HEADERS = headers_of(BoardVerdict)
Log = list[InspectionResult | StationMark]


def clock(seconds: float) -> str:
    return f"12:{int(seconds // 60):02}:{seconds % 60:06.3f}"


def picture(seq: int, seconds: float, station: str, views: int, kind: int) -> InspectionResult:
    """Return a result; what is not quite ordinary about it hangs on `kind`, 0 to 99."""
    product = "three" if kind == 99 else {1: "board", 2: "two", 3: "three"}[views]
    return result(
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


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """Draw a log of one or two stations: boards come about once a second, nearly in order, with marks."""
    placed: list[tuple[float, InspectionResult | StationMark]] = []
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


def native() -> None:
    if not available():
        missing("native", "`make setup` builds the compiled library where there is a Rust compiler (cargo)")


class Folder:
    """A state that takes in packs as the service does; `verdicts` of boards by their id, as published."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.state = empty()
        self.state.engine = Engine(HEADERS)
        self.verdicts: dict[str, BoardVerdict] = {}
        self.left: list[int] = []
        self.refused: list[int] = []

    def take(self, records: list[Logged], first: int, wanted: int | None = None) -> None:
        self.take_raw(raw(records), first, wanted)

    def take_raw(self, records: list[Raw], first: int, wanted: int | None = None) -> None:
        engine = self.state.engine
        assert engine is not None
        for message in others_in(engine, pack_of(batch(records, first), first if wanted is None else wanted)):
            self.left.append(message.offset)
            self.note()
            try:
                record = readable(message)
            except BadRecord:
                self.refused.append(message.offset)
                self.state.position = message.offset + 1
            else:
                fold(self.state, record, message.offset, microseconds(message.timestamp), self.rules)
        self.note()

    def note(self) -> None:
        """Have verdicts in the order in which they were reached, whoever reached them."""
        engine = self.state.engine
        assert engine is not None
        self.verdicts |= {verdict.board_id: verdict for verdict in drain_verdicts(self.state)}
        taken = read_taken(engine.taken())
        self.state.position = max(self.state.position, taken.position)
        for line, count, records in read_verdicts(engine.verdicts()):
            found = list(messages_in(pack_of(SheafBatch(Sheaf("boards", line.encode(), count, records))._build(), 0)))
            assert len(found) == count
            for message in found:
                verdict = decode(message.value, message.headers)
                assert isinstance(verdict, BoardVerdict)
                assert (verdict.line, message.key, message.headers) == (line, line.encode(), HEADERS)
                assert encode(verdict)[0] == message.value
                self.verdicts[verdict.board_id] = verdict

    def restart(self) -> None:
        """Go on from a checkpoint, in whose windows nothing is left to publish."""
        image = save(self.state, 2_000)
        blocks = [*self.state.blocks]
        self.state = restore(image, Engine(HEADERS))
        assert self.state.blocks == blocks


def hand_back(state: KpiState) -> None:
    """Have everything in Python that the library remembers."""
    engine = state.engine
    if engine is None:
        return
    for step in state.steps.values():
        if step.run is not None:
            end(step)
        found = engine.rows(step.station.line, step.station.name, everything=True)
        if found is None:
            continue
        rows = read_rows(found)
        for row in rows.boards:
            board = read_board(row)
            group = board_group(board.product, board.session)
            boards = step.groups.setdefault(group, step.station.boards.get(group, {}))
            if board.visit not in boards:  # else there is a later one here
                take_back(step, group, boards, board)
        for name, row in rows.serials.items():
            if name not in step.station.serials:
                take_back_serial(step, name, read_visits(row))
    state.engine = None


def windows_of(state: KpiState) -> list[KpiWindow]:
    return sorted(drain(state), key=lambda w: (w.window, w.start, w.station, w.product, w.lot or "", w.state))


def known(state: KpiState, rules: Rules = RULES) -> object:
    """Return all that a state knows of its stations; what blocks brought of old is forgotten with a station's step."""
    for station in state.stations.values():
        if (station.line, station.name) not in state.steps:
            step_at(state, state.steps, station.line, station.name, rules)
    hand_back(state)
    return msgspec.to_builtins((state.stations, state.lines), builtin_types=(), str_keys=False, enc_hook=str)


@settings(deadline=None, max_examples=CASES, suppress_health_check=[HealthCheck.too_slow])
@given(logs(), st.data())
def test_what_the_library_takes_in_makes_the_state_that_each_record_by_itself_makes(
    log: Log, data: st.DataObject
) -> None:
    """Pictures lost, late, repeated, skipped, of other lots and products, boards with pictures far apart, restarts."""
    native()
    stamp_ms = data.draw(st.sampled_from([0, 1, 700]), label="between log times")
    rules = replace(RULES, horizon_minutes=data.draw(st.sampled_from([0, 1, 60])))
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(log) - 1)), max_size=5), label="batches begin"))
    drained = data.draw(st.sets(st.sampled_from([*cuts, len(log)])), label="drained")
    restarted = data.draw(st.sets(st.sampled_from([*cuts, len(log)]), max_size=2), label="restarted")
    begun = microseconds(at("13:00:00")) // 1000
    logged = [(record, begun + offset * stamp_ms) for offset, record in enumerate(log)]
    one, other = empty(), Folder(rules)
    verdicts: dict[str, BoardVerdict] = {}
    first = 0
    for cut in [*cuts, len(log)]:
        for offset in range(first, cut):
            record, logged_ms = logged[offset]
            slim = slim_result(encode(record)[0]) if isinstance(record, InspectionResult) else record
            fold_plainly(one, slim, offset, logged_ms * 1000, rules)
        other.take(logged[first:cut], first)
        verdicts |= {verdict.board_id: verdict for verdict in drain_verdicts(one)}
        assert other.verdicts == verdicts
        if cut in drained | restarted:
            assert windows_of(one) == windows_of(other.state)
        if cut in restarted:
            save(one)
            one = restore(save(one))
            other.restart()
        first = cut
    assert windows_of(one) == windows_of(other.state)
    assert other.state.position == one.position == len(log)
    assert known(other.state, rules) == known(one, rules)


def test_a_picture_too_many_corrects_a_board_that_was_counted_in_the_same_run() -> None:
    native()
    one, other = empty(), Folder(RULES)
    records: list[Logged] = []
    for offset, (visit, seconds) in enumerate([(0, 0), (0, 0.1), (0, 0.2), (1, 1), (1, 2), (1, 3), (1, 4)]):
        found = result(offset, clock(seconds), product="three", visit=visit)
        records.append((found, 0))
        fold_plainly(one, found, offset, 0, RULES)
    other.take(records, 0)
    assert windows_of(one) == windows_of(other.state)
    assert known(one) == known(other.state)


def steady(seconds: int) -> list[Logged]:
    log: list[Logged] = []
    logged_ms = microseconds(at("13:00:00")) // 1000
    for second in range(seconds):
        log += [
            (result(3 * second + view, clock(second + view / 10), product="three", visit=second), logged_ms)
            for view in (1, 0, 2)
        ]
        log.append((mark(3 * second + 2, clock(second + 1), product="three"), logged_ms))
    return log


def test_of_a_steady_log_the_library_takes_nearly_everything() -> None:
    """Else the test above would show nothing."""
    native()
    folder = Folder(RULES)
    folder.take(steady(110), 0)
    assert len(folder.left) < 10


def test_records_before_the_wanted_offset_came_with_their_batch_and_do_not_count() -> None:
    native()
    log = steady(20)
    folder, other = Folder(RULES), Folder(RULES)
    folder.take(log[:30], 0)
    folder.take(log, 0, wanted=30)
    other.take(log, 0)
    assert windows_of(folder.state) == windows_of(other.state)


def test_a_batch_that_the_library_cannot_read_is_folded_plainly() -> None:
    native()
    log = steady(20)
    plain, other = Folder(RULES), Folder(RULES)
    plain.take(log, 0)
    engine = other.state.engine
    assert engine is not None
    body = batch(raw(log[:40]), 0) + batch(raw(log[40:]), 40, compression=1)
    for message in others_in(engine, pack_of(body, 0)):
        fold(other.state, readable(message), message.offset, microseconds(message.timestamp), RULES)
    assert windows_of(plain.state) == windows_of(other.state)


def test_a_damaged_batch_stops_the_fold_before_anything_of_it_is_counted() -> None:
    native()
    folder = Folder(RULES)
    body = bytearray(batch(raw(steady(20)), 0))
    body[200] ^= 1
    engine = folder.state.engine
    assert engine is not None
    with pytest.raises(BackendUnavailable, match="damaged"):
        list(others_in(engine, pack_of(bytes(body), 0)))
    assert read_taken(engine.taken()).position == 0


SPANS = [
    "",
    "null",
    "1e5",
    "-0",
    "0.5",
    '"',
    "\\",
    "\\u0041",
    " ",
    "{}",
    "[]",
    "}",
    ",",
    "true",
    "2026-02-30T00:00:00Z",
    "é",
]
WHOLE = steady(3)[5][0]
assert isinstance(WHOLE, InspectionResult)
WHOLE = msgspec.structs.replace(WHOLE, seq=60, visit=20, serial="B1", reasons=("µ",), detections=(FOUND,), lot="L")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw a result's bytes, of which a few are others, or more, or gone."""
    value = bytearray(encode(WHOLE)[0])
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(value) - 1))
        value[start : start + draw(st.integers(0, 12))] = draw(
            st.sampled_from(SPANS).map(str.encode) | st.binary(max_size=3)
        )
        if not value:
            break
    return bytes(value)


@settings(deadline=None, max_examples=CASES)
@given(st.lists(damaged(), min_size=1, max_size=8))
def test_what_is_damaged_is_refused_or_counted_as_python_does_it(values: list[bytes]) -> None:
    native()
    log = raw(steady(19))
    headers = log[0][1]
    records = [*log, *((value, headers, log[-1][2]) for value in values), *raw(steady(24)[76:])]
    other, one = Folder(RULES), empty()
    other.take_raw(records, 0)
    refused = []
    for message in messages_in(pack_of(batch(records, 0), 0)):
        try:
            record = readable(message)
        except BadRecord:
            refused.append(message.offset)
            one.position = message.offset + 1
        else:
            fold_plainly(one, record, message.offset, microseconds(message.timestamp), RULES)
    assert other.refused == refused
    assert windows_of(one) == windows_of(other.state)
    assert known(one) == known(other.state)
