"""The KPI service alone in a process, so that a test can kill it or stop it.

python kpi_process.py BUS_URL PREFIX INTERVAL_S [MEMBER [SESSION_S [HORIZON_MINUTES]]]
"""

import asyncio
import signal
import sys
from datetime import timedelta
from pathlib import Path

from kpi_engine.service import GROUP, KpiService
from taktwatch.bus import Bus
from taktwatch.bus.kafka import KafkaBus
from taktwatch.bus.sqlite import SqliteBus
from taktwatch.config import KafkaConfig, KpiConfig, LineConfig
from taktwatch.topics import Topics


def opened(url: str, member: str, session: timedelta) -> Bus:
    """Open a bus whose groups wait `session` for a dead member."""
    kind, _, rest = url.partition("://")
    if kind == "sqlite":
        return SqliteBus(Path(rest.removeprefix("/")), lease=session)
    return KafkaBus(rest, KafkaConfig(), client=f"kpi-{member}", session=session)


async def main(  # noqa: PLR0917 - the command line's
    url: str, prefix: str, interval_s: str, member: str = GROUP, session_s: str = "6", horizon_minutes: str = "60"
) -> None:
    """Run until killed, or until asked to end."""
    bus = opened(url, member, timedelta(seconds=float(session_s)))
    kpi = KpiConfig(checkpoint_interval_s=float(interval_s), silent_after_s=3600, horizon_minutes=int(horizon_minutes))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await KpiService(LineConfig(kpi=kpi), bus, Topics(prefix), member=member).run(stop)
    await bus.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
