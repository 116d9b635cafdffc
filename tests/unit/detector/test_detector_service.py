"""The detector on the embedded bus: one result per frame, dead letters for the rest, nothing lost in a restart.

The network is tiny and random: what it finds does not matter here, that every frame gets its one result does.
"""

import asyncio
import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
import torch
from detector_line import (
    START,
    TEMPLATE,
    TOPICS,
    frame,
    letters,
    line,
    outgoing,
    results,
    run_until,
    save_tiny,
    second_model,
    settings,
)
from unit.alerts.receiver import receiver

from alerts.service import AlertsService
from detector.engines import Channels, Engine, RawDetections
from detector.failsafe import SafeEngine
from detector.inspect import Inspector
from detector.registry import LoadedModel
from detector.service import DetectorService
from detector.serving.shadow import NICENESS
from taktwatch.activation import activation_of, publish_activation, read_activations
from taktwatch.alertlog import open_alerts, read_transitions
from taktwatch.bus import Bus, Outgoing
from taktwatch.config import AlertsConfig, LineConfig, WebhookChannel
from taktwatch.errors import ConfigError, EngineFailed, ModelError
from taktwatch.pictures import encode_jpeg
from taktwatch.records import AlertState, DeadLetter, Frame, InspectionResult, Outcome, frame_id
from taktwatch.simulator import golden
from taktwatch.wire import encode


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models"))


def inspect(config: LineConfig, *records: Outgoing) -> tuple[list[InspectionResult], list[DeadLetter]]:
    """Publish records, let the detector work them off, and return what it published."""

    async def main() -> tuple[list[InspectionResult], list[DeadLetter]]:
        async with line(config) as bus:
            await bus.publish(records)

            async def all_read() -> bool:
                committed = await bus.committed("detector", TOPICS.frames)
                return sum(committed.values()) == len(records)

            await run_until(all_read, DetectorService(config, bus, TOPICS))
            return sorted(await results(bus), key=lambda one: one.seq), await letters(bus)

    return asyncio.run(main())


def test_every_frame_gets_one_result_that_names_all_it_stands_on(models: Path, tmp_path: Path) -> None:
    config = settings(models, tmp_path)
    found, dead = inspect(config, *(outgoing(frame(seq)) for seq in range(7)))
    assert [one.seq for one in found] == list(range(7))
    assert not dead
    for one in found:
        sent = frame(one.seq)
        assert one.outcome is Outcome.INSPECTED
        assert one.verdict is not None
        assert (one.frame_id, one.serial, one.lot, one.um_per_px) == (sent.frame_id, sent.serial, "A7", 20.8)
        assert (one.event_at, one.sha256, one.opportunities) == (sent.taken_at, sent.sha256, 7)
        assert one.config_sha256 == config.product_sha256("p")
        assert one.template_sha256 == TEMPLATE.sha256
        assert one.place is not None
        assert one.place.topic == TOPICS.frames
        assert one.model is not None
        assert (
            one.model.weights_sha256 == hashlib.sha256((models / "tiny/weights.safetensors").read_bytes()).hexdigest()
        )
        assert one.registration is not None
        assert one.registration.quality > 0.7
        stages = {"wait", "decode", "prepare", "queue", "network", "infer", "judge"}
        assert one.timings_us.keys() == stages
        assert all(spent_us >= 0 for spent_us in one.timings_us.values())
        assert one.timings_us["network"] >= one.timings_us["infer"]
    assert any(one.detections for one in found)


