"""The KPI service with the compiled library and without it, on the same topics of a real Kafka."""

import asyncio
import uuid

import msgspec
import pytest
from kpi_line import QUICK, Windows, eventually, opened, published, records, running, send
from servers.require import missing
from timelines import mark, result

from kpi_engine.service import KpiService
from taktwatch.config import LineConfig
from taktwatch.native import Engine, NativeError, available
from taktwatch.records import BoardVerdict, InspectionResult, Outcome, Record, StationMark
from taktwatch.topics import Topics

MANY = 900
"""Seconds: enough that a log comes in several fetches."""


def log() -> list[InspectionResult | StationMark]:
    """Return boards of a quarter of an hour: out of order by twos, some again, skipped, late, repeated or damaged."""
    found: list[InspectionResult | StationMark] = []
    for second in range(MANY):
        clock = f"12:{second // 60:02}:{second % 60:02}"
        board = result(second, clock, serial=f"B{second % 700}", lot=f"L{second // 400}")
        if second % 97 == 5:
            board = msgspec.structs.replace(board, outcome=Outcome.SKIPPED, verdict=None)
        found.append(board)
        if second % 2:
            found[-1], found[-2] = found[-2], found[-1]
        if second % 59 == 9:
            found.append(board)
        if second % 10 == 9:
            found.append(mark(second, clock))
    late = [found.pop(number) for number in (400, 300, 200)]
    found[700:700] = late
    found.insert(500, msgspec.structs.replace(result(3, "12:00:03"), opportunities=-1))
    return found


async def folded(url: str, topics: Topics, config: LineConfig) -> tuple[Windows, list[Record], bool]:
    """Fold the log as the line is configured; return windows, verdicts of boards, and whether the library was used."""
    async with opened(url, topics) as bus:
        sent = log()
        await send(bus, sent, topics.results)
        service = KpiService(config, bus, topics)

        async def done() -> bool:
            return sum(service.saved.values()) == len(sent)

        async with running(service):
            await eventually(done)
        verdicts = await records(bus, topics.boards)
        windows = await published(bus, topics)
        return windows, verdicts, service.packs


def native() -> None:
    if not available():
        missing("native", "`make setup` builds the compiled library where there is a Rust compiler (cargo)")


@pytest.mark.kafka
def test_windows_and_verdicts_are_the_same_with_the_library_and_without(kafka_broker: str) -> None:
    native()

    async def main() -> None:
        plain = QUICK.model_copy(update={"kpi": QUICK.kpi.model_copy(update={"compiled": False})})
        seen = []
        for config in (QUICK, plain):
            topics = Topics(f"t{uuid.uuid4().hex[:10]}")
            windows, verdicts, compiled = await folded(f"kafka://{kafka_broker}", topics, config)
            assert compiled is config.kpi.compiled
            newest = {
                verdict.board_id: verdict
                for verdict in sorted((v for v in verdicts if isinstance(v, BoardVerdict)), key=lambda v: v.revision)
            }
            seen.append((windows, newest))
        assert seen[0] == seen[1]
        assert len(seen[0][1]) == MANY

    asyncio.run(main())


@pytest.mark.kafka
def test_a_library_that_fails_inside_is_gone_on_without(kafka_broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a panic in it would look: the calls after the tenth fail."""
    native()
    calls = 0
    whole = Engine.next

    def broken(engine: Engine, body: bytes, end: int) -> int:
        nonlocal calls
        calls += 1
        if calls > 10:
            raise NativeError("the compiled fold failed on a record")
        return whole(engine, body, end)

    monkeypatch.setattr(Engine, "next", broken)

    async def main() -> None:
        topics = Topics(f"t{uuid.uuid4().hex[:10]}")
        windows, _, compiled = await folded(f"kafka://{kafka_broker}", topics, QUICK)
        assert not compiled
        inspected = sum(window.inspected for window in windows.values() if window.window == "1m")
        assert inspected == sum(second % 97 != 5 for second in range(MANY))

    asyncio.run(main())
