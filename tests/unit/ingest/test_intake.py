"""The desk: what becomes of good shots, bad ones, large ones, and those of nobody's product."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest.cameras import Shot
from ingest.cameras.shot import HEAD_BYTES
from ingest.entries import Entry
from ingest.frames import dead_letter, is_skewed
from ingest.intake import Intake
from taktwatch.config import LineConfig, SimulatorSource
from taktwatch.errors import ConfigError
from taktwatch.pictures import encode_jpeg, encode_png
from taktwatch.records import Outcome, frame_id, outcome_of

NOW = datetime(2026, 3, 3, tzinfo=UTC)
PICTURE = encode_png(np.random.default_rng(0).integers(0, 255, (32, 48, 3), dtype=np.uint8))
GOLDEN = encode_png(np.zeros((32, 48, 3), np.uint8))


SOURCE: dict[str, Any] = {"kind": "folder", "path": "pictures"}


def config(product: dict[str, Any] | None = None, **limits: Any) -> LineConfig:
    return LineConfig.model_validate(
        {
            "line": "l1",
            "stations": [{"name": "top", "product": "p", "lot": "L7", "source": SOURCE}],
            "products": {"p": {"model": "m", "um_per_px": 20.8, "view": "board", **(product or {})}},
            "ingest": limits,
        }
    )


def intake(line: LineConfig, published: frozenset[str] = frozenset()) -> Intake:
    return Intake(line, line.stations[0], "s1", published)


def taken(shot: Shot, line: LineConfig | None = None, published: frozenset[str] = frozenset()) -> Entry:
    desk = intake(line or config(), published)
    return desk.entry(shot, seq=3, visit=13, taken_at=shot.taken_at or NOW, received_at=NOW + timedelta(seconds=1))


def test_a_good_shot_becomes_a_frame_with_its_bytes_as_captured() -> None:
    entry = taken(Shot(name="a.bmp", data=PICTURE, media_type="image/bmp", serial="SN1"))
    frame = entry.frame
    assert entry.outcome is Outcome.INSPECTED
    assert frame.frame_id == frame_id("l1", "top", "s1", 3)
    assert frame.image == PICTURE
    assert frame.sha256 == hashlib.sha256(PICTURE).hexdigest()
    assert (frame.product, frame.view, frame.um_per_px, frame.lot, frame.serial) == ("p", "board", 20.8, "L7", "SN1")
    assert (frame.seq, frame.visit, frame.taken_at, frame.received_at) == (3, 13, NOW, NOW + timedelta(seconds=1))
    assert frame.media_type == "image/png"
    assert frame.stamped
    assert not frame.clock_skewed


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "a.jpg: empty, 0 bytes; was the file written completely?"),
        (b"a text file", "a.jpg: not a picture (begins with b'a text f'); send PNG, JPEG, BMP, TIFF or WebP"),
        (PICTURE[:100], "a.jpg: a truncated PNG (no end marker); send the whole file"),
        (
            encode_jpeg(np.zeros((9, 9, 3), np.uint8))[:-2],
            "a.jpg: a truncated JPEG (no end marker); send the whole file",
        ),
    ],
)
def test_a_bad_picture_keeps_its_number_and_says_in_one_line_what_is_wrong(data: bytes, reason: str) -> None:
    entry = taken(Shot(name="a.jpg", data=data))
    assert (entry.outcome, entry.reason) == (Outcome.DEAD, reason)
    assert (entry.frame.seq, entry.frame.image) == (3, data)


def test_a_picture_over_the_side_limit_is_dead() -> None:
    entry = taken(Shot(name="wide.png", data=encode_png(np.zeros((8, 200, 3), np.uint8))), config(max_side_px=100))
    assert entry.outcome is Outcome.DEAD
    assert entry.reason.startswith("wide.png: 200 x 8 px is over the limit of 100 px a side")


def test_bytes_over_the_limit_are_dead_and_only_their_head_is_kept() -> None:
    body = PICTURE + bytes(200_000)
    entry = taken(Shot(name="big.png", data=body), config(max_picture_bytes=100_000))
    letter = dead_letter(entry.frame, entry.reason, "top: big.png", entry.whole_bytes)
    assert entry.outcome is Outcome.DEAD
    assert letter.body == body[:HEAD_BYTES]
    assert letter.body_bytes == len(body)
    assert letter.sha256 == hashlib.sha256(body).hexdigest()


def test_a_product_nobody_described_is_dead_with_the_names_that_are() -> None:
    line = config()
    stranger = line.model_copy(update={"stations": (line.stations[0].model_copy(update={"product": "q"}),)})
    entry = taken(Shot(name="a.png", data=PICTURE), stranger)
    assert entry.outcome is Outcome.DEAD
    assert entry.reason == "a.png: unknown product 'q'; line.toml describes: p"


def test_a_shot_that_found_no_place_is_skipped_with_its_reason() -> None:
    entry = taken(Shot(name="frame 3", data=b"", missed="ingest too slow"))
    assert (entry.outcome, entry.reason) == (Outcome.SKIPPED, "ingest too slow")


def test_the_template_of_the_shot_goes_before_the_products(tmp_path: Path) -> None:
    (tmp_path / "golden.png").write_bytes(GOLDEN)
    line = config({"template": str(tmp_path / "golden.png")})
    own = encode_png(np.full((32, 48, 3), 9, np.uint8))
    assert taken(Shot(name="a.png", data=PICTURE), line).template == GOLDEN
    assert taken(Shot(name="a.png", data=PICTURE, template=own), line).template == own


def test_a_conveyor_s_golden_picture_stands_in_where_the_product_has_none(tmp_path: Path) -> None:
    (tmp_path / "golden.png").write_bytes(GOLDEN)
    own = encode_png(np.full((32, 48, 3), 9, np.uint8))
    for product, expected in (({"template": str(tmp_path / "golden.png")}, GOLDEN), ({}, own)):
        line = config(product)
        station = line.stations[0].model_copy(update={"source": SimulatorSource(kind="simulator")})
        line = line.model_copy(update={"stations": (station,)})
        assert taken(Shot(name="a.png", data=PICTURE, template=own), line).template == expected


def test_a_template_the_bus_has_is_named_but_not_stored_again() -> None:
    sha256 = hashlib.sha256(GOLDEN).hexdigest()
    entry = taken(Shot(name="a.png", data=PICTURE, template=GOLDEN), published=frozenset({sha256}))
    assert entry.frame.template_sha256 == sha256
    assert entry.template is None


def test_a_broken_template_makes_its_frame_dead() -> None:
    entry = taken(Shot(name="7_test.png", data=PICTURE, template=GOLDEN[:60]))
    assert entry.outcome is Outcome.DEAD
    assert entry.reason == "7_test.png: its template: a truncated PNG (no end marker); send the whole file"


def test_a_template_too_large_for_the_bus_makes_its_frame_dead() -> None:
    entry = taken(
        Shot(name="7_test.png", data=PICTURE, template=GOLDEN + bytes(10_000)), config(max_picture_bytes=9_000)
    )
    assert entry.outcome is Outcome.DEAD
    assert entry.reason == "7_test.png: its template has more than the 9000 bytes a line takes"


def test_a_product_template_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"product 'p': template .*nothing\.png cannot be read"):
        intake(config({"template": str(tmp_path / "nothing.png")}))


def test_a_clock_too_far_off_is_noted_and_then_the_frame_counts_when_it_came() -> None:
    wrong = taken(Shot(name="a", data=PICTURE, taken_at=NOW - timedelta(hours=1)))
    right = taken(Shot(name="a", data=PICTURE, taken_at=NOW - timedelta(seconds=5)))
    assert wrong.frame.clock_skewed
    assert wrong.frame.event_at == wrong.frame.received_at
    assert not right.frame.clock_skewed
    assert right.frame.event_at == right.frame.taken_at
    assert is_skewed(NOW + timedelta(hours=1), NOW, 60)


def test_a_stamped_frame_is_never_judged_by_the_clock() -> None:
    desk = intake(config())
    old = desk.entry(Shot(name="a", data=PICTURE), seq=0, visit=0, taken_at=NOW - timedelta(days=900), received_at=NOW)
    assert not old.frame.clock_skewed


def test_a_dead_outcome_carries_the_frames_place_in_the_session() -> None:
    frame = taken(Shot(name="a", data=b"", serial="S")).frame
    result = outcome_of(frame, Outcome.DEAD, "why", config_sha256="c", at=NOW)
    assert (result.frame_id, result.seq, result.visit, result.session) == (frame.frame_id, 3, 13, "s1")
    assert (result.outcome, result.reasons, result.verdict, result.event_at) == (Outcome.DEAD, ("why",), None, NOW)


def test_a_station_whose_pixels_are_of_another_size_says_so_in_its_frames() -> None:
    line = config()
    coarse = line.stations[0].model_copy(update={"um_per_px": 41.6})
    desk = Intake(line, coarse, "s1", frozenset())
    shot = Shot(name="a.bmp", data=PICTURE, media_type="image/bmp", serial="SN1")
    entry = desk.entry(shot, seq=3, visit=13, taken_at=NOW, received_at=NOW)
    assert entry.frame.um_per_px == 41.6
