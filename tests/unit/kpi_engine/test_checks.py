from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from timelines import mark, result

from kpi_engine.checks import dead_letter, readable
from kpi_engine.slim import SlimDetection, SlimResult, slim_result
from kpi_engine.windows import Rules, drain, empty, fold, restore, save
from taktwatch.bus import Message
from taktwatch.errors import BadRecord
from taktwatch.records import (
    Detection,
    InspectionResult,
    KpiWindow,
    LayerProfile,
    Record,
    Rle,
    StationMark,
    Verdict,
    WindowState,
)
from taktwatch.wire import encode


def message(record: Record) -> Message:
    value, headers = encode(record)
    return Message("taktwatch.results", 2, 7, datetime(2026, 3, 3, tzinfo=UTC), b"line-1", value, headers)


def layer(**changes: object) -> LayerProfile:
    sound = LayerProfile(
        layer="L1",
        layer_px=1000,
        corroded_px=10,
        length_px=100,
        corroded_length_px=5,
        thickness_um=35.0,
        deepest_um=4.0,
        residual_um=31.0,
        sites=1,
        surface=False,
    )
    return msgspec.structs.replace(sound, **changes)


def found(score: float) -> Detection:
    mask = Rle(size=(4, 4), counts="04")
    return Detection(label="open", score=score, box_px=(0.0, 0.0, 2.0, 2.0), mask=mask, area_px=4, area_um2=16)


NAIVE = datetime(2026, 3, 3, 12)  # noqa: DTZ001 - the point of the test
SENT = result(0, "12:00:00")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (result(-1, "12:00:00"), "seq is -1"),
        (result(2**60, "12:00:00"), "seq is"),
        (result(0, "12:00:00", event_at=NAIVE), "no time zone"),
        (result(0, "12:00:00", event_at=datetime(9999, 12, 31, tzinfo=UTC)), "9999"),
        (result(0, "12:00:00", inspected_at=SENT.received_at + timedelta(days=36500)), "latency"),
        (result(0, "12:00:00", opportunities=-3), "opportunities"),
        (result(0, "12:00:00", opportunities=10**30), "opportunities"),
        (result(0, "12:00:00", um_per_px=1e300, layers=(layer(),)), "um_per_px"),
        (result(0, "12:00:00", layers=(layer(layer_px=10**40),)), "layer_px of layer L1"),
        (result(0, "12:00:00", layers=(layer(deepest_um=-1.0),)), "deepest_um of layer L1"),
        (result(0, "12:00:00", layers=(layer(corroded_length_px=-1),)), "corroded_length_px of layer L1"),
        (result(0, "12:00:00", detections=(found(1.5),)), "score of open is 1.5"),
        (result(0, "12:00:00", detections=(found(0.9), found(-1e300))), "score of open is"),
        (mark(-2, "12:00:00"), "last_seq is -2"),
        (mark(0, "12:00:00", time=NAIVE), "no time zone"),
        (
            KpiWindow(
                window="1m",
                start=SENT.event_at,
                end=SENT.event_at,
                line="l",
                station="s",
                product="p",
                revision=0,
                state=WindowState.OPEN,
            ),
            "KpiWindow",
        ),
    ],
)
def test_a_record_no_sum_can_hold_is_refused_with_its_reason(record: Record, reason: str) -> None:
    with pytest.raises(BadRecord, match=reason):
        readable(message(record))


@pytest.mark.parametrize("record", [SENT, mark(-1, "12:00:00"), result(0, "12:00:00", layers=(layer(),))])
def test_a_sound_record_is_read_as_it_was_written(record: Record) -> None:
    read = readable(message(record))
    kept = record if isinstance(record, StationMark) else slim_result(msgspec.json.encode(record))
    assert read == kept


def test_the_largest_records_that_are_read_can_be_saved() -> None:
    huge = layer(layer_px=10**13, corroded_px=10**13, deepest_um=1e9)
    largest = result(
        2**53,
        "12:00:00",
        um_per_px=1.0,
        opportunities=10**9,
        layers=(huge,) * 4,
        inspected_at=SENT.event_at + timedelta(3649),
    )
    state = empty()
    for offset in range(1000):
        record = msgspec.structs.replace(largest, session=f"s{offset}")
        fold(state, readable(message(record)), offset, 0, Rules())
    drain(state)
    assert restore(save(state)).stations == state.stations


def test_a_dead_letter_keeps_the_bytes_and_the_place() -> None:
    sent = message(SENT)
    letter = dead_letter(sent, BadRecord("why"), "kpi")
    assert (letter.body, letter.place, letter.error, letter.line) == (sent.value, sent.place, "why", "line-1")


@pytest.mark.parametrize(("slim", "whole"), [(SlimResult, InspectionResult), (SlimDetection, Detection)])
def test_what_is_read_of_a_result_is_what_the_record_says(slim: type[Record], whole: type[Record]) -> None:
    """Field by field: the same name on the wire, the same default."""

    def fields(kind: type[Record]) -> dict[str, tuple[str, object]]:
        return {field.name: (field.encode_name, field.default) for field in msgspec.structs.fields(kind)}

    assert fields(slim).items() <= fields(whole).items()


def test_a_slim_result_folds_as_the_whole_does() -> None:
    whole = result(0, "12:00:00", verdict=Verdict.FAIL, serial="B1", detections=(found(0.9),), layers=(layer(),))
    windows = []
    for record in (whole, readable(message(whole))):
        state = empty()
        fold(state, record, 0, 0, Rules())
        windows.append(drain(state))
    assert windows[0] == windows[1]


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_refused(score: float) -> None:
    with pytest.raises(BadRecord, match=r"detections\[0\]\.score"):
        readable(message(result(0, "12:00:00", detections=(found(score),))))


def test_a_time_before_any_camera_is_refused() -> None:
    sent = message(SENT)
    negative = msgspec.structs.replace(sent, value=sent.value.replace(b'"2026-03-03T', b'"-001-03-03T'))
    with pytest.raises(BadRecord, match="Invalid RFC3339"):
        readable(negative)
    with pytest.raises(BadRecord, match="1969"):
        readable(message(result(0, "12:00:00", event_at=datetime(1969, 12, 31, tzinfo=UTC))))
