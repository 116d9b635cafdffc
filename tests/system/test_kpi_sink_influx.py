"""The KPI sink before a real InfluxDB that refuses, asks for patience, stops and dies."""

import asyncio
import random
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from kpi_line import QUICK, TOPICS, eventually, letters, opened, running, send
from servers.influx import InfluxServer
from servers.proxy import Proxy, Refusal, proxy_before

from kpi_engine.metrics import STORE_HELD
from kpi_engine.sinks import store as sink_module
from kpi_engine.sinks.windows import BATCH, GROUP, KpiSink
from taktwatch.bus import Bus
from taktwatch.errors import BackendUnavailable
from taktwatch.records import KpiWindow, WindowState
from taktwatch.store import KpiQuery, KpiStore
from taktwatch.store.connect import open_store
from taktwatch.store.influx_points import lines
from taktwatch.topics import lag
from taktwatch.wire import decode

pytestmark = pytest.mark.influxdb

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
EVER = KpiQuery("1m", datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))


def window(minute: int, revision: int, station: str = "top", **changes: Any) -> KpiWindow:
    """Return a revision of a window; `minute` counts from noon."""
    start = NOON + timedelta(minutes=minute)
    return KpiWindow(
        window="1m",
        start=start,
        end=start + timedelta(minutes=1),
        line="line-1",
        station=station,
        product="board",
        revision=revision,
        state=WindowState.CLOSED,
        inspected=revision,
        failed=revision % 7,
        defects={"open": revision % 5 + 1},
        **changes,
    )


async def written(bus: Bus) -> bool:
    """Whether the sink has committed everything."""
    return await lag(bus, GROUP, TOPICS.kpis) == 0


async def newest(bus: Bus) -> list[KpiWindow]:
    """Return the last published revision of each window, in the order a store gives them."""
    found: dict[tuple[datetime, str], KpiWindow] = {}
    async for batch in bus.read(TOPICS.kpis):
        for message in batch:
            record = decode(message.value, message.headers)
            assert isinstance(record, KpiWindow)
            found[record.start, record.station] = record
    return [found[key] for key in sorted(found)]


def put_raw(influx: InfluxServer, environ: dict[str, str], text: str) -> None:
    """Write line protocol past the store, as somebody else would."""
    urllib.request.urlopen(
        urllib.request.Request(
            f"http://{influx.address}/api/v2/write?org={environ['INFLUX_ORG']}&bucket={environ['INFLUX_BUCKET']}",
            text.encode(),
            {"Authorization": f"Token {environ['INFLUX_TOKEN']}"},
        ),
        timeout=10,
    ).close()


def test_windows_that_conflict_with_what_somebody_wrote_are_dead_and_every_other_is_stored(
    sqlite_bus_url: str, influx: InfluxServer
) -> None:
    """Of forty weeks, six hold points whose fields are of other types: a shard is a week."""
    environ = influx.environ
    weeks = {
        week: [window(week * 7 * 24 * 60 + minute, 1 + week + minute) for minute in range(5)] for week in range(40)
    }
    bad = sorted(random.Random(3).sample(range(40), 6))

    async def main() -> None:
        store = open_store(f"influxdb://{influx.address}", environ)
        await store.prepare()
        for week in bad:
            measurement, _, rest = lines(weeks[week][0])[week % 2].partition(" ")
            field = "inspected" if measurement.startswith("kpi,") else "count"
            other = measurement.replace("station=top", "station=other")
            put_raw(influx, environ, f"{other} {field}=1.5 {rest.split()[-1]}")
        async with opened(sqlite_bus_url) as bus:
            windows = [window for week in weeks.values() for window in week]
            random.Random(4).shuffle(windows)
            await send(bus, windows, TOPICS.kpis)
            async with running(KpiSink(QUICK, bus, TOPICS, store)):
                await eventually(lambda: written(bus))
            dead = await letters(bus)
            refused = [msgspec.json.decode(letter.body, type=KpiWindow) for letter in dead]
            wanted = [window for week in bad for window in weeks[week]]
            assert sorted(one.start for one in refused) == [one.start for one in wanted]
            assert all("conflict" in letter.error for letter in dead)
            for week, good in weeks.items():  # one by one: a query ends where a field changes its type
                query = KpiQuery("1m", good[0].start, good[-1].end, station="top")
                found = await store.read(query)
                assert found == good if week not in bad else all(one in good for one in found)
        await store.close()

    asyncio.run(main())


