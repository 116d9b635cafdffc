"""The alerts service on the real embedded bus with real receivers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from unit.alerts.receiver import Receiver, receiver
from unit.alerts.timeline import window

from alerts.service import GROUP, AlertsService
from taktwatch.alertlog import open_alerts, read_transitions, transition_key
from taktwatch.bus import Bus, Outgoing
from taktwatch.bus.connect import open_bus
from taktwatch.checkpoints import load_checkpoint, save_checkpoint
from taktwatch.config import AlertRule, AlertsConfig, AppriseChannel, KafkaConfig, LineConfig, WebhookChannel
from taktwatch.records import DeadLetter, KpiWindow, Notification, StationMark
from taktwatch.topics import Topics, lag, replay_topics
from taktwatch.wire import decode, encode

RULE = AlertRule(name="defect-rate", above=0.25, recover_below=0.15, for_windows=2, min_n=10)
LIVE = Topics()


def line(*receivers: Receiver, rules: Sequence[AlertRule] = (RULE,), apprise: Receiver | None = None) -> LineConfig:
    """A line with one webhook channel for each receiver: "mes-0", "mes-1" ..."""
    channels: list[WebhookChannel | AppriseChannel] = [
        WebhookChannel(kind="webhook", name=f"mes-{number}", url=f"http://127.0.0.1:{each.port}/")
        for number, each in enumerate(receivers)
    ]
    if apprise is not None:
        channels.append(AppriseChannel(kind="apprise", name="chat", url=f"json://127.0.0.1:{apprise.port}/"))
    return LineConfig(alerts=AlertsConfig(rules=tuple(rules), channels=tuple(channels)))


@asynccontextmanager
async def opened(folder: Path, topics: Topics = LIVE) -> AsyncIterator[Bus]:
    bus = open_bus(f"sqlite:///{folder}", KafkaConfig(), client="test")
    try:
        await bus.ensure(topics.specs(None))
        yield bus
    finally:
        await bus.close()


@asynccontextmanager
async def running(config: LineConfig, bus: Bus, topics: Topics = LIVE) -> AsyncIterator[AlertsService]:
    """Run the service for the block, then stop it as a signal would."""
    stop = asyncio.Event()
    service = AlertsService(config, bus, topics, first_pause_s=0.05)
    task = asyncio.create_task(service.run(stop))
    try:
        yield service
    finally:
        stop.set()
        await task


async def publish(bus: Bus, minutes: str, first: int = 0, topics: Topics = LIVE) -> None:
    for at, word in enumerate(minutes.split(), first):
        await publish_window(bus, window(word, at), topics)


async def publish_window(bus: Bus, each: KpiWindow, topics: Topics = LIVE) -> None:
    await bus.publish([Outgoing(topics.kpis, b"line-1", *encode(each))])


async def told(bus: Bus, topics: Topics = LIVE) -> list[str]:
    return [transition.state.value for transition in await read_transitions(bus, topics)]


async def notifications(bus: Bus) -> list[Notification]:
    return [
        record
        async for batch in bus.read(LIVE.alerts)
        for message in batch
        if isinstance(record := decode(message.value, message.headers), Notification)
    ]


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for a condition; pytest's own limit ends what never comes."""
    while True:
        met = condition()
        if met if isinstance(met, bool) else await met:
            return
        await asyncio.sleep(0.02)


async def folded(bus: Bus, topics: Topics = LIVE) -> None:
    """Wait until every window was read."""

    async def behind() -> bool:
        return await lag(bus, GROUP, topics.kpis) == 0

    await until(behind)


def test_windows_become_transitions_and_people_are_told(tmp_path: Path) -> None:
    async def main() -> None:
        with receiver() as mes, receiver() as chat:
            async with opened(tmp_path) as bus, running(line(mes, apprise=chat), bus):
                await publish(bus, "3 31 31 20 8")
                await until(lambda: mes.states == ["firing", "resolved"] and len(chat.delivered) == 2)
                assert await told(bus) == ["pending", "firing", "resolved"]
                transitions = await read_transitions(bus, LIVE)
                assert mes.keys == [f"{transition_key(each)}-mes-0" for each in transitions[1:]]
                assert open_alerts(transitions[:2]) == [transitions[1]]
                assert open_alerts(transitions) == []

    asyncio.run(main())


