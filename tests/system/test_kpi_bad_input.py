"""What must not stop the KPI service, and what must: on both buses."""

import asyncio
import os
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from contracts.bus_backends import Backend, KafkaBackend, SqliteBackend
from kpi_line import PATIENCE_S, QUICK, eventually, opened, published, records, running, send
from timelines import mark, result

from kpi_engine.metrics import OFFSETS_LOST
from kpi_engine.service import GROUP, KpiService
from taktwatch.bus import Bus, Outgoing
from taktwatch.checkpoints import Checkpoints, load_checkpoint
from taktwatch.config import FolderSource, LineConfig, StationConfig
from taktwatch.errors import BackendUnavailable, OffsetLost, RecordTooLarge, UnknownSchema
from taktwatch.records import Checkpoint, DeadLetter
from taktwatch.topics import Topics, lag
from taktwatch.wire import encode

ROOT = Path(__file__).parents[2]
RESULT = {"taktwatch_schema": b"1.0", "ce_type": b"taktwatch.result"}
TOP = ("line-1", "top", "board")


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """Each bus in turn."""
    if request.param == "sqlite":
        return SqliteBackend(f"sqlite:///{tmp_path / 'bus'}")
    return KafkaBackend(f"kafka://{request.getfixturevalue('kafka_broker')}")


def with_stations(*names: str) -> LineConfig:
    """Return a configuration that names these stations."""
    source = FolderSource(kind="folder", path=Path())
    stations = tuple(StationConfig.model_construct(name=name, product="board", source=source) for name in names)
    return QUICK.model_copy(update={"stations": stations})


async def fold_all(bus: Bus, topics: Topics, config: LineConfig = QUICK) -> None:
    """Run the service until everything is folded."""

    async def folded() -> bool:
        with suppress(BackendUnavailable):  # a new broker has no coordinator of groups yet
            return await lag(bus, GROUP, topics.results) == 0
        return False

    async with running(KpiService(config, bus, topics)):
        await eventually(folded)


async def checkpoints(bus: Bus, topics: Topics) -> dict[int, Checkpoint]:
    """Return the newest checkpoint of each partition."""
    found = {n: await load_checkpoint(bus, topics, GROUP, (topics.results, n)) for n in await bus.spans(topics.results)}
    return {number: checkpoint for number, checkpoint in found.items() if checkpoint is not None}


def test_what_cannot_be_counted_is_refused_with_its_reason_and_the_partition_goes_on(backend: Backend) -> None:
    async def main() -> None:
        topics = Topics(backend.prefix)
        sound, _ = encode(result(1, "12:00:20"))
        nan = sound[:-1] + b',"detections":[{"class":"open","score":NaN}]}'
        sure = nan.replace(b"NaN", b"1.5")
        poison = {
            "schema 99.0": Outgoing(topics.results, b"line-1", sound, RESULT | {"taktwatch_schema": b"99.0"}),
            "damaged": Outgoing(topics.results, b"line-1", nan, RESULT),
            "score of open is 1.5": Outgoing(topics.results, b"line-1", sure, RESULT),
            "RFC3339": Outgoing(topics.results, b"line-1", sound.replace(b'"2026-', b'"-026-'), RESULT),
            "1066": Outgoing(topics.results, b"line-1", sound.replace(b'"2026-', b'"1066-'), RESULT),
            "seq is -7": Outgoing(topics.results, b"line-1", *encode(result(-7, "12:00:20"))),
            "'cellar' is not in line.toml": Outgoing(
                topics.results, b"line-1", *encode(result(9, "12:00:20", station="cellar"))
            ),
            "malformed": Outgoing(topics.results, b"line-1", b"\xff" * 15 * 2**20, RESULT),
        }
        async with opened(backend.url, topics) as bus:
            await send(bus, [result(0, "12:00:10")], topics.results)
            await bus.publish(list(poison.values()))
            await send(
                bus, [result(1, "12:00:20"), result(0, "12:00:10", line="line-2", station="cellar")], topics.results
            )
            await fold_all(bus, topics, with_stations("top"))
            letters = [letter for letter in await records(bus, topics.dead) if isinstance(letter, DeadLetter)]
            assert len(letters) == len(poison)
            for letter, (reason, sent) in zip(letters, poison.items(), strict=True):
                assert reason in letter.error
                assert letter.body_bytes == len(sent.value)
            windows = await published(bus, topics)
            assert windows[*TOP, "12:00"].inspected == 2
            assert windows["line-2", "cellar", "board", "12:00"].inspected == 1

    asyncio.run(main())


