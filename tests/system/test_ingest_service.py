"""Ingest as a whole, on the embedded bus: every picture numbered, sent once where nothing breaks, and accounted for."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from ingest_line import SMALL, TOPICS, GatedBus, Taken, drive, line_config, opened_bus, read_taken, running, until

from ingest.service import IngestService
from taktwatch.config import LineConfig
from taktwatch.errors import ConfigError
from taktwatch.pictures import decode, encode_jpeg, encode_png
from taktwatch.records import MarkState, Outcome

START = datetime(2026, 3, 3, 6, tzinfo=UTC)


def simulated(boards: int | None, **settings: Any) -> dict[str, Any]:
    return {"source": {**SMALL, "boards": boards, **settings}}


def folder_of(path: Path, **files: bytes) -> dict[str, Any]:
    path.mkdir(exist_ok=True)
    for name, data in files.items():
        (path / name.replace("__", ".")).write_bytes(data)
    return {"kind": "folder", "path": str(path)}


def noisy(seed: int, height: int = 40, width: int = 50) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


async def run_to_the_end(config: LineConfig) -> Taken:
    service = await drive(config)
    assert service.finished.is_set()
    return await read_taken(config)


def test_two_stations_are_taken_in_to_the_last_board_and_closed(tmp_path: Path) -> None:
    config = line_config(tmp_path, simulated(20), {**simulated(7, seed=9), "product": "section", "lot": "L1"})

    async def main() -> None:
        service = await drive(config)
        assert service.finished.is_set()
        assert {name: (p.accepted, p.sent, p.total) for name, p in service.progress.items()} == {
            "top": (20, 20, 20),
            "side": (7, 7, 7),
        }
        taken = await read_taken(config)
        assert taken.seqs("top") == list(range(20))
        assert taken.seqs("side") == list(range(7))
        assert len(taken.frames) == 27
        for frame in taken.frames:
            assert frame.taken_at == START + timedelta(seconds=frame.seq)
            assert frame.stamped
            assert frame.visit == frame.seq
            assert hashlib.sha256(frame.image).hexdigest() == frame.sha256
        assert {(f.view, f.lot, f.um_per_px) for f in taken.frames if f.station == "side"} == {("section", "L1", 1.5)}
        for station, last_seq in (("top", 19), ("side", 6)):
            mark = taken.last_mark(station)
            assert (mark.state, mark.last_seq) == (MarkState.CLOSED, last_seq)

    asyncio.run(main())


def test_the_first_mark_of_a_session_comes_before_its_frames_and_marks_only_move_on(tmp_path: Path) -> None:
    config = line_config(tmp_path, simulated(30))

    async def main() -> None:
        async with opened_bus(config) as real:
            bus = GatedBus(real)
            async with running(config, bus) as service:
                await service.finished.wait()
        assert bus.order[0] == TOPICS.results
        taken = await read_taken(config)
        assert [mark.last_seq for mark in taken.marks] == sorted(mark.last_seq for mark in taken.marks)
        assert [mark.time for mark in taken.marks] == sorted(mark.time for mark in taken.marks)

    asyncio.run(main())


def test_a_run_with_a_set_start_repeats_frame_by_frame_elsewhere(tmp_path: Path) -> None:
    async def main() -> None:
        one = await run_to_the_end(line_config(tmp_path / "one", simulated(12)))
        other = await run_to_the_end(line_config(tmp_path / "other", simulated(12)))
        assert {f.frame_id: (f.image, f.taken_at, f.seq) for f in one.frames} == {
            f.frame_id: (f.image, f.taken_at, f.seq) for f in other.frames
        }

    asyncio.run(main())


def test_a_finished_run_with_a_set_start_is_not_sent_twice(tmp_path: Path) -> None:
    async def main() -> None:
        config = line_config(tmp_path, simulated(5))
        await run_to_the_end(config)
        taken = await run_to_the_end(config)
        assert len(taken.frames) == 5

    asyncio.run(main())


def test_the_golden_template_is_on_the_bus_once(tmp_path: Path) -> None:
    async def main() -> None:
        taken = await run_to_the_end(line_config(tmp_path, simulated(6), simulated(6, seed=8)))
        (asset,) = taken.assets
        assert {frame.template_sha256 for frame in taken.frames} == {asset.sha256}
        assert asset.kind == "template"
        assert decode(asset.body).shape == (128, 160, 3)

    asyncio.run(main())


def test_each_bad_picture_is_one_dead_letter_and_one_dead_outcome_and_the_next_goes_on(tmp_path: Path) -> None:
    whole = encode_jpeg(noisy(1))
    source = folder_of(
        tmp_path / "in",
        a_good__png=encode_png(noisy(0)),
        b_empty__png=b"",
        c_text__jpg=b"this is a text",
        d_half__jpg=whole[: len(whole) // 2],
        e_wide__png=encode_png(noisy(2, 4, 300)),
        f_big__png=encode_png(noisy(3, 200, 250)),
        g_good__jpg=whole,
    )

    async def main() -> None:
        config = line_config(tmp_path, {"source": source}, max_side_px=256, max_picture_bytes=100_000)
        service = await drive(config)
        assert (service.progress["top"].accepted, service.progress["top"].dead) == (7, 5)
        taken = await read_taken(config)
        assert taken.seqs() == list(range(7))
        assert sorted(frame.seq for frame in taken.frames) == [0, 6]
        assert [outcome.seq for outcome in taken.outcomes] == [1, 2, 3, 4, 5]
        assert {outcome.outcome for outcome in taken.outcomes} == {Outcome.DEAD}
        assert [letter.error.split(":")[0] for letter in taken.dead] == [
            "b_empty.png", "c_text.jpg", "d_half.jpg", "e_wide.png", "f_big.png",
        ]  # fmt: skip
        assert [letter.frame_id for letter in taken.dead] == [outcome.frame_id for outcome in taken.outcomes]
        assert all(
            outcome.reasons == (letter.error,) for outcome, letter in zip(taken.outcomes, taken.dead, strict=True)
        )
        half, big = taken.dead[2], taken.dead[4]
        assert half.body == whole[: len(whole) // 2]
        assert half.source == "top: d_half.jpg"
        assert len(big.body) == 64 * 1024 < big.body_bytes
        assert big.sha256 == hashlib.sha256((tmp_path / "in" / "f_big.png").read_bytes()).hexdigest()
        assert taken.last_mark().last_seq == 6

    asyncio.run(main())


def test_pictures_with_templates_beside_them_bring_them_along(tmp_path: Path) -> None:
    source = folder_of(
        tmp_path / "in",
        **{
            f"{n}_{kind}__png": encode_png(noisy(10 * n + (kind == "temp")))
            for n in (1, 2)
            for kind in ("test", "temp")
        },
    )

    async def main() -> None:
        taken = await run_to_the_end(line_config(tmp_path, {"source": source}))
        assert [(frame.seq, frame.serial) for frame in sorted(taken.frames, key=lambda f: f.seq)] == [
            (0, "1"),
            (1, "2"),
        ]
        assert {asset.sha256 for asset in taken.assets} == {frame.template_sha256 for frame in taken.frames}
        assert len(taken.assets) == 2

    asyncio.run(main())


def test_an_empty_folder_is_a_closed_session_without_frames(tmp_path: Path) -> None:
    async def main() -> None:
        taken = await run_to_the_end(line_config(tmp_path, {"source": folder_of(tmp_path / "in")}))
        assert (taken.last_mark().state, taken.last_mark().last_seq) == (MarkState.CLOSED, -1)

    asyncio.run(main())


def test_a_stopped_run_leaves_its_session_open_and_a_restart_takes_it_to_the_end(tmp_path: Path) -> None:
    config = line_config(tmp_path, {**simulated(40), "paced": True, "boards_per_minute": 3000})

    async def main() -> None:
        for more in (5, 11, 18):
            async with opened_bus(config) as bus, running(config, bus) as service:
                await until(
                    lambda service=service, more=more: service.progress and service.progress["top"].sent >= more
                )
            stopped = await read_taken(config)
            assert stopped.last_mark().state is MarkState.OPEN
            assert stopped.last_mark().last_seq < 39
            assert not service.finished.is_set()
        taken = await run_to_the_end(config)
        assert taken.seqs() == list(range(40))
        assert len(taken.frames) == 40
        assert len({frame.session for frame in taken.frames}) == 1

    asyncio.run(main())


def test_frames_gather_while_the_bus_is_away_and_go_out_in_order_when_it_is_back(tmp_path: Path) -> None:
    config = line_config(tmp_path, simulated(25))

    async def main() -> None:
        async with opened_bus(config) as real:
            bus = GatedBus(real)
            bus.closed = True
            async with running(config, bus) as service:
                await until(lambda: service.progress and service.progress["top"].accepted == 25)
                assert service.progress["top"].sent == 0
                await until(lambda: bus.refused >= 2)
                bus.closed = False
                await service.finished.wait()
        taken = await read_taken(config)
        assert sorted(frame.seq for frame in taken.frames) == list(range(25))

    asyncio.run(main())


def test_a_bus_that_is_not_there_at_the_start_is_waited_for(tmp_path: Path) -> None:
    config = line_config(tmp_path, simulated(8))
    (tmp_path / "bus").write_text("in the way of the bus")

    async def main() -> None:
        async with opened_bus(config) as bus, running(config, bus) as service:
            await until(lambda: service.progress and service.progress["top"].accepted == 8)
            (tmp_path / "bus").unlink()
            await service.finished.wait()
        assert (await read_taken(config)).seqs() == list(range(8))

    asyncio.run(main())


def test_a_full_spool_holds_a_source_that_can_wait(tmp_path: Path) -> None:
    source = {**SMALL, "boards": 30, "height_px": 640, "width_px": 640}
    config = line_config(tmp_path, {"source": source}, spool_max_bytes=2**20)

    async def main() -> None:
        async with opened_bus(config) as real:
            bus = GatedBus(real)
            bus.closed = True
            async with running(config, bus) as service:
                await until(lambda: bus.refused >= 4)
                held = service.progress["top"].accepted
                assert 0 < held < 30
                bus.closed = False
                await service.finished.wait()
        taken = await read_taken(config)
        assert sorted(frame.seq for frame in taken.frames) == list(range(30))
        assert taken.outcomes == []

    asyncio.run(main())


def live_video(path: Path) -> dict[str, Any]:
    """A recording played as a live camera: when it ends, the camera is lost, and comes back with the first frame."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (320, 240))
    for index in range(12):
        writer.write(noisy(index, 240, 320))
    writer.release()
    return {"source": {"kind": "video", "target": str(path), "live": True}, "start": None}