def test_a_receiver_that_fails_gets_the_same_message_later_and_every_attempt_is_recorded(tmp_path: Path) -> None:
    async def main() -> None:
        with receiver(503) as mes:
            async with opened(tmp_path) as bus, running(line(mes), bus):
                await publish(bus, "31 31 8")
                await until(lambda: len(mes.posts) >= 3)
                mes.status = 200
                await until(lambda: mes.states == ["firing", "resolved"])
            async with opened(tmp_path) as bus:
                log = await notifications(bus)
            firing = [attempt for attempt in log if attempt.key == mes.keys[0]]
            assert {key for key, body in mes.posts if body["state"] == "firing"} == {mes.keys[0]}
            assert [attempt.delivered for attempt in firing] == [False] * (len(firing) - 1) + [True]
            assert len(firing) >= 4
            assert "HTTP 503" in firing[0].error

    asyncio.run(main())


def test_one_bad_channel_blocks_neither_the_others_nor_the_evaluation(tmp_path: Path) -> None:
    async def main() -> None:
        with receiver(503) as bad, receiver() as good:
            async with opened(tmp_path) as bus, running(line(bad, good), bus):
                await publish(bus, "31 31 8 31 31 8")
                await until(lambda: good.states == ["firing", "resolved"] * 2)
                await until(lambda: len(bad.posts) >= 2)
                assert {body["state"] for _, body in bad.posts} == {"firing"}
                bad.status = 200
                await until(lambda: bad.states == ["firing", "resolved"] * 2)

    asyncio.run(main())


def test_a_message_that_is_refused_for_good_is_recorded_and_the_next_one_is_sent(tmp_path: Path) -> None:
    async def main() -> None:
        with receiver(400) as mes:
            async with opened(tmp_path) as bus, running(line(mes), bus):
                await publish(bus, "31 31")
                await until(lambda: len(mes.posts) == 1)
                mes.status = 200
                await publish(bus, "8", first=2)
                await until(lambda: mes.states == ["resolved"])
                first = (await notifications(bus))[0]
                assert (first.delivered, "HTTP 400" in first.error) == (False, True)
                assert len(mes.posts) == 2

    asyncio.run(main())


def test_what_was_not_delivered_before_a_stop_is_delivered_after_it(tmp_path: Path) -> None:
    async def main() -> None:
        with receiver(503) as mes:
            async with opened(tmp_path) as bus, running(line(mes), bus):
                await publish(bus, "31 31")
                await until(lambda: len(mes.posts) >= 1)
            mes.status = 200
            async with opened(tmp_path) as bus, running(line(mes), bus):
                await until(lambda: mes.states == ["firing"])
            assert {key for key, _ in mes.posts} == set(mes.keys)

    asyncio.run(main())


def test_a_row_of_windows_goes_on_over_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        for word, minute in (("31", 0), ("31", 1), ("8", 2)):
            async with opened(tmp_path) as bus, running(line(), bus):
                await publish(bus, word, first=minute)
                await folded(bus)
        async with opened(tmp_path) as bus:
            assert await told(bus) == ["pending", "firing", "resolved"]
            assert len({transition.alert_id for transition in await read_transitions(bus, LIVE)}) == 1

    asyncio.run(main())


def test_a_crash_before_the_checkpoint_repeats_the_transitions_and_tells_nobody_twice(tmp_path: Path) -> None:
    async def main() -> None:
        with receiver() as mes:
            async with opened(tmp_path) as bus:
                async with running(line(mes), bus):
                    await publish(bus, "3")
                    await folded(bus)
                early = await load_checkpoint(bus, LIVE, GROUP, (LIVE.kpis, 0))
                assert early is not None
                async with running(line(mes), bus):
                    await publish(bus, "31 31 8", first=1)
                    await until(lambda: mes.states == ["firing", "resolved"])
                await save_checkpoint(bus, LIVE, early)
                async with running(line(mes), bus):
                    await publish(bus, "31 31", first=4)
                    await until(lambda: mes.states == ["firing", "resolved", "firing"])
                transitions = await read_transitions(bus, LIVE)
            first, again = transitions[:3], transitions[3:6]
            assert [transition_key(each) for each in first] == [transition_key(each) for each in again]
            assert first == again
            assert len(mes.posts) == 3

    asyncio.run(main())


def test_a_crash_between_delivery_and_position_repeats_nothing_that_was_recorded(tmp_path: Path) -> None:
    async def main() -> None:
        with receiver() as mes:
            async with opened(tmp_path) as bus:
                group, topic = "alerts-notify-mes-0", (LIVE.alerts, 0)
                async with running(line(mes), bus):
                    await publish(bus, "3")
                    await folded(bus)
                early = await load_checkpoint(bus, LIVE, group, topic)
                assert early is not None
                async with running(line(mes), bus):
                    await publish(bus, "31 31 8", first=1)
                    await until(lambda: mes.states == ["firing", "resolved"])
                await save_checkpoint(bus, LIVE, early)
                async with running(line(mes), bus):
                    await publish(bus, "31 31", first=4)
                    await until(lambda: len(mes.states) > 2)
            assert mes.states == ["firing", "resolved", "firing"]

    asyncio.run(main())


