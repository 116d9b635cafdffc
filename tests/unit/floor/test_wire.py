"""Records on the wire: golden files, schema versions, damage."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktwatch import wire
from taktwatch.errors import BadRecord, UnknownSchema
from taktwatch.records import (
    AlertState,
    AlertTransition,
    Asset,
    BoardDefect,
    BoardVerdict,
    Checkpoint,
    CheckpointChunk,
    CheckpointManifest,
    ControlPoint,
    DeadLetter,
    Detection,
    Frame,
    InspectionResult,
    KpiWindow,
    LayerProfile,
    MarkState,
    ModelActivation,
    ModelRef,
    Notification,
    Outcome,
    Place,
    Record,
    Registration,
    Review,
    Rle,
    Severity,
    SpcBaseline,
    StationMark,
    Tile,
    Verdict,
    WindowState,
    board_id,
    frame_id,
)

GOLDEN = Path(__file__).parent / "golden"
AT = datetime(2026, 3, 3, 6, 0, 2, 500000, tzinfo=UTC)
ID = frame_id("line-1", "top", "20260303T060000Z-7", 1)
WHERE = {"line": "line-1", "station": "top", "product": "demo-board"}

EXAMPLES: dict[str, Record] = {
    "frame": Frame(
        **WHERE,
        frame_id=ID,
        view="board",
        session="20260303T060000Z-7",
        seq=1,
        visit=1,
        taken_at=AT,
        received_at=AT,
        um_per_px=20.8,
        sha256="ab" * 32,
        image=b"\x89PNG\x00\xff",
        media_type="image/png",
        serial="SN-000001",
        template_sha256="cd" * 32,
        stamped=True,
    ),
    "result": InspectionResult(
        **WHERE,
        frame_id=ID,
        view="board",
        session="20260303T060000Z-7",
        seq=1,
        visit=1,
        event_at=AT,
        taken_at=AT,
        received_at=AT,
        inspected_at=AT,
        outcome=Outcome.INSPECTED,
        sha256="ab" * 32,
        um_per_px=20.8,
        place=Place(topic="taktwatch.frames", partition=3, offset=12),
        verdict=Verdict.FAIL,
        reasons=("open at (120, 340), score 0.93",),
        detections=(
            Detection(
                label="open",
                score=0.93,
                box_px=(110.0, 330.0, 130.0, 350.0),
                mask=Rle(size=(640, 640), counts="abc1"),
                area_px=120,
                area_um2=51917,
            ),
        ),
        layers=(
            LayerProfile(
                layer="L1",
                layer_px=1000,
                corroded_px=20,
                length_px=100,
                corroded_length_px=5,
                thickness_um=35.0,
                deepest_um=9.5,
                residual_um=25.5,
                sites=1,
                surface=True,
            ),
        ),
        opportunities=250,
        model=ModelRef(
            name="board-sim", model_id="m1", weights_sha256="ef" * 32, engine="torch", precision="float32", device="cpu"
        ),
        config_sha256="01" * 32,
        template_sha256="cd" * 32,
        registration=Registration(matrix=(1.0, 0.0, 2.5, 0.0, 1.0, -1.5), quality=0.97),
        timings_us={"decode": 5000, "infer": 120000},
    ),
    "mark": StationMark(**WHERE, session="20260303T060000Z-7", last_seq=1, time=AT, state=MarkState.OPEN),
    "kpi": KpiWindow(
        **WHERE,
        window="1m",
        start=AT.replace(second=0, microsecond=0),
        end=AT.replace(minute=1, second=0, microsecond=0),
        revision=41,
        state=WindowState.CLOSED,
        accepted=30,
        inspected=29,
        passed=26,
        failed=3,
        dead=1,
        defects={"open": 2, "spur": 1},
        latency_sum_us=4_000_000,
        latency_buckets={68: 20, 69: 9},
    ),
    "kpi-shift": KpiWindow(
        line="line-1",
        station="*",
        product="*",
        window="shift",
        start=AT.replace(hour=5, minute=0, second=0, microsecond=0),
        end=AT.replace(hour=13, minute=0, second=0, microsecond=0),
        revision=77,
        state=WindowState.OPEN,
        accepted=3,
        inspected=1,
        passed=1,
        shift="early",
    ),
    "kpi-lot": KpiWindow(
        **WHERE,
        window="lot",
        start=AT.replace(minute=0, second=0, microsecond=0),
        end=AT.replace(hour=7, minute=0, second=0, microsecond=0),
        revision=78,
        state=WindowState.FINAL,
        accepted=1,
        dead=1,
        lot="L7",
    ),
    "board": BoardVerdict(
        **WHERE,
        board_id=board_id("line-1", "top", "20260303T060000Z-7", 1),
        session="20260303T060000Z-7",
        visit=1,
        event_at=AT,
        decided_at=AT,
        revision=41,
        verdict=Verdict.REVIEW,
        expected=3,
        inspected=1,
        frames=(ID,),
        reasons=("view missing: 1 of 3 pictures are in",),
        lot="L7",
        serial="SN-000001",
    ),
    "frame-of-a-panel": Frame(
        **WHERE,
        frame_id=ID,
        view="board",
        session="20260303T060000Z-7",
        seq=1,
        visit=0,
        taken_at=AT,
        received_at=AT,
        um_per_px=20.8,
        sha256="ab" * 32,
        image=b"\x89PNG\x00\xff",
        media_type="image/png",
        tile=Tile(panel="P-7", index=1, of=24, box_px=(0, 670, 16_000, 1_436), size_px=(16_000, 16_000)),
    ),
    "panel": BoardVerdict(
        **WHERE,
        board_id=board_id("line-1", "top", "20260303T060000Z-7", 1),
        session="20260303T060000Z-7",
        visit=1,
        event_at=AT,
        decided_at=AT,
        revision=41,
        verdict=Verdict.FAIL,
        expected=24,
        inspected=24,
        frames=(ID,),
        reasons=("open at (510, 670), score 0.93",),
        defects=(BoardDefect(label="open", score=0.93, box_px=(500.0, 660.0, 520.0, 680.0)),),
    ),
    "control-point": ControlPoint(
        **WHERE,
        chart="laney_ewma",
        metric="defect_rate",
        start=AT.replace(second=0, microsecond=0),
        end=AT.replace(minute=17, second=0, microsecond=0),
        amount=14,
        n=510,
        value=0.0162,
        centre=0.01,
        lower=0.0049,
        upper=0.0151,
        sigma_z=1.73,
        signals=("1 point beyond the control limits",),
        baseline_id="45" * 32,
        revision=41,
    ),
    "spc-baseline": SpcBaseline(
        **WHERE, metric="defect_rate", baseline_id="45" * 32, author="phase I", body=b'{"version":1}'
    ),
    "alert": AlertTransition(
        alert_id="a1",
        rule="defect-rate",
        severity=Severity.CRITICAL,
        labels={"line": "line-1", "station": "top"},
        previous=AlertState.PENDING,
        state=AlertState.FIRING,
        at=AT,
        value=0.31,
        n=42,
        summary="defect rate 31 % (n = 42) above 25 % at line-1/top",
        window_start=AT.replace(second=0, microsecond=0),
        revision=41,
    ),
    "notification": Notification(key="a1/firing", alert_id="a1", channel="chat", attempted_at=AT, delivered=True),
    "dead": DeadLetter(
        error="half.jpg: a truncated JPEG",
        source="folder:half.jpg",
        received_at=AT,
        body=b"\xff\xd8\xff",
        body_bytes=3,
        sha256="23" * 32,
        line="line-1",
        station="top",
    ),
    "review": Review(
        **WHERE,
        frame_id=ID,
        session="20260303T060000Z-7",
        visit=1,
        event_at=AT,
        machine=Verdict.PASS,
        human=Verdict.FAIL,
        reviewer="Kim",
        reason="a spur beside pad 4",
        reviewed_at=AT,
        serial="SN-000001",
        model_id="m1",
        sampled=True,
        weight=50.0,
    ),
    "checkpoint": Checkpoint(group="kpi", topic="taktwatch.results", partition=2, position=99, state=b"\x00\x01"),
    "checkpoint-chunk": CheckpointChunk(save_id="ef" * 16, index=1, state=b"\x00\x01"),
    "checkpoint-manifest": CheckpointManifest(
        group="kpi",
        topic="taktwatch.results",
        partition=2,
        position=99,
        chunks=2,
        chunks_of="host-1.0",
        save_id="ef" * 16,
    ),
    "asset": Asset(sha256="cd" * 32, kind="template", media_type="image/png", body=b"\x89PNG"),
    "model-activation": ModelActivation(
        line="line-1",
        product="demo-board",
        model="board-next",
        model_id="board-next-0123456789ab",
        configured="board-sim",
        author="Kim",
        reason="fewer false calls on shorts",
        at=AT,
        shadow="board-later",
    ),
}


def stored(record: Record) -> str:
    value, headers = wire.encode(record)
    shown = {
        "headers": {name: text.decode() for name, text in sorted(headers.items())},
        "value": base64.b64encode(value).decode() if record.payload else json.loads(value),
    }
    return json.dumps(shown, indent=1, sort_keys=True) + "\n"


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_a_record_looks_on_the_wire_as_it_did_when_it_was_released(name: str) -> None:
    golden = GOLDEN / f"{name}.json"
    assert stored(EXAMPLES[name]) == golden.read_text(encoding="utf-8"), (
        "the wire changed: raise SCHEMA, add golden files"
    )


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_what_was_encoded_comes_back_equal(name: str) -> None:
    assert wire.decode(*wire.encode(EXAMPLES[name])) == EXAMPLES[name]


def test_every_record_that_travels_has_a_golden_file() -> None:
    assert {type(record) for record in EXAMPLES.values()} == set(wire.NAMES)


@pytest.mark.parametrize("schema", [b"2.0", b"0.9", b"10.0"])
def test_another_major_version_is_refused_by_name(schema: bytes) -> None:
    value, headers = wire.encode(EXAMPLES["mark"])
    with pytest.raises(UnknownSchema, match=schema.decode()):
        wire.decode(value, headers | {"taktwatch_schema": schema})


def test_a_newer_minor_version_with_an_unknown_field_is_read() -> None:
    value, headers = wire.encode(EXAMPLES["mark"])
    newer = json.dumps({**json.loads(value), "colour_of_belt": "green"}).encode()
    assert wire.decode(newer, headers | {"taktwatch_schema": b"1.7"}) == EXAMPLES["mark"]


@pytest.mark.parametrize("damage", ["no schema", "no type", "not JSON", "wrong type", "no meta"])
def test_a_damaged_record_is_refused_with_a_reason(damage: str) -> None:
    value, headers = wire.encode(EXAMPLES["frame" if damage == "no meta" else "mark"])
    match damage:
        case "no schema":
            del headers["taktwatch_schema"]
        case "no type":
            del headers["ce_type"]
        case "not JSON":
            value = b"\xff\x00"
        case "wrong type":
            value = msgspec.json.encode({**json.loads(value), "last_seq": "many"})
        case "no meta":
            del headers["taktwatch_meta"]
    with pytest.raises(BadRecord, match=r"taktwatch|damaged|type"):
        wire.decode(value, headers)


@given(st.binary(max_size=200), st.sampled_from(sorted(wire.TYPES)))
def test_random_bytes_never_raise_anything_but_bad_record(value: bytes, kind: bytes) -> None:
    headers = {"taktwatch_schema": b"1.0", "ce_type": kind, "taktwatch_meta": value}
    try:
        wire.decode(value, headers)
    except BadRecord:
        return


def test_the_trace_of_a_frame_is_its_id() -> None:
    _, headers = wire.encode(EXAMPLES["frame"])
    assert headers["traceparent"].decode().split("-")[1] == ID
