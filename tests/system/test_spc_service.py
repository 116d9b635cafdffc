"""The SPC service on a real bus: phase I, chosen baselines, corrections, and a kill in the middle."""

import asyncio
import os
import random
import subprocess
import sys
import uuid
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from kpi_line import PATIENCE_S, eventually, opened, records, running, send
from servers.influx import InfluxServer
from spc_line import CLOSED, FINAL, at, sections, window
from spc_process import CHARTS

from kpi_engine.sinks.points import GROUP as SINK_GROUP
from kpi_engine.sinks.points import SpcSink
from kpi_engine.spc.baseline import Baseline, Identity, load
from kpi_engine.spc.fold import merged_windows
from kpi_engine.spc.phase1 import baseline
from kpi_engine.spc_line import LineCharts, fold, merger_of, settings_of
from kpi_engine.spc_rules import rules_of
from kpi_engine.spc_service import GROUP, SpcService, baseline_record
from taktwatch.activation import activation_of, publish_activation
from taktwatch.bus import Bus
from taktwatch.config import KpiConfig, LineConfig, ProductConfig, SpcConfig
from taktwatch.records import ControlPoint, KpiWindow, SpcBaseline
from taktwatch.store import SpcQuery
from taktwatch.store.connect import open_store
from taktwatch.topics import Topics, lag

PROCESS = Path(__file__).parents[1] / "spc_process.py"
QUICK = LineConfig(kpi=KpiConfig(checkpoint_interval_s=0.02), spc=CHARTS)
TOPICS = Topics()
RULES = rules_of(QUICK)
MINUTES = 100


def calm(minutes: range, rate: float = 0.02) -> list[KpiWindow]:
    """Minutes of 100 boards whose counts breathe; the same for the same minute."""
    return [
        window(minute, failed=sum(random.Random(f"{minute}/{i}").random() < rate for i in range(100)))
        for minute in minutes
    ]


def disordered(minutes: int) -> list[KpiWindow]:
    """A log as the KPI engine leaves one: repeats, corrections some minutes later, finals, hours and other stations."""
    log: list[KpiWindow] = []
    for one in calm(range(minutes)):
        minute = one.revision
        log += [one, msgspec.structs.replace(one, station="section", product="section")]
        log.append(msgspec.structs.replace(one, window="1h"))
        if minute % 7 == 3:
            old = log[-9]
            log.append(msgspec.structs.replace(old, failed=old.failed + 1, revision=1000 + minute))
        if minute >= 40:
            log.append(window(minute - 40, failed=2, revision=2000 + minute, state=FINAL))
        if minute % 11 == 0:
            log.append(one)
    return log


def folded(log: list[KpiWindow]) -> tuple[list[ControlPoint], list[Baseline]]:
    """Fold a log in one go: what must come out however the service was treated."""
    state, points, made = LineCharts(), list[ControlPoint](), list[Baseline]()
    for one in log:
        state, new, limits = fold(state, one, RULES, settings_of(state, RULES))
        points += new
        made += limits
    return points, made


async def points_of(bus: Bus, topics: Topics = TOPICS) -> list[ControlPoint]:
    return [record for record in await records(bus, topics.spc) if isinstance(record, ControlPoint)]


def once_each(points: list[ControlPoint]) -> list[ControlPoint]:
    """Leave repeats out: a crash publishes some points again, exactly as they were."""
    return list(dict.fromkeys(points))


async def at_rest(bus: Bus, topics: Topics = TOPICS) -> bool:
    return await lag(bus, GROUP, topics.kpis) == 0


def start_process(url: str, topics: Topics) -> subprocess.Popen[bytes]:
    """Start the SPC service in a process of its own, saving its state 50 times a second."""
    environ = {**os.environ, "PYTHONPATH": str(PROCESS.parents[1])}
    return subprocess.Popen([sys.executable, PROCESS, url, topics.prefix, "0.02"], env=environ)


def identity(**changes: str) -> Identity:
    return msgspec.structs.replace(RULES.running("line-1", "top", "board", "defect_rate"), **changes)