def test_a_record_that_cannot_be_read_goes_to_the_dead_topic_and_the_next_is_folded(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as bus, running(line(), bus):
            mark = StationMark(
                line="line-1",
                station="top",
                session="s",
                product="p",
                last_seq=0,
                time=window("3", 0).start,
                state=window("3", 0).station_state,
            )
            value, headers = encode(window("31", 0))
            await bus.publish(
                [Outgoing(LIVE.kpis, b"k", value[:-5], headers), Outgoing(LIVE.kpis, b"k", *encode(mark))]
            )
            await publish(bus, "31 31")
            await folded(bus)
            assert await told(bus) == ["pending", "firing"]
            letters = [
                decode(message.value, message.headers) async for batch in bus.read(LIVE.dead) for message in batch
            ]
            assert all(isinstance(letter, DeadLetter) and letter.source == "alerts" for letter in letters)
            assert isinstance(letters[0], DeadLetter)
            assert letters[0].body == value[:-5]
            assert len(letters) == 2

    asyncio.run(main())


def test_a_new_channel_is_not_flooded_with_old_alarms(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as bus, running(line(), bus):
            await publish(bus, "31 31 8")
            await folded(bus)
        with receiver() as mes:
            async with opened(tmp_path) as bus, running(line(mes), bus):
                await publish(bus, "31 31", first=3)
                await until(lambda: bool(mes.states))
                assert mes.posts[0][1]["window_start"] == "2026-03-03T12:04:00Z"

    asyncio.run(main())


def test_a_replay_calls_nobody(tmp_path: Path) -> None:
    async def main() -> None:
        replay = replay_topics("r1")
        with receiver() as mes:
            async with opened(tmp_path, replay) as bus, running(line(mes), bus, replay) as service:
                await publish(bus, "31 31", topics=replay)
                await folded(bus, replay)
                assert await told(bus, replay) == ["pending", "firing"]
                assert service.notifiers == []
            assert mes.posts == []

    asyncio.run(main())


def test_a_rule_taken_out_of_the_file_closes_its_alert(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as bus, running(line(), bus):
            await publish(bus, "31 31")
            await folded(bus)
        async with opened(tmp_path) as bus, running(line(rules=()), bus):
            await publish(bus, "31", first=2)
            await folded(bus)
            transitions = await read_transitions(bus, LIVE)
        assert [each.state.value for each in transitions] == ["pending", "firing", "resolved"]
        assert transitions[-1].summary == "rule defect-rate is no longer in line.toml"
        assert open_alerts(transitions) == []

    asyncio.run(main())


def test_silence_is_told_beside_a_firing_alert_that_stays(tmp_path: Path) -> None:
    async def main() -> None:
        silence = AlertRule(name="camera-silent", kind="no_data", silent_windows=2)
        async with opened(tmp_path) as bus, running(line(rules=(RULE, silence)), bus):
            await publish(bus, "31 31 lost lost lost")
            await folded(bus)
            alerts = open_alerts(await read_transitions(bus, LIVE))
            assert {each.rule: each.state.value for each in alerts} == {
                "defect-rate": "firing",
                "camera-silent": "no_data",
            }

    asyncio.run(main())


def test_a_second_process_waits_until_the_first_is_gone(tmp_path: Path) -> None:
    async def main() -> None:
        with receiver() as mes:
            async with opened(tmp_path) as bus, opened(tmp_path) as other:
                stop = asyncio.Event()
                first = AlertsService(line(mes), bus, LIVE, member="one", first_pause_s=0.05)
                task = asyncio.create_task(first.run(stop))
                await until(first.active.is_set)
                second_stop = asyncio.Event()
                second = AlertsService(line(mes), other, LIVE, member="two", first_pause_s=0.05)
                second_task = asyncio.create_task(second.run(second_stop))
                await publish(bus, "31 31")
                await until(lambda: mes.states == ["firing"])
                assert (first.active.is_set(), second.active.is_set()) == (True, False)
                stop.set()
                await task
                await until(second.active.is_set)
                await publish(other, "8", first=2)
                await until(lambda: mes.states == ["firing", "resolved"])
                second_stop.set()
                await second_task
        assert len(mes.posts) == 2

    asyncio.run(main())