def test_a_full_spool_records_what_a_live_camera_gave_as_skipped(tmp_path: Path) -> None:
    config = line_config(tmp_path, live_video(tmp_path / "cam.avi"), spool_max_bytes=2**20)

    async def main() -> None:
        async with opened_bus(config) as real:
            bus = GatedBus(real)
            bus.closed = True
            async with running(config, bus) as service:
                await until(lambda: service.progress and service.progress["top"].skipped >= 3)
                bus.closed = False
                await until(lambda: service.progress["top"].sent >= 10)
            accepted = service.progress["top"].accepted
        async with opened_bus(config) as bus_again, running(config, bus_again) as service:
            await until(lambda: service.progress and service.progress["top"].sent >= accepted)
        taken = await read_taken(config)
        assert taken.seqs()[:accepted] == list(range(accepted))
        skipped = [outcome for outcome in taken.outcomes if outcome.outcome is Outcome.SKIPPED]
        assert len(skipped) >= 3
        assert any("spool full" in outcome.reasons[0] for outcome in skipped)
        assert len({f.seq for f in taken.frames} & {outcome.seq for outcome in taken.outcomes}) == 0

    asyncio.run(main())


def test_a_live_camera_that_vanishes_is_marked_lost_and_open_again_when_it_is_back(tmp_path: Path) -> None:
    config = line_config(tmp_path, live_video(tmp_path / "cam.avi"))

    async def main() -> None:
        async with opened_bus(config) as bus, running(config, bus) as service:
            await until(lambda: service.progress and service.progress["top"].sent > 12)
        taken = await read_taken(config)
        states = [mark.state for mark in taken.marks]
        assert MarkState.LOST in states
        assert MarkState.OPEN in states[states.index(MarkState.LOST) :]
        assert not any(frame.stamped or frame.clock_skewed for frame in taken.frames)
        assert sorted(frame.taken_at for frame in taken.frames) == [
            frame.taken_at for frame in sorted(taken.frames, key=lambda f: f.seq)
        ]

    asyncio.run(main())


