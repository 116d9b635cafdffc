"""Folders: once in name order, or watched; templates go along; half-written files wait."""

import hashlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from ingest.cameras import Event, Lost, Resume, Shot
from ingest.cameras.folder import FolderCamera, still_there
from ingest.cameras.shot import HEAD_BYTES, Found
from taktwatch.errors import ConfigError
from taktwatch.pictures import encode_jpeg, encode_png

NOW = datetime(2026, 3, 3, tzinfo=UTC)
LIMIT = 12 * 2**20


def picture(seed: int = 0) -> bytes:
    return encode_png(np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8))


def once(folder: Path, resume: Resume | None = None, max_bytes: int = LIMIT) -> list[Shot]:
    events = FolderCamera(folder, max_bytes=max_bytes).events(resume or Resume(), threading.Event())
    return [event for event in events if isinstance(event, Shot)]


def watch(
    folder: Path, stop: threading.Event, *, patience_s: float = 3600.0, seen: frozenset[str] = frozenset()
) -> Iterator[Event]:
    camera = FolderCamera(folder, max_bytes=LIMIT, stamp=lambda: NOW, settle_s=0.02, patience_s=patience_s)
    return iter(camera.events(Resume(seen=seen), stop))


def next_shot(events: Iterator[Event]) -> Shot:
    return next(event for event in events if isinstance(event, Shot))


def test_pictures_come_in_name_order_and_other_files_are_left_alone(tmp_path: Path) -> None:
    for name in ("b.png", "a.PNG", "c.jpg", ".hidden.png", "notes.txt", "00.part"):
        (tmp_path / name).write_bytes(picture())
    (tmp_path / "folder.png.d").mkdir()
    assert [shot.name for shot in once(tmp_path)] == ["a.PNG", "b.png", "c.jpg"]


def test_bytes_are_taken_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(3))
    (shot,) = once(tmp_path)
    assert shot.data == picture(3)
    assert shot.taken_at is None
    assert not shot.sound


def test_a_test_picture_finds_its_template_beside_it_and_the_template_is_no_shot(tmp_path: Path) -> None:
    (tmp_path / "0041_test.png").write_bytes(picture(1))
    (tmp_path / "0041_temp.png").write_bytes(picture(2))
    (tmp_path / "0042_test.png").write_bytes(picture(3))
    (tmp_path / "0042_temp.jpg").write_bytes(encode_jpeg(np.zeros((8, 8, 3), np.uint8)))
    (tmp_path / "0043_test.png").write_bytes(picture(4))
    shots = once(tmp_path)
    assert [shot.serial for shot in shots] == ["0041", "0042", "0043"]
    assert shots[0].template == picture(2)
    assert shots[1].template is not None
    assert shots[2].template is None


def test_a_restart_goes_on_after_the_last_name(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(picture())
    assert [shot.name for shot in once(tmp_path, Resume(2, after="b.png"))] == ["c.png"]


def test_a_file_over_the_limit_is_hashed_whole_but_only_its_head_is_kept(tmp_path: Path) -> None:
    body = np.random.default_rng(0).bytes(3_000_000)
    (tmp_path / "big.png").write_bytes(body)
    (shot,) = once(tmp_path, max_bytes=100_000)
    assert shot.data == body[:HEAD_BYTES]
    assert shot.whole_bytes == len(body)
    assert shot.sha256 == hashlib.sha256(body).hexdigest()
    assert shot.fault == "big.png: 3000000 bytes, more than the 100000 a line takes; send it in strips"


def test_what_cannot_be_read_is_a_shot_with_a_fault(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    (tmp_path / "b.png").write_bytes(picture())
    shots = once(tmp_path)
    assert shots[0].fault.startswith("a.png: cannot be read")
    assert shots[1].fault == ""


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere does not exist"):
        FolderCamera(tmp_path / "nowhere", max_bytes=LIMIT)


def test_a_watched_file_is_taken_only_when_it_is_complete(tmp_path: Path) -> None:
    whole = picture(5)
    (tmp_path / "a.png").write_bytes(whole[:-20])
    (tmp_path / "b.png").write_bytes(picture(6))
    stop = threading.Event()
    events = watch(tmp_path, stop)
    assert next_shot(events).name == "b.png"
    (tmp_path / "c.png").write_bytes(picture(7))
    assert next_shot(events).name == "c.png"
    (tmp_path / "a.png").write_bytes(whole)
    shot = next_shot(events)
    assert (shot.name, shot.data, shot.taken_at) == ("a.png", whole, NOW)
    stop.set()
    assert list(events) == []


def test_a_watched_file_that_is_never_completed_is_taken_as_it_is_in_the_end(tmp_path: Path) -> None:
    (tmp_path / "half.png").write_bytes(picture()[:50])
    shot = next_shot(watch(tmp_path, threading.Event(), patience_s=0.05))
    assert shot.data == picture()[:50]


def test_a_watched_file_is_taken_once_also_after_a_restart_and_again_when_it_is_new(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(1))
    first = next_shot(watch(tmp_path, threading.Event()))
    assert first.key is not None
    (tmp_path / "b.png").write_bytes(picture(2))
    events = watch(tmp_path, threading.Event(), seen=frozenset({first.key}))
    assert next_shot(events).name == "b.png"
    (tmp_path / "a.png").write_bytes(picture(3) + b"newer")
    assert next_shot(events).data == picture(3) + b"newer"


def test_a_watched_folder_that_vanishes_is_lost_and_found_again(tmp_path: Path) -> None:
    folder = tmp_path / "drop"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture(1))
    events = watch(folder, threading.Event())
    assert isinstance(next(events), Shot)
    folder.rename(tmp_path / "away")
    lost = next(events)
    assert isinstance(lost, Lost)
    assert "drop cannot be read" in lost.reason
    (tmp_path / "away").rename(folder)
    assert isinstance(next(events), Found)


def test_keys_of_files_that_left_the_folder_are_not_kept(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(1))
    key = next_shot(watch(tmp_path, threading.Event())).key or ""
    assert still_there(tmp_path, frozenset({key, "old.png/1/2"})) == {key}
    assert still_there(tmp_path / "away", frozenset({key})) == {key}
