"""Trials of the KPI service on a real Kafka broker; `benchmarks/kpi_trials.py` does more of them."""

import asyncio
import os
import time
from collections.abc import Callable

import pytest
from kpi_disturbed import KINDS, line
from servers.kafka import KafkaBroker

TRIALS = int(os.environ.get("TAKTWATCH_KPI_TRIALS", "20"))
MOST_S = 150.0
"""No trial begins later: a slow machine does fewer."""


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.timeout(420)
def test_no_board_is_lost_or_counted_twice_whoever_is_killed(own_kafka: Callable[[], KafkaBroker]) -> None:
    """Each kind in turn, in random circumstances; windows close all the time and are compared after every trial."""

    async def main() -> None:
        broker = own_kafka()
        async with line(broker, seed=int(time.time_ns())) as there:
            began = time.monotonic()
            windows = await there.trial("undisturbed")
            for number in range(TRIALS):
                if number >= len(KINDS) and time.monotonic() - began > MOST_S:
                    break
                windows = await there.trial(KINDS[number % len(KINDS)])
            assert windows > 6
            assert sum(window.inspected for window in there.log.published.values()) > 100

    asyncio.run(main())
