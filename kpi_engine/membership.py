"""Staying in a consumer group while the bus comes and goes."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from taktwatch.errors import BackendUnavailable

__all__ = ["pause", "stay_joined"]

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
HEALTHY_S = 60.0
"""Whoever worked for so long before the bus went away is patient anew."""

log = structlog.get_logger()


async def stay_joined(name: str, work: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
    """Do the work until it returns; each time the bus is away, wait a little longer and begin it again."""
    clock = asyncio.get_running_loop().time
    pause_s = FIRST_PAUSE_S
    while not stop.is_set():
        began = clock()
        try:
            await work()
        except BackendUnavailable as error:
            if clock() - began > HEALTHY_S:
                pause_s = FIRST_PAUSE_S
            log.warning("waiting for a backend", service=name, error=str(error), pause_s=pause_s)
            await pause(pause_s, stop)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        else:
            return


async def pause(seconds: float, stop: asyncio.Event) -> None:
    """Wait, but no longer than until `stop`."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
