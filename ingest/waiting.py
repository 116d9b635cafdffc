"""Waiting that ends early when there is a reason to."""

import asyncio

__all__ = ["stopped_within"]


async def stopped_within(stop: asyncio.Event, seconds: float) -> bool:
    """Wait for so long, or until the event; say whether it is set."""
    if seconds > 0:
        try:
            async with asyncio.timeout(seconds):
                await stop.wait()
        except TimeoutError:
            return stop.is_set()
    return stop.is_set()