def test_a_video_file_is_taken_frame_by_frame_at_the_takt(tmp_path: Path) -> None:
    station = live_video(tmp_path / "cam.avi")
    station["source"] |= {"live": False, "every_nth": 5}

    async def main() -> None:
        taken = await run_to_the_end(line_config(tmp_path, {**station, "start": START.isoformat()}))
        frames = sorted(taken.frames, key=lambda frame: frame.seq)
        assert [frame.taken_at - START for frame in frames] == [timedelta(seconds=second) for second in (0, 1, 2)]
        assert {frame.media_type for frame in frames} == {"image/png"}

    asyncio.run(main())


def test_a_watched_folder_takes_new_files_and_after_a_restart_only_those_it_has_not(tmp_path: Path) -> None:
    source = {**folder_of(tmp_path / "in", a__png=encode_png(noisy(1))), "watch": True}
    config = line_config(tmp_path, {"source": source})

    async def take(count: int) -> None:
        async with opened_bus(config) as bus, running(config, bus) as service:
            await until(lambda: service.progress and service.progress["top"].sent >= count)

    async def main() -> None:
        await take(1)
        folder_of(tmp_path / "in", b__png=encode_png(noisy(2)))
        await take(2)
        folder_of(tmp_path / "in", c__png=b"never a picture")
        folder_of(tmp_path / "in", d__png=encode_png(noisy(4)))
        await take(3)
        taken = await read_taken(config)
        assert [decode(f.image).tolist() for f in sorted(taken.frames, key=lambda f: f.seq)] == [
            noisy(seed).tolist() for seed in (1, 2, 4)
        ]
        assert taken.last_mark().state is MarkState.OPEN
        assert len({frame.session for frame in taken.frames}) == 1

    asyncio.run(main())