def test_what_cannot_be_inspected_is_dead_with_its_reason_and_the_next_frame_is_inspected(
    models: Path, tmp_path: Path
) -> None:
    whole = frame(0).image
    found, dead = inspect(
        settings(models, tmp_path),
        outgoing(frame(0, whole[: len(whole) // 2])),
        outgoing(frame(1, b"not a picture")),
        outgoing(frame(2, product="unheard-of")),
        outgoing(frame(3, template_sha256="ab" * 32)),
        outgoing(frame(4, template_sha256=None)),
        outgoing(frame(5, encode_jpeg(golden(3, size=(64, 64))))),
        outgoing(frame(6)),
    )
    assert [one.outcome for one in found] == [Outcome.DEAD] * 6 + [Outcome.INSPECTED]
    reasons = [one.reasons[0] for one in found[:6]]
    assert "unknown product 'unheard-of'" in reasons[2]
    assert "no template abababababab" in reasons[3]
    assert "compared with a golden template, and there is none" in reasons[4]
    assert "the picture is 64x64 px, its template 128x96" in reasons[5]
    by_frame = {one.frame_id: one for one in dead}
    assert len(dead) == len(by_frame) == 6
    for one in found[:6]:
        letter = by_frame[one.frame_id]
        assert (letter.error, letter.place, letter.station) == (one.reasons[0], one.place, "top")
    assert by_frame[found[1].frame_id].body == b"not a picture"


def test_a_poison_record_goes_to_the_dead_topic_and_its_partition_goes_on(models: Path, tmp_path: Path) -> None:
    good = outgoing(frame(1))
    other_schema = Outgoing(TOPICS.frames, good.key, good.value, {**good.headers, "taktwatch_schema": b"99.0"})
    naked = Outgoing(TOPICS.frames, good.key, b"\x00\xff", {})
    wrong_type = Outgoing(TOPICS.frames, good.key, *encode(TEMPLATE))
    found, dead = inspect(settings(models, tmp_path), naked, other_schema, wrong_type, good)
    assert [one.outcome for one in found] == [Outcome.INSPECTED]
    assert [one.body for one in dead] == [b"\x00\xff", good.value, TEMPLATE.body]
    assert "schema 99.0" in dead[1].error
    assert "a Asset on taktwatch.frames, which takes frames alone" in dead[2].error
    assert all(one.place is not None and one.place.topic == TOPICS.frames for one in dead)


def test_a_frame_left_uncommitted_is_inspected_again_and_equals_its_first_result(models: Path, tmp_path: Path) -> None:
    config = settings(models, tmp_path)

    async def main() -> None:
        async with line(config) as bus:
            places = await bus.publish([outgoing(frame(seq)) for seq in range(3)])
            first = DetectorService(config, bus, TOPICS)
            messages = [await bus.fetch(place) for place in places]
            await bus.publish(await first.inspect_messages(messages))  # and crashed before it could commit

            async def six() -> bool:
                return len(await results(bus)) == 6

            await run_until(six, DetectorService(config, bus, TOPICS))
            told = await results(bus)
            for seq in range(3):
                one, again = (
                    msgspec.structs.replace(result, inspected_at=START, timings_us={})
                    for result in told
                    if result.seq == seq
                )
                assert (one.verdict, one.place, len(one.detections)) == (
                    again.verdict,
                    again.place,
                    len(again.detections),
                )
                for before, after in zip(one.detections, again.detections, strict=True):
                    assert before.label == after.label
                    assert before.score == pytest.approx(after.score, abs=1e-4)

    asyncio.run(main())


def test_results_of_a_frame_with_a_wrong_clock_count_by_when_it_was_received(models: Path, tmp_path: Path) -> None:
    (one,), _ = inspect(settings(models, tmp_path), outgoing(frame(0, clock_skewed=True)))
    assert one.event_at == one.received_at


def test_two_detectors_share_the_frames(models: Path, tmp_path: Path) -> None:
    config = settings(models, tmp_path)

    async def main() -> None:
        async with line(config) as bus:
            await bus.publish([outgoing(frame(seq)) for seq in range(12)])

            async def twelve() -> bool:
                return len({one.frame_id for one in await results(bus)}) == 12

            await run_until(twelve, *(DetectorService(config, bus, TOPICS, member=name) for name in ("a", "b")))
            committed = await bus.committed("detector", TOPICS.frames)
            assert sum(committed.values()) == 12

    asyncio.run(main())


def test_a_line_whose_model_is_missing_does_not_start(tmp_path: Path) -> None:
    config = settings(tmp_path / "nowhere", tmp_path)

    async def main() -> None:
        async with line(config) as bus:
            await DetectorService(config, bus, TOPICS).run(asyncio.Event())

    with pytest.raises(ModelError, match=r"card\.json is missing"):
        asyncio.run(main())


@pytest.mark.parametrize(
    ("product", "words"),
    [
        ({"view": "section"}, "is a section view, its model 'tiny' is for board views"),
        ({"classes": {"rust": {}}}, "lists class 'rust', which its model 'tiny' does not know; it knows open, short"),
    ],
)
def test_a_product_that_does_not_fit_its_model_does_not_start(
    models: Path, tmp_path: Path, product: dict[str, object], words: str
) -> None:
    config = settings(models, tmp_path, **product)

    async def main() -> None:
        async with line(config) as bus:
            await DetectorService(config, bus, TOPICS).run(asyncio.Event())

    with pytest.raises(ConfigError, match=words):
        asyncio.run(main())


def flooded(models: Path, folder: Path, **station: object) -> LineConfig:
    """A line of two stations, one of which was told what to do under overload."""
    config = settings(models, folder)
    top, calm = (config.stations[0].model_copy(update={"name": name}) for name in ("top", "calm"))
    return config.model_copy(update={"stations": (top.model_copy(update=station), calm)})


def calm_frame(seq: int) -> Frame:
    return frame(seq, station="calm", session="c", frame_id=frame_id("l", "calm", "c", seq))


def test_a_flooding_station_does_not_starve_another(models: Path, tmp_path: Path) -> None:
    image = frame(0).image
    records = [outgoing(frame(seq, image)) for seq in range(60)] + [outgoing(calm_frame(seq)) for seq in range(3)]
    config = flooded(models, tmp_path)

    async def main() -> None:
        async with line(config) as bus:
            await bus.publish(records)

            async def all_in() -> bool:
                return len(await results(bus)) == 63

            await run_until(all_in, DetectorService(config, bus, TOPICS))
            order = [one.station for batch in [await by_time(bus)] for one in batch]
            assert order.index("calm") < 40
            assert len(order) - order[::-1].index("calm") < 55
            assert sum((await bus.committed("detector", TOPICS.frames)).values()) == 63

    asyncio.run(main())


async def by_time(bus: Bus) -> list[InspectionResult]:
    return sorted(await results(bus), key=lambda one: one.inspected_at)


@pytest.mark.parametrize("policy", ["sample", "refuse"])
def test_what_overload_skips_is_on_the_record_and_the_rest_is_inspected(
    models: Path, tmp_path: Path, policy: str
) -> None:
    image = frame(0).image
    config = flooded(models, tmp_path, overload=policy, max_waiting=4)
    records = [outgoing(frame(seq, image)) for seq in range(60)]

    async def main() -> None:
        async with line(config) as bus:
            await bus.publish(records)

            async def all_read() -> bool:
                return sum((await bus.committed("detector", TOPICS.frames)).values()) == 60

            await run_until(all_read, DetectorService(config, bus, TOPICS))
            found = await results(bus)
            assert sorted(one.seq for one in found) == list(range(60))
            skipped = [one for one in found if one.outcome is Outcome.SKIPPED]
            assert 0 < len(skipped) < 60
            assert all(one.place is not None and one.reasons[0].startswith("overload: ") for one in skipped)
            assert all(one.verdict is not None for one in found if one.outcome is Outcome.INSPECTED)
            assert not await letters(bus)

    asyncio.run(main())


def test_frames_beyond_the_look_ahead_wait_in_the_log_and_are_inspected_in_their_turn(
    models: Path, tmp_path: Path
) -> None:
    image = frame(0).image
    config = settings(models, tmp_path)
    config = config.model_copy(update={"detector": config.detector.model_copy(update={"look_ahead": 20})})
    found, dead = inspect(config, *(outgoing(frame(seq, image)) for seq in range(50)))
    assert [one.seq for one in found] == list(range(50))
    assert not dead


class Failing(SafeEngine):
    """A real engine whose device vanishes when it has worked a little."""

    def infer(self, batch: Sequence[Channels]) -> list[RawDetections]:
        if self.strict:
            raise EngineFailed("torch on cpu failed: CUDA error: device is lost")
        return super().infer(batch)


async def activate(bus: Bus, config: LineConfig, model: str, model_id: str = "") -> None:
    chosen = activation_of(config, "p", model, model_id=model_id, author="Kim", reason="better", at=START)
    await publish_activation(bus, TOPICS, chosen)


async def chosen_last(bus: Bus) -> tuple[str, str]:
    found = (await read_activations(bus, TOPICS, "l", ["p"]))["p"]
    return found.model, found.author


def test_a_model_is_changed_under_load_without_losing_a_frame(models: Path, tmp_path: Path) -> None:
    second_model(models)
    config = settings(models, tmp_path)
    image = frame(0).image

    async def main() -> None:
        async with line(config) as bus:
            service = DetectorService(config, bus, TOPICS)
            sent = asked = 0

            async def switched() -> bool:
                nonlocal sent, asked
                await bus.publish([outgoing(frame(sent, image))])
                sent += 1
                found = await results(bus)
                if len(found) >= 3 and not asked:
                    asked = 1
                    await activate(bus, config, "next")
                return any(one.model is not None and one.model.name == "next" for one in found)

            await run_until(switched, service)

            async def all_in() -> bool:
                return len({one.frame_id for one in await results(bus)}) == sent

            await run_until(all_in, DetectorService(config, bus, TOPICS))
            found = await results(bus)
            assert {one.outcome for one in found} == {Outcome.INSPECTED}
            assert {one.model.name for one in found if one.model is not None} == {"tiny", "next"}
            newest = max(found, key=lambda one: one.inspected_at)
            assert newest.model is not None
            assert newest.model.name == "next"
            assert len({one.config_sha256 for one in found}) == 2

    asyncio.run(main())


class Watched(Inspector):
    """Notes in what kind of thread its models are loaded and opened: its niceness, and how many threads torch takes."""

    def load(self, name: str) -> LoadedModel:
        self.loaded_in = niceness(), torch.get_num_threads()
        return super().load(name)

    def opened(self, model: LoadedModel) -> SafeEngine:
        self.opened_in = niceness(), torch.get_num_threads()
        return super().opened(model)


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_another_model_is_opened_in_one_thread_that_steps_back(models: Path, tmp_path: Path) -> None:
    config = settings(models, tmp_path)
    config = config.model_copy(
        update={"detector": config.detector.model_copy(update={"threads": 0, "engine": "torch"})}
    )
    before = niceness(), torch.get_num_threads()

    async def main() -> Watched:
        async with line(config) as bus:
            inspector = Watched(config)
            await DetectorService(config, bus, TOPICS).swaps.open_aside(inspector, "p")
            return inspector

    inspector = asyncio.run(main())
    assert inspector.loaded_in == inspector.opened_in == (max(before[0], NICENESS), 1)
    assert (niceness(), torch.get_num_threads()) == before
    assert inspector.engine("p") is inspector.engines["tiny"]


def test_another_model_gets_the_engine_at_work_where_the_engine_is_left_open(models: Path, tmp_path: Path) -> None:
    config = settings(models, tmp_path)
    assert config.detector.engine == "auto"

    async def main() -> tuple[Watched, SafeEngine]:
        async with line(config) as bus:
            service, inspector = DetectorService(config, bus, TOPICS), Watched(config)
            at_work = service.duty.current.engines["tiny"] = service.duty.current.opened(
                service.duty.current.load("tiny")
            )
            await service.swaps.open_aside(inspector, "p")
            return inspector, at_work

    inspector, at_work = asyncio.run(main())
    assert not hasattr(inspector, "opened_in"), "engines raced"
    assert inspector.engines["tiny"].ref == at_work.ref
    elsewhere = msgspec.structs.replace(at_work.ref, engine="openvino 1.2", precision="float32")
    assert inspector.opened_like(inspector.load("tiny"), elsewhere) is None


def test_a_model_that_errs_on_probation_gives_its_frames_back_and_is_given_up(models: Path, tmp_path: Path) -> None:
    second_model(models)
    config = settings(models, tmp_path)

    async def main() -> None:
        async with line(config) as bus:
            service = DetectorService(config, bus, TOPICS)
            await service.swaps.begin()
            new = Inspector(
                config.model_copy(update={"products": {"p": config.products["p"].model_copy(update={"model": "next"})}})
            )
            new.engines["next"] = Failing(new.engine("p"))
            service.duty.switch(new)
            service.swaps.activations["p"] = activation_of(config, "p", "next", author="Kim", reason="", at=START)
            await bus.publish([outgoing(frame(seq)) for seq in range(6)])

            async def returned() -> bool:
                said = await read_activations(bus, TOPICS, "l", ["p"])
                return bool(said) and len(await results(bus)) == 6

            await run_until(returned, service)
            assert {one.model.name for one in await results(bus) if one.model is not None} == {"tiny"}
            assert {one.outcome for one in await results(bus)} == {Outcome.INSPECTED}
            assert await chosen_last(bus) == ("tiny", "detector")
            assert not await letters(bus)
            (alert,) = open_alerts(await read_transitions(bus, TOPICS))
            assert (alert.rule, alert.state, alert.labels["product"]) == ("model-returned", AlertState.FIRING, "p")
            assert alert.summary.startswith("next was given up for p, tiny inspects it again: torch on cpu failed")

            await activate(bus, config, "tiny")

            async def settled() -> bool:
                return not open_alerts(await read_transitions(bus, TOPICS))

            await run_until(settled, DetectorService(config, bus, TOPICS))
            assert (await read_transitions(bus, TOPICS))[-1].summary == "Kim activated tiny for p"

    asyncio.run(main())


class Vanishing:
    """A real engine whose device is gone."""

    def __init__(self, engine: Engine) -> None:
        self.spec, self.ref = engine.spec, engine.ref

    def infer(self, batch: Sequence[Channels]) -> list[RawDetections]:
        raise RuntimeError(f"CUDA error: device is lost, {len(batch)} pictures with it")


def test_people_are_told_of_an_engine_on_its_spare_until_the_detector_is_restarted(
    models: Path, tmp_path: Path
) -> None:
    config = settings(models, tmp_path)

    async def main() -> None:
        with receiver() as webhook:
            channel = WebhookChannel(kind="webhook", name="mes", url=f"http://127.0.0.1:{webhook.port}/")
            async with line(config) as bus:
                alerts = AlertsService(LineConfig(line="l", alerts=AlertsConfig(channels=(channel,))), bus, TOPICS)
                service = DetectorService(config, bus, TOPICS, member="host-7")
                engine = service.duty.current.engine("p")
                service.duty.current.engines["tiny"] = SafeEngine(Vanishing(engine), lambda: engine, service.hear)
                await alerts.prepare()
                await bus.publish([outgoing(frame(seq)) for seq in range(3)])

                async def inspected() -> bool:
                    return len(await results(bus)) == 3

                await run_until(inspected, service)
                (alert,) = open_alerts(await read_transitions(bus, TOPICS))
                assert (alert.rule, alert.labels) == ("detector-degraded", {"line": "l", "detector": "host-7"})
                assert "tiny goes on with torch" in alert.summary

                async def told() -> bool:
                    return webhook.states == ["firing", "resolved"]

                stop = asyncio.Event()
                telling = asyncio.create_task(alerts.run(stop))
                await run_until(told, DetectorService(config, bus, TOPICS, member="host-7"))
                stop.set()
                await telling
                assert not open_alerts(await read_transitions(bus, TOPICS))

    asyncio.run(main())


@pytest.mark.parametrize(("model", "model_id"), [("absent", ""), ("next", "next-000000000000")])
def test_a_model_that_cannot_be_made_ready_is_refused_and_the_line_goes_on(
    models: Path, tmp_path: Path, model: str, model_id: str
) -> None:
    second_model(models)
    config = settings(models, tmp_path)

    async def main() -> None:
        async with line(config) as bus:
            await activate(bus, config, model, model_id)
            await bus.publish([outgoing(frame(0))])

            async def told() -> bool:
                return len(await results(bus)) == 1

            await run_until(told, DetectorService(config, bus, TOPICS))
            (one,) = await results(bus)
            assert one.model is not None
            assert one.model.name == "tiny"
            assert await chosen_last(bus) == ("tiny", "detector")

    asyncio.run(main())
