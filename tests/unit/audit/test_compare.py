"""When a replay agrees with the record, and how it says that it does not."""

from datetime import UTC, datetime, timedelta
from typing import Any

from taktwatch.audit.compare import compare_results, compare_windows
from taktwatch.records import (
    Detection,
    InspectionResult,
    KpiWindow,
    ModelRef,
    Outcome,
    Rle,
    Verdict,
    WindowState,
    frame_id,
)

AT = datetime(2026, 3, 3, 6, tzinfo=UTC)
THRESHOLDS = {"p": {"open": 0.5, "spur": 0.5}}


def found(label: str, score: float) -> Detection:
    return Detection(
        label=label, score=score, box_px=(0, 0, 4, 4), mask=Rle(size=(8, 8), counts="0"), area_px=4, area_um2=4
    )


def result(seq: int, verdict: Verdict, *detections: Detection, **changes: Any) -> InspectionResult:
    fields: dict[str, Any] = {
        "frame_id": frame_id("l", "s", "a", seq),
        "line": "l",
        "station": "s",
        "product": "p",
        "view": "board",
        "session": "a",
        "seq": seq,
        "visit": seq,
        "event_at": AT + timedelta(seconds=seq),
        "taken_at": AT,
        "received_at": AT,
        "inspected_at": AT,
        "outcome": Outcome.INSPECTED,
        "sha256": "",
        "um_per_px": 1.0,
        "verdict": verdict,
        "detections": detections,
    }
    return InspectionResult(**(fields | changes))


def window(**changes: Any) -> KpiWindow:
    fields: dict[str, Any] = {
        "window": "1m",
        "start": AT,
        "end": AT + timedelta(minutes=1),
        "line": "l",
        "station": "s",
        "product": "p",
        "revision": 7,
        "state": WindowState.FINAL,
        "inspected": 30,
        "failed": 3,
    }
    return KpiWindow(**(fields | changes))


def test_equal_results_agree_whatever_their_scores() -> None:
    recorded = [result(0, Verdict.FAIL, found("open", 0.93))]
    replayed = [result(0, Verdict.FAIL, found("open", 0.91))]
    comparison = compare_results(recorded, replayed, THRESHOLDS)
    assert comparison.equal
    assert comparison.agreeing == comparison.compared == 1


def test_another_verdict_is_a_difference_with_both_sides_in_words() -> None:
    comparison = compare_results(
        [result(0, Verdict.FAIL, found("open", 0.93), found("open", 0.8))], [result(0, Verdict.PASS)], THRESHOLDS
    )
    assert not comparison.equal
    (difference,) = comparison.differences
    assert (difference.recorded, difference.replayed) == ("fail (2 open)", "pass")


def test_the_same_verdict_for_another_class_is_a_difference() -> None:
    comparison = compare_results(
        [result(0, Verdict.FAIL, found("open", 0.93))], [result(0, Verdict.FAIL, found("spur", 0.93))], THRESHOLDS
    )
    assert len(comparison.differences) == 1


def test_a_score_within_a_thousandth_of_its_threshold_is_listed_apart() -> None:
    comparison = compare_results(
        [result(0, Verdict.FAIL, found("open", 0.5004))], [result(0, Verdict.PASS)], THRESHOLDS
    )
    assert comparison.equal
    assert len(comparison.close_calls) == 1
    assert comparison.agreeing == 0


def test_a_score_further_from_its_threshold_is_no_close_call() -> None:
    comparison = compare_results([result(0, Verdict.FAIL, found("open", 0.502))], [result(0, Verdict.PASS)], THRESHOLDS)
    assert len(comparison.differences) == 1


def test_a_frame_that_was_not_replayed_is_named() -> None:
    recorded = [result(0, Verdict.PASS), result(1, Verdict.PASS)]
    comparison = compare_results(recorded, recorded[:1], THRESHOLDS)
    assert comparison.not_replayed == (recorded[1].frame_id,)
    assert not comparison.equal


def test_another_engine_is_said() -> None:
    model = ModelRef(name="m", model_id="1", weights_sha256="", engine="torch", precision="float32", device="cpu")
    on_gpu = ModelRef(name="m", model_id="1", weights_sha256="", engine="torch", precision="float16", device="cuda")
    comparison = compare_results(
        [result(0, Verdict.PASS, model=model)], [result(0, Verdict.PASS, model=on_gpu)], THRESHOLDS
    )
    assert comparison.engines == (("torch/float32/cpu", "torch/float16/cuda"),)


def test_windows_are_compared_by_what_was_seen_not_by_revision_or_speed() -> None:
    same = window(revision=99, latency_sum_us=5, latency_buckets={3: 1}, late_or_repeat=2)
    assert compare_windows([window()], [same]) == (1, ())
    assert compare_windows([window()], [window(failed=4)]) == (1, ("s p 1m 2026-03-03T06:00Z",))
    assert compare_windows([window()], []) == (1, ("s p 1m 2026-03-03T06:00Z",))