def test_limits_are_learnt_from_the_first_subgroups_and_recorded(sqlite_bus_url: str) -> None:
    async def main() -> None:
        async with opened(sqlite_bus_url) as bus, running(SpcService(QUICK, bus, TOPICS)):
            await send(bus, calm(range(MINUTES)), TOPICS.kpis)
            await eventually(lambda: at_rest(bus))
            points = await points_of(bus)
            learning, judged = points[:20], points[20:]
            assert [(point.chart, point.collected, point.wanted) for point in learning] == [
                ("run", count, 20) for count in range(1, 21)
            ]
            assert {point.chart for point in judged} == {"laney_ewma"}
            assert len(judged) == MINUTES * 100 // 200 - 20
            [record] = await records(bus, TOPICS.baselines)
            assert isinstance(record, SpcBaseline)
            assert record.author == "phase I"
            assert {point.baseline_id for point in judged} == {record.baseline_id}
            made = load(record.body)
            assert (made.since, made.until) == (learning[0].start, learning[-1].end)

    asyncio.run(main())


def test_batches_mean_nothing_to_the_points(sqlite_bus_url: str) -> None:
    log = disordered(MINUTES)

    async def main() -> list[list[ControlPoint]]:
        found = []
        for parts in (1, 37):
            topics = Topics(f"parts{parts}")
            async with opened(sqlite_bus_url, topics) as bus, running(SpcService(QUICK, bus, topics)):
                size = -(-len(log) // parts)
                for first in range(0, len(log), size):
                    await send(bus, log[first : first + size], topics.kpis)
                    await asyncio.sleep(0.03 if parts > 1 else 0)
                await eventually(lambda bus=bus, topics=topics: at_rest(bus, topics))  # type: ignore[misc]
                found.append(await points_of(bus, topics))
        return found

    whole, cut = asyncio.run(main())
    assert whole == cut == folded(log)[0]
    assert {point.station for point in whole} == {"top", "section"}


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def bus_url(request: pytest.FixtureRequest) -> str:
    """The address of a real bus."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_bus_url"))
    return f"kafka://{request.getfixturevalue('kafka_broker')}"


def test_kill_9_in_the_middle_changes_no_point_and_no_signal(bus_url: str) -> None:
    """Killed again and again while windows come: phase I, its end, phase II and its signals show nothing of it."""
    topics = Topics(f"t{uuid.uuid4().hex[:10]}")
    log = disordered(120)
    log += [window(minute, failed=9 + minute % 5) for minute in range(120, 150)]  # five times as many fail: signals

    async def main() -> None:
        async with opened(bus_url, topics) as bus:
            size = -(-len(log) // 5)
            for life in range(5):
                process = start_process(bus_url, topics)
                try:
                    before = len(await points_of(bus, topics))
                    part = log[life * size : (life + 1) * size]
                    await send(bus, part[: size // 2], topics.kpis)

                    async def came_to_life(before: int = before) -> bool:
                        return len(await points_of(bus, topics)) > before

                    await eventually(came_to_life)
                    await send(bus, part[size // 2 :], topics.kpis)  # amid this it dies
                finally:
                    process.kill()
                    process.wait(PATIENCE_S)
            async with running(SpcService(QUICK, bus, topics)):
                await eventually(lambda: at_rest(bus, topics))
            expected, made = folded(log)
            assert sum(bool(point.signals) for point in expected) > 5
            assert once_each(await points_of(bus, topics)) == expected
            told = {
                record.baseline_id for record in await records(bus, topics.baselines) if isinstance(record, SpcBaseline)
            }
            assert told == {one.baseline_id for one in made}
            assert len(made) == 2

    asyncio.run(main())


def test_a_chosen_baseline_holds_for_coming_subgroups(sqlite_bus_url: str) -> None:
    chosen = baseline(merged_windows(calm(range(60)), merger=merger_of(QUICK)), identity())

    async def main() -> None:
        async with opened(sqlite_bus_url) as bus:
            async with running(SpcService(QUICK, bus, TOPICS)):
                await send(bus, calm(range(10)), TOPICS.kpis)
                await eventually(lambda: at_rest(bus))
                await bus.publish([baseline_record(TOPICS, chosen, "somebody")])

                async def judged() -> bool:
                    count = len(await points_of(bus))
                    await send(bus, calm(range(10 + 2 * count, 12 + 2 * count)), TOPICS.kpis)
                    await eventually(lambda: at_rest(bus))
                    return (await points_of(bus))[-1].baseline_id == chosen.baseline_id

                await eventually(judged)
                before = await points_of(bus)
                assert {point.baseline_id for point in before[:5]} == {""}
            async with running(SpcService(QUICK, bus, TOPICS)):  # another life
                later = [window(900 + minute, failed=40) for minute in range(4)]
                await send(bus, later, TOPICS.kpis)
                await eventually(lambda: at_rest(bus))
            last = (await points_of(bus))[-1]
            assert last.baseline_id == chosen.baseline_id
            assert last.signals == ("1 point beyond the control limits",)
            assert len(await records(bus, TOPICS.baselines)) == 1

    asyncio.run(main())


def test_figures_have_baselines_of_their_own_on_the_compacted_topic(sqlite_bus_url: str) -> None:
    """Depths are charted beside rates: both learn, each under a key of its own, and one chosen holds for its own."""
    spc = SpcConfig.model_validate({**CHARTS.model_dump(), "metrics": ["defect_rate", "depth"], "sections": 8})
    config = QUICK.model_copy(update={"spc": spc})
    rules = rules_of(config)

    def minute(number: int) -> KpiWindow:
        dice = random.Random(number)
        return sections(
            number, [dice.randrange(100, 200) for _ in range(4)], accepted=100, inspected=100, failed=dice.randrange(5)
        )

    log = [minute(number) for number in range(60)]
    identity = rules.running("line-1", "top", "board", "depth")
    calm_depths = merged_windows(log, "depth", rules.figure("depth").merger)
    chosen = baseline(calm_depths, identity, family="means")

    async def main() -> None:
        async with opened(sqlite_bus_url) as bus:
            async with running(SpcService(config, bus, TOPICS)):
                await send(bus, log, TOPICS.kpis)
                await eventually(lambda: at_rest(bus))
                points = await points_of(bus)
                assert {(point.metric, point.chart, point.panel) for point in points if point.centre is not None} == {
                    ("defect_rate", "laney_ewma", ""),
                    ("depth", "xbar_s", "mean"),
                    ("depth", "xbar_s", "deviation"),
                }
                keys = {b"line-1/top/board/defect_rate", b"line-1/top/board/depth"}
                for key in keys:
                    assert await bus.last(TOPICS.baselines, key) is not None
                await bus.publish([baseline_record(TOPICS, chosen, "somebody")])
                told = iter(range(60, 1000, 2))

                async def judged() -> bool:
                    number = next(told)
                    await send(bus, [minute(number), minute(number + 1)], TOPICS.kpis)
                    await eventually(lambda: at_rest(bus))
                    return (await points_of(bus))[-1].baseline_id == chosen.baseline_id

                await eventually(judged)
            wild = [sections(2000 + number, [900, 950, 20, 30], accepted=100, inspected=100) for number in range(2)]
            async with running(SpcService(config, bus, TOPICS)):  # another life
                await send(bus, wild, TOPICS.kpis)
                await eventually(lambda: at_rest(bus))
            newest = [point for point in await points_of(bus) if point.start >= at(2000)]
            assert {point.panel: bool(point.signals) for point in newest} == {
                "": False,
                "mean": True,
                "deviation": True,
            }
            assert {point.baseline_id == chosen.baseline_id for point in newest if point.metric == "depth"} == {True}

    asyncio.run(main())


def test_a_baseline_whose_scale_gives_no_such_chart_is_refused(sqlite_bus_url: str) -> None:
    spc = SpcConfig.model_validate({**CHARTS.model_dump(), "metrics": ["depth"]})
    strange = baseline(merged_windows(calm(range(60)), merger=merger_of(QUICK)), identity(metric="depth"))

    async def main() -> None:
        async with opened(sqlite_bus_url) as bus:
            service = SpcService(QUICK.model_copy(update={"spc": spc}), bus, TOPICS)
            await service.take_one(strange)
            assert service.state == LineCharts()

    asyncio.run(main())


@pytest.mark.parametrize("other", [{"model_id": "another"}, {"config_sha256": "else"}])
def test_a_baseline_of_another_model_or_configuration_is_refused(sqlite_bus_url: str, other: dict[str, str]) -> None:
    strange = baseline(merged_windows(calm(range(60)), merger=merger_of(QUICK)), identity(**other))

    async def main() -> None:
        async with opened(sqlite_bus_url) as bus, running(SpcService(QUICK, bus, TOPICS)):
            await bus.publish([baseline_record(TOPICS, strange, "somebody")])
            await send(bus, calm(range(50)), TOPICS.kpis)
            await eventually(lambda: at_rest(bus))
            points = await points_of(bus)
            assert strange.baseline_id not in {point.baseline_id for point in points}
            assert points[-1].baseline_id  # learnt instead
            newest = (await records(bus, TOPICS.baselines))[-1]
            assert isinstance(newest, SpcBaseline)
            assert (newest.author, newest.baseline_id) == ("phase I", points[-1].baseline_id)

    asyncio.run(main())


def test_limits_go_with_the_model_that_was_activated_and_come_back_with_it(sqlite_bus_url: str) -> None:
    product = ProductConfig(model="old", um_per_px=20.8)
    config = QUICK.model_copy(update={"products": {"board": product}, "line": "line-1"})

    async def main() -> None:
        async with opened(sqlite_bus_url) as bus:
            told = iter(range(1000))

            async def activate(model: str) -> None:
                chosen = activation_of(config, "board", model, author="somebody", reason="a trial", at=at(0))
                await publish_activation(bus, TOPICS, chosen)

            async def charted(chart: str) -> ControlPoint:
                """Send windows until points are of this chart; return the newest."""

                async def seen() -> bool:
                    minute = next(told)
                    await send(bus, calm(range(2 * minute, 2 * minute + 2)), TOPICS.kpis)
                    await eventually(lambda: at_rest(bus))
                    return (await points_of(bus))[-1].chart == chart

                await eventually(seen)
                return (await points_of(bus))[-1]

            async with running(SpcService(config, bus, TOPICS)):
                before = await charted("laney_ewma")
                await activate("new")
                assert (await charted("run")).baseline_id == ""
            async with running(SpcService(config, bus, TOPICS)):  # another life: line.toml still says "old"
                await send(bus, calm(range(1500, 1502)), TOPICS.kpis)
                await eventually(lambda: at_rest(bus))
                assert (await points_of(bus))[-1].chart == "run"
                await activate("old")
                again = await charted("laney_ewma")
            assert again.baseline_id == before.baseline_id

    asyncio.run(main())


def test_what_is_no_window_is_passed_over(sqlite_bus_url: str) -> None:
    impossible = window(0, failed=200, inspected=100)

    async def main() -> None:
        async with opened(sqlite_bus_url) as bus, running(SpcService(QUICK, bus, TOPICS)):
            await send(bus, [folded(calm(range(2)))[0][0], impossible, *calm(range(4))], TOPICS.kpis)
            await eventually(lambda: at_rest(bus))
            assert await points_of(bus) != []

    asyncio.run(main())


def test_points_reach_the_store(sqlite_bus_url: str, tmp_path: Path) -> None:
    log = disordered(60)

    async def main() -> None:
        store = open_store(f"sqlite:///{tmp_path / 'kpis.sqlite'}", {})
        async with opened(sqlite_bus_url) as bus:
            async with running(SpcService(QUICK, bus, TOPICS), SpcSink(QUICK, bus, TOPICS, store)):
                await send(bus, log, TOPICS.kpis)

                async def stored() -> bool:
                    return await at_rest(bus) and await lag(bus, SINK_GROUP, TOPICS.spc) == 0

                await eventually(stored)
            newest = {(p.start, p.station, p.chart): p for p in folded(log)[0]}
            found = await store.read_points(SpcQuery(at(0), at(0) + timedelta(days=1)))
            assert {(p.start, p.station, p.chart): p for p in found} == newest
        await store.close()

    asyncio.run(main())


@pytest.mark.influxdb
def test_an_older_revision_published_again_never_reaches_influxdb(sqlite_bus_url: str, influx: InfluxServer) -> None:
    newest = folded(calm(range(2)))[0][0]
    older = msgspec.structs.replace(newest, amount=0, value=0.0, revision=newest.revision - 1)

    async def main() -> None:
        store = open_store(f"influxdb://{influx.address}", influx.environ)
        async with opened(sqlite_bus_url) as bus, running(SpcSink(QUICK, bus, TOPICS, store)):
            for one in (newest, older):
                await send(bus, [one], TOPICS.spc)

                async def stored() -> bool:
                    return await lag(bus, SINK_GROUP, TOPICS.spc) == 0

                await eventually(stored)
            assert await store.read_points(SpcQuery(at(0), at(0) + timedelta(days=1))) == [newest]
        await store.close()

    asyncio.run(main())


def test_windows_that_are_open_or_of_no_station_are_not_charted() -> None:
    state = LineCharts()
    for one in (window(0, station=""), window(0, window="1h"), window(0, station="*")):
        assert one.state is CLOSED
        state, points, made = fold(state, one, RULES, settings_of(state, RULES))
        assert (state, points, made) == (LineCharts(), [], [])
