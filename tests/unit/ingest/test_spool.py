"""Accepted means durable here: dense numbers, bounded, and there again after any kill."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.entries import Entry, SpoolFull, without_picture
from ingest.sessions import Session
from ingest.spool import Spool
from taktwatch.errors import BackendUnavailable
from taktwatch.records import Frame, Outcome, frame_id

NOW = datetime(2026, 3, 3, 12, 0, 0, 250, tzinfo=UTC)
ROOMY = 2**30


def new_session(station: str = "top", name: str = "s1") -> Session:
    return Session(station=station, session=name, product="p", settings_sha256="x", start=NOW, last_at=NOW)


def entry(
    session: Session, seq: int, *, size: int = 10, outcome: Outcome = Outcome.INSPECTED, template: bytes | None = None
) -> Entry:
    frame = Frame(
        frame_id=frame_id("line", session.station, session.session, seq),
        line="line", station=session.station, product="p", view="board", session=session.session, seq=seq,
        visit=seq, taken_at=NOW + timedelta(seconds=seq), received_at=NOW, um_per_px=1.0, sha256="ab",
        image=bytes([seq % 256]) * size, media_type="image/png", template_sha256=None if template is None else "t1",
    )  # fmt: skip
    return Entry(frame=frame, source=f"board {seq}", outcome=outcome, whole_bytes=size, template=template)


def opened(path: Path, max_bytes: int = ROOMY) -> Spool:
    return Spool(path / "spool.sqlite", max_bytes)


def begun(spool: Spool, **names: str) -> Session:
    session = new_session(**names)
    spool.begin(session)
    return session


def sequence(spool: Spool) -> list[tuple[str, int]]:
    return [(spooled.station, spooled.frame.seq) for spooled in spool.head(max_entries=10_000, max_bytes=ROOMY)]


def test_what_was_accepted_is_there_after_a_restart_in_order(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    top, side = begun(spool), begun(spool, station="side")
    for seq in range(3):
        top = spool.accept(top, [entry(top, seq)])
        side = spool.accept(side, [entry(side, seq)])
    spool.close()
    spool = opened(tmp_path)
    assert sequence(spool) == [(station, seq) for seq in range(3) for station in ("top", "side")]
    assert spool.sessions() == [top, side]
    assert top.next_seq == 3
    assert (top.last_at, top.last_name) == (NOW + timedelta(seconds=2), "board 2")
    assert spool.head(max_entries=1, max_bytes=1)[0].frame == entry(top, 0).frame
    spool.close()


def test_a_number_is_never_given_twice_and_never_left_out(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    session = begun(spool)
    later = spool.accept(session, [entry(session, 0), entry(session, 1)])
    with pytest.raises(RuntimeError, match="dense"):
        spool.accept(session, [entry(session, 0)])
    with pytest.raises(RuntimeError, match="dense"):
        spool.accept(later, [entry(session, 3)])
    assert sequence(spool) == [("top", 0), ("top", 1)]
    spool.close()


def test_sent_frames_are_forgotten_and_their_space_is_used_again(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    session = begun(spool)
    sizes = []
    for seq in range(60):
        session = spool.accept(session, [entry(session, seq, size=300_000)])
        spool.forget(spool.head(max_entries=10, max_bytes=ROOMY))
        sizes.append((tmp_path / "spool.sqlite").stat().st_size)
    assert (spool.waiting_frames, spool.waiting_bytes) == (0, 0)
    assert max(sizes) < 3_000_000
    spool.close()


def test_a_full_spool_refuses_and_takes_again_when_there_is_room(tmp_path: Path) -> None:
    spool = opened(tmp_path, max_bytes=1_000_000)
    session = begun(spool)
    for seq in range(3):
        session = spool.accept(session, [entry(session, seq, size=300_000)])
    with pytest.raises(SpoolFull):
        spool.accept(session, [entry(session, 3, size=300_000)])
    spool.close()
    spool = opened(tmp_path, max_bytes=1_000_000)
    with pytest.raises(SpoolFull):
        spool.accept(session, [entry(session, 3, size=300_000)])
    spool.forget(spool.head(max_entries=1, max_bytes=1))
    session = spool.accept(session, [entry(session, 3, size=300_000)])
    assert [seq for _, seq in sequence(spool)] == [1, 2, 3]
    spool.close()


def test_a_full_spool_still_takes_the_record_that_a_frame_was_skipped(tmp_path: Path) -> None:
    spool = opened(tmp_path, max_bytes=1_000_000)
    session = begun(spool)
    session = spool.accept(session, [entry(session, 0, size=999_000)])
    skipped = without_picture(entry(session, 1, size=300_000), "spool full")
    session = spool.accept(session, [skipped])
    last = spool.head(max_entries=9, max_bytes=ROOMY)[-1]
    assert (last.outcome, last.reason, last.frame.image, last.frame.sha256) == (
        Outcome.SKIPPED, "board 1: spool full", b"", "ab",
    )  # fmt: skip
    spool.close()


def test_an_empty_spool_takes_any_one_frame(tmp_path: Path) -> None:
    spool = opened(tmp_path, max_bytes=2**20)
    session = begun(spool)
    spool.accept(session, [entry(session, 0, size=5 * 2**20)])
    assert spool.waiting_frames == 1
    spool.close()


def test_batches_are_bounded_in_bytes_but_never_empty(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    session = begun(spool)
    spool.accept(session, [entry(session, seq, size=100_000) for seq in range(5)])
    assert len(spool.head(max_entries=10, max_bytes=1)) == 1
    assert len(spool.head(max_entries=10, max_bytes=250_000)) == 2
    assert len(spool.head(max_entries=3, max_bytes=ROOMY)) == 3
    spool.close()


def test_a_template_is_kept_until_the_bus_has_it(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    session = begun(spool)
    spool.accept(session, [entry(session, 0, template=b"golden"), entry(session, 1, template=b"golden")])
    assert spool.template("t1") == b"golden"
    spool.forget_template("t1")
    assert spool.template("t1") is None
    spool.close()


def test_keys_of_taken_files_are_kept_per_station(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    session = begun(spool)
    spool.accept(session, [msgspec.structs.replace(entry(session, seq), key=f"k{seq}") for seq in range(3)])
    assert spool.taken("top") == {"k0", "k1", "k2"}
    spool.forget_taken("top", ["k1"])
    assert spool.taken("top") == {"k0", "k2"}
    assert spool.taken("side") == frozenset()
    spool.close()


def test_a_spool_in_use_is_refused_to_a_second_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = opened(tmp_path)
    monkeypatch.setattr("ingest.spool.BUSY_TIMEOUT_S", 0.05)
    with pytest.raises(BackendUnavailable, match="does another ingest run on this data_dir"):
        opened(tmp_path)
    spool.close()
    opened(tmp_path).close()


def test_a_spool_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "spool.sqlite").write_bytes(b"this is a text, not a spool" * 100)
    with pytest.raises(BackendUnavailable, match=r"spool\.sqlite cannot be used"):
        opened(tmp_path)


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(st.sampled_from(["accept", "accept two", "send", "restart"]), max_size=25))
def test_whatever_happens_each_number_leaves_once_and_in_order(
    steps: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool = opened(folder)
    session = begun(spool)
    sent: list[int] = []
    for step in [*steps, "send", "send"]:
        match step:
            case "accept" | "accept two":
                count = 1 + (step == "accept two")
                session = spool.accept(session, [entry(session, session.next_seq + index) for index in range(count)])
            case "send":
                batch = spool.head(max_entries=max(2, spool.waiting_frames // 2 + 1), max_bytes=ROOMY)
                sent += [spooled.frame.seq for spooled in batch]
                spool.forget(batch)
            case _:
                spool.close()
                spool = opened(folder)
                (session,) = spool.sessions()
    sent += [seq for _, seq in sequence(spool)]
    spool.close()
    assert sent == list(range(session.next_seq))


ACCEPTOR = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from test_spool import begun, entry, opened
spool = opened(Path(sys.argv[1]))
sessions = spool.sessions()
session = sessions[0] if sessions else begun(spool)
while True:
    session = spool.accept(session, [entry(session, session.next_seq, size=50_000)])
    print(session.next_seq, flush=True)
"""


def test_nothing_that_was_accepted_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    for kill_after in (1, 4, 9):
        acceptor = subprocess.Popen(
            [sys.executable, "-c", ACCEPTOR, str(tmp_path), str(root), str(Path(__file__).parent)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert acceptor.stdout is not None
        for _ in range(kill_after):
            confirmed = int(acceptor.stdout.readline())
        os.kill(acceptor.pid, signal.SIGKILL)
        tail = acceptor.stdout.read().split("\n")
        acceptor.stdout.close()
        acceptor.wait()
        confirmed = max([confirmed, *(int(line) for line in tail[:-1] if line)])
        spool = opened(tmp_path)
        numbers = [seq for _, seq in sequence(spool)]
        assert numbers == list(range(spool.sessions()[0].next_seq))
        assert confirmed <= len(numbers) <= confirmed + 1
        spool.close()