def test_a_server_that_asks_for_patience_is_left_alone_for_so_long_and_loses_nothing(
    sqlite_bus_url: str, influx: InfluxServer
) -> None:
    async def main(proxy: Proxy) -> None:
        store = open_store(f"influxdb://{proxy.address}", influx.environ)
        await store.prepare()
        patience = [Refusal(429, {"Retry-After": "1"}), Refusal(503), Refusal(500), Refusal(429, {"Retry-After": "1"})]
        proxy.refusals.extend(patience)
        async with opened(sqlite_bus_url) as bus:
            await send(bus, [window(minute, minute + 1) for minute in range(50)], TOPICS.kpis)
            async with running(KpiSink(QUICK, bus, TOPICS, store)):
                await eventually(lambda: written(bus))
            assert await store.read(EVER) == await newest(bus)
            assert await letters(bus) == []
        assert [status for _, status in proxy.writes[:5]] == [429, 503, 500, 429, 204]
        times = [time for time, _ in proxy.writes]
        assert times[1] - times[0] >= 1
        assert times[4] - times[3] >= 1
        await store.close()

    with proxy_before(influx.address) as proxy:
        asyncio.run(main(proxy))


def test_a_point_that_somebody_else_wrote_hides_no_window(influx: InfluxServer) -> None:
    environ = influx.environ

    async def main() -> None:
        store = open_store(f"influxdb://{influx.address}", environ)
        await store.prepare()
        await store.write([window(0, 1), window(2, 3)])
        place = lines(window(1, 2))[0].partition(" ")[0].replace("line-1", "line-2")
        put_raw(influx, environ, f"{place} inspected=7i {round(NOON.timestamp())}000000000")
        assert await store.read(EVER) == [window(0, 1), window(2, 3)]
        await store.close()

    asyncio.run(main())


def test_the_wish_of_a_server_is_in_the_error(influx: InfluxServer) -> None:
    async def main(proxy: Proxy) -> None:
        store = open_store(f"influxdb://{proxy.address}", influx.environ)
        await store.prepare()
        proxy.refusals.append(Refusal(429, {"Retry-After": "17"}))
        with pytest.raises(BackendUnavailable, match="429") as caught:
            await store.write([window(0, 1)])
        assert caught.value.retry_after_s == 17
        await store.close()

    with proxy_before(influx.address) as proxy:
        asyncio.run(main(proxy))


async def stored(store: KpiStore) -> list[KpiWindow] | None:
    """Return what the store holds, or None while it is away."""
    try:
        return await store.read(EVER)
    except BackendUnavailable:
        return None


@pytest.mark.slow
def test_a_server_stopped_and_killed_amid_a_stream_has_every_window_in_its_last_revision(
    sqlite_bus_url: str, own_influx: InfluxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows are corrected all the time; at most one batch is in hand, however long the server is away."""
    monkeypatch.setattr(sink_module, "LONGEST_PAUSE_S", 0.5)
    rng = random.Random(9)

    async def publish(bus: Bus, done: asyncio.Event) -> None:
        revision = 0
        while not done.is_set():
            batch = []
            for _ in range(100):
                revision += 1
                batch.append(window(rng.randrange(400), revision, rng.choice(["top", "section"])))
            await send(bus, batch, TOPICS.kpis)
            await asyncio.sleep(0.02)

    async def main() -> None:
        store = open_store(f"influxdb://{own_influx.address}", own_influx.environ)
        async with opened(sqlite_bus_url) as bus:
            done, most_behind = asyncio.Event(), 0
            async with running(KpiSink(QUICK, bus, TOPICS, store)):
                publishing = asyncio.create_task(publish(bus, done))
                for end in (own_influx.stop, own_influx.kill, own_influx.kill):
                    await asyncio.sleep(0.5)
                    await asyncio.to_thread(end)
                    async with asyncio.timeout(60):
                        while await lag(bus, GROUP, TOPICS.kpis) < 3 * BATCH:  # noqa: ASYNC110 - others publish
                            await asyncio.sleep(0.05)
                    most_behind = max(most_behind, await lag(bus, GROUP, TOPICS.kpis))
                    assert 0 < STORE_HELD._value.get() <= BATCH
                    await asyncio.to_thread(own_influx.start)
                    await eventually(lambda: caught_up(bus))
                done.set()
                await publishing
                await eventually(lambda: written(bus))
            assert most_behind >= 3 * BATCH
            assert await stored(store) == await newest(bus)
            assert await letters(bus) == []
        await store.close()

    async def caught_up(bus: Bus) -> bool:
        return await lag(bus, GROUP, TOPICS.kpis) < BATCH

    asyncio.run(main())
