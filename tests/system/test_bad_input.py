"""What a user may get wrong: one clear line each, and nothing else stops."""

import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from taktwatch.pictures import encode_jpeg, encode_png
from taktwatch.simulator import board

ROOT = Path(__file__).parents[2]


def taktwatch(*arguments: str | Path, cwd: Path = ROOT, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "taktwatch", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environ},
    )


def one_clear_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert "Traceback" not in line
    for word in words:
        assert word in line


def huge_png(path: Path, side: int) -> None:
    """A valid PNG header of side x side pixels; its data would unpack to gigabytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * 1_000_000, 9)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


@pytest.mark.slow
def test_bad_pictures_each_get_their_line_and_the_good_one_is_inspected(tmp_path: Path) -> None:
    shot = board(11, 3, size=(320, 320), defects=("open",))
    assert shot.template is not None
    good = tmp_path / "good_test.png"
    good.write_bytes(encode_png(shot.picture))
    (tmp_path / "good_temp.png").write_bytes(encode_png(shot.template))
    whole = encode_jpeg(shot.picture, 90)
    bad = {
        "empty.png": b"",
        "text.jpg": b"this is no picture\n",
        "half_test.jpg": whole[: len(whole) // 2],
    }
    for name, body in bad.items():
        (tmp_path / name).write_bytes(body)
    huge_png(tmp_path / "huge.png", 30_000)
    files = [tmp_path / name for name in (*bad, "huge.png", "absent.png")] + [good]
    done = taktwatch("inspect", *files, "--product", "demo-board", "--json", "--overlay", tmp_path / "drawn")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    answers = {Path(line["file"]).name: line for line in map(json.loads, done.stdout.splitlines())}
    assert list(answers) == [file.name for file in files]
    for name, expected in (
        ("empty.png", "empty"),
        ("text.jpg", "not a picture"),
        ("half_test.jpg", "truncated"),
        ("huge.png", "30000"),
        ("absent.png", "No such file"),
    ):
        assert expected in answers[name]["error"]
        assert name in answers[name]["error"]
    inspected = answers["good_test.png"]
    assert inspected["verdict"] in {"pass", "fail", "review"}
    for found in inspected["detections"]:
        assert {"class", "score", "box_px", "area_px", "mask"} <= found.keys()
    assert (tmp_path / "drawn" / "good_test.png").stat().st_size > 1000


@pytest.mark.slow
def test_an_unknown_product_is_named_with_those_that_exist(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    one_clear_line(taktwatch("inspect", tmp_path / "a.png", "--product", "toaster"), "toaster", "demo-board")


def test_a_malformed_line_file_is_named_with_the_place(tmp_path: Path) -> None:
    (tmp_path / "line.toml").write_text('line = "a\n', encoding="utf-8")
    one_clear_line(taktwatch("ledger", "--config", tmp_path / "line.toml"), "line.toml", "not valid TOML", "line 1")


def test_an_unknown_service_is_named_with_those_that_exist(tmp_path: Path) -> None:
    done = taktwatch("run", "toaster", "--bus", f"sqlite:///{tmp_path}/bus")
    one_clear_line(done, "toaster", "ingest, detector, kpi, alerts, console")


def test_a_broker_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = taktwatch("ledger", "--bus", "kafka://127.0.0.1:1", cwd=tmp_path)
    one_clear_line(done, "127.0.0.1:1", "is it running?")


def test_a_replay_of_nothing_says_so(tmp_path: Path) -> None:
    done = taktwatch(
        "replay", "--since", "2026-01-01", "--until", "2026-01-02", "--bus", f"sqlite:///{tmp_path}/bus", cwd=tmp_path
    )
    one_clear_line(done, "nothing was recorded")


def test_times_in_the_wrong_order_are_refused() -> None:
    one_clear_line(taktwatch("replay", "--since", "2026-01-02", "--until", "2026-01-01"), "not before")


def test_a_folder_of_unknown_pictures_asks_for_the_product(tmp_path: Path) -> None:
    (tmp_path / "board.png").write_bytes(b"")
    one_clear_line(taktwatch("demo", "--source", tmp_path, "--exit"), "--product")


def test_help_names_every_command() -> None:
    done = taktwatch("--help")
    assert done.returncode == 0
    for command in ("demo", "run", "inspect", "train", "replay", "ledger"):
        assert command in done.stdout