def test_a_source_that_changed_closes_the_old_session_and_begins_another(tmp_path: Path) -> None:
    first = line_config(tmp_path, {**simulated(None), "paced": True, "boards_per_minute": 6000})
    second = line_config(tmp_path, simulated(4, seed=99))

    async def main() -> None:
        async with opened_bus(first) as bus, running(first, bus) as service:
            await until(lambda: service.progress and service.progress["top"].sent >= 3)
        taken = await run_to_the_end(second)
        old, new = dict.fromkeys(mark.session for mark in taken.marks)
        closed = {mark.session: mark.last_seq for mark in taken.marks if mark.state is MarkState.CLOSED}
        assert closed == {old: max(f.seq for f in taken.frames if f.session == old), new: 3}

    asyncio.run(main())


def test_a_source_that_can_never_work_ends_the_service_with_one_line(tmp_path: Path) -> None:
    async def main(source: dict[str, Any], message: str) -> None:
        config = line_config(tmp_path, {"source": source}, {**simulated(None), "paced": True})
        async with opened_bus(config) as bus:
            with pytest.raises(ConfigError, match=message):
                await IngestService(config, bus, TOPICS).run(asyncio.Event())

    asyncio.run(main({"kind": "folder", "path": str(tmp_path / "nowhere")}, "nowhere does not exist"))
    asyncio.run(main({"kind": "video", "target": str(tmp_path / "no.avi")}, r"no\.avi cannot be opened"))
