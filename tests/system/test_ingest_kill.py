"""kill -9 of ingest at any moment: its session goes on, nothing is lost, and a repeat is recognisable as one."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ingest_line import SMALL, drive, line_config, opened_bus, read_taken

from taktwatch.bus import Bus
from taktwatch.config import LineConfig
from taktwatch.records import MarkState
from taktwatch.topics import Topics

ROOT = Path(__file__).parents[2]

INGEST = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from ingest_line import drive
from taktwatch.config import LineConfig
asyncio.run(drive(LineConfig.model_validate_json(sys.argv[3])))
"""


def start_ingest(config: LineConfig) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", INGEST, str(ROOT), str(ROOT / "tests"), config.model_dump_json()])


async def frames_on(bus: Bus) -> int:
    return sum(span.next for span in (await bus.spans(Topics().frames)).values())


async def kill_once_there_are(frames: int, ingest: subprocess.Popen[bytes], bus: Bus) -> bool:
    """Kill ingest in the middle; False where it was through before."""
    while await frames_on(bus) < frames and ingest.poll() is None:  # noqa: ASYNC110 - another process, not an event
        await asyncio.sleep(0.002)
    if ingest.poll() is None:
        os.kill(ingest.pid, signal.SIGKILL)
    return ingest.wait() == -signal.SIGKILL


@pytest.mark.parametrize("paced", [True, False])
def test_a_run_killed_again_and_again_equals_the_undisturbed_one(tmp_path: Path, *, paced: bool) -> None:
    station: dict[str, Any] = {"source": {**SMALL, "boards": 120}, "paced": paced, "boards_per_minute": 3000}
    calm = line_config(tmp_path / "calm", {**station, "paced": False})
    rough = line_config(tmp_path / "rough", station)

    async def main() -> None:
        await drive(calm)
        expected = {frame.frame_id: frame for frame in (await read_taken(calm)).frames}
        async with opened_bus(rough) as bus:
            await bus.ensure(Topics().specs(None))
            for frames in (1, 20, 45, 70):
                ingest = start_ingest(rough)
                killed = await kill_once_there_are(frames, ingest, bus)
                assert killed or not paced
            ingest = start_ingest(rough)
            assert await asyncio.to_thread(ingest.wait) == 0
        taken = await read_taken(rough)
        assert taken.seqs() == list(range(120))
        for frame in taken.frames:
            same = expected[frame.frame_id]
            assert (frame.seq, frame.image, frame.taken_at, frame.session) == (
                same.seq, same.image, same.taken_at, same.session,
            )  # fmt: skip
        assert {frame.frame_id for frame in taken.frames} == expected.keys()
        assert (taken.last_mark().state, taken.last_mark().last_seq) == (MarkState.CLOSED, 119)

    asyncio.run(main())
