"""`taktwatch doctor`: is everything there that a line needs, before it is needed. Looks only; nothing is changed."""

import asyncio
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from taktwatch.config import LineConfig
from taktwatch.doctor.backends import check_bus, check_clock, check_store
from taktwatch.doctor.check import Check, State
from taktwatch.doctor.files import check_disk, check_models, check_pictures

__all__ = ["Check", "State", "examine"]

KEY_VARIABLE = "TAKTWATCH_API_KEY"


async def examine(config: LineConfig, environ: Mapping[str, str], now: datetime) -> list[Check]:
    """Look at everything a line stands on; what cannot be reached is a check that failed, never an exception."""
    checks = list(check_config(config, environ))
    clocks: dict[str, datetime] = {}
    checks += [check async for check in check_bus(config, clocks)]
    checks.append(await check_store(config, environ, clocks))
    checks += await asyncio.to_thread(lambda: [*check_models(config), *check_pictures(config), *check_disk(config)])
    checks.append(check_clock(now, clocks, timedelta(seconds=config.ingest.max_clock_skew_s)))
    return checks


def check_config(config: LineConfig, environ: Mapping[str, str]) -> Iterator[Check]:
    """Judge what validation cannot know: whether what was configured makes sense together."""
    stations = [station.name for station in config.stations]
    if stations:
        yield Check("configuration", State.OK, f"line {config.line}, stations {', '.join(stations)}")
    else:
        yield Check(
            "configuration", State.WARNING, f"line {config.line} has no station", "add [[stations]] to line.toml"
        )
    for rule in config.alerts.rules:
        if rule.station is not None and rule.station not in stations:
            yield Check(
                "configuration",
                State.WARNING,
                f"alert rule {rule.name!r} is about station {rule.station!r}, which there is none of",
                f"name one of: {', '.join(stations)}",
            )
    if config.console.host not in {"127.0.0.1", "::1", "localhost"} and not environ.get(KEY_VARIABLE):
        yield Check(
            "console",
            State.FAILED,
            f"it would listen on {config.console.host} for anybody",
            f"set {KEY_VARIABLE} in the environment, or console.host to 127.0.0.1",
        )
