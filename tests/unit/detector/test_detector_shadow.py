"""A model beside the counted one: it sees the same frames, delays nobody, and is compared."""

import asyncio
import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from detector_line import START, TOPICS, everything, frame, line, outgoing, results, run_until, save_tiny, second_model
from detector_line import settings as line_of

from detector.evaluation.shadowing import compare_beside, words_of
from detector.service import DetectorService
from detector.serving.shadow import KEPT
from detector.shadow_report import shadow_report
from taktwatch.activation import activation_of, publish_activation
from taktwatch.bus import Bus
from taktwatch.config import LineConfig
from taktwatch.records import Detection, InspectionResult, ModelRef, Outcome, Rle, Verdict

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_tiny(tmp_path_factory.mktemp("models"))
    second_model(folder)
    return folder


async def run_beside(bus: Bus, config: LineConfig, beside: str) -> None:
    chosen = activation_of(config, "p", "tiny", shadow=beside, author="Kim", reason="is it better?", at=START)
    await publish_activation(bus, TOPICS, chosen)


def test_a_model_beside_says_its_own_of_the_same_frames_and_none_of_it_counts(models: Path, tmp_path: Path) -> None:
    config = line_of(models, tmp_path)

    async def main() -> None:
        async with line(config) as bus:
            await run_beside(bus, config, "next")
            await bus.publish([outgoing(frame(seq)) for seq in range(5)])

            async def compared() -> bool:
                return len(await everything(bus, TOPICS.shadow)) == 5

            await run_until(compared, DetectorService(config, bus, TOPICS))
            counted = {one.frame_id: one for one in await results(bus)}
            beside = [one for one in await everything(bus, TOPICS.shadow) if isinstance(one, InspectionResult)]
            assert {one.frame_id for one in beside} == counted.keys()
            assert {one.model.name for one in counted.values() if one.model is not None} == {"tiny"}
            assert {one.model.name for one in beside if one.model is not None} == {"next"}
            assert {one.outcome for one in beside} == {Outcome.INSPECTED}
            said = await shadow_report(bus, TOPICS, "p")
            assert said is not None
            assert (said.frames, said.compared, said.agreement.n) == (5, 5, 5)
            assert (said.counted[:4], said.shadow[:4]) == ("tiny", "next")
            assert await shadow_report(bus, TOPICS, "another") is None

    asyncio.run(main())
    environ = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    (tmp_path / "line.toml").write_text(f'line = "l"\nbus = "sqlite:///{tmp_path}/bus"\n', encoding="utf-8")
    command = [sys.executable, "-m", "taktwatch", "models", "shadow-report", "--product", "p", "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["compared"] == 5


def test_frames_that_come_faster_than_the_model_beside_sees_them_are_let_go_of(models: Path, tmp_path: Path) -> None:
    config = line_of(models, tmp_path)

    async def main() -> None:
        async with line(config) as bus:
            await run_beside(bus, config, "next")
            service = DetectorService(config, bus, TOPICS)
            await service.swaps.begin()
            await bus.publish([outgoing(frame(seq, frame(0).image)) for seq in range(3 * KEPT)])

            async def settled() -> bool:
                return len(await results(bus)) == 3 * KEPT and not service.shadow.waiting

            await run_until(settled, service)
            assert 0 < len(await everything(bus, TOPICS.shadow)) <= 3 * KEPT
            said = await shadow_report(bus, TOPICS, "p")
            assert said is not None
            assert said.compared <= said.frames <= 3 * KEPT

    asyncio.run(main())


def test_a_model_that_cannot_run_beside_leaves_the_line_as_it_is(models: Path, tmp_path: Path) -> None:
    config = line_of(models, tmp_path)

    async def main() -> None:
        async with line(config) as bus:
            await run_beside(bus, config, "absent")
            await bus.publish([outgoing(frame(0))])

            async def inspected() -> bool:
                return len(await results(bus)) == 1

            await run_until(inspected, DetectorService(config, bus, TOPICS))
            assert (await results(bus))[0].outcome is Outcome.INSPECTED
            assert not await everything(bus, TOPICS.shadow)

    asyncio.run(main())


def ref(name: str) -> ModelRef:
    return ModelRef(name=name, model_id=name, weights_sha256="", engine="", precision="float32", device="cpu")


def said_of(seq: int, model: str, verdict: Verdict, scores: tuple[float, ...] = (), ms: int = 100) -> InspectionResult:
    found = tuple(
        Detection(
            label="open",
            score=score,
            box_px=(40.0 * at, 0.0, 40.0 * at + 20, 20.0),
            mask=Rle(size=(96, 128), counts=""),
            area_px=400,
            area_um2=400.0,
        )
        for at, score in enumerate(scores)
    )
    at = START + timedelta(seconds=seq)
    sent = frame(seq, b"picture")
    return InspectionResult(
        frame_id=sent.frame_id,
        line="l",
        station="top",
        product="p",
        view="board",
        session="s",
        seq=seq,
        visit=seq,
        event_at=at,
        taken_at=at,
        received_at=at,
        inspected_at=at,
        outcome=Outcome.INSPECTED,
        sha256="",
        um_per_px=20.0,
        verdict=verdict,
        detections=found,
        model=ref(model),
        timings_us={"infer": 1000 * ms},
    )


def test_what_differs_is_told_by_direction_and_how_far_scores_moved() -> None:
    fails, passes = (Verdict.FAIL, (0.9, 0.6)), (Verdict.PASS, ())
    pairs = [(said_of(seq, "old", *fails), said_of(seq, "new", Verdict.FAIL, (0.8,), 50)) for seq in range(10)]
    pairs += [(said_of(seq, "old", *passes), said_of(seq, "new", *fails)) for seq in range(10, 16)]
    told = compare_beside(pairs, frames=40)
    assert told is not None
    assert (told.compared, told.frames, told.agreement.events) == (16, 40, 10)
    assert (told.flips.only_counted_passes, told.flips.only_shadow_passes) == (6, 0)
    assert told.flips.p == pytest.approx(2 / 2**6)
    assert told.detections == (10, 10, 12)
    assert told.score_drift.value == pytest.approx(-0.1)
    assert (told.counted_took.p50_ms, told.shadow_took.p50_ms) == (100, 50)
    assert told.verdicts["pass"]["fail"] == 6
    assert words_of(told)[1] == "same verdict: 10 of 16 (35.4% to 84.8%)"


def test_nothing_is_said_of_nothing() -> None:
    assert compare_beside([], frames=3) is None
