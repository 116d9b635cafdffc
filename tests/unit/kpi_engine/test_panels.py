"""Panels that arrive in overlapping pieces: one verdict, defects at seams counted once, whatever is missing said."""

import msgspec
from timelines import Timeline, result

from kpi_engine.checks import readable
from kpi_engine.slim import PlacedResult
from kpi_engine.windows import Rules, drain_verdicts, restore, save
from taktwatch.bus import Message
from taktwatch.records import (
    BoardVerdict,
    Detection,
    InspectionResult,
    MarkState,
    Outcome,
    Rle,
    Tile,
    Verdict,
    defect_words,
)
from taktwatch.strips import cut_panel
from taktwatch.wire import encode

SIZE = (1000, 2000)
BOXES = cut_panel(*SIZE, 750_000, 100)
RULES = Rules(verdicts=True)


def piece(index: int, panel: str = "P-1", size: tuple[int, int] = SIZE) -> Tile:
    """Return the place of one of the three strips of a panel."""
    return Tile(panel=panel, index=index, of=len(BOXES), box_px=BOXES[index], size_px=size)


def found(index: int, x: int, y: int, label: str = "open") -> Detection:
    """Return a defect of 20 px at (x, y) of the panel, as the strip shows it."""
    x0, y0 = x - BOXES[index][0], y - BOXES[index][1]
    return Detection(
        label=label,
        score=0.9,
        box_px=(float(x0), float(y0), float(x0 + 20), float(y0 + 20)),
        mask=Rle(size=(1, 1), counts="01"),
        area_px=1,
        area_um2=100,
    )


def strip(line: Timeline, seq: int, *, index: int | None = None, visit: int = 0, **changes: object) -> None:
    """Fold a strip, as the detector writes it."""
    if "tile" not in changes:
        changes["tile"] = piece(seq if index is None else index)
    line.frame(seq, f"12:00:{10 + seq}", visit=visit, **changes)


def board(line: Timeline) -> BoardVerdict:
    """Return the one verdict that came out since the last call."""
    (verdict,) = drain_verdicts(line.state)
    return verdict


def test_a_panel_in_strips_is_one_board_and_a_defect_at_a_seam_counts_once() -> None:
    line = Timeline(RULES)
    at_seam = BOXES[1][1] + 40
    words = [
        defect_words("open", 0.9, (x, y, x + 20, y + 20)) for x, y in ((500, at_seam), (100, 30), (502, at_seam + 1))
    ]
    fails = {"verdict": Verdict.FAIL, "detections": (found(0, 500, at_seam), found(0, 100, 30))}
    strip(line, 0, **fails, reasons=tuple(words[:2]))
    strip(line, 1, verdict=Verdict.FAIL, detections=(found(1, 502, at_seam + 1),), reasons=("dim light", words[2]))
    assert line.window("12:00:00").inspected == 0
    strip(line, 2)

    window = line.window("12:00:00")
    assert (window.accepted, window.inspected, window.failed, window.opportunities) == (3, 1, 1, 250)
    assert window.defects == {"open": 2}
    verdict = board(line)
    assert (verdict.verdict, verdict.expected, verdict.inspected) == (Verdict.FAIL, 3, 3)
    assert verdict.reasons == (*words[:2], "dim light")
    assert [defect.box_px for defect in verdict.defects] == [
        (100, 30, 120, 50),
        (500, at_seam, 522, at_seam + 21),
    ]


def test_strips_may_come_in_any_order() -> None:
    line = Timeline(RULES)
    for seq, index in enumerate((2, 0, 1)):
        strip(line, seq, index=index)
    assert (board(line).verdict, line.window("12:00:00").passed) == (Verdict.PASS, 1)


def test_a_panel_of_which_a_strip_never_comes_is_for_review_and_names_it() -> None:
    line = Timeline(RULES)
    strip(line, 0)
    strip(line, 1, index=2)
    line.mark(1, "12:05:00", MarkState.CLOSED)
    verdict = board(line)
    assert (verdict.verdict, verdict.reasons) == (
        Verdict.REVIEW,
        ("view missing: 2 of 3 pieces are in; not in: 1",),
    )
    assert line.window("12:00:00").review == 1


def test_a_strip_nobody_could_inspect_sends_the_panel_to_review() -> None:
    line = Timeline(RULES)
    strip(line, 0)
    strip(line, 1, outcome=Outcome.DEAD, verdict=None)
    strip(line, 2)
    assert board(line).reasons == ("view missing: board was dead",)


def test_a_strip_that_comes_twice_does_not_stand_for_the_one_that_is_missing() -> None:
    line = Timeline(RULES)
    for seq, index in enumerate((0, 1, 1)):
        strip(line, seq, index=index)
    assert drain_verdicts(line.state) == []
    line.mark(2, "12:05:00", MarkState.CLOSED)
    assert board(line).reasons == (
        "piece 1 of board came 2 times",
        "view missing: 2 of 3 pieces are in; not in: 2",
    )


def test_strips_of_two_panels_in_one_visit_are_no_pass() -> None:
    line = Timeline(RULES)
    strip(line, 0)
    strip(line, 1, tile=piece(1, panel="P-2"))
    strip(line, 2, tile=piece(2, size=(1000, 2400)))
    verdict = board(line)
    assert verdict.verdict is Verdict.REVIEW
    assert [reason.split(":")[0] for reason in verdict.reasons] == [
        "piece 1 is of another panel",
        "piece 2 is of another panel",
    ]


def test_a_picture_without_a_place_among_strips_is_no_pass() -> None:
    line = Timeline(RULES)
    for seq in range(3):
        strip(line, seq)
    drain_verdicts(line.state)
    strip(line, 3, tile=None)
    verdict = board(line)
    assert (verdict.verdict, verdict.reasons) == (
        Verdict.REVIEW,
        ("1 pictures of this panel do not say which part of it they show",),
    )


def test_a_panel_s_name_used_again_is_another_board() -> None:
    line = Timeline(RULES)
    for seq in range(6):
        strip(line, seq, index=seq % 3, visit=seq // 3)
    assert [verdict.verdict for verdict in drain_verdicts(line.state)] == [Verdict.PASS, Verdict.PASS]
    assert line.window("12:00:00").inspected == 2


def test_a_late_strip_corrects_the_panel_and_takes_back_what_it_had_counted() -> None:
    line = Timeline(RULES)
    seam = BOXES[1][1] + 40
    strip(line, 0, verdict=Verdict.FAIL, detections=(found(0, 500, seam),))
    strip(line, 2)
    line.mark(2, "12:02:00")
    line.mark(2, "12:05:00")
    assert board(line).inspected == 2
    line.state = restore(save(line.state))
    strip(line, 1, verdict=Verdict.FAIL, detections=(found(1, 500, seam), found(1, 500, seam + 300, "short")))
    assert (board(line).inspected, line.window("12:00:00").defects) == (3, {"open": 1, "short": 1})


def test_places_are_read_of_results_that_have_one_and_of_no_others() -> None:
    def read(sent: InspectionResult) -> object:
        value, headers = encode(sent)
        return readable(Message("results", 0, 0, sent.event_at, b"line-1", value, headers))

    tiled = result(0, "12:00:10", tile=piece(0), detections=(found(0, 5, 6),))
    placed = read(tiled)
    assert isinstance(placed, PlacedResult)
    assert placed.detections[0].box_px == (5.0, 6.0, 25.0, 26.0)
    assert not isinstance(read(msgspec.structs.replace(tiled, tile=None)), PlacedResult)