def test_a_record_of_fifty_megabytes_never_reaches_the_topic(backend: Backend) -> None:
    async def main() -> None:
        topics = Topics(backend.prefix)
        async with opened(backend.url, topics) as bus:
            huge = Outgoing(topics.results, b"line-1", b" " * 50 * 2**20, RESULT)
            with pytest.raises(RecordTooLarge, match=r"50 MB|52,428,\d+"):
                await bus.publish([huge])
            await send(bus, [result(0, "12:00:10")], topics.results)
            await fold_all(bus, topics)
            assert (await published(bus, topics))[*TOP, "12:00"].inspected == 1

    asyncio.run(main())


def test_a_checkpoint_of_a_newer_version_stops_the_service_and_stays_as_it_is(backend: Backend) -> None:
    async def main() -> None:
        topics = Topics(backend.prefix)
        async with opened(backend.url, topics) as bus:
            await send(bus, [result(0, "12:00:10")], topics.results)
            await fold_all(bus, topics)
            [(number, saved)] = (await checkpoints(bus, topics)).items()
            newer = b"\x83\xa7version\x63\xa8position\x01\xa8stations\xa8all anew"
            member = Checkpoints(bus, topics, GROUP, "newer")
            await member.load((topics.results, number))
            await member.save((topics.results, number), saved.position, newer)
            before = await bus.spans(topics.kpis), await bus.committed(GROUP, topics.results)
            await send(bus, [result(1, "12:00:20")], topics.results)
            with pytest.raises(UnknownSchema, match="version 99"):
                await asyncio.wait_for(KpiService(QUICK, bus, topics).run(asyncio.Event()), PATIENCE_S)
            assert (await checkpoints(bus, topics))[number].state == newer
            assert (await bus.spans(topics.kpis), await bus.committed(GROUP, topics.results)) == before

    asyncio.run(main())


def test_records_lost_to_retention_stop_the_service_with_an_alarm(backend: Backend) -> None:
    """It does not jump: nothing is published, committed or saved past the hole."""

    async def main() -> None:
        topics = Topics(backend.prefix)
        async with opened(backend.url, topics) as bus:
            await bus.ensure(topics.specs(timedelta(days=7)))
            await send(bus, [result(0, "12:00:10"), mark(0, "12:01:30")], topics.results)
            await fold_all(bus, topics)
            await send(bus, [result(1, "12:02:10")], topics.results)
            await backend.remove_all(bus, topics.results)
            before = await bus.spans(topics.kpis), await checkpoints(bus, topics)
            alarms = OFFSETS_LOST._value.get()
            with pytest.raises(OffsetLost, match=r"results/\d.*gone"):
                await asyncio.wait_for(KpiService(QUICK, bus, topics).run(asyncio.Event()), PATIENCE_S)
            assert OFFSETS_LOST._value.get() == alarms + 1
            assert (await bus.spans(topics.kpis), await checkpoints(bus, topics)) == before

    asyncio.run(main())


def test_the_command_line_ends_with_status_2_and_one_line_where_records_were_lost(tmp_path: Path) -> None:
    backend = SqliteBackend(f"sqlite:///{tmp_path / 'bus'}")
    topics = Topics(backend.prefix)

    async def lose() -> None:
        async with opened(backend.url, topics) as bus:
            await bus.ensure(topics.specs(timedelta(days=7)))
            await send(bus, [result(0, "12:00:10")], topics.results)
            await fold_all(bus, topics)
            await send(bus, [result(1, "12:00:20")], topics.results)
            await backend.remove_all(bus, topics.results)

    asyncio.run(lose())
    settings = ["--bus", backend.url, "--kpis", f"sqlite:///{tmp_path / 'kpis.sqlite'}", "--prefix", topics.prefix]
    done = subprocess.run(
        [sys.executable, "-m", "taktwatch", "run", "kpi", *settings],
        cwd=ROOT,
        env={**os.environ, "TAKTWATCH_RETENTION_DAYS": "3650"},
        capture_output=True,
        text=True,
        timeout=timedelta(seconds=PATIENCE_S).total_seconds(),
        check=False,
    )
    said = [text for text in done.stderr.splitlines() if not text.startswith("{")]
    assert done.returncode == 2
    assert len(said) == 1
    assert said[0].startswith(f"taktwatch: {topics.results}/")
    assert "lengthen retention_days" in said[0]
