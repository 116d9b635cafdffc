"""Windows on their way from the bus into real stores."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from kpi_line import QUICK, TOPICS, Windows, eventually, latest, letters, opened, published, running, send, undisturbed
from servers.influx import InfluxServer
from timelines import at, mark, result

from kpi_engine.service import KpiService
from kpi_engine.sinks.windows import GROUP, KpiSink
from taktwatch.bus import Bus, Outgoing
from taktwatch.records import KpiWindow, MarkState, WindowState
from taktwatch.store import KpiQuery, KpiStore
from taktwatch.store.connect import open_store
from taktwatch.topics import lag

EVER = KpiQuery("1m", datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))


def window(minute: int, revision: int, **changes: object) -> KpiWindow:
    start = at(f"12:{minute:02}:00")
    return KpiWindow(
        window="1m",
        start=start,
        end=start + timedelta(minutes=1),
        line="line-1",
        station="top",
        product="board",
        revision=revision,
        state=WindowState.OPEN,
        inspected=revision,
        **changes,  # type: ignore[arg-type]  # whatever field a test names
    )


async def written(bus: Bus) -> bool:
    """Whether the sink has committed everything."""
    return await lag(bus, GROUP, TOPICS.kpis) == 0


async def rows(store: KpiStore) -> Windows:
    """Return the minutes and hours the store holds."""
    return latest([*await store.read(EVER), *await store.read(replace(EVER, window="1h"))])


def test_a_stale_writer_does_not_set_a_stored_window_back(sqlite_bus_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(sqlite_bus_url) as bus:
            store = open_store(f"sqlite:///{tmp_path / 'kpis.sqlite'}", {})
            async with running(KpiSink(QUICK, bus, TOPICS, store)):
                for revision in (10, 12, 11, 5):
                    await send(bus, [window(0, revision)], TOPICS.kpis)
                    await eventually(lambda: written(bus))
                [row] = (await rows(store)).values()
                assert row.revision == 12
                await send(bus, [window(0, 12, late_or_repeat=1), window(0, 13)], TOPICS.kpis)
                await eventually(lambda: written(bus))
                [row] = (await rows(store)).values()
                assert row.revision == 13
            await store.close()

    asyncio.run(main())


def test_the_store_shows_what_was_published(sqlite_bus_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(sqlite_bus_url) as bus:
            store = open_store(f"sqlite:///{tmp_path / 'kpis.sqlite'}", {})
            boards = [result(seq, f"12:{seq // 6:02}:{seq % 6 * 10:02}") for seq in range(30)]
            await send(bus, [*boards, mark(29, "12:05:00", MarkState.CLOSED)])
            async with running(KpiService(QUICK, bus, TOPICS), KpiSink(QUICK, bus, TOPICS, store)):

                async def all_closed() -> bool:
                    await store.prepare()
                    found = await rows(store)
                    return len(found) == 6 + 4 and all(row.state is WindowState.CLOSED for row in found.values())

                await eventually(all_closed)
            assert await rows(store) == await published(bus) == await undisturbed(bus)
            await store.close()

    asyncio.run(main())


def test_of_many_revisions_the_newest_is_stored(sqlite_bus_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(sqlite_bus_url) as bus:
            store = open_store(f"sqlite:///{tmp_path / 'kpis.sqlite'}", {})
            final = msgspec.structs.replace(window(0, 9), state=WindowState.FINAL)
            await send(bus, [window(0, 1), window(0, 9), window(0, 5), final, window(1, 3)], TOPICS.kpis)
            async with running(KpiSink(QUICK, bus, TOPICS, store)):
                await eventually(lambda: written(bus))
            assert list((await rows(store)).values()) == [window(1, 3), final]
            await store.close()

    asyncio.run(main())


def test_what_the_store_refuses_goes_to_the_dead_topic_and_the_rest_is_stored(
    sqlite_bus_url: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with opened(sqlite_bus_url) as bus:
            store = open_store(f"sqlite:///{tmp_path / 'kpis.sqlite'}", {})
            good = [window(minute, minute + 1) for minute in range(7)]
            too_large = [window(20, 2**63), window(21, 2**64)]
            await send(
                bus, [*good[:3], too_large[0], *good[3:6], mark(0, "12:00:00"), too_large[1], good[6]], TOPICS.kpis
            )
            await bus.publish([Outgoing(TOPICS.kpis, b"line-1", b"nonsense", {})])
            async with running(KpiSink(QUICK, bus, TOPICS, store)):
                await eventually(lambda: written(bus))
            assert sorted((await rows(store)).values(), key=lambda row: row.start) == good
            refused = await letters(bus)
            assert sorted(letter.place.offset for letter in refused if letter.place) == [3, 7, 8, 10]
            await store.close()

    asyncio.run(main())


@pytest.mark.influxdb
def test_a_store_that_is_killed_and_comes_back_has_every_window(sqlite_bus_url: str, own_influx: InfluxServer) -> None:
    async def main() -> None:
        async with opened(sqlite_bus_url) as bus:
            store = open_store(f"influxdb://{own_influx.address}", own_influx.environ)
            async with running(KpiSink(QUICK, bus, TOPICS, store)):
                await send(bus, revisions(range(10)), TOPICS.kpis)
                await eventually(lambda: written(bus))
                await asyncio.to_thread(own_influx.kill)
                await send(bus, revisions(range(5, 20)), TOPICS.kpis)
                await asyncio.sleep(1.0)
                assert not await written(bus)
                await asyncio.to_thread(own_influx.start)
                await eventually(lambda: written(bus))
            assert await rows(store) == await published(bus)
            assert len(await rows(store)) == 20
            await store.close()

    asyncio.run(main())


def revisions(minutes: Sequence[int]) -> list[KpiWindow]:
    """Return a window for each minute, revised with each call's first minute."""
    return [window(minute, 100 + minutes[0], defects={"open": minutes[0]}) for minute in minutes]
