"""The KPI service on the embedded bus."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from kpi_line import (
    PATIENCE_S,
    QUICK,
    TOPICS,
    eventually,
    letters,
    minutes,
    opened,
    published,
    records,
    running,
    send,
    undisturbed,
)
from timelines import mark, result

from kpi_engine.balance import read_balance
from kpi_engine.service import GROUP, KpiService
from taktwatch.bus import Bus, Outgoing
from taktwatch.bus.sqlite import SqliteBus
from taktwatch.checkpoints import load_checkpoint, save_checkpoint
from taktwatch.clock import now
from taktwatch.config import KpiConfig, LineConfig, ProductConfig
from taktwatch.errors import UnknownSchema
from taktwatch.records import (
    BoardVerdict,
    Checkpoint,
    KpiWindow,
    MarkState,
    Outcome,
    Place,
    StationMark,
    Verdict,
    WindowState,
)
from taktwatch.topics import lag

TOP = ("line-1", "top", "board")


async def folded(bus: Bus) -> bool:
    """Whether the service has committed everything."""
    return await lag(bus, GROUP, TOPICS.results) == 0


def test_results_become_windows_on_the_kpis_topic(sqlite_bus_url: str) -> None:
    async def main() -> None:
        async with opened(sqlite_bus_url) as bus:
            await send(bus, [mark(-1, "12:00:00"), result(0, "12:00:10"), result(1, "12:00:20", verdict=Verdict.FAIL)])
            async with running(KpiService(QUICK, bus, TOPICS)):
                await eventually(lambda: folded(bus))
                live = (await published(bus))[*TOP, "12:00"]
                assert (live.state, live.inspected, live.failed) == (WindowState.OPEN, 2, 1)
                await send(bus, [mark(1, "12:01:00")])
                await eventually(lambda: folded(bus))
            assert await published(bus) == await undisturbed(bus)
            assert (await published(bus))[*TOP, "12:00"].state is WindowState.CLOSED

    asyncio.run(main())


def test_a_late_frame_and_a_repeat_correct_the_published_window(sqlite_bus_url: str) -> None:
    async def main() -> None:
        async with opened(sqlite_bus_url) as bus:
            await send(bus, [result(0, "12:00:10"), mark(0, "12:01:30"), result(0, "12:00:10")])
            async with running(KpiService(QUICK, bus, TOPICS)):
                await eventually(lambda: folded(bus))
                before = (await published(bus))[*TOP, "12:00"]
                await send(bus, [result(1, "12:00:50", verdict=Verdict.FAIL)])
                await eventually(lambda: folded(bus))
                after = (await published(bus))[*TOP, "12:00"]
            assert (before.state, before.inspected, before.late_or_repeat) == (WindowState.CLOSED, 1, 1)
            assert (after.state, after.inspected, after.failed) == (WindowState.CLOSED, 2, 1)
            assert after.revision > before.revision

    asyncio.run(main())


def test_the_verdict_of_every_board_is_published_and_a_late_view_corrects_it(sqlite_bus_url: str) -> None:
    two_views = ProductConfig(model="m", um_per_px=10.0, views=2)
    config = QUICK.model_copy(update={"products": {"board": two_views}})

    async def main() -> None:
        async with opened(sqlite_bus_url) as bus:
            await send(bus, [result(seq, f"12:00:{10 + seq}", visit=seq // 2) for seq in (0, 1, 2)])
            await send(bus, [mark(3, "12:01:00", MarkState.CLOSED), result(3, "12:00:13", visit=1)])
            async with running(KpiService(config, bus, TOPICS)):
                await eventually(lambda: folded(bus))
                await send(bus, [result(4, "12:00:20", visit=2), mark(4, "12:01:01", MarkState.CLOSED)])
                await eventually(lambda: folded(bus))
                await send(bus, [result(5, "12:00:21", visit=2, verdict=Verdict.FAIL)])
                await eventually(lambda: folded(bus))
            found = [record for record in await records(bus, TOPICS.boards) if isinstance(record, BoardVerdict)]
            assert [(board.visit, board.verdict, len(board.frames)) for board in found] == [
                (0, Verdict.PASS, 2),
                (1, Verdict.PASS, 2),
                (2, Verdict.REVIEW, 1),
                (2, Verdict.FAIL, 2),
            ]
            assert found[2].board_id == found[3].board_id
            assert found[3].revision > found[2].revision
            window = (await published(bus))[*TOP, "12:00"]
            assert (window.accepted, window.inspected, window.passed, window.failed) == (6, 3, 2, 1)

    asyncio.run(main())


def test_a_standing_belt_has_windows(sqlite_bus_url: str) -> None:
    async def main() -> None:
        async with opened(sqlite_bus_url) as bus:
            await send(bus, [mark(-1, f"12:0{minute}:30") for minute in range(4)])
            async with running(KpiService(QUICK, bus, TOPICS)):
                await eventually(lambda: folded(bus))
            windows = await published(bus)
            assert [windows[*TOP, f"12:0{minute}"].marks for minute in range(4)] == [1, 1, 1, 1]
            assert [window.inspected for window in minutes(windows)] == [0, 0, 0, 0]

    asyncio.run(main())


def test_a_restarted_service_goes_on_from_its_checkpoint(sqlite_bus_url: str) -> None:
    async def main() -> None:
        async with opened(sqlite_bus_url) as bus:
            for seqs in (range(5), range(3, 9)):
                await send(bus, [result(seq, f"12:00:{seq * 5:02}") for seq in seqs])
                async with running(KpiService(QUICK, bus, TOPICS)):
                    await eventually(lambda: folded(bus))
            window = (await published(bus))[*TOP, "12:00"]
            assert (window.inspected, window.late_or_repeat) == (9, 2)
            assert await published(bus) == await undisturbed(bus)

    asyncio.run(main())


def test_what_cannot_be_counted_goes_to_the_dead_topic_and_the_line_goes_on(sqlite_bus_url: str) -> None:
    async def main() -> None:
        async with opened(sqlite_bus_url) as bus:
            good = Outgoing(TOPICS.results, b"line-1", b"", {})
            poison = [
                Outgoing(good.topic, good.key, b"\x00\xff", {}),
                Outgoing(good.topic, good.key, b"{}", {"taktwatch_schema": b"99.0", "ce_type": b"taktwatch.result"}),
                Outgoing(
                    good.topic, good.key, b'{"line":1e999}', {"taktwatch_schema": b"1.0", "ce_type": b"taktwatch.mark"}
                ),
            ]
            await send(bus, [result(0, "12:00:10")])
            await bus.publish(poison)
            await send(bus, [result(-5, "12:00:11"), result(1, "12:00:20", product="never heard of")])
            async with running(KpiService(QUICK, bus, TOPICS)):
                await eventually(lambda: folded(bus))
            found = await letters(bus)
            assert [letter.body for letter in found[:3]] == [sent.value for sent in poison]
            assert [letter.place.offset for letter in found if letter.place] == [1, 2, 3, 4]
            assert "99.0" in found[1].error
            assert "seq is -5" in found[3].error
            assert {window.product: window.inspected for window in minutes(await published(bus))} == {
                "board": 1,
                "never heard of": 1,
            }

    asyncio.run(main())


def test_a_station_ingest_is_silent_about_is_lost_until_it_speaks_again(sqlite_bus_url: str) -> None:
    config = LineConfig(kpi=KpiConfig(checkpoint_interval_s=0.05, silent_after_s=0.3))

    async def lost_marks(bus: Bus) -> list[StationMark]:
        return [
            record
            for record in await records(bus, TOPICS.results)
            if isinstance(record, StationMark) and record.author == "watchdog"
        ]

    async def main() -> None:
        async with opened(sqlite_bus_url) as bus:
            said = mark(0, "12:00:20")
            await send(bus, [result(0, "12:00:10"), said])

            async def lost_twice() -> bool:
                return len(await lost_marks(bus)) >= 2

            async with running(KpiService(config, bus, TOPICS)):
                await eventually(lost_twice)
                lost = await lost_marks(bus)
                assert {(found.state, found.last_seq, found.session) for found in lost} == {(MarkState.LOST, 0, "s1")}
                assert said.time + timedelta(seconds=0.3) <= lost[0].time < lost[1].time

                async def shows_lost() -> bool:
                    windows = await published(bus)
                    return windows[*TOP, "12:00"].station_state is MarkState.LOST

                await eventually(shows_lost)
                await send(bus, [mark(0, "12:00:50"), mark(0, "12:00:51", MarkState.CLOSED)])

                async def is_over() -> bool:
                    return (await published(bus))[*TOP, "12:00"].station_state is MarkState.CLOSED

                await eventually(is_over)
                count = len(await lost_marks(bus))
                await asyncio.sleep(1.0)
                assert len(await lost_marks(bus)) == count

    asyncio.run(main())


def test_a_frame_that_never_comes_is_missing_though_the_session_ended(sqlite_bus_url: str) -> None:
    """Nobody speaks any more after the last mark; the watchdog keeps the log going until patience is over."""
    config = LineConfig(kpi=KpiConfig(checkpoint_interval_s=0.05, silent_after_s=0.2, max_hold_s=0.5))

    async def main() -> None:
        async with opened(sqlite_bus_url) as bus:
            await send(bus, [result(0, "12:00:10"), mark(1, "12:00:20", MarkState.CLOSED)])

            async def closed() -> bool:
                windows = await published(bus)
                return bool(windows) and windows[*TOP, "12:00"].state is WindowState.CLOSED

            async with running(KpiService(config, bus, TOPICS)):
                await eventually(closed)
            window = (await published(bus))[*TOP, "12:00"]
            assert (window.accepted, window.inspected, window.missing) == (2, 1, 1)
            balance = (await read_balance(bus, TOPICS))["top"]
            assert (balance.accepted, balance.inspected, balance.lost, balance.balanced) == (2, 1, 1, True)

    asyncio.run(main())


def test_the_balance_counts_every_outcome_once(sqlite_bus_url: str) -> None:
    async def main() -> None:
        async with opened(sqlite_bus_url) as bus:
            await send(
                bus,
                [
                    result(0, "12:00:10"),
                    result(0, "12:00:10"),
                    result(1, "12:00:11", outcome=Outcome.SKIPPED, verdict=None),
                    result(2, "12:00:12", outcome=Outcome.DEAD, verdict=None),
                    result(0, "12:00:12", station="section"),
                    mark(3, "12:00:13"),
                    mark(0, "12:00:13", station="section"),
                ],
            )
            top, section = (await read_balance(bus, TOPICS))["top"], (await read_balance(bus, TOPICS))["section"]
            assert (top.accepted, top.inspected, top.skipped, top.dead, top.repeats) == (4, 1, 1, 1, 1)
            assert (top.unaccounted, top.balanced) == (1, False)
            assert (section.accepted, section.inspected, section.balanced) == (1, 1, True)

    asyncio.run(main())


def test_a_checkpoint_of_another_version_is_refused_and_not_guessed_at(sqlite_bus_url: str) -> None:
    async def main() -> None:
        async with opened(sqlite_bus_url) as bus:
            await send(bus, [result(0, "12:00:10")])
            async with running(KpiService(QUICK, bus, TOPICS)):
                await eventually(lambda: folded(bus))
            spans = await bus.spans(TOPICS.results)
            number = next(number for number, span in spans.items() if span.next)
            saved = await load_checkpoint(bus, TOPICS, GROUP, (TOPICS.results, number))
            assert saved is not None
            other = Checkpoint(
                group=GROUP,
                topic=TOPICS.results,
                partition=number,
                position=saved.position,
                state=saved.state.replace(b"\xa7version\x05", b"\xa7version\x63"),
            )
            assert other.state != saved.state
            await save_checkpoint(bus, TOPICS, other)
            with pytest.raises(UnknownSchema, match="99"):
                await asyncio.wait_for(KpiService(QUICK, bus, TOPICS).run(asyncio.Event()), PATIENCE_S)

    asyncio.run(main())


def test_a_crash_between_saving_and_committing_leaves_no_lag_behind(sqlite_bus_url: str) -> None:
    async def main() -> None:
        async with opened(sqlite_bus_url) as bus:
            await send(bus, [result(0, "12:00:10")])
            async with running(KpiService(QUICK, bus, TOPICS)):
                await eventually(lambda: folded(bus))
            async with bus.consumer(GROUP, [TOPICS.results], member="crashed") as crashed:
                while not crashed.assigned:
                    await crashed.poll(1, timedelta(seconds=0.1))
                await crashed.commit(dict.fromkeys(crashed.assigned, 0))
            assert not await folded(bus)
            async with running(KpiService(QUICK, bus, TOPICS)):
                await eventually(lambda: folded(bus))
            assert await published(bus) == await undisturbed(bus)

    asyncio.run(main())


def test_folding_goes_on_while_what_was_counted_is_being_saved(
    sqlite_bus_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bus that takes its time over windows and checkpoints; the next settlement waits for this one."""
    free, publishing = asyncio.Event(), SqliteBus.publish

    async def slowly(bus: SqliteBus, outgoing: Sequence[Outgoing]) -> list[Place]:
        if any(record.topic != TOPICS.results for record in outgoing):
            await free.wait()
        return await publishing(bus, outgoing)

    async def main() -> None:
        async with opened(sqlite_bus_url) as bus:
            monkeypatch.setattr(SqliteBus, "publish", slowly)
            service = KpiService(QUICK, bus, TOPICS)

            async def on_the_way() -> bool:
                return service.settling is not None

            async def has_folded_both() -> bool:
                return sum(state.position for state in service.states.values()) == 2

            async with running(service):
                await send(bus, [result(0, "12:00:10")])
                await eventually(on_the_way)
                await send(bus, [result(1, "12:00:20", verdict=Verdict.FAIL)])
                await eventually(has_folded_both)
                assert not service.saved
                free.set()
                await eventually(lambda: folded(bus))
                inspected = [w.inspected for w in await records(bus, TOPICS.kpis) if isinstance(w, KpiWindow)]
                assert inspected[0] == 1, "the first settlement knows nothing of the second result"
            assert await published(bus) == await undisturbed(bus)

    asyncio.run(main())


def test_the_clock_is_asked_for_silence_alone(sqlite_bus_url: str) -> None:
    """A service whose clock is a day off publishes the same windows."""

    async def main() -> None:
        async with opened(sqlite_bus_url) as bus:
            await send(bus, [result(0, "12:00:10"), mark(0, "12:02:00"), mark(0, "12:02:01", MarkState.CLOSED)])
            service = KpiService(QUICK, bus, TOPICS, clock=lambda: now() + timedelta(days=1))
            async with running(service):
                await eventually(lambda: folded(bus))
            assert await published(bus) == await undisturbed(bus)

    asyncio.run(main())
