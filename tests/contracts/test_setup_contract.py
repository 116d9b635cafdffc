"""What every bus and store says of how it is set up: the truth, and nothing is changed by asking."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from contracts.bus_backends import Backend
from contracts.bus_helpers import PATIENCE, opened, run
from servers.influx import InfluxServer

from taktwatch.bus import TopicSetup, TopicSpec
from taktwatch.clock import now
from taktwatch.errors import BackendUnavailable, ConfigError, RecordNotFound
from taktwatch.store import StoreState
from taktwatch.store.connect import open_store


def test_a_topic_is_described_as_it_was_made(backend: Backend) -> None:
    async def main() -> None:
        specs = [
            TopicSpec(backend.name("frames"), 8, timedelta(days=30)),
            TopicSpec(backend.name("reviews"), 1, None),
            TopicSpec(backend.name("assets"), 1, None, compacted=True),
        ]
        async with opened(backend, *specs) as bus:
            assert [await bus.describe(spec.name) for spec in specs] == [TopicSetup(spec) for spec in specs]
            shorter = TopicSpec(specs[0].name, 8, timedelta(hours=6))
            await bus.ensure([shorter])
            async with asyncio.timeout(PATIENCE.total_seconds()):
                while await bus.describe(shorter.name) != TopicSetup(shorter):  # noqa: ASYNC110 - brokers take their time
                    await asyncio.sleep(0.05)

    run(main())


def test_asking_for_a_topic_that_is_not_there_makes_none(backend: Backend) -> None:
    async def main() -> None:
        async with opened(backend, backend.spec("other")) as bus:
            for _ in range(2):
                with pytest.raises(RecordNotFound, match="nowhere"):
                    await bus.describe(backend.name("nowhere"))

    run(main())


def test_a_file_says_whether_it_is_there_and_is_not_made_by_asking(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "data" / "kpis.sqlite"
        store = open_store(f"sqlite:///{path}", {}, retention=timedelta(days=2))
        assert await store.state() == StoreState(exists=False, retention=timedelta(days=2))
        assert not path.parent.exists()
        await store.prepare()
        assert await store.state() == StoreState(exists=True, retention=timedelta(days=2))
        await store.close()

    asyncio.run(main())


@pytest.mark.influxdb
def test_a_bucket_says_how_long_it_keeps_windows(influx: InfluxServer) -> None:
    async def main() -> None:
        environ = influx.environ
        store = open_store(f"influxdb://{influx.address}", environ, retention=timedelta(days=730))
        assert (await store.state()).exists is False
        await store.prepare()
        state = await store.state()
        assert (state.exists, state.retention) == (True, timedelta(days=730))
        assert state.clock is not None
        assert abs(state.clock - now()) < timedelta(seconds=10)
        await store.close()
        other = open_store(f"influxdb://{influx.address}", environ, retention=timedelta(days=1))
        assert (await other.state()).retention == timedelta(days=730)
        await other.close()

    asyncio.run(main())


@pytest.mark.influxdb
def test_a_token_that_may_only_read_is_told_apart(influx: InfluxServer) -> None:
    async def main() -> None:
        environ = influx.environ
        store = open_store(f"influxdb://{influx.address}", environ)
        await store.prepare()
        reading = await asyncio.to_thread(influx.token_for, environ["INFLUX_BUCKET"], "read")
        for token, words in ((reading, "403"), ("wrong", "401")):
            refused = open_store(f"influxdb://{influx.address}", {**environ, "INFLUX_TOKEN": token})
            with pytest.raises(ConfigError, match=words):
                await refused.state()
            await refused.close()
        await store.close()

    asyncio.run(main())


@pytest.mark.influxdb
def test_a_server_that_is_away_is_unavailable(own_influx: InfluxServer) -> None:
    async def main() -> None:
        store = open_store(f"influxdb://{own_influx.address}", own_influx.environ)
        own_influx.kill()
        with pytest.raises(BackendUnavailable, match=own_influx.address):
            await store.state()
        await store.close()

    asyncio.run(main())
