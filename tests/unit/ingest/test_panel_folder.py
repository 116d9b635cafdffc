"""Folders of panels: each is sent in overlapping strips, with the same strips of its golden template."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from ingest.cameras import Event, Resume, Shot
from ingest.cameras.folder import FolderCamera, still_there
from ingest.cameras.panels import PanelCutter, PanelLimits
from taktwatch.config import FolderSource
from taktwatch.pictures import decode, encode_png
from taktwatch.rows import png
from taktwatch.simulator import golden

NOW = datetime(2026, 3, 3, tzinfo=UTC)
LIMITS = PanelLimits(max_bytes=400_000, max_px=10**7, max_side=2_000, overlap_px=40)
GOLDEN = golden(3, size=(600, 700))
PANEL = np.roll(GOLDEN, 3, axis=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two panels, and the template of them all beside the folder."""
    (tmp_path / "in").mkdir()
    (tmp_path / "golden.png").write_bytes(encode_png(GOLDEN))
    for name in ("a", "b"):
        (tmp_path / "in" / f"{name}.png").write_bytes(encode_png(PANEL))
    return tmp_path


def camera(folder: Path, *, watching: bool = False) -> FolderCamera:
    cutter = PanelCutter(LIMITS, folder / "golden.png", folder / "kept")
    stamp = (lambda: NOW) if watching else None
    return FolderCamera(folder / "in", max_bytes=LIMITS.max_bytes, stamp=stamp, settle_s=0.02, cutter=cutter)


def once(folder: Path, resume: Resume | None = None) -> list[Shot]:
    return list(map(shot, camera(folder).events(resume or Resume(), threading.Event())))


def shot(event: Event) -> Shot:
    assert isinstance(event, Shot)
    return event


def test_strips_cover_the_panel_fit_the_bus_and_come_with_their_golden_strips(folder: Path) -> None:
    shots = once(folder)
    tiles = [one.tile for one in shots if one.tile is not None]
    assert [tile.index for tile in tiles] == [*range(tiles[0].of)] * 2
    assert len(shots) == 2 * tiles[0].of > 4
    again = np.zeros_like(PANEL)
    for one, tile in zip(shots, tiles, strict=True):
        assert len(one.data) <= LIMITS.max_bytes
        assert tile.size_px == (700, 600)
        x0, y0, x1, y1 = tile.box_px
        again[y0:y1, x0:x1] = decode(one.data)
        assert np.array_equal(decode(one.template or b""), GOLDEN[y0:y1, x0:x1])
    assert np.array_equal(again, PANEL)
    assert {one.tile.panel for one in shots[: tiles[0].of] if one.tile} == {"a"}


def test_a_restart_goes_on_with_the_strip_after_the_last(folder: Path) -> None:
    shots = once(folder)
    for done in range(len(shots)):
        rest = once(folder, Resume(shot=done + 1, after=shots[done].name))
        assert [one.name for one in rest] == [one.name for one in shots[done + 1 :]]


def test_a_watched_panel_is_taken_once_and_a_restart_goes_on_within_it(folder: Path) -> None:
    (folder / "in" / "b.png").unlink()
    stop = threading.Event()
    events = camera(folder, watching=True).events(Resume(), stop)
    first = [shot(next(events)) for _ in range(3)]
    of = first[0].tile.of if first[0].tile else 0
    assert all(one.taken_at == NOW for one in first)
    seen = frozenset(one.key for one in first if one.key)
    assert len(seen) == 3
    assert still_there(folder / "in", seen) == seen
    again = camera(folder, watching=True).events(Resume(seen=seen), stop)
    rest = [shot(next(again)) for _ in range(of - 3)]
    assert [one.tile.index for one in rest if one.tile] == list(range(3, of))
    done = seen | {rest[-1].key or ""}
    (folder / "in" / "b.png").write_bytes(encode_png(PANEL))
    later = camera(folder, watching=True).events(Resume(seen=done), stop)
    assert shot(next(later)).name == "b.png#0000"
    stop.set()


def test_a_panel_that_ends_early_gives_its_good_strips_and_one_fault_in_place_of_the_rest(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(png, "BAND_BYTES", 100_000)
    whole = (folder / "in" / "a.png").read_bytes()
    (folder / "in" / "a.png").write_bytes(whole[: len(whole) * 2 // 3])
    shots = once(folder)
    of = shots[0].tile.of if shots[0].tile else 0
    (bad,) = [one for one in shots if one.fault]
    at = shots.index(bad)
    assert 0 < at < of
    assert bad.tile is not None
    assert bad.tile.index == at
    assert bad.fault.startswith("a.png: a truncated PNG (after row ")
    assert bad.whole_bytes == len(whole) * 2 // 3
    assert [one.name for one in shots[at + 1 :]] == [one.name for one in shots if one.name.startswith("b.png")]
    assert once(folder, Resume(shot=at + 1, after=bad.name))[0].name == "b.png#0000"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"hello", "a.png: not a picture"),
        (b"", "a.png: empty, 0 bytes"),
        (encode_png(GOLDEN[:500]), "a.png: the panel is 700x500 px, its template golden.png 700x600"),
        (encode_png(np.zeros((8, 2_100, 3), np.uint8)), "a.png: 2100 x 8 px is over the limit of 2000 px a side"),
    ],
)
def test_what_is_no_panel_is_one_fault_and_the_next_one_comes(folder: Path, body: bytes, words: str) -> None:
    (folder / "in" / "a.png").write_bytes(body)
    first, *others = once(folder)
    assert first.fault.startswith(words)
    assert (first.data, first.whole_bytes) == (body[: 64 * 1024], len(body))
    assert not any(one.fault for one in others)


def test_a_template_that_changed_is_cut_again(folder: Path) -> None:
    once(folder)
    (folder / "golden.png").write_bytes(encode_png(255 - GOLDEN))
    first = once(folder)[0]
    assert np.array_equal(
        decode(first.template or b""),
        255 - decode(encode_png(GOLDEN))[: decode(first.data).shape[0], : decode(first.data).shape[1]],
    )
    assert len(list((folder / "kept").iterdir())) == 1


def test_a_panel_finds_its_own_template_beside_it(folder: Path) -> None:
    for path in (folder / "in").iterdir():
        path.unlink()
    (folder / "in" / "7_test.png").write_bytes(encode_png(PANEL))
    (folder / "in" / "7_temp.png").write_bytes(encode_png(255 - GOLDEN))
    shots = once(folder)
    assert {one.serial for one in shots} == {"7"}
    assert decode(shots[0].template or b"").mean() == pytest.approx(
        255 - GOLDEN[: decode(shots[0].data).shape[0]].mean(), abs=9
    )


def test_a_number_of_boards_is_refused_where_frames_are_strips() -> None:
    with pytest.raises(ValidationError, match="boards counts frames"):
        FolderSource(kind="folder", path=Path(), panels=True, boards=3)
